//! What a delivery becomes.

use super::*;
use std::collections::BTreeMap;
use vestibule_plugin_api::{Address, Attachment};

fn message(thread: Option<&str>, text: &str) -> OutboundMessage {
    OutboundMessage {
        id: "out-1".into(),
        address: Address {
            channel_type: "github".into(),
            account: "main".into(),
            platform_id: "github:o/r".into(),
            thread_id: thread.map(|thread| format!("github:o/r:{thread}").as_str().into()),
        },
        content: Content::Text { text: text.into() },
        taken_at: None,
        subject: None,
        metadata: BTreeMap::new(),
        sent_so_far: None,
        in_reply_to: None,
        attachments: vec![],
    }
}

fn parts(message: &OutboundMessage) -> Vec<String> {
    Outgoing::of(message).expect("something").parts
}

#[test]
fn a_text_is_one_comment_or_several() {
    assert_eq!(parts(&message(Some("1"), "**done**")), ["**done**"]);
    let long = parts(&message(Some("1"), &"twelve chars\n".repeat(11_000)));
    assert_eq!(long.len(), 3);
    assert!(long.iter().all(|part| part.chars().count() <= TEXT_CHARS_MAX));
    assert!(Outgoing::of(&message(Some("1"), " \n")).is_err());
    let code = "```suggestion\n".to_owned() + &"x\n".repeat(20_000) + "```";
    let kept = parts(&message(Some("1:rc:2"), &format!("{}\n\n{code}", "word ".repeat(8_000))));
    assert_eq!(kept[1], code, "a suggestion stays whole");
    let mut with_file = message(Some("1"), "see");
    with_file.attachments =
        vec![Attachment { name: "a.rs".into(), bytes: Some(b"x".to_vec().into()), ..Attachment::default() }];
    assert_eq!(parts(&with_file), ["see", "`a.rs`\n\n```rs\nx\n```"]);
}

#[test]
fn a_message_to_a_repository_opens_an_issue_if_it_has_a_subject() {
    let mut new = message(None, "It does not start.");
    assert!(Outgoing::of(&new).err().expect("refused").reason().contains("give the message a subject"));
    new.subject = Some("A bug".into());
    let outgoing = Outgoing::of(&new).expect("an issue");
    assert_eq!(
        (outgoing.title.as_deref(), &outgoing.parts[..]),
        (Some("A bug"), &["It does not start.".to_owned()][..])
    );
    // Elsewhere the subject comes before the words.
    let mut reply = message(Some("issue:1"), "words");
    reply.subject = Some("A bug".into());
    assert_eq!(parts(&reply), ["**A bug**\n\nwords"]);
}

#[test]
fn a_review_is_asked_for_by_metadata() {
    let review = |thread: &str, word: &str| {
        let mut message = message(Some(thread), "fine");
        message.metadata.insert("review".into(), word.into());
        Outgoing::of(&message).map(|outgoing| outgoing.verdict).map_err(|error| error.reason().to_owned())
    };
    assert_eq!(review("2", "approve"), Ok(Some("APPROVE")));
    assert_eq!(review("2", "request_changes"), Ok(Some("REQUEST_CHANGES")));
    assert!(review("2", "merge").is_err_and(|why| why.contains("approve, request_changes or comment")));
    assert!(review("issue:2", "approve").is_err_and(|why| why.contains("only a pull request")));
}

#[test]
fn marks_tell_the_parts_apart() {
    assert_eq!(mark("out-1", 0), "<!-- vestibule:out-1 -->");
    assert_eq!(mark("out>1", 2), "<!-- vestibule:out_1/2 -->");
    let shown = Shown(vec![
        (Message::Comment(7), format!("x\n\n{}", mark("out-11", 0))),
        (Message::Comment(8), format!("x\n\n{}", mark("out-1", 1))),
    ]);
    assert_eq!(shown.part("out-1", 0), None);
    assert_eq!(shown.part("out-1", 1), Some(Message::Comment(8)));
    assert_eq!(shown.part("out-11", 0), Some(Message::Comment(7)));
}

#[test]
fn the_id_of_what_was_made_names_its_kind() {
    let made = json!({ "id": 9, "number": 4, "node_id": "PRR_x" });
    for (spot, is_review, want) in [
        (Spot::Repository, false, "issue-4"),
        (Spot::Issue(1), false, "comment-9"),
        (Spot::Pull(1), false, "comment-9"),
        (Spot::Pull(1), true, "review-PRR_x"),
        (Spot::Review { pull: 1, root: 2 }, false, "review_comment-9"),
    ] {
        assert_eq!(message_of(spot, is_review, &made).map(|message| message.id()).as_deref(), Some(want));
    }
    assert_eq!(message_of(Spot::Issue(1), false, &json!({})), None);
}

#[test]
fn a_little_before_is_asked_for() {
    assert_eq!(moment(Timestamp(1_700_000_000_000)), "2023-11-14T22:03:20Z");
}
