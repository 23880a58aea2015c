//! Accounts that take no webhooks of their own: which account listens for which, and what may be handed over. Pure.

use std::collections::BTreeMap;
use toml::Table;
use vestibule_plugin_api::wire::Event;
use vestibule_plugin_api::{Capability, ConfigKey, Ignored, KeyType, Manifest, PlatformId, UNKNOWN_ACCOUNT};

/// The accounts of a plugin, each with its section of the config.
type Sections = BTreeMap<String, Table>;

/// The key in which an account names another.
const KEY: &str = "listener";

/// The key, as a schema describes it.
pub fn key() -> ConfigKey {
    ConfigKey {
        key: KEY.to_owned(),
        kind: KeyType::String,
        required: false,
        secret: false,
        default: None,
        help: "The account at which the webhooks of this one come in, instead of its own URL".to_owned(),
    }
}

/// The account at which the webhooks of one with this section come in, if that names another.
pub fn listener<'s>(manifest: &Manifest, section: &'s Table) -> Option<&'s str> {
    manifest.can(Capability::Listeners).then(|| section.get(KEY)?.as_str()).flatten()
}

/// The accounts whose webhooks come in at this one, beside its own.
pub fn of(manifest: &Manifest, sections: &Sections, account: &str) -> Vec<String> {
    let hears = |(_, section): &(&String, &Table)| listener(manifest, section) == Some(account);
    sections.iter().filter(hears).map(|(name, _)| name.clone()).collect()
}

/// What is wrong with what an account names as its listener, and what to do.
pub fn fault(manifest: &Manifest, sections: &Sections, account: &str) -> Option<String> {
    let named = listener(manifest, sections.get(account)?)?;
    let (place, said) = (format!("[channels.{}.{account}]", manifest.channel_type), named.escape_debug());
    let remedy = format!("name an account in whose section there is no `{KEY}`");
    match sections.get(named) {
        _ if named == account => {
            Some(format!("{place} names itself as its `{KEY}`; take the key out, or {remedy}"))
        }
        None => {
            Some(format!("{place} names the account `{said}` as its `{KEY}`, and there is none; {remedy}"))
        }
        Some(section) if listener(manifest, section).is_some() => {
            Some(format!("{place} names `{said}` as its `{KEY}`, which has a listener itself; {remedy}"))
        }
        Some(_) => None,
    }
}

/// Why an event that a listener hands over is not taken.
#[derive(Debug, PartialEq)]
pub enum NotTaken {
    /// It belongs to an account that does not name this listener: this goes on record, at the listener, and it is dropped.
    LeftOut(Ignored),
    /// It is nothing that could be on record.
    Refused(String),
}

/// An event that `by` hands over, to be taken as if its account had said it.
///
/// # Errors
/// Its account does not name this listener: what is to be done about it.
pub fn handed_over(
    manifest: &Manifest,
    sections: &Sections,
    by: &str,
    event: Event,
) -> Result<Event, NotTaken> {
    let account = event.account().unwrap_or_default();
    let named = sections.get(account).and_then(|section| listener(manifest, section));
    if account == by || named == Some(by) {
        return Ok(event);
    }
    let account = account.escape_debug().to_string();
    let left_out = |event_id: String, platform_id: PlatformId, sender: String| {
        let (platform_id, sender) = (Some(platform_id), Some(sender));
        NotTaken::LeftOut(Ignored { event_id, reason: UNKNOWN_ACCOUNT.to_owned(), platform_id, sender })
    };
    Err(match event {
        Event::Message { message, .. } => {
            left_out(message.event_id, message.platform_id, message.sender.handle)
        }
        Event::Change { change, .. } => left_out(change.event_id, change.platform_id, change.sender.handle),
        Event::Ignored { ignored, .. } => {
            NotTaken::LeftOut(Ignored { reason: UNKNOWN_ACCOUNT.to_owned(), ..ignored })
        }
        _ => NotTaken::Refused(format!(
            "the account `{account}` does not name `{}` as its listener",
            by.escape_debug()
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn manifest(capabilities: &str) -> Manifest {
        let text = format!(
            r#"{{"name":"x","version":"1","kind":"channel","abi":1,"api":"0.2","channel_type":"x",
            "capabilities":[{capabilities}]}}"#
        );
        Manifest::parse(text.as_bytes()).expect("it fits")
    }

    fn sections() -> Sections {
        let all = r#"
            [main]
            [acme]
            listener = "main"
            [beta]
            listener = "main"
            [itself]
            listener = "itself"
            [far]
            listener = "acme"
            [lost]
            listener = "none-such"
            [number]
            listener = 7
        "#;
        toml::from_str(all).expect("it is TOML")
    }

    #[test]
    fn which_account_listens_for_which() {
        let (manifest, sections) = (manifest(r#""listeners""#), sections());
        assert_eq!(of(&manifest, &sections, "main"), ["acme", "beta"]);
        assert_eq!(of(&manifest, &sections, "beta"), [""; 0]);
        for (account, want) in [
            ("main", None),
            ("acme", None),
            ("number", None),
            ("itself", Some("names itself")),
            ("far", Some("has a listener itself")),
            ("lost", Some("there is none")),
        ] {
            let told = fault(&manifest, &sections, account);
            assert_eq!(told.is_some(), want.is_some(), "{account}: {told:?}");
            let told = told.unwrap_or_default();
            assert!(told.contains(want.unwrap_or_default()), "{account}: {told}");
        }
        let without = self::manifest("");
        assert_eq!(listener(&without, &sections["acme"]), None, "it is another key there");
        assert_eq!(fault(&without, &sections, "lost"), None);
    }

    #[test]
    fn what_a_listener_may_hand_over() {
        let (manifest, sections) = (manifest(r#""listeners""#), sections());
        let sender = json!({ "handle": "u" });
        let message = |account: &str| {
            json!({ "verb": "message", "account": account, "message": { "event_id": "e", "message_id": "m",
                "platform_id": "c", "sender": sender, "text": "hi", "timestamp": 0 } })
        };
        let change = json!({ "verb": "change", "account": "far", "change": { "event_id": "e", "message_id": "m",
            "platform_id": "c", "sender": sender, "timestamp": 0, "what": { "change": "deleted" } } });
        let ignored = |reason: &str| {
            json!({ "verb": "ignored", "account": "far", "ignored": { "event_id": "e", "reason": reason,
                "platform_id": "c", "sender": "u" } })
        };
        let state = |account: &str| json!({ "verb": "state_get", "account": account, "key": "k" });
        let read = |event| serde_json::from_value::<Event>(event).expect("an event");
        for (by, event, outcome) in [
            ("main", message("main"), "taken"),
            ("main", message("acme"), "taken"),
            ("main", state("beta"), "taken"),
            ("main", message("far"), "left out"),
            ("main", message("none-such"), "left out"),
            ("acme", message("beta"), "left out"),
            ("beta", message("main"), "left out"),
            ("main", change, "left out"),
            ("main", ignored("own_message"), "left out"),
            ("main", state("far"), "refused"),
            ("main", json!({ "verb": "health", "account": "far", "health": { "state": "live" } }), "refused"),
        ] {
            let told = event.to_string();
            let event = read(event);
            match handed_over(&manifest, &sections, by, event.clone()) {
                Ok(taken) => assert_eq!((taken, "taken"), (event, outcome), "{told}"),
                Err(NotTaken::LeftOut(left_out)) => {
                    let Event::Ignored { ignored, .. } = read(ignored(UNKNOWN_ACCOUNT)) else {
                        panic!("it is")
                    };
                    assert_eq!((left_out, "left out"), (ignored, outcome), "{told}");
                }
                Err(NotTaken::Refused(why)) => {
                    assert_eq!(outcome, "refused", "{told}");
                    assert!(why.contains("does not name `main`"), "{why}");
                }
            }
        }
    }
}
