//! Answers, for a person: a table for a list, a sentence for a change.

use serde_json::Value;
use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// The exit code where nobody reads on: the one a shell shows for a program that a closed pipe ended.
const UNREAD: i32 = 141;

/// As the standard library's, but through [`out`].
macro_rules! print {
    ($($text:tt)*) => { $crate::print::out(format_args!($($text)*)) };
}

/// As the standard library's, but through [`out`].
macro_rules! println {
    () => { print!("\n") };
    ($($text:tt)*) => { print!("{}\n", format_args!($($text)*)) };
}

/// Writes to standard output. Where nobody reads on, as in `vestibule status | head -1`, the program ends
/// without a word: the standard library's `println!` would panic. The signal that ends other programs then
/// stays ignored: it would also end this one when a running house hangs up.
pub fn out(text: Arguments<'_>) {
    match std::io::stdout().lock().write_fmt(text) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(UNREAD),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "vestibule: standard output cannot be written: {error}");
            std::process::exit(1);
        }
    }
}

/// Which fields of a list are shown, in which order.
fn columns(verb: &str) -> &'static [&'static str] {
    match verb {
        "agent.list" => &["name", "provider", "command", "env", "network", "folder", "id"],
        "messaging-group.list" => &["channel_type", "account", "platform_id", "name", "title", "id"],
        "wiring.list" => {
            &["agent", "channel", "account", "chat", "engage", "pattern", "session_mode", "ignored", "id"]
        }
        "session.list" => &["agent", "channel", "chat", "thread", "state", "reason", "id"],
        "destination.list" => &["agent", "name", "to_agent", "channel", "account", "chat"],
        "question.list" => &["agent", "channel", "chat", "thread", "title", "question", "options", "id"],
        "plugin.list" => &["name", "version", "kind", "state", "channel", "tier", "origin", "reason"],
        "bench.plugin" => &[
            "tier",
            "round_trip_us",
            "calls_per_s_64",
            "events_per_s",
            "events_per_s_64",
            "attachment_50_mib_us",
            "start_ms",
            "memory_kib",
        ],
        _ => &[],
    }
}

/// Prints JSON, for programs.
pub fn json(value: &Value) {
    println!("{value:#}");
}

/// Prints an answer, for people.
pub fn answer(verb: &str, value: &Value) {
    if verb == "status" {
        return status(value);
    }
    if verb == "session.adopt" {
        return adopted(value);
    }
    if let Some(rows) = value.as_array() {
        return table(columns(verb), rows);
    }
    let (room, done) = verb.split_once('.').unwrap_or((verb, "done"));
    let name =
        ["name", "chat", "platform_id", "id"].iter().find_map(|key| value[key].as_str()).unwrap_or_default();
    let ending = if done.ends_with('e') { "d" } else { "ed" };
    println!("{} {} {done}{ending}", room.replace('-', " "), name);
    if let Some(id) = value["id"].as_str().filter(|id| *id != name) {
        println!("id {id}");
    }
    match (value["state"].as_str(), word(&value["reason"])) {
        (_, why) if why.is_empty() => {}
        (Some("loaded" | "connecting"), why) => println!("  {why}"),
        (_, why) => println!("  and now: {}, {why}", word(&value["state"])),
    }
}

fn adopted(value: &Value) {
    let (id, folder) = (word(&value["id"]), word(&value["folder"]));
    if value["already"] == true {
        return println!("{folder} was taken over before, as the session {id}");
    }
    println!("{folder} is taken over as the session {id}");
    let count = |key: &str| value[key].as_u64().unwrap_or_default();
    println!("  {} messages and {} replies", count("inbound"), count("outbound"));
    for (key, what) in [
        ("undelivered", "replies had never been delivered and are now"),
        ("refused", "replies go nowhere: their chat is not known here, or no destination of the agent"),
        ("left_out", "rows without a usable id were left out"),
        ("files", "files came with them"),
        ("files_left_out", "files were left out"),
    ] {
        if count(key) > 0 {
            println!("  {} {what}", count(key));
        }
    }
    for file in value["files_named"].as_array().into_iter().flatten() {
        println!("    {}: {}", word(&file["file"]), word(&file["reason"]));
    }
}

fn status(value: &Value) {
    let text = |key: &str| word(&value[key]);
    println!("vestibule {} in {}", text("version"), text("home"));
    println!("listens on {}", value["listen"].as_str().unwrap_or("nothing"));
    println!("sandbox    {}", text("sandbox"));
    if value["limits"].is_string() {
        println!("limits     {}", text("limits"));
    }
    println!("processors {}", text("processors"));
    let rows = |key: &str| value[key].as_array().cloned().unwrap_or_default();
    println!("\nthis user has only so many");
    table(&["what", "used", "most"], &rows("of_the_user"));
    println!("\nchannels");
    table(&["channel", "account", "state", "webhook", "reason"], &rows("channels"));
    let running = rows("sessions").iter().filter(|session| session["running"] == true).count();
    let deliveries = value["deliveries"].as_object().map(|counts| {
        counts.iter().map(|(state, count)| format!("{count} {state}")).collect::<Vec<_>>().join(", ")
    });
    println!("\nsessions   {} shown, {running} with a runner", rows("sessions").len());
    println!("deliveries {}", deliveries.filter(|text| !text.is_empty()).unwrap_or_else(|| "none".into()));
    let unwired = rows("unwired");
    if !unwired.is_empty() {
        println!("\nchats that nobody is wired to");
        for chat in unwired {
            println!(
                "  {} on {}: {} so far, the last by {}\n    {}",
                word(&chat["chat"]),
                word(&chat["channel"]),
                chat["messages"],
                word(&chat["last_sender"]),
                word(&chat["wire_with"])
            );
        }
    }
    let dropped = rows("dropped");
    if !dropped.is_empty() {
        println!("\nleft out");
        table(
            &["channel", "account", "platform_id", "reason", "message_count", "last_sender"],
            &renamed(dropped),
        );
    }
}

fn renamed(rows: Vec<Value>) -> Vec<Value> {
    let rename = |mut row: Value| {
        row["channel"] = row["channel_type"].take();
        row
    };
    rows.into_iter().map(rename).collect()
}

/// A table with a heading; a column that is empty throughout is left out.
fn table(columns: &[&str], rows: &[Value]) {
    if rows.is_empty() {
        return println!("none");
    }
    let used: Vec<&&str> =
        columns.iter().filter(|column| rows.iter().any(|row| !word(&row[**column]).is_empty())).collect();
    let mut lines =
        vec![used.iter().map(|column| column.to_uppercase().replace('_', " ")).collect::<Vec<_>>()];
    lines.extend(rows.iter().map(|row| used.iter().map(|column| word(&row[**column])).collect()));
    let widths: Vec<usize> = (0..used.len())
        .map(|i| lines.iter().map(|line| line[i].chars().count()).max().unwrap_or(0))
        .collect();
    for line in lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// A value as one cell. What comes from outside may not move a person's cursor.
fn word(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(word).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
