//! What each event of Slack's means.

use super::*;
use serde_json::json;

pub fn own() -> Own {
    Own {
        user_id: "U0BOT".into(),
        bot_id: Some("B0BOT".into()),
        user: "vestibule".into(),
        team: "CP".into(),
        team_id: "T1".into(),
        ..Own::default()
    }
}

fn event(extra: Value) -> Value {
    let mut event = json!({ "type": "message", "channel": "C012", "channel_type": "channel", "user": "U0ANN",
        "ts": "1718000000.000100", "event_ts": "1718000000.000100", "text": "hi" });
    for (key, value) in extra.as_object().expect("an object") {
        event[key] = value.clone();
    }
    json!({ "event_id": "Ev01", "team_id": "T1", "event": event })
}

fn said(extra: Value) -> Said {
    match read(&event(extra), &own()) {
        Reading::Said(said) => *said,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_people_say() {
    let plain = said(json!({}));
    assert_eq!(plain.event_id, "message/C012/1718000000.000100");
    assert_eq!((plain.is_mention, plain.is_direct, plain.is_sparse), (false, false, false));
    assert_eq!(plain.thread().as_str(), "slack:C012:1718000000.000100");
    assert_eq!(time(&plain.ts), Timestamp(1_718_000_000_000));
    assert_eq!(time("1718000000.123456"), Timestamp(1_718_000_000_123));
    let reply = said(json!({ "thread_ts": "1717000000.000200" }));
    assert_eq!(reply.thread().as_str(), "slack:C012:1717000000.000200");
    for (extra, mention, direct, thread) in [
        (json!({ "text": "<@U0BOT> hi" }), true, false, "slack:C012:1718000000.000100"),
        (json!({ "text": "<@U0BOB> hi" }), false, false, "slack:C012:1718000000.000100"),
        // A private channel, and several people: groups.
        (json!({ "channel": "G012", "channel_type": "group" }), false, false, "slack:G012:1718000000.000100"),
        (json!({ "channel": "C012", "channel_type": "mpim" }), false, false, "slack:C012:1718000000.000100"),
        (json!({ "channel": "D012", "channel_type": "im" }), true, true, "slack:D012:"),
        (
            json!({ "channel": "D012", "channel_type": "im", "thread_ts": "17.1" }),
            true,
            true,
            "slack:D012:17.1",
        ),
        (json!({ "subtype": "thread_broadcast", "thread_ts": "17.1" }), false, false, "slack:C012:17.1"),
        (json!({ "subtype": "me_message" }), false, false, "slack:C012:1718000000.000100"),
        (json!({ "thread_ts": "no time" }), false, false, "slack:C012:1718000000.000100"),
    ] {
        let said = said(extra.clone());
        let got = (said.is_mention, said.is_direct, said.thread().0);
        assert_eq!(got, (mention, direct, thread.to_owned()), "{extra}");
    }
}

/// Slack sends both, in any order: they are one event, and say the same.
#[test]
fn a_mention_is_one_message() {
    let text = json!({ "text": "<@U0BOT> hi" });
    let message = said(text);
    let mention = said(json!({ "type": "app_mention", "text": "<@U0BOT> hi", "channel_type": null }));
    assert!(mention.is_sparse && !message.is_sparse);
    assert_eq!(Said { is_sparse: false, ..mention }, message);
    let with_files = said(
        json!({ "type": "app_mention", "text": "<@U0BOT> hi", "files": [{ "id": "F1", "name": "a.txt" }] }),
    );
    assert!(!with_files.is_sparse && with_files.is_mention);
    assert_eq!(with_files.files[0].name.as_deref(), Some("a.txt"));
}

#[test]
fn programs_are_heard_and_the_channel_itself_is_not() {
    let other = said(json!({ "subtype": "bot_message", "user": null, "bot_id": "B0CI", "username": "CI",
        "text": "", "attachments": [{ "fallback": "build 7" }, { "text": "failed" }] }));
    assert_eq!((other.bot_id.as_deref(), other.name.as_deref()), (Some("B0CI"), Some("CI")));
    assert_eq!(other.text, "build 7\nfailed");
    let named = said(json!({ "bot_id": "B0CI", "bot_profile": { "name": "CI" } }));
    assert_eq!(named.name.as_deref(), Some("CI"));
    for own in [json!({ "user": "U0BOT" }), json!({ "user": null, "bot_id": "B0BOT" })] {
        let Reading::Ignored(ignored) = read(&event(own.clone()), &super::tests::own()) else {
            panic!("{own}")
        };
        assert_eq!(ignored.reason, "own_message");
    }
    let nameless = Own { bot_id: None, ..super::tests::own() };
    assert!(matches!(read(&event(json!({})), &nameless), Reading::Said(_)), "no id is nobody's");
}

#[test]
fn what_is_left_out() {
    for (extra, reason) in [
        (json!({ "subtype": "channel_join" }), Some("no_text")),
        (json!({ "text": "" }), Some("no_text")),
        (json!({ "text": "", "files": [] }), Some("no_text")),
        (json!({ "subtype": "message_replied" }), None),
        (json!({ "type": "reaction_added" }), Some("unsupported_event")),
        (json!({ "type": "pin_added" }), Some("unsupported_event")),
        (json!({ "type": null }), Some("unsupported_event")),
        (json!({ "type": "channel_rename" }), Some("unreadable")),
        (json!({ "channel": "../x" }), Some("unreadable")),
        (json!({ "ts": "now" }), Some("unreadable")),
        (json!({ "ts": 17 }), Some("unreadable")),
    ] {
        let reading = read(&event(extra.clone()), &own());
        match (&reading, reason) {
            (Reading::Ignored(ignored), Some(reason)) => assert_eq!(ignored.reason, reason, "{extra}"),
            (Reading::Nothing, None) => {}
            _ => panic!("{extra}: {reading:?}"),
        }
    }
    for odd in [json!(null), json!([]), json!({ "event": 7 }), json!({ "event": { "type": "message" } })] {
        assert_eq!(read(&odd, &own()), Reading::Nothing, "{odd}");
    }
}

fn altered(extra: Value) -> Option<Altered> {
    match read(&event(extra), &own()) {
        Reading::Altered(altered) => Some(*altered),
        Reading::Nothing => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn edits_and_deletions() {
    let edit = |now: Value, before: Value| {
        json!({ "subtype": "message_changed", "hidden": true, "user": null, "text": "", "ts": "1718000009.000100",
            "message": now, "previous_message": before })
    };
    let before = || json!({ "ts": "17.1", "user": "U0ANN", "text": "a" });
    let now = |text: &str| json!({ "ts": "17.1", "user": "U0ANN", "text": text, "edited": { "user": "U0ANN", "ts": "18.5" } });
    let heard = altered(edit(now("b"), before())).expect("an edit");
    assert_eq!(heard.event_id, "changed/C012/17.1/18.5");
    assert_eq!((heard.ts.as_str(), heard.user.as_str(), heard.at.as_str()), ("17.1", "U0ANN", "18.5"));
    assert_eq!(heard.thread, Some("slack:C012:17.1".into()));
    assert_eq!(heard.what, What::Edited("b".into(), false));
    let to_us = altered(edit(now("<@U0BOT> b"), before())).expect("an edit");
    assert_eq!(to_us.what, What::Edited("<@U0BOT> b".into(), true));
    let mut reply = now("b");
    reply["thread_ts"] = "16.1".into();
    let reply = altered(edit(reply, before())).expect("an edit");
    assert_eq!(reply.thread, Some("slack:C012:16.1".into()));
    // A preview of a link, a second word of the same edit, and what the channel itself changes.
    let mut preview = before();
    preview["attachments"] = json!([{ "title": "a page" }]);
    let mut own_edit = now("b");
    own_edit["user"] = "U0BOT".into();
    for none in [
        edit(preview, before()),
        edit(now("b"), now("b")),
        edit(own_edit, before()),
        edit(json!(null), before()),
    ] {
        assert_eq!(altered(none.clone()), None, "{none}");
    }

    let gone = |previous: Value| {
        json!({ "subtype": "message_deleted", "hidden": true, "user": null, "deleted_ts": "17.1",
            "ts": "18.6", "previous_message": previous })
    };
    let heard = altered(gone(before())).expect("a deletion");
    assert_eq!((heard.event_id.as_str(), &heard.what), ("deleted/C012/17.1/18.6", &What::Deleted));
    assert_eq!(altered(gone(json!({ "ts": "17.1", "user": "U0BOT" }))), None);
    assert_eq!(altered(gone(json!({ "ts": "17.1", "bot_id": "B0BOT" }))), None);
    assert_eq!(altered(gone(json!(null))), None);
    let stone = json!({ "subtype": "tombstone", "ts": "17.1", "text": "This message was deleted." });
    let heard = altered(edit(stone, before())).expect("a deletion");
    assert_eq!((heard.ts.as_str(), &heard.what), ("17.1", &What::Deleted));
}

#[test]
fn reactions_and_names() {
    let react = |kind: &str, user: &str, emoji: &str| {
        json!({ "type": kind, "user": user, "reaction": emoji, "item_user": "U0BOT", "event_ts": "18.7",
            "item": { "type": "message", "channel": "C012", "ts": "17.1" } })
    };
    let heard = altered(react("reaction_added", "U0ANN", "+1::skin-tone-2")).expect("a reaction");
    assert_eq!(heard.event_id, "reacted/C012/17.1/U0ANN/18.7");
    assert_eq!(heard.what, What::Reacted("+1::skin-tone-2".into()));
    assert_eq!((heard.thread, heard.is_direct), (None, false));
    let heard = altered(react("reaction_removed", "U0ANN", "eyes")).expect("a reaction");
    assert_eq!(heard.what, What::Unreacted("eyes".into()));
    assert_eq!(altered(react("reaction_added", "U0BOT", "eyes")), None, "its own");
    let mut file = react("reaction_added", "U0ANN", "eyes");
    file["item"] = json!({ "type": "file", "file": "F1" });
    let Reading::Ignored(ignored) = read(&event(file), &own()) else { panic!("left out") };
    assert_eq!(ignored.reason, "unsupported_event");
    let rename = json!({ "type": "channel_rename", "channel": { "id": "C012", "name": "new" } });
    let Reading::Renamed(renamed) = read(&event(rename), &own()) else { panic!("a name") };
    assert_eq!((renamed.channel.as_str(), renamed.name.as_str()), ("C012", "new"));
}

#[test]
fn a_command_is_a_message() {
    let payload = json!({ "command": "/ask", "text": "what <@U0ANN> says", "trigger_id": "1.2.abc",
        "user_id": "U0ANN", "user_name": "ann", "channel_id": "C012" });
    let Reading::Command(heard) = command(&payload) else { panic!("a command") };
    assert_eq!(
        (heard.event_id.as_str(), heard.text.as_str()),
        ("command/1.2.abc", "/ask what <@U0ANN> says")
    );
    for (key, value) in
        [("trigger_id", ""), ("channel_id", "general"), ("user_id", ""), ("trigger_id", "a b")]
    {
        let mut payload = payload.clone();
        payload[key] = value.into();
        assert_eq!(command(&payload), Reading::Nothing, "{key}");
    }
}

#[test]
fn addresses_are_checked_again() {
    let address = |chat: &str, thread: Option<&str>| Address {
        channel_type: "slack".into(),
        account: "main".into(),
        platform_id: chat.into(),
        thread_id: thread.map(Into::into),
    };
    for (chat, thread, want) in [
        ("slack:C012", None, Some(None)),
        ("slack:C012", Some("slack:C012:17.1"), Some(Some("17.1"))),
        ("slack:D012", Some("slack:D012:"), Some(None)),
        ("slack:D012", Some("slack:D012:17.1"), Some(Some("17.1"))),
        ("slack:C012", Some("slack:C999:17.1"), None),
        ("slack:C012", Some("slack:C0123:17.1"), None),
        ("slack:C012", Some("17.1"), None),
        ("slack:C012", Some("slack:C012:17"), None),
        ("slack:C012", Some("slack:C012:17.1&x=y"), None),
        ("slack:c012", None, None),
        ("slack:", None, None),
        ("C012", None, None),
        ("github:o/r", None, None),
    ] {
        let got = target(&address(chat, thread)).ok();
        let want = want.map(|thread: Option<&str>| Target {
            channel: chat.trim_start_matches("slack:").to_owned(),
            thread: thread.map(str::to_owned),
        });
        assert_eq!(got, want, "{chat} {thread:?}");
    }
}
