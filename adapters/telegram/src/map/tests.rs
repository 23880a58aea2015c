//! How updates are read, as the Bot API documents them.

use super::*;
use serde_json::json;

fn own() -> Own {
    Own { id: 99, username: "VestibuleBot".into() }
}

/// An update with a message from a person; `extra` goes over it.
fn update(chat: Value, extra: Value) -> Value {
    let mut message = json!({
        "message_id": 5, "date": 1_700_000_000, "chat": chat,
        "from": { "id": 7, "is_bot": false, "first_name": "Ada", "last_name": "L", "username": "ada" },
    });
    for (key, value) in extra.as_object().expect("an object") {
        message[key] = value.clone();
    }
    json!({ "update_id": 1000, "message": message })
}

fn private() -> Value {
    json!({ "id": 7, "type": "private", "first_name": "Ada" })
}

fn group() -> Value {
    json!({ "id": -1001, "type": "supergroup", "title": "Friends", "is_forum": true })
}

fn heard(update: &Value) -> InboundMessage {
    match read(update, &own()) {
        Reading::Message(message, ..) => *message,
        reading => panic!("{reading:?}"),
    }
}

#[test]
fn a_message_in_a_private_chat() {
    let message = heard(&update(private(), json!({ "text": "hi" })));
    let expected = InboundMessage {
        event_id: "message/7/5/1700000000".into(),
        message_id: "7:5".into(),
        platform_id: "telegram:7".into(),
        sender: Sender { handle: "7".into(), name: Some("Ada L".into()), is_bot: false, ..Sender::default() },
        text: "hi".into(),
        timestamp: Timestamp(1_700_000_000_000),
        is_mention: true,
        ..InboundMessage::default()
    };
    assert_eq!(message, expected);
}

#[test]
fn who_is_mentioned_in_a_group() {
    let entity = |kind: &str, offset: usize, length: usize| json!([{ "type": kind, "offset": offset, "length": length }]);
    let person = |id: i64| json!([{ "type": "text_mention", "offset": 0, "length": 3, "user": { "id": id, "first_name": "V" } }]);
    let quote = |from: i64| {
        json!({ "message_id": 4, "date": 1, "chat": group(), "text": "q",
        "from": { "id": from, "first_name": "V" } })
    };
    let topic = json!({ "message_id": 4, "date": 1, "chat": group(), "from": { "id": 99, "first_name": "V" },
        "forum_topic_created": { "name": "t" } });
    let table = [
        (json!({ "text": "vestibulebot" }), false),
        // Words are no entity: Telegram decides what is a mention.
        (json!({ "text": "@vestibulebot" }), false),
        (json!({ "text": "@vestibulebot", "entities": entity("mention", 0, 13) }), true),
        (json!({ "text": "@VESTIBULEBOT", "entities": entity("mention", 0, 13) }), true),
        (json!({ "text": "@vestibulebot2", "entities": entity("mention", 0, 14) }), false),
        // Offsets count UTF-16 units: the emoji is two.
        (json!({ "text": "🎉 @vestibulebot", "entities": entity("mention", 3, 13) }), true),
        (json!({ "text": "🎉 @vestibulebot", "entities": entity("mention", 2, 13) }), false),
        (json!({ "text": "@a", "entities": entity("mention", 0, 99) }), false),
        (json!({ "text": "@a", "entities": entity("mention", usize::MAX, 2) }), false),
        (json!({ "text": "/ask@vestibulebot x", "entities": entity("bot_command", 0, 17) }), true),
        (json!({ "text": "/ask@otherbot x", "entities": entity("bot_command", 0, 13) }), false),
        (json!({ "text": "/ask x", "entities": entity("bot_command", 0, 4) }), false),
        (json!({ "text": "Vee", "entities": person(99) }), true),
        (json!({ "text": "Vee", "entities": person(98) }), false),
        (
            json!({ "caption": "@vestibulebot", "caption_entities": entity("mention", 0, 13),
            "photo": [{ "file_id": "p", "file_size": 3 }] }),
            true,
        ),
        (json!({ "text": "yes", "reply_to_message": quote(99) }), true),
        (json!({ "text": "yes", "reply_to_message": quote(8) }), false),
        (
            json!({ "text": "yes", "is_topic_message": true, "message_thread_id": 4, "reply_to_message": topic }),
            false,
        ),
    ];
    for (extra, expected) in table {
        let message = heard(&update(group(), extra.clone()));
        assert_eq!(message.is_mention, expected, "{extra}");
        assert!(message.is_group);
    }
}

#[test]
fn a_command_for_the_bot_loses_its_name_and_one_for_another_keeps_it() {
    for (text, want) in [
        ("/clear", "/clear"),
        ("/clear@VestibuleBot", "/clear"),
        (" /clear@vestibulebot\nplease", " /clear\nplease"),
        ("/clear@other_bot", "/clear@other_bot"),
        ("/clear@vestibulebot2", "/clear@vestibulebot2"),
        ("/ask@vestibulebot of /ask@vestibulebot", "/ask of /ask@vestibulebot"),
        ("/@vestibulebot", "/@vestibulebot"),
        ("hi /clear@vestibulebot", "hi /clear@vestibulebot"),
        ("me@vestibulebot", "me@vestibulebot"),
        ("", ""),
    ] {
        assert_eq!(to_us(text.into(), &own()), want, "{text}");
        if !text.is_empty() {
            for chat in [private(), group()] {
                assert_eq!(heard(&update(chat, json!({ "text": text }))).text, want, "{text}");
            }
        }
    }
}

#[test]
fn a_message_that_was_edited() {
    let edited = |extra: Value| {
        let mut update = update(private(), extra);
        update["message"]["edit_date"] = 1_700_000_009.into();
        update["edited_message"] = update["message"].take();
        update.as_object_mut().expect("an object").remove("message");
        read(&update, &own())
    };
    for (extra, text) in [
        (json!({ "text": "now" }), "now"),
        (json!({ "caption": "look", "photo": [{ "file_id": "p" }] }), "look"),
        (json!({ "text": "/ask@vestibulebot x" }), "/ask x"),
    ] {
        let Reading::Changes(changes) = edited(extra.clone()) else { panic!("{extra}") };
        let expected = Change {
            event_id: "edited_message/7/5/1700000009".into(),
            message_id: "7:5".into(),
            platform_id: "telegram:7".into(),
            sender: Sender { handle: "7".into(), name: Some("Ada L".into()), ..Sender::default() },
            timestamp: Timestamp(1_700_000_009_000),
            what: Changed::Edited { text: text.into(), is_mention: true },
            ..Change::default()
        };
        assert_eq!(changes, [expected], "{extra}");
    }
    for (extra, reason) in [
        (json!({ "location": {} }), "no_text"),
        (json!({ "text": "x", "from": { "id": 99, "first_name": "V" } }), "own_message"),
    ] {
        let reading = edited(extra.clone());
        assert!(
            matches!(&reading, Reading::Ignored(ignored) if ignored.reason == reason),
            "{extra}: {reading:?}"
        );
    }
}

#[test]
fn commands_and_who_is_named() {
    let entity = |kind: &str, length: usize| json!([{ "type": kind, "offset": 0, "length": length }]);
    for (text, length, want) in [
        ("/ask what now?", 4, Some(("ask", "what now?"))),
        ("/ask@vestibulebot  what\nnow?", 17, Some(("ask", "what\nnow?"))),
        ("/ask", 4, Some(("ask", ""))),
        ("/ask@otherbot x", 13, None),
        ("/ask x", 6, None),
        ("/ x", 1, None),
        ("hi", 0, None),
        ("/ask x", 99, None),
    ] {
        let message =
            heard(&update(group(), json!({ "text": text, "entities": entity("bot_command", length) })));
        let told =
            message.command.as_ref().map(|command| (command.name.as_str(), command.arguments.as_str()));
        assert_eq!((told, message.fault()), (want, None), "{text}");
    }
    let later = json!([{ "type": "bot_command", "offset": 3, "length": 4 }]);
    assert_eq!(heard(&update(group(), json!({ "text": "hi /ask", "entities": later }))).command, None);
    let person = |id: i64, at: usize| {
        json!({ "type": "text_mention", "offset": at, "length": 3,
        "user": { "id": id, "first_name": "V" } })
    };
    let named = json!([person(8, 0), person(8, 4), { "type": "mention", "offset": 8, "length": 13 },
        { "type": "mention", "offset": 22, "length": 4 }]);
    let message = heard(&update(group(), json!({ "text": "Bob bob @VestibuleBot @zoe", "entities": named })));
    let named: Vec<_> = message
        .mentions
        .iter()
        .map(|one| (one.handle.as_str(), one.name.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(named, [("8", "Bob"), ("99", "@VestibuleBot")]);
}

#[test]
fn threads_are_topics_only() {
    let thread = |extra| heard(&update(group(), extra)).thread_id.map(|thread| thread.0);
    let topic = json!({ "text": "x", "message_thread_id": 12, "is_topic_message": true });
    assert_eq!(thread(topic).as_deref(), Some("telegram:-1001:12"));
    assert_eq!(thread(json!({ "text": "x", "message_thread_id": 12 })), None);
    let general = json!({ "text": "x", "message_thread_id": 1, "is_topic_message": true });
    assert_eq!(thread(general), None, "the topic General is the chat itself");
    assert_eq!(forum(&update(group(), json!({}))), Some((-1001, true)));
    assert_eq!(forum(&update(json!({ "id": -2, "type": "supergroup" }), json!({}))), Some((-2, false)));
    assert_eq!(forum(&update(private(), json!({}))), None);
}

#[test]
fn what_is_answered_is_quoted() {
    let bob = || json!({ "id": 8, "first_name": "", "username": "bob" });
    let answered = |extra: Value| {
        let mut quoted = json!({ "message_id": 4, "date": 1, "chat": private(), "from": bob() });
        quoted.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
        json!({ "text": "yes", "reply_to_message": quoted })
    };
    let marked = |mut message: Value, words: &str| {
        message["quote"] = json!({ "text": words, "position": 4 });
        message
    };
    let own = json!({ "text": "I said", "from": { "id": 99, "is_bot": true, "first_name": "Vee" } });
    let elsewhere = |reply: Value| json!({ "text": "and that?", "external_reply": reply });
    let hidden = || json!({ "type": "hidden_user", "sender_user_name": "Zoe", "date": 1 });
    let channel = json!({ "origin": { "type": "channel", "date": 1, "message_id": 3,
        "chat": { "id": -100, "type": "channel", "title": "News" } },
        "chat": { "id": -100, "type": "channel", "title": "News" }, "message_id": 3,
        "document": { "file_id": "d", "file_name": "a.pdf" } });
    let group = json!({ "origin": { "type": "chat", "date": 1,
        "sender_chat": { "id": -200, "type": "supergroup", "title": "Others" } } });
    let photo = || json!({ "photo": [{ "file_id": "p" }] });
    let table = [
        (answered(json!({ "text": "so?" })), ("7:4", Some("bob"), Some("so?"))),
        (answered(json!({ "caption": "look", "photo": [] })), ("7:4", Some("bob"), Some("look"))),
        (answered(own), ("7:4", Some("Vee"), Some("I said"))),
        (answered(photo()), ("7:4", Some("bob"), Some("[photo]"))),
        (answered(json!({ "poll": {} })), ("7:4", Some("bob"), None)),
        (marked(answered(photo()), "THE MARKED"), ("7:4", Some("bob"), Some("THE MARKED"))),
        (marked(answered(json!({ "text": "a b c" })), "b"), ("7:4", Some("bob"), Some("b"))),
        (marked(answered(json!({ "text": "a b c" })), ""), ("7:4", Some("bob"), Some("a b c"))),
        (marked(elsewhere(json!({ "origin": hidden() })), "WORDS"), ("", Some("Zoe"), Some("WORDS"))),
        (
            elsewhere(json!({ "origin": { "type": "user", "date": 1, "sender_user": bob() } })),
            ("", Some("bob"), None),
        ),
        (elsewhere(channel), ("-100:3", Some("News"), Some("[file: a.pdf]"))),
        (elsewhere(group), ("", Some("Others"), None)),
        (elsewhere(json!({ "origin": { "type": "of a newer kind" } })), ("", None, None)),
        (elsewhere(json!({})), ("", None, None)),
    ];
    for (extra, (id, sender, text)) in table {
        let message = heard(&update(private(), extra.clone()));
        let (sender, text) = (sender.map(str::to_owned), text.map(str::to_owned));
        assert_eq!(message.reply_to, Some(ReplyTo { id: id.into(), sender, text }), "{extra}");
    }
    let topic = json!({ "message_id": 4, "date": 1, "chat": self::group(), "forum_topic_created": {} });
    let in_topic = json!({ "text": "x", "is_topic_message": true, "message_thread_id": 4,
        "reply_to_message": topic });
    assert_eq!(heard(&update(self::group(), in_topic)).reply_to, None);
}

#[test]
fn the_file_that_is_answered_comes_along() {
    let photo = || json!([{ "file_id": "p" }]);
    let answered = || json!({ "message_id": 4, "date": 1, "chat": private(), "photo": photo() });
    let elsewhere = json!({ "origin": {}, "document": { "file_id": "d", "file_name": "a.pdf" } });
    let topic = json!({ "message_id": 4, "date": 1, "chat": group(), "forum_topic_created": {} });
    let table: [(Value, &[(bool, &str)]); 5] = [
        (json!({ "text": "what is it?", "reply_to_message": answered() }), &[(true, "p")]),
        (
            json!({ "voice": { "file_id": "v" }, "reply_to_message": answered() }),
            &[(false, "v"), (true, "p")],
        ),
        (json!({ "text": "and that?", "external_reply": elsewhere }), &[(true, "d")]),
        (json!({ "text": "in a topic", "reply_to_message": topic }), &[]),
        (json!({ "text": "hi" }), &[]),
    ];
    for (extra, want) in table {
        let Reading::Message(message, _, ids) = read(&update(private(), extra.clone()), &own()) else {
            panic!("{extra}");
        };
        let files: Vec<_> = message.attachments.iter().map(|file| file.quoted).zip(ids).collect();
        let want: Vec<_> = want.iter().map(|(quoted, id)| (*quoted, (*id).to_owned())).collect();
        assert_eq!(files, want, "{extra}");
    }
}

#[test]
fn who_speaks_for_a_group_is_the_group() {
    let chat = json!({ "id": -1001, "type": "supergroup", "title": "Friends" });
    let message = heard(&update(group(), json!({ "text": "x", "sender_chat": chat })));
    assert_eq!(
        message.sender,
        Sender { handle: "-1001".into(), name: Some("Friends".into()), is_bot: false, ..Sender::default() }
    );
}

#[test]
fn files_are_named_and_the_largest_photo_is_taken() {
    let table = [
        (
            json!({ "photo": [{ "file_id": "s", "file_size": 1 }, { "file_id": "l", "file_size": 9 }] }),
            ("photo", "", Some("image/jpeg"), "l"),
        ),
        (
            json!({ "document": { "file_id": "d", "file_name": "a.pdf", "mime_type": "application/pdf" } }),
            ("file", "a.pdf", Some("application/pdf"), "d"),
        ),
        (
            json!({ "voice": { "file_id": "v", "mime_type": "audio/ogg" } }),
            ("voice", "", Some("audio/ogg"), "v"),
        ),
        (json!({ "sticker": { "file_id": "t" } }), ("sticker", "", None, "t")),
        (
            json!({ "animation": { "file_id": "a" }, "document": { "file_id": "d" } }),
            ("animation", "", None, "a"),
        ),
    ];
    for (extra, (kind, name, mime, id)) in table {
        let Reading::Message(message, _, ids) = read(&update(private(), extra.clone()), &own()) else {
            panic!("{extra}");
        };
        let file = &message.attachments[0];
        assert_eq!((file.kind.as_deref(), file.name.as_str()), (Some(kind), name), "{extra}");
        assert_eq!((file.mime_type.as_deref(), &file.url), (mime, &None), "{extra}");
        assert_eq!((&*ids, message.text.as_str()), (&[id.to_owned()][..], ""), "{extra}");
    }
}

#[test]
fn what_is_left_out_says_why() {
    let edited = |kind: &str| {
        let mut update = update(private(), json!({ "text": "x", "edit_date": 1_700_000_009 }));
        update[kind] = update["message"].take();
        update.as_object_mut().expect("an object").remove("message");
        update
    };
    let table = [
        (edited("edited_channel_post"), "edited", "edited_channel_post/7/5/1700000009"),
        (edited("channel_post"), "channel_post", "channel_post/7/5/1700000009"),
        (edited("poll"), "unsupported_update", "update/1000"),
        (edited("business_message"), "business_message", "update/1000"),
        (edited("edited_business_message"), "edited_business_message", "update/1000"),
        (edited("business_connection"), "business_connection", "update/1000"),
        (
            update(private(), json!({ "text": "x", "from": { "id": 99 } })),
            "own_message",
            "message/7/5/1700000000",
        ),
        (update(group(), json!({ "new_chat_members": [] })), "no_text", "message/-1001/5/1700000000"),
        (json!({ "update_id": 1000, "message": { "message_id": "x" } }), "unreadable", "update/1000"),
        (json!({ "update_id": 1000 }), "unsupported_update", "update/1000"),
        (json!({ "update_id": 1000, "callback_query": { "id": "7" } }), "unsupported_update", "update/1000"),
    ];
    for (update, reason, event_id) in table {
        match read(&update, &own()) {
            Reading::Ignored(ignored) => {
                assert_eq!(
                    (ignored.reason.as_str(), ignored.event_id.as_str()),
                    (reason, event_id),
                    "{update}"
                );
            }
            reading => panic!("{update}: {reading:?}"),
        }
    }
}

#[test]
fn addresses() {
    let at = |chat: &str, thread: Option<&str>| {
        target(&Address {
            channel_type: "telegram".into(),
            account: "main".into(),
            platform_id: chat.into(),
            thread_id: thread.map(ThreadId::from),
        })
    };
    assert_eq!(at("telegram:7", None), Ok(Target { chat: 7, topic: None }));
    assert_eq!(at("telegram:-1001", Some("telegram:-1001:12")), Ok(Target { chat: -1001, topic: Some(12) }));
    assert_eq!(at("telegram:-1001", Some("telegram:-1001:1")), Ok(Target { chat: -1001, topic: None }));
    for (chat, thread) in [
        ("telegram:", None),
        ("telegram:@name", None),
        ("github:o/r", None),
        ("telegram:7", Some("telegram:8:1")),
        ("telegram:7", Some("telegram:7:x")),
    ] {
        assert!(at(chat, thread).is_err(), "{chat} {thread:?}");
    }
    assert_eq!(message_in(-1, "-1:5"), Ok(5));
    for other in ["-2:5", "5", "-1:x", ""] {
        assert!(message_in(-1, other).is_err(), "{other}");
    }
    let group = Target { chat: -1, topic: None };
    assert_eq!(quote(&group, Some("-1:5")), Some(5));
    for other in [None, Some("-2:5"), Some("5"), Some("-1:x")] {
        assert_eq!(quote(&group, other), None, "{other:?}");
    }
    assert_eq!(
        quote(&Target { chat: 1, topic: None }, Some("1:5")),
        None,
        "in private it is plain whom it is for"
    );
}

#[test]
fn start_is_a_command_of_its_own() {
    for (chat, text, expected) in [
        (private(), "/start", true),
        (private(), "/start ", true),
        (private(), "/start ref_7-a", true),
        (private(), "/start@VestibuleBot", true),
        (private(), "/start@otherbot", false),
        (private(), "/start the server, please", false),
        (private(), "/start now!", false),
        (private(), "/started", false),
        (private(), "please /start", false),
        (private(), "start", false),
        (group(), "/start", false),
        (group(), "/start@vestibulebot", true),
        (group(), "/start@vestibulebot x", true),
    ] {
        let reading = read(&update(chat, json!({ "text": text })), &own());
        assert_eq!(matches!(reading, Reading::Start(..)), expected, "{text}: {reading:?}");
        assert!(matches!(reading, Reading::Start(..) | Reading::Message(..)), "{text}: {reading:?}");
    }
}

#[test]
fn both_chats_tell_of_a_group_that_became_a_supergroup() {
    for (chat, extra, want) in [
        (-2, json!({ "migrate_to_chat_id": -1001 }), Some((-2, -1001))),
        (-1001, json!({ "migrate_from_chat_id": -2 }), Some((-2, -1001))),
        (-1001, json!({ "text": "hi" }), None),
    ] {
        let reading = read(&update(json!({ "id": chat, "type": "group" }), extra), &own());
        let told = want.map(|(before, now)| Reading::Chat(Box::new(chats::moved(before, now))));
        assert!(told.map_or(matches!(reading, Reading::Message(..)), |told| told == reading), "{chat}");
    }
}

#[test]
fn what_happens_to_the_bot_in_a_chat() {
    let part = |before: &str, after: &str| {
        json!({ "update_id": 1, "my_chat_member": { "chat": group(), "date": 1, "from": { "id": 7, "first_name": "Ada" },
            "old_chat_member": { "status": before }, "new_chat_member": { "status": after } } })
    };
    assert!(matches!(read(&part("left", "member"), &own()), Reading::Chat(_)));
    assert_eq!(read(&part("member", "administrator"), &own()), Reading::Nothing);
    let unreadable = read(&json!({ "update_id": 1, "my_chat_member": {} }), &own());
    assert!(matches!(unreadable, Reading::Ignored(ignored) if ignored.reason == "unreadable"));
}

#[test]
fn a_person_types_a_chats_number_with_or_without_the_channels_name() {
    for (chat, want) in [
        ("7", Some(("telegram:7", false))),
        (" telegram:7 ", Some(("telegram:7", false))),
        ("-1001234", Some(("telegram:-1001234", true))),
        ("telegram:-5", Some(("telegram:-5", true))),
        ("@someone", None),
        ("telegram:", None),
        ("7:3", None),
    ] {
        let found = typed(chat).map(|chat| (chat.platform_id.to_string(), chat.is_group == Some(true)));
        assert_eq!(found.as_ref().map(|(id, is_group)| (id.as_str(), *is_group)), want, "{chat}");
    }
}
