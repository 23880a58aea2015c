//! WhatsApp in trouble: files that come slowly, what Meta says too early, a runtime that is killed, many messages at once.

use crate::support::{Runtime, rows, signal, until};
use crate::traffic::{Dice, in_full};
use crate::whatsapp::{started, started_of_file, wire};
use crate::whatsapp_api::{CHAT, NUMBER, WhatsAppApi};
use crate::whatsapp_words::{ANN, HIDDEN, contacts, fate, hidden_text, is_taken, tell, words};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

/// What an agent heard in this chat, in order.
fn heard(runtime: &Runtime, chat: &str) -> Vec<String> {
    let sql = "SELECT json_extract(content, '$.text') FROM messages_in WHERE platform_id = ";
    runtime.query(&format!("{sql}'{chat}' ORDER BY seq"))
}

fn hidden_chat() -> String {
    format!("whatsapp:{NUMBER}:{HIDDEN}")
}

/// What is said behind a file waits for it, also when Meta tells it at the same time; other chats do not.
#[test]
fn a_slow_file_holds_up_its_own_chat_only() {
    let api = WhatsAppApi::start();
    let runtime = started(&api);
    for chat in [CHAT, &hidden_chat()] {
        wire(&runtime, chat, &[]);
    }
    let at = runtime.listening();
    api.store().holds_files = true;
    std::thread::scope(|threads| {
        threads.spawn(|| assert_eq!(api.say(&at, api.picture("look")).1, 200));
        until("the file is asked for", || (api.loads().1 == 1).then_some(()));
        let behind = threads.spawn(|| assert_eq!(api.say(&at, words("behind it")).1, 200));
        assert_eq!(tell(&at, NUMBER, hidden_text(&api.id(), "elsewhere")).0, 200);
        assert_eq!(api.sent(1)[0]["recipient"], HIDDEN);
        assert!(!behind.is_finished());
        assert_eq!(heard(&runtime, CHAT), [""; 0]);
        api.store().holds_files = false;
    });
    assert_eq!(heard(&runtime, CHAT), ["look", "behind it"]);
}

/// The address of a file ends before the file is asked for, or while it comes: a new one is asked for, once.
#[test]
fn a_file_whose_address_has_ended_comes_from_another() {
    let api = WhatsAppApi::start();
    let runtime = started(&api);
    wire(&runtime, CHAT, &[]);
    for (at, breaks_off) in [false, true].into_iter().enumerate() {
        let at = at + 1;
        api.store().ended = usize::from(!breaks_off);
        api.store().broken_files = usize::from(breaks_off);
        assert_eq!(api.say(&runtime, api.picture("look")).1, 200);
        assert_eq!(api.loads(), (2 * at, 2 * at));
        let file = api.sent(at)[at - 1]["image"]["id"].as_str().unwrap().to_owned();
        assert_eq!(api.store().files[&file].1, b"the picture");
    }
    // Meta has it no more: the words go on without it.
    api.store().ended = 2;
    assert_eq!(api.say(&runtime, api.picture("gone")).1, 200);
    assert_eq!(api.loads(), (6, 6));
    assert!(api.sent(3)[2]["text"]["body"].as_str().unwrap().contains("does not have the file any more"));
}

/// So many loads of a file have to fail until Meta has to send its message again: two at each of three tries.
const BROKEN_FOR_ONE_REQUEST: usize = 6;

/// What is said behind a file that does not come at once waits while it is tried again.
#[test]
fn a_file_that_comes_a_moment_later_keeps_its_place() {
    let api = WhatsAppApi::start();
    let runtime = started(&api);
    wire(&runtime, CHAT, &[]);
    let at = runtime.listening();
    api.store().broken_files = BROKEN_FOR_ONE_REQUEST - 1;
    api.store().says_no_length = true;
    std::thread::scope(|threads| {
        threads.spawn(|| assert_eq!(api.say(&at, api.picture("look")).1, 200));
        until("the file is asked for", || (api.loads().1 >= 1).then_some(()));
        assert_eq!(api.say(&at, words("behind it")).1, 200);
    });
    assert_eq!(heard(&runtime, CHAT), ["look", "behind it"]);
    let file = api.sent(2)[0]["image"]["id"].as_str().unwrap().to_owned();
    assert_eq!(api.store().files[&file].1, b"the picture", "what broke off was no file");
}

/// A file that breaks off is no file: Meta is to say its message again. One that is brought to Meta is brought anew, and
/// sent once.
#[test]
fn a_file_that_breaks_off_comes_whole_later() {
    let api = WhatsAppApi::start();
    let runtime = started(&api);
    wire(&runtime, CHAT, &[]);
    let told = api.message(api.picture("look")).1;
    api.store().broken_files = BROKEN_FOR_ONE_REQUEST;
    api.store().broken_uploads = 1;
    assert_eq!(tell(&runtime, NUMBER, told.clone()).0, 503);
    assert_eq!(heard(&runtime, CHAT), [""; 0]);
    assert_eq!(tell(&runtime, NUMBER, told).0, 200);
    assert_eq!(heard(&runtime, CHAT), ["look"]);
    assert_eq!(api.loads(), (BROKEN_FOR_ONE_REQUEST + 1, BROKEN_FOR_ONE_REQUEST + 1));
    until("it is settled", || {
        (runtime.query::<String>("SELECT state FROM deliveries") == ["delivered"]).then_some(())
    });
    let store = api.store();
    assert_eq!((store.sent.len(), store.broken_uploads), (1, 0));
    let file = store.sent[0]["image"]["id"].as_str().unwrap();
    assert_eq!(store.files[file].1, b"the picture");
}

/// Meta takes no more for one person at the moment: only what goes to them waits.
#[test]
fn one_person_is_written_to_later_and_others_at_once() {
    let api = WhatsAppApi::start();
    let runtime = started(&api);
    for chat in [CHAT, &hidden_chat()] {
        wire(&runtime, chat, &[]);
    }
    api.store().limited.insert(ANN.to_owned());
    api.text(&runtime, "hello");
    let refused = "SELECT COUNT(*) FROM deliveries WHERE last_error LIKE '%131056%'";
    until("it is refused", || (runtime.query::<i64>(refused) == [1]).then_some(()));
    assert_eq!(tell(&runtime, NUMBER, hidden_text(&api.id(), "elsewhere")).0, 200);
    assert_eq!(api.sent(1)[0]["recipient"], HIDDEN);
    assert_eq!(runtime.channel("whatsapp")["state"], "live");
    api.store().limited.clear();
    assert_eq!(api.sent(2)[1]["to"], ANN);
}

/// Meta tells that a message was delivered before it answers the call that sent it: then it is asked to say so again.
#[test]
fn what_became_of_a_message_is_not_lost_when_it_is_told_too_early() {
    let api = WhatsAppApi::start();
    let runtime = started(&api);
    wire(&runtime, CHAT, &[]);
    api.store().holds_answers = true;
    api.text(&runtime, "hello");
    let id =
        until("it is sent", || api.store().sent.first().map(|sent| sent["id"].as_str().unwrap().to_owned()));
    let delivered = || tell(&runtime, NUMBER, fate(&id, "delivered", json!({}))).0;
    assert_eq!(delivered(), 503);
    // What is said in the same request is taken at once, and known when it comes again.
    let mut both = fate(&id, "read", json!({}));
    both["messages"] = api.message(words("and this?")).1["messages"].clone();
    assert_eq!(tell(&runtime, NUMBER, both.clone()).0, 503);
    assert_eq!(heard(&runtime, CHAT), ["hello", "and this?"]);
    api.store().holds_answers = false;
    let sql = "SELECT message_out_id FROM deliveries WHERE state = 'delivered' AND platform_message_id = ";
    let delivery = until("it is on record", || runtime.query::<String>(&format!("{sql}'{id}'")).pop());
    let known = || runtime.json(&["delivery", "show", &delivery])["fate"].clone();
    until("Meta says it again", || (delivered() == 200).then_some(()));
    assert_eq!(known(), "delivered");
    until("and again", || (tell(&runtime, NUMBER, both.clone()).0 == 200).then_some(()));
    assert_eq!(known(), "read");
    assert_eq!(heard(&runtime, CHAT), ["hello", "and this?"]);
}

/// Tells them one after the other, until one is not taken. Returns how many were.
fn tell_all(at: SocketAddr, told: &[(String, Value)]) -> usize {
    told.iter().take_while(|(_, value)| is_taken(at, value.clone())).count()
}

/// Killed at any moment: what Meta was answered is on disk, what it was not comes again, and each is heard once and in order.
#[test]
fn killed_in_the_middle_of_webhooks_each_message_is_heard_once() {
    let api = WhatsAppApi::start();
    let mut runtime = started(&api);
    for chat in [CHAT, &hidden_chat()] {
        wire(&runtime, chat, &[]);
    }
    let (mut dice, mut asked) = (Dice::new("whatsapp"), BTreeSet::new());
    let mut killed_with_some_left = 0;
    for kill in 0..6 {
        let message = |number: u64| {
            let (id, text) = (api.id(), format!("n{kill}.{number:02}"));
            match number % 3 {
                0 => (text.clone(), hidden_text(&id, &text)),
                1 => (text.clone(), api.message(words(&text)).1),
                _ => (text.clone(), api.message(api.picture(&text)).1),
            }
        };
        let told: Vec<(String, Value)> = (0..24).map(message).collect();
        asked.extend(told.iter().map(|(text, _)| text.clone()));
        let (at, wait) = (runtime.listening(), Duration::from_millis(20 + dice.below(250)));
        let taken = std::thread::scope(|threads| {
            let telling = threads.spawn(|| tell_all(at, &told));
            std::thread::sleep(wait);
            runtime.kill();
            telling.join().unwrap()
        });
        killed_with_some_left += usize::from(taken < told.len());
        let file = runtime.home.path().join("vestibule.db");
        let on_disk =
            rows::<i64>(&file, "SELECT COUNT(*) FROM event_ids WHERE channel_type = 'whatsapp'")[0] as usize;
        assert!(
            on_disk >= asked.len() - told.len() + taken,
            "{taken} of {} were taken: {on_disk}",
            told.len()
        );
        runtime.start_with("whatsapp");
        // Meta does not know that more of it is on disk than it was answered.
        let again = tell_all(runtime.listening(), &told[taken.saturating_sub(3)..]);
        assert_eq!(again, told.len() - taken.saturating_sub(3));
    }
    assert!(killed_with_some_left > 0, "it was killed too late each time");
    let of_all: Vec<String> = [CHAT, &hidden_chat()].iter().flat_map(|chat| heard(&runtime, chat)).collect();
    assert_eq!(of_all.len(), asked.len(), "each once");
    for chat in [CHAT, &hidden_chat()] {
        let texts = heard(&runtime, chat);
        assert!(texts.is_sorted(), "{texts:?}");
    }
    let says = |sent: &Value, text: &str| {
        let said = [&sent["text"]["body"], &sent["image"]["caption"]];
        said.iter().any(|said| said.as_str().is_some_and(|said| said.contains(text)))
    };
    until("all are answered", || {
        let sent = api.store().sent.clone();
        asked.iter().all(|text| sent.iter().any(|sent| says(sent, text))).then_some(())
    });
    let open = "SELECT COUNT(*) FROM deliveries WHERE state != 'delivered'";
    until("all is settled", || (runtime.query::<i64>(open) == [0]).then_some(()));
}

/// Meta has the message, and the runtime dies before it is on record: there is no call to look it up, so it goes out again,
/// and the operator is told that it may be there twice.
#[test]
fn a_message_that_may_be_there_twice_is_named() {
    let api = WhatsAppApi::start();
    let mut runtime = started(&api);
    wire(&runtime, CHAT, &[]);
    api.store().holds_answers = true;
    api.text(&runtime, "once");
    api.sent(1);
    runtime.kill();
    api.store().holds_answers = false;
    runtime.start_with("whatsapp");
    let delivery = until("it is settled", || {
        runtime.query::<String>("SELECT message_out_id FROM deliveries WHERE state = 'delivered'").pop()
    });
    assert_eq!(api.texts(), ["once", "once"]);
    assert_eq!(runtime.json(&["delivery", "show", &delivery])["possible_duplicate"], true);
    let listed = runtime.ok(&["delivery", "list"]);
    assert!(listed.contains(&delivery) && listed.contains("delivered, may be there twice"), "{listed}");
    assert_eq!(runtime.json(&["status"])["possible_duplicates"], 1);
}

/// A burst in few webhooks, while the process of the channel is killed: each is heard once, in the order of its chat.
#[test]
fn a_burst_is_heard_in_order_although_its_process_is_killed() {
    let messages = if in_full() { 2_000 } else { 300 };
    let api = WhatsAppApi::start();
    let runtime = started_of_file(&api);
    wire(&runtime, CHAT, &[]);
    let message = |number: usize| {
        let mut message = words(&format!("n{number:04}"));
        for (key, value) in [("from", ANN), ("id", &api.id()), ("timestamp", "1749416383")] {
            message[key] = value.into();
        }
        message
    };
    let all: Vec<Value> = (0..messages).map(message).collect();
    for (number, some) in all.chunks(50).enumerate() {
        let told = json!({ "contacts": contacts(), "messages": some });
        if number == 2 {
            let at = runtime.listening();
            std::thread::scope(|threads| {
                threads.spawn(|| is_taken(at, told.clone()));
                until("some of it is heard", || (heard(&runtime, CHAT).len() > 100).then_some(()));
                signal("KILL", &runtime.plugin_hosts()[0]);
            });
        }
        until("Meta is answered that it is taken", || {
            (tell(&runtime, NUMBER, told.clone()).0 == 200).then_some(())
        });
    }
    let texts = heard(&runtime, CHAT);
    assert_eq!(texts.len(), messages, "each once");
    assert!(texts.is_sorted(), "{texts:?}");
    assert!(runtime.log().contains("the plugin's process runs again"));
}
