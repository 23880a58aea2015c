//! Large files on their way through a channel: how much memory they take meanwhile, and how many there are at once.
//!
//! `VESTIBULE_MEDIA_MB=64 cargo test -p vestibule-tests --test flows -- media:: --nocapture` tells what files of that size
//! take, as far as each platform takes them.

use crate::bot_api::BotApi;
use crate::slack_api::SlackApi;
use crate::support::{Runtime, signal, until};
use crate::whatsapp_api::{CHAT, NUMBER, WhatsAppApi};
use crate::whatsapp_words::{tell, words};
use crate::{slack, telegram, whatsapp};
use serde_json::json;
use std::fs;

const MIB: usize = 1024 * 1024;
/// Above the file itself, a process may hold so much of it once more, in hundredths: buffers, stacks, the work beside it.
const BESIDE: usize = 60;

/// The size of the files, in bytes: so large that all else is small beside it.
fn size(most_mib: usize) -> usize {
    let wanted = std::env::var("VESTIBULE_MEDIA_MB").map_or(16, |mib| mib.parse().unwrap());
    wanted.min(most_mib) * MIB
}

/// What a process holds (`VmRSS:`), or has held at most (`VmHWM:`), in bytes.
fn memory(pid: &str, key: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// How many bytes more the runtime and its plugin's process, if it has one, held at most while this was done than before.
fn grows(runtime: &Runtime, work: impl FnOnce()) -> Vec<usize> {
    let pids: Vec<String> = [runtime.pid().to_string()].into_iter().chain(runtime.plugin_hosts()).collect();
    let begin = |pid: &String| {
        // The most is counted anew from here on, where that is allowed.
        let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        memory(pid, "VmRSS:")
    };
    let before: Vec<usize> = pids.iter().map(begin).collect();
    work();
    let grown = |(pid, before): (&String, usize)| memory(pid, "VmHWM:").saturating_sub(before);
    pids.iter().zip(before).map(grown).collect()
}

/// A file of this size is held so many times, and hardly more.
fn holds(what: &str, grown: &[usize], (size, times): (usize, usize)) {
    let hundredths: Vec<usize> = grown.iter().map(|bytes| bytes * 100 / size).collect();
    println!("{what}, a file of {} MiB: held {hundredths:?} hundredths of it", size / MIB);
    assert!(hundredths.iter().all(|held| *held < times * 100 + BESIDE), "{what}: {hundredths:?}");
}

/// The agent answers with a file of this size, or in words.
fn answers(runtime: &Runtime, size: Option<usize>) {
    let script = match size {
        None => "sh -c \"echo heard\"".to_owned(),
        Some(size) => {
            format!("sh -c 'head -c {size} /dev/zero > \"$VESTIBULE_REPLY_FILES/r.txt\"; echo see'")
        }
    };
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", &script]);
}

/// The runtime, started where messages may have large files.
fn started(mut runtime: Runtime, channel: &str) -> Runtime {
    let config = runtime.home.path().join("vestibule.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(config, format!("attachments_mb = 128\n{text}")).unwrap();
    runtime.start_with(channel);
    answers(&runtime, None);
    runtime
}

#[test]
fn a_file_of_whatsapps_is_held_once() {
    for of_file in [false, true] {
        let api = WhatsAppApi::start();
        let runtime = started(whatsapp::set_up(&api, of_file), "whatsapp");
        whatsapp::wire(&runtime, CHAT, &[]);
        api.text(&runtime, "hello");
        api.sent(1);
        let (size, tier) = (size(95), if of_file { "a process of its own" } else { "in-process" });
        let large = api.large(size);
        let grown = grows(&runtime, || {
            assert_eq!(api.say(&runtime, large).1, 200);
            api.sent(2);
        });
        holds(&format!("whatsapp, {tier}, in"), &grown, (size, 1));
        answers(&runtime, Some(size));
        let grown = grows(&runtime, || {
            api.text(&runtime, "send it");
            assert_eq!(api.sent(3)[2]["type"], "document");
        });
        holds(&format!("whatsapp, {tier}, out"), &grown, (size, 1));
    }
}

/// What comes in the message itself is held once more, so that it can be handed over again.
#[test]
fn a_file_of_slacks_is_held_once_on_its_way_out() {
    let api = SlackApi::start();
    slack::names(&api);
    let runtime = started(slack::runtime(&api), "slack");
    slack::wire(&runtime, "slack:D012", &[]);
    api.say("D012", "U0ANN", "hello");
    slack::posts(&api, 1);
    let (small, large) = (size(19), size(95));
    api.store().files.insert("a.txt".into(), vec![0; small]);
    let grown = grows(&runtime, || {
        api.tell(api.share("D012", "U0ANN", "look", &["a.txt"]));
        slack::posts(&api, 2);
    });
    holds("slack, in-process, in", &grown, (small, 2));
    answers(&runtime, Some(large));
    let grown = grows(&runtime, || {
        api.say("D012", "U0ANN", "send it");
        slack::posts(&api, 4);
    });
    holds("slack, in-process, out", &grown, (large, 1));
}

#[test]
fn a_file_of_telegrams_is_held_once_on_its_way_out() {
    let api = BotApi::start();
    let runtime = started(telegram::runtime(&api), "telegram");
    telegram::wire(&runtime, "telegram:7", &[]);
    api.say(7, "hello");
    telegram::last(&api, 1);
    let (small, large) = (size(19), size(48));
    api.store().files.insert("a.txt".into(), vec![0; small]);
    let grown = grows(&runtime, || {
        let file = json!({ "file_id": "a.txt", "file_name": "a.txt", "file_size": small });
        api.push(
            "message",
            json!({ "id": 7, "type": "private" }),
            json!({ "caption": "look", "document": file }),
        );
        telegram::last(&api, 2);
    });
    holds("telegram, in-process, in", &grown, (small, 2));
    answers(&runtime, Some(large));
    let grown = grows(&runtime, || {
        api.say(7, "send it");
        telegram::last(&api, 3);
    });
    holds("telegram, in-process, out", &grown, (large, 1));
}

/// People who write at the same time.
const PEOPLE: [&str; 5] = ["15550000001", "15550000002", "15550000003", "15550000004", "15550000005"];

fn wired(api: &WhatsAppApi) -> Runtime {
    let runtime = started(whatsapp::set_up(api, false), "whatsapp");
    for person in PEOPLE {
        whatsapp::wire(&runtime, &format!("whatsapp:{NUMBER}:{person}"), &[]);
    }
    whatsapp::wire(&runtime, CHAT, &[]);
    runtime
}

/// Two files that are too much together go out one after the other, and a text beside them at once. Where the runtime stops
/// meanwhile, the one that waits was handed to nobody.
#[test]
fn a_plugin_is_handed_only_so_many_bytes_at_once() {
    let api = WhatsAppApi::start();
    let mut runtime = wired(&api);
    let size = 66 * MIB;
    answers(&runtime, Some(size));
    api.store().holds_uploads = true;
    let grown = grows(&runtime, || {
        for person in &PEOPLE[..2] {
            let (_, told) = api.message_of(person, words("send it"));
            assert_eq!(tell(&runtime, NUMBER, told).0, 200);
        }
        let sending = "SELECT COUNT(*) FROM deliveries WHERE state = 'sending'";
        until("both are to go out", || (runtime.query::<i64>(sending) == [2]).then_some(()));
        until("one is on its way", || (api.store().files.len() == 1).then_some(()));
        answers(&runtime, None);
        api.text(&runtime, "and you?");
        assert_eq!(api.sent(1)[0]["text"]["body"], "heard");
        assert_eq!(api.store().files.len(), 1);
    });
    holds("whatsapp, in-process, two out", &grown, (size, 1));
    signal("TERM", &runtime.pid().to_string());
    let waiting = "SELECT COUNT(*) FROM deliveries WHERE state = 'pending'";
    until("one was handed to nobody", || (runtime.query::<i64>(waiting) == [1]).then_some(()));
    api.store().holds_uploads = false;
    assert!(runtime.end().success());
    assert_eq!(runtime.query::<i64>(waiting), [1]);
    runtime.start_with("whatsapp");
    api.sent(3);
    let settled = "SELECT COUNT(*) FROM deliveries WHERE state = 'delivered'";
    until("all are settled", || (runtime.query::<i64>(settled) == [3]).then_some(()));
}

/// Of five files four are loaded at once where each may have 64 MiB; a text beside them comes at once.
#[test]
fn a_plugin_loads_only_so_many_bytes_at_once() {
    for (most_mib, at_once) in [(64, 4), (128, 2)] {
        let api = WhatsAppApi::start();
        let mut runtime = wired(&api);
        runtime.stop();
        let config = runtime.home.path().join("vestibule.toml");
        let text = fs::read_to_string(&config).unwrap();
        fs::write(config, text.replace("attachments_mb = 128", &format!("attachments_mb = {most_mib}")))
            .unwrap();
        runtime.start_with("whatsapp");
        let at = runtime.listening();
        api.store().holds_files = true;
        std::thread::scope(|threads| {
            for person in PEOPLE {
                let told = api.message_of(person, api.picture("look")).1;
                threads.spawn(move || assert_eq!(tell(&at, NUMBER, told).0, 200));
            }
            until("as many as may be are asked for", || (api.loads().1 >= at_once).then_some(()));
            api.text(&runtime, "and you?");
            api.sent(1);
            assert_eq!(api.loads(), (at_once, at_once));
            api.store().holds_files = false;
        });
        assert_eq!(api.loads(), (5, 5));
    }
}
