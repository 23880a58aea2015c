//! Plugins that are replaced and removed while messages flow: nothing is lost and nothing doubled.

use crate::support::{PATIENCE, plugin_file, until};
use crate::traffic::{CHATS, Traffic, in_full};
use std::fs;
use std::time::Instant;

/// The plain channel with these texts in its manifest or code replaced, each by one as long.
pub fn plain(changes: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = fs::read(plugin_file("vestibule-plain-channel")).unwrap();
    for (from, to) in changes {
        assert_eq!(from.len(), to.len(), "{from}");
        let places: Vec<usize> = bytes
            .windows(from.len())
            .enumerate()
            .filter(|(_, w)| *w == from.as_bytes())
            .map(|(at, _)| at)
            .collect();
        assert!(!places.is_empty(), "`{from}` is not in the file");
        places.into_iter().for_each(|at| bytes[at..at + to.len()].copy_from_slice(to.as_bytes()));
    }
    bytes
}

fn version(traffic: &Traffic) -> Option<String> {
    let list = traffic.runtime.json(&["plugin", "list"]);
    let plugin = list.as_array().unwrap().iter().find(|plugin| plugin["name"] == "plain")?.clone();
    plugin["version"].as_str().map(str::to_owned)
}

/// Puts a file in the place of the one that runs, as `mv` does.
fn exchange(traffic: &Traffic, bytes: &[u8]) {
    let folder = traffic.runtime.home.path().join("plugins");
    fs::write(folder.join("next"), bytes).unwrap();
    fs::rename(folder.join("next"), folder.join("post.so")).unwrap();
}

fn goes_on(traffic: &Traffic) {
    let before = traffic.platform.acked();
    assert!(traffic.more_than(before + 20, PATIENCE), "nothing comes in any more\n{}", traffic.runtime.log());
}

/// Replaces the channel again and again, with broken files in between. Each platform post is counted:
/// the channel promises nothing, so whatever is sent twice is seen twice.
fn replaced_while_messages_flow(tier: &str, handover: &str) {
    let description = "\"description\":\"A platform without any promise\"";
    let word = format!("\"handover\":\"{handover}\",\"x\":\"\"");
    let word = format!("{}{}\"", &word[..word.len() - 1], " ".repeat(description.len() - word.len()));
    let mut traffic = Traffic::posting("plain", CHATS, false);
    let config = traffic.runtime.home.path().join("vestibule.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}[plugins.plain]\ntier = \"{tier}\"\n")).unwrap();
    traffic.up();
    traffic.wire();
    traffic.flow();
    goes_on(&traffic);
    for round in 0..if in_full() { 50 } else { 2 } {
        let want = format!("1.{}.{}", round / 10, round % 10);
        let number = format!("\"version\":\"{want}\"");
        let begin = Instant::now();
        exchange(&traffic, &plain(&[("\"version\":\"0.1.0\"", &number), (description, &word)]));
        until("the next one runs", || (version(&traffic)? == want).then_some(()));
        eprintln!("replaced in {:?}, {} acknowledged", begin.elapsed(), traffic.platform.acked());
        goes_on(&traffic);
    }
    // Broken ones: one that is no library, and some that do not start. What runs, runs on.
    let running = version(&traffic).unwrap();
    let aborts = ("POST-MODE:.", "POST-MODE:a");
    for (file, words) in [
        (b"half a file".to_vec(), "[NOT_ELF]"),
        (plain(&[("POST-MODE:.", "POST-MODE:b")]), "its account main did not start: told to"),
        (plain(&[("POST-MODE:.", "POST-MODE:p")]), "the plugin panicked: told to"),
        (plain(&[aborts]), if tier == "process" { "did not start" } else { "" }),
    ] {
        if words.is_empty() {
            continue; // in-process it would take the runtime with it
        }
        exchange(&traffic, &file);
        until(words, || traffic.runtime.log().contains(words).then_some(()));
        until("the old one is live", || (traffic.runtime.channel("plain")["state"] == "live").then_some(()));
        assert_eq!(version(&traffic).as_ref(), Some(&running));
        goes_on(&traffic);
    }
    // Taken out and put back.
    fs::remove_file(traffic.runtime.home.path().join("plugins/post.so")).unwrap();
    until("it is gone", || version(&traffic).is_none().then_some(()));
    exchange(&traffic, &plain(&[]));
    until("it is back", || version(&traffic));
    goes_on(&traffic);
    traffic.ebb();
    traffic.settle(PATIENCE * 3);
    let outcome = traffic.verify();
    eprintln!("{tier}, {handover}: {outcome:?}");
    assert_eq!((outcome.duplicates, outcome.doubtful, outcome.asked_again), (0, 0, 0), "{outcome:?}");
    traffic.end();
}

#[test]
fn stopping_first_in_a_process() {
    replaced_while_messages_flow("process", "stop_first");
}

#[test]
fn overlapping_in_a_process() {
    replaced_while_messages_flow("process", "overlap");
}

#[test]
fn stopping_first_in_process() {
    replaced_while_messages_flow("in-process", "stop_first");
}

#[test]
fn overlapping_in_process() {
    replaced_while_messages_flow("in-process", "overlap");
}
