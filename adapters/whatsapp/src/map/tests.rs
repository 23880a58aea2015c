//! Payloads as Meta's own pages show them, and what is read of them.

use super::*;
use serde_json::json;

/// When the webhooks came, a while after what they tell.
const NOW: Timestamp = Timestamp(1_749_420_000_000);
const NUMBER: &str = "106540352242922";
/// As on those pages, but with all that Base64 may have.
const ID: &str = "wamid.HBgLMTY1MDM4Nzk0MzkVAgASGBQzQTRBNjU5OUFFRTAzODEwMTQ0Rg/+A=";
const CHAT: &str = "whatsapp:106540352242922:16505551234";

fn envelope(value: Value) -> Value {
    let mut whole = json!({ "messaging_product": "whatsapp",
        "metadata": { "display_phone_number": "15550783881", "phone_number_id": NUMBER } });
    for (key, value) in value.as_object().expect("fields") {
        whole[key] = value.clone();
    }
    json!({ "object": "whatsapp_business_account", "entry": [{ "id": "102290129340398",
        "changes": [{ "value": whole, "field": "messages" }] }] })
}

/// What is read of one message with these fields.
fn read_one(more: Value) -> What {
    let mut message = json!({ "from": "16505551234", "id": ID, "timestamp": "1749416383" });
    for (key, value) in more.as_object().expect("fields") {
        message[key] = value.clone();
    }
    let contacts = json!([{ "profile": { "name": "Sheena Nelson" }, "wa_id": "16505551234" }]);
    let mut events =
        read(&envelope(json!({ "contacts": contacts, "messages": [message] })), NOW).expect("Meta's");
    assert_eq!((events.len(), events[0].number.as_str()), (1, NUMBER));
    events.remove(0).what
}

fn said(more: Value) -> InboundMessage {
    match read_one(more.clone()) {
        What::Said(message) => {
            assert_eq!(message.fault(), None, "{more}");
            *message
        }
        other => panic!("{more}: {other:?}"),
    }
}

#[test]
fn a_text_as_metas_page_shows_it() {
    let heard = said(json!({ "type": "text", "text": { "body": "Does it come in another color?" } }));
    assert_eq!(
        heard,
        InboundMessage {
            event_id: format!("message/{ID}"),
            message_id: ID.into(),
            platform_id: CHAT.into(),
            sender: Sender {
                handle: "16505551234".into(),
                name: Some("Sheena Nelson".into()),
                ..Sender::default()
            },
            text: "Does it come in another color?".into(),
            timestamp: Timestamp(1_749_416_383_000),
            is_mention: true,
            ..InboundMessage::default()
        }
    );
}

#[test]
fn words_of_each_kind() {
    for (message, want) in [
        (json!({ "type": "button", "button": { "payload": "p", "text": "Stop" } }), "Stop"),
        (
            json!({ "type": "interactive", "interactive": { "type": "list_reply",
                "list_reply": { "id": "priority", "title": "Priority Mail", "description": "1-3 days" } } }),
            "Priority Mail",
        ),
        (
            json!({ "type": "interactive", "interactive": { "type": "button_reply",
                "button_reply": { "id": "cancel", "title": "Cancel" } } }),
            "Cancel",
        ),
        (
            json!({ "type": "location", "location": { "address": "1071 5th Ave, New York", "latitude": 40.782_910_059_774,
                "longitude": -73.959_075_808_525, "name": "Solomon R. Guggenheim Museum" } }),
            "Location: Solomon R. Guggenheim Museum, 1071 5th Ave, New York (40.782910059774, -73.959075808525)",
        ),
        (json!({ "type": "location", "location": { "latitude": 1.5, "longitude": 2 } }), "Location: 1.5, 2"),
        (
            json!({ "type": "location", "location": { "latitude": "1.50", "longitude": "-2" } }),
            "Location: 1.50, -2",
        ),
        (
            json!({ "type": "location", "location": { "latitude": null, "longitude": 2, "name": "Here" } }),
            "Location: Here",
        ),
        (
            json!({ "type": "contacts", "contacts": [
                { "name": { "formatted_name": "Barbara J. Johnson", "first_name": "Barbara" },
                  "phones": [{ "phone": "+1 (650) 555-6789", "wa_id": "16505556789", "type": "Mobile" }],
                  "emails": [{ "email": "barbara@example.com" }] },
                { "name": { "formatted_name": "Al" } }] }),
            "Contact: Barbara J. Johnson: +1 (650) 555-6789, barbara@example.com\nContact: Al",
        ),
    ] {
        assert_eq!(said(message.clone()).text, want, "{message}");
    }
}

#[test]
fn files_come_by_reference() {
    for (kind, detail, want) in [
        (
            "image",
            json!({ "caption": "look", "mime_type": "image/jpeg", "sha256": "x", "id": "1003383421387256" }),
            ("image", "look", ""),
        ),
        ("video", json!({ "mime_type": "video/mp4", "id": "1003383421387256" }), ("video", "", "")),
        (
            "audio",
            json!({ "mime_type": "audio/ogg; codecs=opus", "id": "1003383421387256", "voice": true }),
            ("voice", "", ""),
        ),
        (
            "audio",
            json!({ "mime_type": "audio/mpeg", "id": "1003383421387256", "voice": false }),
            ("audio", "", ""),
        ),
        (
            "sticker",
            json!({ "mime_type": "image/webp", "id": "1003383421387256", "animated": false }),
            ("sticker", "", ""),
        ),
        (
            "document",
            json!({ "caption": "c", "filename": "../../report.pdf", "mime_type": "application/pdf",
            "id": "1003383421387256" }),
            ("file", "c", "../../report.pdf"),
        ),
    ] {
        let heard = said(json!({ "type": kind, kind: detail }));
        let file = &heard.attachments[0];
        assert_eq!(
            (file.kind.as_deref(), heard.text.as_str(), file.name.as_str()),
            (Some(want.0), want.1, want.2),
            "{kind}"
        );
        assert_eq!((file.reference.as_deref(), &file.bytes), (Some("1003383421387256"), &None));
    }
}

#[test]
fn people_are_known_by_more_than_their_number() {
    let contact = |more: Value| {
        json!([{ "profile": { "name": "Al", "username": "@al" }, "wa_id": more["wa_id"],
        "user_id": more["user_id"] }])
    };
    let number = "16505551234";
    let scoped = "US.13491208655302741918";
    for (message, contacts, handle, other) in [
        (
            json!({ "from": number, "from_user_id": scoped }),
            contact(json!({ "wa_id": number, "user_id": scoped })),
            number,
            Some(scoped),
        ),
        (
            json!({ "from": number }),
            contact(json!({ "wa_id": number, "user_id": scoped })),
            number,
            Some(scoped),
        ),
        (json!({ "from_user_id": scoped }), contact(json!({ "user_id": scoped })), scoped, None),
        (json!({ "from": "", "from_user_id": scoped }), json!([]), scoped, None),
        (json!({ "from": number }), json!(null), number, None),
    ] {
        let mut one = json!({ "id": ID, "timestamp": "1", "type": "text", "text": { "body": "hi" } });
        for (key, value) in message.as_object().expect("fields") {
            one[key] = value.clone();
        }
        let events =
            read(&envelope(json!({ "contacts": contacts, "messages": [one] })), NOW).expect("Meta's");
        let What::Said(heard) = &events[0].what else { panic!("{message}") };
        assert_eq!(heard.sender.handle, handle, "{message}");
        assert_eq!(heard.sender.other_handles, other.into_iter().collect::<Vec<_>>(), "{message}");
        assert_eq!(heard.platform_id.as_str(), format!("whatsapp:{NUMBER}:{handle}"));
        assert_eq!(
            heard.sender.name.as_deref(),
            contacts.is_array().then_some("Al").filter(|_| contacts != json!([]))
        );
    }
}

#[test]
fn what_happens_to_a_message() {
    let changed = |message: Value| match read_one(message.clone()) {
        What::Changed(change) => {
            assert_eq!((change.fault(), change.platform_id.as_str()), (None, CHAT), "{message}");
            (change.event_id.clone(), change.message_id.clone(), change.what)
        }
        other => panic!("{message}: {other:?}"),
    };
    for (kind, detail, want) in [
        (
            "reaction",
            json!({ "message_id": "wamid.O", "emoji": "👍" }),
            Changed::Reacted { emoji: "👍".into() },
        ),
        (
            "reaction",
            json!({ "message_id": "wamid.O", "emoji": "" }),
            Changed::Unreacted { emoji: "(unnamed)".into() },
        ),
        ("reaction", json!({ "message_id": "wamid.O" }), Changed::Unreacted { emoji: "(unnamed)".into() }),
        (
            "edit",
            json!({ "original_message_id": "wamid.O", "message": { "type": "text", "text": { "body": "new" } } }),
            Changed::Edited { text: "new".into(), is_mention: true },
        ),
        (
            "edit",
            json!({ "original_message_id": "wamid.O", "message": { "type": "image", "image": { "caption": "c" } } }),
            Changed::Edited { text: "c".into(), is_mention: true },
        ),
        ("revoke", json!({ "original_message_id": "wamid.O" }), Changed::Deleted),
    ] {
        let told = changed(json!({ "type": kind, kind: detail }));
        assert_eq!(told, (format!("{kind}/{ID}"), "wamid.O".to_owned(), want));
    }
}

#[test]
fn a_reply_names_what_it_answers_and_our_buttons_answer_questions() {
    let context = json!({ "from": "15550783881", "id": "wamid.OURS" });
    let heard = said(json!({ "type": "text", "text": { "body": "yes" }, "context": context }));
    assert_eq!(heard.reply_to, Some(ReplyTo { id: "wamid.OURS".into(), sender: None, text: None }));
    let forwarded =
        said(json!({ "type": "text", "text": { "body": "yes" }, "context": { "forwarded": true } }));
    assert_eq!(forwarded.reply_to, None);
    for kind in ["button_reply", "list_reply"] {
        let tapped = read_one(json!({ "type": "interactive", "context": context,
            "interactive": { "type": kind, kind: { "id": "vestibule:abc.1", "title": "Yes" } } }));
        let What::Chosen(chosen) = tapped else { panic!("{kind}") };
        assert_eq!((chosen.choice.token.as_str(), chosen.choice.platform_id.as_str()), ("abc.1", CHAT));
        assert_eq!((chosen.choice.sender.handle.as_str(), chosen.message_id.as_str()), ("16505551234", ID));
    }
}

#[test]
fn what_is_left_out_is_on_record() {
    for (message, reason) in [
        (
            json!({ "type": "unsupported", "errors": [{ "code": 131_051, "title": "Message type unknown" }] }),
            "unsupported",
        ),
        (json!({ "type": "order", "order": { "product_items": [] } }), "unsupported_order"),
        (
            json!({ "type": "system", "system": { "body": "x", "type": "user_changed_number" } }),
            "unsupported_system",
        ),
        (json!({ "type": "text", "text": { "body": "" } }), "text_is_empty"),
        (
            json!({ "type": "location", "location": { "latitude": "far", "longitude": null } }),
            "location_is_empty",
        ),
        (json!({ "type": "text", "text": { "body": "hi" }, "group_id": "g" }), "group"),
        (json!({ "type": "image", "image": { "id": "../x/y" } }), "image_without_file"),
        (json!({ "type": "interactive", "interactive": { "type": "nfm_reply" } }), "unsupported_interactive"),
        (json!({ "type": "reaction", "reaction": {} }), "reaction_of_nothing"),
        (json!({ "type": "A B\n" }), "unsupported"),
        (json!({ "type": "text", "from": "a b", "text": { "body": "hi" } }), "no_sender"),
    ] {
        let What::Ignored(ignored) = read_one(message.clone()) else { panic!("{message}") };
        assert_eq!((ignored.reason.as_str(), ignored.fault()), (reason, None), "{message}");
        assert_eq!(ignored.event_id, format!("message/{ID}"));
    }
}

#[test]
fn what_became_of_a_message() {
    let failed = json!([{ "code": 131_047, "title": "Re-engagement message", "message": "Re-engagement message",
        "error_data": { "details": "Message failed to send because more than 24 hours have passed since the customer last replied." } }]);
    for (status, want) in [
        ("sent", Some("Sent")),
        ("delivered", Some("Delivered")),
        ("read", Some("Read")),
        ("played", Some("Read")),
        ("failed", Some("`template`")),
        ("deleted", None),
    ] {
        let status = json!({ "id": "wamid.OURS", "status": status, "timestamp": "1749416383", "recipient_id": "16505551234",
            "errors": failed });
        let events = read(&envelope(json!({ "statuses": [status] })), NOW).expect("Meta's");
        let told = events.first().map(|event| format!("{:?}", event.what));
        assert_eq!(told.is_some(), want.is_some(), "{status}");
        assert!(told.unwrap_or_default().contains(want.unwrap_or_default()), "{status}");
    }
}

#[test]
fn one_webhook_may_hold_many_numbers_and_other_fields() {
    let text = |id: &str| json!({ "from": "1650", "id": id, "timestamp": "1", "type": "text", "text": { "body": id } });
    let of = |number: &str, messages: Value| {
        json!({ "field": "messages",
        "value": { "metadata": { "phone_number_id": number }, "messages": messages } })
    };
    let body = json!({ "object": "whatsapp_business_account", "entry": [
        { "id": "1", "changes": [of("11", json!([text("a"), text("b")])), { "field": "account_update", "value": {} }] },
        { "id": "2", "changes": [of("22", json!([text("c")])), of("no number", json!([text("d")]))] }] });
    let heard: Vec<(String, String)> = read(&body, NOW)
        .expect("Meta's")
        .into_iter()
        .filter_map(|event| match event.what {
            What::Said(message) => Some((event.number, message.message_id)),
            _ => None,
        })
        .collect();
    let pair = |number: &str, id: &str| (number.to_owned(), id.to_owned());
    assert_eq!(heard, [pair("11", "a"), pair("11", "b"), pair("22", "c")]);
    for (body, want) in [
        (json!({}), None),
        (json!([]), None),
        (json!({ "object": "page", "entry": [] }), None),
        (json!({ "object": "whatsapp_business_account" }), Some(0)),
        (
            envelope(json!({ "messages": [{}, { "id": "a b" }, 7], "statuses": [{}, { "status": "sent" }] })),
            Some(0),
        ),
    ] {
        assert_eq!(read(&body, NOW).map(|events| events.len()), want, "{body}");
    }
}

#[test]
fn where_a_message_goes() {
    for (chat, want) in [
        (CHAT, Some("to")),
        ("whatsapp:106540352242922:US.13491208655302741918", Some("recipient")),
        ("whatsapp:106540352242922", None),
        ("whatsapp:106540352242922:", None),
        ("whatsapp::1650", None),
        ("whatsapp:1:a b", None),
        ("whatsapp:1:../2", None),
        ("slack:C012", None),
    ] {
        assert_eq!(target(&chat.into()).ok().map(|target| target.key()), want, "{chat}");
    }
}

#[test]
fn whom_an_operator_names() {
    for (handle, want) in [
        ("16505551234", Some(CHAT)),
        ("+1 (650) 555-1234", Some(CHAT)),
        ("US.134", Some("whatsapp:106540352242922:US.134")),
        ("Ann", None),
        ("", None),
        ("US.1/2", None),
    ] {
        let opened = direct(NUMBER, handle).ok().map(|chat| chat.platform_id);
        assert_eq!(opened, want.map(PlatformId::from), "{handle}");
    }
}

#[test]
fn which_chats_an_operator_types() {
    let (other, scoped) = ("whatsapp:1065403:16505551234", "whatsapp:106540352242922:US.134");
    for (typed_as, want) in [
        (CHAT, Ok(CHAT)),
        ("16505551234", Ok(CHAT)),
        (" +1 (650) 555-1234 ", Ok(CHAT)),
        ("106540352242922:16505551234", Ok(CHAT)),
        ("whatsapp:106540352242922:+1 650 555 1234", Ok(CHAT)),
        ("whatsapp:+16505551234", Ok(CHAT)),
        ("US.134", Ok(scoped)),
        (scoped, Ok(scoped)),
        (other, Err("--account")),
        ("whatsapp:106540352242922:Ann", Err("16505551234")),
        ("whatsapp:Ann:16505551234", Err("whatsapp:106540352242922:PERSON")),
        ("slack:C012", Err("whatsapp:106540352242922:PERSON")),
        ("Ann", Err("16505551234")),
        ("", Err("16505551234")),
    ] {
        let chat = typed(NUMBER, typed_as).map(|chat| chat.platform_id.to_string());
        match (chat, want) {
            (Ok(chat), Ok(want)) => assert_eq!(chat, want, "{typed_as}"),
            (Err(error), Err(want)) => assert!(error.reason().contains(want), "{typed_as}: {error:?}"),
            (chat, _) => panic!("{typed_as}: {chat:?}"),
        }
    }
}

#[test]
fn a_persons_two_chats_are_one_once_both_are_known() {
    let (number, scoped) = ("16505551234", "US.134");
    for (handle, others, want) in [
        (number, &[scoped][..], true),
        (number, &[], false),
        (number, &["16505551235"], false),
        (scoped, &[], false),
        (scoped, &["US.135"], false),
    ] {
        let other_handles = others.iter().map(|other| (*other).to_owned()).collect();
        let sender = Sender { handle: handle.into(), other_handles, ..Sender::default() };
        let event = one_chat(NUMBER, &sender);
        assert_eq!(event.is_some(), want, "{handle} {others:?}");
        if let Some(event) = event {
            let to = CHAT.into();
            assert_eq!((event.fault(), event.what), (None, ChatChange::Moved { to }));
            assert_eq!(event.platform_id.as_str(), "whatsapp:106540352242922:US.134");
        }
    }
}

#[test]
fn a_time_that_cannot_be_is_now() {
    for (said, want) in [
        (json!("1749416383"), 1_749_416_383_000),
        (json!(1_749_416_383), 1_749_416_383_000),
        (json!(" 1749416383"), 1_749_416_383_000),
        (json!(null), NOW.0),
        (json!("soon"), NOW.0),
        (json!(0), NOW.0),
        (json!(-5), NOW.0),
        (json!(i64::MAX), NOW.0),
        (json!("1749416383000"), NOW.0),
    ] {
        let heard = said_at(said.clone());
        assert_eq!(heard.timestamp.0, want, "{said}");
    }
}

fn said_at(timestamp: Value) -> InboundMessage {
    said(json!({ "type": "text", "text": { "body": "hi" }, "timestamp": timestamp }))
}

#[test]
fn what_the_business_wrote_itself_is_left_out() {
    let told = json!({ "object": "whatsapp_business_account", "entry": [{ "changes": [{ "field": "smb_message_echoes",
        "value": { "metadata": { "phone_number_id": NUMBER }, "message_echoes": [{ "from": "15550783881",
            "to": "16505551234", "id": ID, "timestamp": "1", "type": "text", "text": { "body": "on my way" } }] } }] }] });
    let events = read(&told, NOW).expect("Meta's");
    let [Event { number, what: What::Ignored(ignored) }] = &events[..] else { panic!("{events:?}") };
    assert_eq!((number.as_str(), ignored.reason.as_str(), ignored.fault()), (NUMBER, "echo", None));
}
