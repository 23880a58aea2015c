//! Which messages wait, for what, and in which order they go on.

use super::*;
use crate::api::FILE_BYTES_MAX;
use serde_json::json;

fn own() -> Own {
    Own { id: 99, username: "bot".into() }
}

fn push(held: &mut Held, number: i64, update: Value) -> Vec<StateWrite> {
    let text = update.to_string();
    held.push(number, update, text, &own())
}

fn next_to_load(held: &mut Held) -> Option<(i64, String)> {
    held.next_to_load(Instant::now()).map(|((number, _), id)| (number, id))
}

fn update(number: i64, chat: i64, file: Option<&str>) -> Value {
    let mut message = json!({ "message_id": number, "date": 1, "chat": { "id": chat, "type": "private" },
        "from": { "id": chat, "first_name": "Ada" }, "text": format!("n{number}") });
    if let Some(file) = file {
        message["document"] = json!({ "file_id": file });
    }
    json!({ "update_id": number, "message": message })
}

fn numbers(held: &mut Held) -> Vec<i64> {
    std::iter::from_fn(|| held.next_whole(&own()).map(|(numbers, ..)| numbers[0])).collect()
}

#[test]
fn order_holds_within_a_chat_and_no_chat_waits_for_another() {
    let mut held = Held::default();
    for (number, chat, file) in
        [(1, 7, Some("a")), (2, 7, None), (3, 8, Some("b")), (4, 7, Some("c")), (5, 8, None), (6, 7, None)]
    {
        push(&mut held, number, update(number, chat, file));
    }
    assert!(held.has(&"telegram:7".into()) && !held.has(&"telegram:9".into()));
    assert_eq!(numbers(&mut held), [0; 0], "nothing is whole");
    assert_eq!(next_to_load(&mut held), Some((1, "a".into())));
    assert_eq!(next_to_load(&mut held), Some((3, "b".into())));
    assert_eq!(next_to_load(&mut held), None, "one of each chat");
    held.loaded((3, 0), Some(b"x".to_vec().into()));
    assert_eq!(numbers(&mut held), [3, 5]);
    held.loaded((1, 0), None);
    assert_eq!(numbers(&mut held), [1, 2], "without its file, and what waited behind it");
    assert_eq!(next_to_load(&mut held), Some((4, "c".into())));
    held.none_loaded();
    assert_eq!(numbers(&mut held), [4, 6]);
    assert!(held.0.is_empty());
}

#[test]
fn an_album_is_one_message_when_no_more_of_it_comes() {
    let part = |number: i64, chat: i64, album: &str, words: Option<&str>| {
        let mut update = update(number, chat, Some(&format!("f{number}")));
        update["message"]["text"] = Value::Null;
        update["message"]["caption"] = words.into();
        update["message"]["media_group_id"] = album.into();
        update
    };
    let mut held = Held::default();
    for (number, update) in [
        (1, part(1, 7, "a", None)),
        (2, update(2, 7, None)),
        (3, part(3, 8, "a", None)),
        (4, part(4, 7, "a", Some("look"))),
        (5, part(5, 7, "b", Some("alone"))),
    ] {
        let index = push(&mut held, number, update).remove(1);
        assert_eq!(index.key, INDEX);
    }
    assert_eq!(held.index(), StateWrite::set(INDEX, "[1,4,2,3,5]"), "an album's parts stay together");
    let now = Instant::now();
    held.complete(now);
    assert!(held.expects_parts() && next_to_load(&mut held).is_none() && numbers(&mut held).is_empty());
    held.expect_parts_from(now + PARTS_QUIET);
    held.complete(now + PARTS_QUIET);
    assert!(held.expects_parts(), "Telegram was not heard in between");
    held.complete(now + 2 * PARTS_QUIET);
    assert!(!held.expects_parts());
    // A part that comes late is still in time, as long as the files are not here.
    assert_eq!(next_to_load(&mut held), Some((1, "f1".into())));
    push(&mut held, 6, part(6, 7, "a", Some("and this")));
    assert_eq!(next_to_load(&mut held), Some((3, "f3".into())), "of the other chat");
    held.complete(Instant::now() + PARTS_QUIET);
    assert_eq!(next_to_load(&mut held), Some((4, "f4".into())));
    assert_eq!(next_to_load(&mut held), Some((6, "f6".into())));
    for number in [6, 1, 4] {
        assert!(held.next_whole(&own()).is_none());
        held.loaded((number, 0), Some(vec![number as u8].into()));
    }
    let (parts, reading, writes) = held.next_whole(&own()).expect("it is whole");
    let Reading::Message(message, ..) = reading else { panic!("a message") };
    assert_eq!(
        (parts, message.message_id.as_str(), message.text.as_str()),
        (vec![1, 4, 6], "7:1", "look\nand this")
    );
    assert_eq!(message.also_event_ids, ["message/7/4/1", "message/7/6/1"]);
    let files: Vec<_> = message.attachments.iter().map(|file| file.bytes.as_deref()).collect();
    assert_eq!(files, [Some(&[1][..]), Some(&[4]), Some(&[6])]);
    let forgotten = [1, 4, 6].map(|number| StateWrite::forget(key(number)));
    assert_eq!(writes, [&forgotten[..], &[StateWrite::set(INDEX, "[2,3,5]")]].concat());
    assert_eq!(numbers(&mut held), [2]);
}

/// A person answers a picture with an album: the picture comes once, with the first part.
#[test]
fn what_is_answered_comes_once() {
    let part = |number: i64| {
        let mut update = update(number, 7, Some(&format!("f{number}")));
        update["message"]["media_group_id"] = "a".into();
        update["message"]["reply_to_message"] =
            json!({ "message_id": 9, "date": 1, "chat": { "id": 7 }, "photo": [{ "file_id": "q" }] });
        update
    };
    let mut held = Held::default();
    for number in [1, 2] {
        push(&mut held, number, part(number));
    }
    assert!(held.holds(2) && !held.holds(3));
    held.complete(Instant::now() + PARTS_QUIET);
    let mut loading = Vec::new();
    while let Some((key, id)) = held.next_to_load(Instant::now()) {
        loading.push(id.clone());
        held.loaded(key, Some(id.into_bytes().into()));
    }
    assert_eq!(loading, ["f1", "q", "f2"]);
    let (_, reading, _) = held.next_whole(&own()).expect("it is whole");
    let Reading::Message(message, ..) = reading else { panic!("a message") };
    let files: Vec<_> = message
        .attachments
        .iter()
        .map(|file| (file.quoted, file.bytes.as_deref().expect("it is here")))
        .collect();
    assert_eq!(files, [(false, &b"f1"[..]), (true, b"q"), (false, b"f2")]);
}

#[test]
fn a_change_waits_behind_what_it_changes() {
    let mut held = Held::default();
    push(&mut held, 1, update(1, 7, Some("a")));
    let mut edited = update(2, 7, None);
    edited["edited_message"] = edited["message"].take();
    edited.as_object_mut().expect("an object").remove("message");
    push(&mut held, 2, edited);
    assert_eq!(next_to_load(&mut held), Some((1, "a".into())));
    assert_eq!(numbers(&mut held), [0; 0]);
    held.loaded((1, 0), None);
    let readings: Vec<Reading> =
        std::iter::from_fn(|| held.next_whole(&own()).map(|(_, reading, _)| reading)).collect();
    assert!(matches!(readings[..], [Reading::Message(..), Reading::Changes(_)]), "{readings:?}");
}

#[test]
fn a_text_that_was_cut_is_one_message() {
    let text = |number: i64, person: i64, date: i64, words: &str| {
        let mut update = update(number, 7, None);
        update["message"]["from"]["id"] = person.into();
        update["message"]["date"] = date.into();
        update["message"]["text"] = words.into();
        update
    };
    let (full, end_of_line) = ("a".repeat(4_096), "b".repeat(3_950));
    let long = format!("{full}{end_of_line}");
    let table = [
        (vec![(1, 1, "short"), (1, 1, "another")], vec!["short".to_owned(), "another".to_owned()]),
        (
            vec![(1, 1, &*full), (1, 2, "rest"), (1, 2, "more")],
            vec![format!("{full}rest"), "more".to_owned()],
        ),
        (vec![(1, 1, &*end_of_line), (1, 1, "rest")], vec![format!("{end_of_line}\nrest")]),
        (vec![(1, 1, &*full), (1, 1, &*end_of_line), (1, 1, "rest")], vec![format!("{long}\nrest")]),
        (
            vec![(1, 1, &*full), (2, 1, "of another person"), (1, 6, "rest")],
            vec![format!("{full}rest"), "of another person".to_owned()],
        ),
        (vec![(1, 1, &*full), (1, 7, "later")], vec![full.clone(), "later".to_owned()]),
    ];
    for (said, want) in table {
        let mut held = Held::default();
        for (number, (person, date, words)) in (1..).zip(said) {
            push(&mut held, number, text(number, person, date, words));
        }
        held.complete(Instant::now() + PARTS_QUIET);
        let heard: Vec<String> = std::iter::from_fn(|| held.next_whole(&own()))
            .map(|(_, reading, _)| match reading {
                Reading::Message(message, ..) => message.text,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(heard, want);
    }
}

#[test]
fn what_waits_is_bounded_and_written_down() {
    let mut held = Held::default();
    let set = |key: &str, value: &str| StateWrite::set(key, value);
    let first = update(1, 7, Some("a"));
    assert_eq!(push(&mut held, 1, first.clone()), [set("held/1", &first.to_string()), set("held", "[1]")]);
    push(&mut held, 2, update(2, 7, None));
    next_to_load(&mut held);
    held.loaded((1, 0), Some(b"bytes".to_vec().into()));
    let (numbers, reading, writes) = held.next_whole(&own()).expect("it is whole");
    let Reading::Message(message, ..) = reading else { panic!("a message") };
    assert_eq!((&numbers[..], message.attachments[0].bytes.as_deref()), (&[1][..], Some(&b"bytes"[..])));
    assert_eq!(writes, [StateWrite::forget("held/1"), set("held", "[2]")]);
    let mut large = update(1, 7, None);
    assert!(Held::fits(&large.to_string()));
    large["message"]["text"] = "x".repeat(STATE_VALUE_BYTES_MAX).into();
    assert!(!Held::fits(&large.to_string()));
}

#[test]
fn the_chat_that_holds_most_goes_on_without_its_file_when_there_is_no_room() {
    let mut held = Held::default();
    push(&mut held, 1, update(1, 7, Some("a")));
    push(&mut held, 2, update(2, 8, Some("b")));
    assert_eq!(next_to_load(&mut held).map(|(number, _)| number), Some(1));
    let mut number = 2;
    while held.has_room(200) {
        number += 1;
        push(&mut held, number, update(number, 8, None));
    }
    assert!((400..512).contains(&number), "{number}");
    assert!(numbers(&mut held).is_empty());
    assert_eq!(held.make_room(), [(2, 0)], "of the other chat, although that came first");
    assert_eq!(numbers(&mut held), (2..=number).collect::<Vec<_>>(), "all of it, in order");
    assert!(held.has_room(200) && held.has(&"telegram:7".into()));
    // Large ones are fewer.
    let mut large = update(0, 9, None);
    large["message"]["text"] = "x".repeat(60_000).into();
    push(&mut held, 3, update(3, 9, Some("c")));
    let many = (4..).take_while(|number| {
        push(&mut held, *number, large.clone());
        held.has_room(60_000)
    });
    assert!((50..70).contains(&many.count()));
    assert_eq!(held.make_room(), [(3, 0)]);
    assert_eq!(held.give_up(&"telegram:7".into()), [(1, 0)]);
    held.loaded((1, 0), Some(b"late".to_vec().into()));
    let (_, reading, _) = held.next_whole(&own()).expect("it goes on");
    let Reading::Message(message, ..) = reading else { panic!("a message") };
    assert_eq!(message.attachments.len(), 1, "the agent sees that there was a file");
    assert_eq!(message.attachments[0].bytes, None);
    assert_eq!(Held::default().make_room(), []);
}

#[test]
fn files_have_places_and_one_that_comes_slowly_gives_its_own_up() {
    let now = Instant::now();
    let large = |number: i64| {
        let mut update = update(number, number, Some("x"));
        update["message"]["document"]["file_size"] = FILE_BYTES_MAX.into();
        update
    };
    let small = |number: i64| {
        let mut update = update(number, number, Some("x"));
        update["message"]["document"]["file_size"] = 1_000.into();
        update
    };
    let table: [(&dyn Fn(i64) -> Value, i64); 2] = [(&large, 8), (&small, 32)];
    for (file, places) in table {
        let mut held = Held::default();
        (1..=places + 2).for_each(|number| drop(push(&mut held, number, file(number))));
        let started = |held: &mut Held, now: Instant| {
            std::iter::from_fn(|| held.next_to_load(now).map(|((number, _), _)| number)).collect::<Vec<_>>()
        };
        assert_eq!(started(&mut held, now), (1..=places).collect::<Vec<_>>());
        let soon = now + PLACE_KEPT - Duration::from_millis(1);
        assert_eq!(held.make_place(soon), []);
        assert_eq!(held.make_place(now + PLACE_KEPT), [(1, 0)]);
        assert_eq!(numbers(&mut held), [1]);
        assert_eq!(started(&mut held, now + PLACE_KEPT), [places + 1]);
        held.loaded((2, 0), None);
        held.loaded((3, 0), None);
        assert_eq!(numbers(&mut held), [2, 3]);
        assert_eq!(started(&mut held, now + PLACE_KEPT), [places + 2]);
        assert_eq!(held.make_place(now + 9 * PLACE_KEPT), [], "no file waits for a place");
    }
}

#[test]
fn the_operator_is_told_of_messages_that_wait_long() {
    let mut held = Held::default();
    push(&mut held, 1, update(1, 7, Some("a")));
    push(&mut held, 2, update(2, 7, None));
    let (now, late) = (Instant::now(), Instant::now() + TOLD_AFTER);
    assert_eq!(held.delay(now), None);
    assert!(held.delay(late).is_some_and(|words| words.contains("the chat telegram:7")));
    push(&mut held, 3, update(3, 8, Some("b")));
    let words = held.delay(late + TOLD_AFTER).expect("both wait");
    assert!(words.contains("2 chats (telegram:7 and others)"), "{words}");
    held.give_up(&"telegram:8".into());
    next_to_load(&mut held);
    held.loaded((1, 0), None);
    assert_eq!(held.delay(late + TOLD_AFTER), None, "what is whole waits for nothing");
}
