//! The names an agent may send to: by name, by address, and as the agent is told of them. Pure.

use vestibule_session::{Destination, MessageIn};

/// The destinations of one session at one moment.
#[derive(Debug, Default)]
pub struct Destinations(pub Vec<Destination>);

impl Destinations {
    /// The destination with this name, which is compared byte for byte.
    pub fn by_name(&self, name: &str) -> Option<&Destination> {
        self.0.iter().find(|destination| destination.name == name)
    }

    /// The name of the chat or agent that a row came from. Two logins may sit in one chat: a
    /// destination of another login is not where the row came from.
    pub fn name_of(&self, row: &MessageIn) -> Option<&str> {
        let matches = |d: &&Destination| {
            if row.channel_type.as_deref() == Some("agent") {
                return d.kind == "agent"
                    && d.agent_group_id.is_some()
                    && d.agent_group_id == row.platform_id;
            }
            let login = d.account.is_none() || row.account.is_none() || d.account == row.account;
            let chat = d.channel_type == row.channel_type && d.platform_id == row.platform_id;
            d.kind != "agent" && chat && login
        };
        let found = self.0.iter().filter(matches).max_by_key(|d| d.account == row.account)?;
        Some(&found.name)
    }

    /// Every name, for a note to the agent.
    pub fn names(&self) -> String {
        self.0.iter().map(|d| format!("`{}`", d.name)).collect::<Vec<_>>().join(", ")
    }

    /// What the agent is told before any message: its name, where it can send, and how.
    pub fn instructions(&self, assistant_name: &str) -> String {
        let mut text = String::new();
        if !assistant_name.is_empty() {
            text.push_str(&format!(
                "# {assistant_name}\n\nYour name is {assistant_name}. Use it when you say who you are, and know \
                 that people who write it mean you.\n\n"
            ));
        }
        text.push_str("## Sending messages\n\n");
        match self.0.as_slice() {
            [] => {
                text.push_str("You have no destination: nothing you write reaches anybody.");
                return text;
            }
            [one] => text.push_str(&format!("Your destination is {}.\n\n", shown(one))),
            many => {
                text.push_str("Your destinations:\n\n");
                for destination in many {
                    text.push_str(&format!("- {}\n", shown(destination)));
                }
                text.push('\n');
            }
        }
        text.push_str(
            "- Wrap each message you send in `<message to=\"name\">…</message>`; several blocks are several \
             messages. Anything outside a block is not sent. Wrap thoughts in `<internal>…</internal>`.\n\
             - Unless told otherwise, answer to the destination in the `from` of the message you answer.\n\
             - Write blocks in your final answer; nothing else sends.",
        );
        text
    }
}

fn shown(destination: &Destination) -> String {
    match destination.display_name.as_deref() {
        Some(display) if display != destination.name && !display.is_empty() => {
            format!("`{}` ({display})", destination.name)
        }
        _ => format!("`{}`", destination.name),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::batch::tests::row;

    pub fn chat(name: &str, platform_id: &str, account: Option<&str>) -> Destination {
        Destination {
            name: name.to_owned(),
            display_name: None,
            kind: "channel".to_owned(),
            channel_type: Some("slack".to_owned()),
            platform_id: Some(platform_id.to_owned()),
            agent_group_id: None,
            account: account.map(str::to_owned),
        }
    }

    pub fn agent(name: &str, group: &str) -> Destination {
        Destination {
            kind: "agent".to_owned(),
            channel_type: None,
            platform_id: None,
            agent_group_id: Some(group.to_owned()),
            ..chat(name, "", None)
        }
    }

    #[test]
    fn names_of_rows() {
        let known = Destinations(vec![
            agent("helper", "ag-h"),
            chat("general", "slack:C1", None),
            chat("general-b", "slack:C1", Some("b")),
        ]);
        let from = |channel: &str, chat: &str, account: Option<&str>| {
            let row = MessageIn {
                channel_type: Some(channel.to_owned()),
                platform_id: Some(chat.to_owned()),
                account: account.map(str::to_owned),
                ..row(2, true, None)
            };
            known.name_of(&row).map(str::to_owned)
        };
        assert_eq!(from("slack", "slack:C1", None).as_deref(), Some("general"));
        assert_eq!(from("slack", "slack:C1", Some("b")).as_deref(), Some("general-b"));
        assert_eq!(from("agent", "ag-h", None).as_deref(), Some("helper"));
        assert_eq!(from("slack", "slack:C1", Some("c")).as_deref(), Some("general"));
        assert_eq!(from("slack", "slack:C2", None), None);
        assert_eq!(from("agent", "slack:C1", None), None);
    }

    #[test]
    fn instructions_list_what_there_is() {
        let none = Destinations::default().instructions("");
        assert_eq!(
            none,
            "## Sending messages\n\nYou have no destination: nothing you write reaches anybody."
        );
        let mut general = chat("general", "slack:C1", None);
        general.display_name = Some("#general".to_owned());
        let one = Destinations(vec![general.clone()]).instructions("Ada");
        assert!(one.starts_with("# Ada\n\nYour name is Ada."), "{one}");
        assert!(one.contains("Your destination is `general` (#general).\n\n- Wrap each"), "{one}");
        let two = Destinations(vec![general, agent("helper", "ag-h")]).instructions("");
        assert!(two.contains("Your destinations:\n\n- `general` (#general)\n- `helper`\n\n"), "{two}");
    }
}
