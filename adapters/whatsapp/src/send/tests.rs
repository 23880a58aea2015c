//! What a delivery becomes.

use super::*;
use vestibule_plugin_api::{Field, Link};

fn made(content: Content, files: Vec<Attachment>) -> Vec<Part> {
    parts(content, files, &BTreeMap::new()).expect("something")
}

fn text(text: &str) -> Content {
    Content::Text { text: text.into() }
}

fn file(name: &str, mime_type: &str, bytes: usize) -> Attachment {
    Attachment {
        name: name.into(),
        mime_type: Some(mime_type.into()),
        bytes: Some(vec![0xff; bytes].into()),
        ..Attachment::default()
    }
}

fn message(part: &Part) -> &Value {
    match part {
        Part::Message(message) => message,
        Part::File(..) => panic!("{part:?}"),
    }
}

#[test]
fn texts_and_files() {
    let both = made(text("**hi** {{emoji:check}}"), vec![file("a.png", "image/png", 1)]);
    assert!(matches!(&both[..], [Part::File(_, Some(caption))] if caption == "*hi* ✅"), "{both:?}");
    // No words can stand under a sound, long ones under no file, and several files share none.
    for (words, files, want) in [
        ("hi", vec![file("a.mp3", "audio/mpeg", 1)], "MF"),
        (&*"long ".repeat(300), vec![file("a.png", "image/png", 1)], "MF"),
        ("hi", vec![file("a.png", "image/png", 1), file("b.png", "image/png", 1)], "MFF"),
        ("", vec![file("a.png", "image/png", 1)], "F"),
        (&"long ".repeat(1_700), vec![], "MMM"),
    ] {
        let kinds: String = made(text(words), files)
            .iter()
            .map(|part| if matches!(part, Part::File(..)) { 'F' } else { 'M' })
            .collect();
        assert_eq!(kinds, want, "{words:.9}");
    }
    assert!(parts(text(" \n"), vec![], &BTreeMap::new()).is_err());
    assert!(matches!(
        parts(Content::Unknown, vec![], &BTreeMap::new()),
        Err(PluginError::Unsupported { .. })
    ));
}

#[test]
fn how_a_file_is_shown() {
    for (name, mime_type, bytes, want) in [
        ("a.png", "image/png", 9, ("image", "image/png")),
        ("a.png", "image/png", 6 * MB, ("document", "image/png")),
        ("a.webp", "image/webp", 9, ("document", "image/webp")),
        ("a.mp4", "video/mp4", 9, ("video", "video/mp4")),
        ("a.ogg", "audio/ogg; codecs=opus", 9, ("audio", "audio/ogg")),
        ("a.pdf", "application/pdf", 9, ("document", "application/pdf")),
        ("a.zip", "application/zip", 9, ("document", "application/zip")),
    ] {
        assert_eq!(kind(&file(name, mime_type, bytes)), want, "{name} {bytes}");
    }
    let text = Attachment {
        name: "a.rs".into(),
        bytes: Some(b"let \xc3\xa4;".to_vec().into()),
        ..Attachment::default()
    };
    assert_eq!(kind(&text), ("document", "text/plain"));
    let shown = as_file(&file("a.pdf", "application/pdf", 9), "document", "7", Some("c"));
    assert_eq!(
        shown,
        json!({ "type": "document", "document": { "id": "7", "caption": "c", "filename": "a.pdf" } })
    );
    let shown = as_file(&file("a.png", "image/png", 9), "image", "7", None);
    assert_eq!(shown, json!({ "type": "image", "image": { "id": "7" } }));
}

#[test]
fn few_answers_are_buttons_and_more_are_a_list() {
    let ask = |labels: &[&str]| {
        let options = labels
            .iter()
            .enumerate()
            .map(|(at, label)| Offer { label: (*label).into(), token: format!("t.{at}") });
        let question =
            Content::Question { title: "Deploy".into(), question: "Now?".into(), options: options.collect() };
        message(&made(question, vec![])[0])["interactive"].clone()
    };
    let shown = ask(&["Yes", "No"]);
    assert_eq!((&shown["type"], &shown["body"]["text"]), (&json!("button"), &json!("*Deploy*\n\nNow?")));
    assert_eq!(
        shown["action"]["buttons"][1],
        json!({ "type": "reply", "reply": { "id": "vestibule:t.1", "title": "No" } })
    );
    for labels in [&["a", "b", "c", "d"][..], &["A label of 21 letters", "b"], &["a", "b", "a"], &["B", "b"]]
    {
        let shown = ask(labels);
        assert_eq!((&shown["type"], &shown["action"]["button"]), (&json!("list"), &json!("Choose")));
        assert_eq!(shown["action"]["sections"][0]["rows"][1], json!({ "id": "vestibule:t.1", "title": "b" }));
    }
    for (labels, want) in [(&["Yes"][..], &["text", "interactive"][..]), (&["Yes", "yes"], &["interactive"])]
    {
        let options = labels.iter().map(|label| Offer { label: (*label).into(), token: "t.1".into() });
        let long = Content::Question {
            title: String::new(),
            question: "why ".repeat(400),
            options: options.collect(),
        };
        let kinds: Vec<Value> = made(long, vec![]).iter().map(|part| message(part)["type"].clone()).collect();
        assert_eq!(kinds, want, "{labels:?}");
    }
}

#[test]
fn a_card_with_one_link_has_a_button() {
    let link = |label: &str, url: &str| Link { label: label.into(), url: url.into() };
    let card = |links: Vec<Link>| Card {
        title: "Build 7".into(),
        text: "It **failed**.".into(),
        fields: vec![Field { name: "by".into(), value: "Ann".into() }],
        links,
        fallback: "Build 7 failed".into(),
    };
    let shown = made(Content::Card(card(vec![link("Log", "https://a.example/log")])), vec![]);
    assert_eq!(
        message(&shown[0])["interactive"],
        json!({ "type": "cta_url",
        "body": { "text": "*Build 7*\n\nIt *failed*.\n\n*by*: Ann" },
        "action": { "name": "cta_url", "parameters": { "display_text": "Log", "url": "https://a.example/log" } } })
    );
    for links in [
        vec![],
        vec![link("a", "https://a.example"), link("b", "https://b.example")],
        vec![link("x", "javascript:x")],
        vec![link("A label of 21 letters", "https://a.example")],
        vec![link("", "https://a.example")],
    ] {
        let shown = made(Content::Card(card(links)), vec![]);
        assert_eq!(message(&shown[0])["text"]["body"], "Build 7 failed");
    }
}

#[test]
fn a_template_goes_in_place_of_the_text() {
    let with = |pairs: &[(&str, &str)]| {
        let metadata = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        parts(text("not sent"), vec![], &metadata)
    };
    let sent = |pairs: &[(&str, &str)]| message(&with(pairs).expect("a template")[0])["template"].clone();
    assert_eq!(
        sent(&[("template", "hello_world")]),
        json!({ "name": "hello_world", "language": { "code": "en_US" } })
    );
    let listed =
        sent(&[("template", "t"), ("template_language", "de"), ("template_parameters", "[\"Ann\", 7]")]);
    assert_eq!(listed["language"]["code"], "de");
    assert_eq!(
        listed["components"],
        json!([{ "type": "body",
        "parameters": [{ "type": "text", "text": "Ann" }, { "type": "text", "text": "7" }] }])
    );
    let named = sent(&[("template", "t"), ("template_parameters", "{\"name\": \"Ann\"}")]);
    assert_eq!(
        named["components"][0]["parameters"],
        json!([{ "type": "text", "text": "Ann", "parameter_name": "name" }])
    );
    let bad = with(&[("template", "t"), ("template_parameters", "Ann")]);
    assert!(bad.is_err_and(|error| error.reason().contains("`template_parameters`")));
}

#[test]
fn a_reaction_is_a_character() {
    assert_eq!(
        reaction("wamid.1", "thumbs_up").expect("known")["reaction"],
        json!({ "message_id": "wamid.1", "emoji": "👍" })
    );
    assert!(reaction("wamid.1", "no_such").is_err() && reaction("a b", "👍").is_err());
}

#[test]
fn an_envelope_says_whom_it_is_for() {
    for (person, key) in [("16505551234", "to"), ("US.134", "recipient")] {
        let sent = envelope(&Target { number: "1", person }, json!({ "type": "text" }), Some("wamid.1"));
        assert_eq!(
            sent,
            json!({ "type": "text", "messaging_product": "whatsapp", "recipient_type": "individual",
            key: person, "context": { "message_id": "wamid.1" } })
        );
    }
}

#[test]
fn what_meta_does_not_take_is_named() {
    let zip = || file("a.zip", "application/zip", 1);
    let named = "[file: a.zip — not sent: WhatsApp takes no files of this type]";
    let made = made(text("see"), vec![zip(), file("b.pdf", "application/pdf", 1)]);
    assert!(
        matches!(&made[..], [Part::File(file, Some(caption))] if file.name == "b.pdf" && *caption == format!("see\n{named}")),
        "{made:?}"
    );
    let alone = super::parts(text(""), vec![zip()], &BTreeMap::new()).expect("words");
    assert!(matches!(&alone[..], [Part::Message(said)] if said["text"]["body"] == named), "{alone:?}");
    let template = BTreeMap::from([("template".to_owned(), "hello".to_owned())]);
    assert!(super::parts(text("x"), vec![file("b.pdf", "application/pdf", 1)], &template).is_err());
    assert!(super::parts(text("x"), vec![], &template).is_ok());
}
