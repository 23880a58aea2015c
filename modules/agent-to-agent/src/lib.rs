//! Messages between agents: the module chooses the session that hears one, and how long agents may go on alone.
//!
//! The runtime decides which agent may write to which: it asks only about messages that it has allowed.

use vestibule_plugin_api::{Effect, Forwarded, Module, Result, Runtime, async_trait, config, export_module};

/// How many messages agents may send each other before a person must write on a channel again. A question
/// and its answer are two; the rest is for a chain of helpers, and stops two that only thank each other.
const HOPS_MAX: u32 = 8;

config! {
    /// The section `[modules.agent-to-agent]`.
    struct Config {
        /// How many messages agents may send each other before a person must write
        hops_max: u32 = HOPS_MAX,
    }
}

struct AgentToAgent {
    hops_max: u32,
}

#[async_trait]
impl Module for AgentToAgent {
    type Config = Config;

    async fn start(config: Config, _: Runtime) -> Result<Self> {
        Ok(AgentToAgent { hops_max: config.hops_max })
    }

    async fn forward(&self, message: Forwarded) -> Result<Vec<Effect>> {
        Ok(effects(message, self.hops_max))
    }
}

fn effects(message: Forwarded, hops_max: u32) -> Vec<Effect> {
    if message.hops >= hops_max {
        let to = &message.to.name;
        let note = format!(
            "Your message to the agent \"{to}\" was not delivered: {hops_max} messages between agents have passed \
             without a message from a person. It goes on when a person writes to you."
        );
        let reason = format!(
            "{hops_max} messages between agents have passed without a person in between (`hops_max` in \
             [modules.agent-to-agent])"
        );
        return vec![Effect::Refuse { reason }, Effect::Note { text: note }];
    }
    vec![Effect::Post { session: session(&message), text: message.text }]
}

/// The session whose message this one answers, or else the one that wrote here last; where there is none, or
/// it cannot be used any more, the newest; `None` is a new one.
fn session(message: &Forwarded) -> Option<String> {
    let way_back = message.answers.as_ref().or(message.heard_last.as_ref());
    way_back
        .filter(|session| session.usable)
        .map(|session| session.id.clone())
        .or_else(|| message.newest.clone())
}

export_module! {
    module: AgentToAgent,
    name: "agent-to-agent",
    description: "Agents write to each other",
    hooks: ["forward"],
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_plugin_api::{Agent, SessionRef, Timestamp};

    fn message(answers: Option<bool>, heard_last: Option<bool>, newest: bool, hops: u32) -> Forwarded {
        let agent = |name: &str| Agent { id: format!("ag-{name}"), name: name.into() };
        let session = |id: &str, usable| SessionRef { id: id.into(), usable };
        Forwarded {
            id: "m".into(),
            from: agent("a"),
            from_session: "s".into(),
            to: agent("b"),
            text: "hi".into(),
            files: vec![],
            answers: answers.map(|usable| session("asked", usable)),
            heard_last: heard_last.map(|usable| session("heard", usable)),
            newest: newest.then(|| "newest".into()),
            hops,
            taken_at: Timestamp(0),
        }
    }

    #[test]
    fn which_session_hears_it() {
        for (answers, heard_last, newest, want) in [
            (Some(true), Some(true), true, Some("asked")),
            (None, Some(true), true, Some("heard")),
            (Some(false), Some(true), true, Some("newest")),
            (None, Some(false), true, Some("newest")),
            (None, None, true, Some("newest")),
            (None, None, false, None),
        ] {
            let told = session(&message(answers, heard_last, newest, 0));
            assert_eq!(told.as_deref(), want, "{answers:?} {heard_last:?} {newest}");
        }
    }

    #[test]
    fn a_chain_is_cut_and_its_writer_told() {
        assert!(matches!(effects(message(None, None, true, 7), 8)[..], [Effect::Post { .. }]));
        assert!(matches!(
            effects(message(None, None, true, 8), 8)[..],
            [Effect::Refuse { .. }, Effect::Note { .. }]
        ));
    }
}
