//! Prints answers for a person: a table for a list, a sentence for a change.
//!
//! Invariant: everything that this program says to a person goes through [`out`], [`err`] or [`on`]. A terminal gets text only
//! and no control characters; a file or a pipe gets the bytes as they are.

use serde_json::Value;
use std::fmt::Arguments;
use std::io::{ErrorKind, IsTerminal, Write};
use vestibule_runtime::words;

/// The exit code when standard output is closed: the one a shell shows for a program that a closed pipe ended.
const UNREAD: i32 = 141;

/// How wide a column gets, in characters.
const COLUMN_CHARS_MAX: usize = 60;
/// The longest word in a table or a sentence, in characters.
const WORD_CHARS_MAX: usize = 1_000;
/// The longest command that is shown, in characters: it names a chat, whose id may be quoted throughout.
const COMMAND_CHARS_MAX: usize = 4_000;

/// As the standard library's, but through [`out`].
macro_rules! print {
    ($($text:tt)*) => { $crate::print::out(format_args!($($text)*)) };
}

/// As the standard library's, but through [`err`].
macro_rules! eprintln {
    ($($text:tt)*) => { $crate::print::err(format_args!("{}\n", format_args!($($text)*))) };
}

/// As the standard library's, but through [`out`].
macro_rules! println {
    () => { print!("\n") };
    ($($text:tt)*) => { print!("{}\n", format_args!($($text)*)) };
}

/// Writes to standard output. When its reader has gone, as in `vestibule status | head -1`, the program ends
/// without a word: the standard library's `println!` would panic. The signal that ends other programs then
/// stays ignored: it would also end this one when a running runtime hangs up.
pub fn out(text: Arguments<'_>) {
    match write(&mut std::io::stdout().lock(), text) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(UNREAD),
        Err(error) => {
            eprintln!("vestibule: standard output cannot be written: {error}");
            std::process::exit(1);
        }
    }
}

/// Writes to standard error. When that is closed, too, only the exit code tells.
pub fn err(text: Arguments<'_>) {
    let _ = write(&mut std::io::stderr().lock(), text);
}

/// Writes to the terminal of a person who is asked: standard output may be a file.
///
/// # Errors
/// The terminal is gone.
pub fn on(terminal: &mut std::fs::File, text: Arguments<'_>) -> std::io::Result<()> {
    write(terminal, text)
}

fn write(to: &mut (impl Write + IsTerminal), text: Arguments<'_>) -> std::io::Result<()> {
    if to.is_terminal() {
        return to.write_all(words::for_terminal(&text.to_string()).as_bytes());
    }
    to.write_fmt(text)
}

/// The fields of a list that are shown, in their order.
fn columns(verb: &str) -> &'static [&'static str] {
    match verb {
        "agent.list" => &["name", "provider", "command", "env", "network", "folder", "id"],
        "messaging-group.list" => &["channel_type", "account", "platform_id", "name", "title", "id"],
        "channel.list" => &["channel", "account", "state", "webhook", "listener", "reason"],
        "wiring.list" => &[
            "agent",
            "channel",
            "account",
            "chat",
            "engage",
            "pattern",
            "session_mode",
            "ignored",
            "changes",
            "id",
        ],
        "session.list" => &["agent", "channel", "chat", "thread", "state", "reason", "id"],
        "destination.list" => &["agent", "name", "to_agent", "channel", "account", "chat"],
        "question.list" => &["agent", "channel", "chat", "thread", "title", "question", "options", "id"],
        "delivery.list" => &[
            "id",
            "agent",
            "channel",
            "account",
            "chat",
            "thread",
            "state",
            "attempts",
            "next_attempt_at",
            "taken_at",
            "reason",
        ],
        "dropped-message.list" => {
            &["channel", "account", "chat", "reason", "messages", "last_sender", "last_seen"]
        }
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
    match verb {
        "session.adopt" => return adopted(value),
        "delivery.show" => return delivery(value),
        "delivery.replay" => return deliveries("replayed", value),
        "delivery.drop" => return deliveries("dropped", value),
        "messaging-group.history" => return history(value),
        "backup" => return backup(value),
        "restore" => return restored(value),
        _ => {}
    }
    if let Some(rows) = value.as_array() {
        return match verb {
            "dropped-message.list" => table(columns(verb), &reasons_in_words(rows.clone())),
            "delivery.list" => table(columns(verb), &with_doubts(rows.clone())),
            _ => table(columns(verb), rows),
        };
    }
    let (room, done) = verb.split_once('.').unwrap_or((verb, "done"));
    let name =
        ["name", "chat", "platform_id", "id"].iter().find_map(|key| value[key].as_str()).unwrap_or_default();
    let ending = if done.ends_with('e') { "d" } else { "ed" };
    println!("{} {} {done}{ending}", room.replace('-', " "), name);
    if let Some(id) = value["id"].as_str().filter(|id| *id != name) {
        println!("id {id}");
    }
    if let Some(note) = value["note"].as_str() {
        println!("  {note}");
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
        ("refused", "replies go nowhere; `vestibule delivery list --state failed` says why"),
        ("task_logs", "logs of tasks' runs are kept in the session's file, and go nowhere"),
        ("left_out", "rows without a usable id were left out"),
        ("files", "files came with them"),
        ("files_left_out", "files were left out"),
    ] {
        if count(key) > 0 {
            println!("  {} {what}", count(key));
        }
    }
    for file in first(value, "files_named") {
        println!("    {}: {}", word(&file["file"]), word(&file["reason"]));
    }
    and_more(count("files_left_out"), first(value, "files_named"));
    if count("tasks") > 0 {
        println!("  {} tasks or repeating messages do not go on as they did", count("tasks"));
    }
    for task in first(value, "tasks_named") {
        println!("    {} {}", word(&task["task"]), word(&task["loss"]));
    }
    and_more(count("tasks"), first(value, "tasks_named"));
    if value["unreached"] == true {
        println!(
            "  no wiring leads to this session: it belongs to no chat, and its agent has another one for everything it \
             hears. To go on in a chat, adopt a copy of the folder with --channel and --chat"
        );
    }
}

fn first<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// How many there are of which only the first were named.
fn and_more(count: u64, named: &[Value]) {
    let more = count.saturating_sub(named.len() as u64);
    if more > 0 {
        println!("    and {more} more");
    }
}

/// One delivery: a line for each thing that is known of it, then its text.
fn delivery(value: &Value) {
    for (key, what) in [
        ("id", "id"),
        ("state", "state"),
        ("reason", "reason"),
        ("agent", "agent"),
        ("session", "session"),
        ("number", "number"),
        ("channel", "channel"),
        ("account", "account"),
        ("chat", "chat"),
        ("thread", "thread"),
        ("in_reply_to", "answers"),
        ("taken_at", "taken"),
        ("attempts", "attempts"),
        ("next_attempt_at", "next"),
        ("settled_at", "settled"),
        ("platform_message_id", "sent as"),
        ("fate", "since then"),
        ("files", "files"),
    ] {
        let text = word(&value[key]);
        if !text.is_empty() {
            println!("{what:<10} {text}");
        }
    }
    if value["possible_duplicate"] == true {
        println!("{:<10} its chat may show it twice", "doubt");
    }
    match value["content"].as_str() {
        None => println!("\nIts words are not on record; it had {} bytes.", word(&value["content_bytes"])),
        Some(content) => {
            let parsed: Value = serde_json::from_str(content).unwrap_or_default();
            let text = ["markdown", "text"].iter().find_map(|key| parsed[*key].as_str());
            println!("\n{}", text.unwrap_or(content));
        }
    }
}

fn deliveries(done: &str, value: &Value) {
    let count = value["count"].as_u64().unwrap_or_default();
    println!("{count} {} {done}", if count == 1 { "delivery" } else { "deliveries" });
    for refused in value["refused"].as_array().into_iter().flatten() {
        println!("  not {}", word(&refused["reason"]));
    }
}

fn history(value: &Value) {
    let word = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    for row in value["messages"].as_array().into_iter().flatten() {
        let files = row["files"].as_array().map_or(0, Vec::len);
        let files = if files > 0 { format!(" [{files} files]") } else { String::new() };
        let text = words::for_terminal(&word(row, "text"));
        println!("{}  {}: {text}{files}", word(row, "at"), words::line(word(row, "sender"), 80));
    }
    if let Some(next) = value["next"].as_str() {
        println!("there is more: add `--after {}`", words::line(next, 600));
    }
}

fn backup(value: &Value) {
    let number = |key: &str| value[key].as_u64().unwrap_or_default();
    println!(
        "the backup is made: a database of {} bytes and {} files of messages with {} bytes",
        number("database_bytes"),
        number("blobs"),
        number("blob_bytes")
    );
    let parts = value["parts"].as_object();
    let of = |wanted: bool| {
        let parts = parts.into_iter().flatten().filter(|(_, is)| is.as_bool() == Some(wanted));
        parts.map(|(part, _)| part.as_str()).collect::<Vec<_>>().join(", ")
    };
    println!("  in it: {}", of(true));
    let left = of(false);
    if !left.is_empty() {
        println!("  not in it: {left}");
    }
    match number("secrets") {
        0 => {}
        1 => println!("  it holds a secret of a channel, such as a token: keep it as you keep your keys"),
        count => {
            println!("  it holds {count} secrets of channels, such as tokens: keep it as you keep your keys")
        }
    }
    println!("  copy the files that agents write (groups, out) yourself, at best while nothing runs");
    if value["parts"]["secrets"] == false {
        println!(
            "  what you typed for `channel add` (secrets) is in no backup: keep it with your keys, or type it again after a \
             restore"
        );
    }
    let missing = value["missing"].as_array().map_or(0, Vec::len);
    if missing > 0 {
        println!("  {missing} files of messages are on record and were missing already");
    }
}

fn restored(value: &Value) {
    println!("the home {} is as it was at {}", word(&value["home"]), word(&value["made_at"]));
    println!("  {} files of messages", value["blobs"]);
    if value["missing"] != 0 {
        println!("  {} more are on record, and not in the backup", value["missing"]);
    }
    if value["taken"].as_array().is_some_and(|taken| !taken.is_empty()) {
        println!("  taken because the home had none: {}", word(&value["taken"]));
    }
    if value["set_aside"].is_string() {
        println!("  the database that was there lies in {}", word(&value["set_aside"]));
    }
    println!(
        "  start it with `vestibule up`; what agents wrote since then and the backup does not know is held,"
    );
    println!(
        "  and `vestibule delivery list` shows it: `delivery replay` sends it, `delivery drop` does not"
    );
}

fn status(value: &Value) {
    let text = |key: &str| word(&value[key]);
    println!("vestibule {} in {}", text("version"), text("home"));
    println!("webhooks   {}", value["listen"].as_str().unwrap_or("none are taken"));
    println!("sandbox    {}", text("sandbox"));
    if value["limits"].is_string() {
        println!("limits     {}", text("limits"));
    }
    println!("processors {}", text("processors"));
    let rows = |key: &str| value[key].as_array().cloned().unwrap_or_default();
    println!("\nthis user has only so many");
    table(&["what", "used", "most"], &rows("of_the_user"));
    println!("\nchannels");
    table(&["channel", "account", "handles", "state", "webhook", "listener", "reason"], &rows("channels"));
    let modules = rows("modules");
    if !modules.is_empty() {
        println!("\nmodules that do not work");
        table(&["name", "state", "reason"], &modules);
    }
    let refused = rows("webhooks_refused");
    if !refused.is_empty() {
        println!("\nwebhooks that were refused since the start");
        table(&["channel", "account", "status", "count", "last_at", "reason"], &refused);
    }
    let session = |state: &str| value["sessions"][state].as_i64().unwrap_or_default();
    println!(
        "\nsessions   {}: {} with a runner, {} waiting, {} failing, {} quarantined",
        session("total"),
        session("running"),
        session("waiting"),
        session("failing"),
        session("quarantined")
    );
    if value["runners"]["reason"].is_string() {
        println!("runners    {}", word(&value["runners"]["reason"]));
    }
    messages_failed(&value["messages_failed"]);
    println!("deliveries {}", on_their_way(value));
    if value["dropped_total"]["messages"].as_u64().is_some_and(|messages| messages > 0) {
        let total = &value["dropped_total"];
        println!(
            "left out   {} messages in {} chats; `vestibule dropped-message list` shows why",
            total["messages"], total["chats"]
        );
    }
    let in_trouble = rows("in_trouble");
    if !in_trouble.is_empty() {
        println!("\nsessions in trouble");
        let rows: Vec<Value> = in_trouble.into_iter().map(with_next_try).collect();
        table(&["agent", "state", "reason", "tries", "again_at", "id"], &rows);
    }
    let filling = rows("filling");
    if !filling.is_empty() {
        println!("\nsessions whose folders fill up: at the limit they are quarantined");
        table(&["what", "id"], &filling);
    }
    unwired(&rows("unwired"));
    let dropped = rows("dropped");
    if !dropped.is_empty() {
        println!("\nleft out");
        table(
            &["channel", "account", "platform_id", "reason", "message_count", "last_sender"],
            &reasons_in_words(renamed(dropped)),
        );
    }
}

/// Says when a session whose messages were all given up tries again.
fn with_next_try(mut session: Value) -> Value {
    if session["tries"].is_i64() && session["again_at"].is_null() {
        let when =
            if session["state"] == "quarantined" { "when it is released" } else { "with the next message" };
        session["again_at"] = when.into();
    }
    session
}

/// Shows the chats that wait for a wiring, each with the command that makes one.
fn unwired(chats: &[Value]) {
    if chats.is_empty() {
        return;
    }
    println!("\nchats that no agent is wired to");
    for chat in chats {
        println!(
            "  {} on {}: {} so far, the last by {}\n    {}",
            word(&chat["chat"]),
            word(&chat["channel"]),
            chat["messages"],
            word(&chat["last_sender"]),
            words::line(chat["wire_with"].as_str().unwrap_or_default(), COMMAND_CHARS_MAX)
        );
    }
}

fn messages_failed(failed: &Value) {
    if let Some(count) = failed["count"].as_u64().filter(|count| *count > 0) {
        let what = if count == 1 { "message" } else { "messages" };
        let last = word(&failed["session"]);
        println!(
            "failed     {count} {what} in the last 24 hours, the last in {last}; the reply there says why"
        );
    }
}

/// Counts the deliveries by state, and names the command that shows those that do not go out by themselves at once.
fn on_their_way(status: &Value) -> String {
    let counts = status["deliveries"].as_object().filter(|counts| !counts.is_empty());
    let Some(counts) = counts else { return "none".to_owned() };
    let one = |(state, count): (&String, &Value)| match (state.as_str(), word(&status["next_deferred"])) {
        ("deferred", until) if !until.is_empty() => format!("{count} deferred (the next until {until})"),
        _ => format!("{count} {state}"),
    };
    let mut all = counts.iter().map(one).collect::<Vec<_>>().join(", ");
    let doubled = status["possible_duplicates"].as_i64().unwrap_or_default();
    if doubled > 0 {
        all.push_str(&format!(", of which their chats may show {doubled} twice"));
    }
    let unsent = ["failed", "parked", "held", "unknown", "deferred"];
    let hint = if doubled > 0 || unsent.iter().any(|state| counts.contains_key(*state)) {
        "; `vestibule delivery list` shows why"
    } else {
        ""
    };
    format!("{all}{hint}")
}

fn renamed(rows: Vec<Value>) -> Vec<Value> {
    let rename = |mut row: Value| {
        row["channel"] = row["channel_type"].take();
        row
    };
    rows.into_iter().map(rename).collect()
}

/// Says beside the state of a delivery what else is known of it.
fn with_doubts(mut rows: Vec<Value>) -> Vec<Value> {
    for row in rows.iter_mut().filter(|row| row["possible_duplicate"] == true) {
        row["state"] = format!("{}, may be there twice", word(&row["state"])).into();
    }
    rows
}

fn reasons_in_words(rows: Vec<Value>) -> Vec<Value> {
    let in_words = |mut row: Value| {
        row["reason"] = why_left_out(row["reason"].as_str().unwrap_or_default()).into();
        row
    };
    rows.into_iter().map(in_words).collect()
}

/// Why a message was left out, for people: a plugin's own code becomes words. A reason that is no code, as a module's,
/// stays as it is.
fn why_left_out(reason: &str) -> String {
    match reason {
        "no_agent_wired" => "no agent was wired to the chat".to_owned(),
        "no_agent_engaged" => "no agent wired to the chat wakes for it".to_owned(),
        "own_message" => "the account's own message".to_owned(),
        "edited" => "an edit of an earlier message".to_owned(),
        code if code.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') => {
            code.replace('_', " ")
        }
        words => words.to_owned(),
    }
}

/// Prints a table.
fn table(columns: &[&str], rows: &[Value]) {
    print!("{}", rendered(columns, rows));
}

/// A table with a heading; a column that is empty throughout is left out. A cell that is wider than a column gets
/// moves the rest of its own row.
fn rendered(columns: &[&str], rows: &[Value]) -> String {
    if rows.is_empty() {
        return "none\n".to_owned();
    }
    let cells = |row: &Value| columns.iter().map(|column| word(&row[*column])).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    let used = (0..columns.len()).filter(|i| rows.iter().any(|row| !row[*i].is_empty())).collect::<Vec<_>>();
    let heading = columns.iter().map(|column| column.to_uppercase().replace('_', " ")).collect();
    let lines: Vec<Vec<String>> = std::iter::once(heading).chain(rows).collect();
    let width = |i: &usize| lines.iter().map(|line| line[*i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = used.iter().map(|i| width(i).min(COLUMN_CHARS_MAX)).collect();
    let mut text = String::new();
    for line in &lines {
        let cells = used.iter().zip(&widths).map(|(i, width)| format!("{:width$}", line[*i]));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A value as a part of one line, cut; `--json` prints it whole.
fn word(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => return words::line(text, WORD_CHARS_MAX),
        Value::Array(items) => items.iter().map(word).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    words::line(text, WORD_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Numbers without a pattern, always the same ones.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % sides
        }

        fn value(&mut self) -> Value {
            const PARTS: [&str; 16] = [
                "",
                " ",
                "a",
                "word ",
                "\u{200b}",
                "e\u{301}",
                "日本",
                "👩‍💻",
                "\n",
                "\r\n",
                "\t",
                "\u{1b}[2J",
                "\u{9b}",
                "\u{202e}",
                "\0",
                "…",
            ];
            let times = [0, 1, 3, 59, 60, 61, 1_000, 70_000, 3_000_000][self.roll(9)];
            match self.roll(8) {
                0 => Value::Null,
                1 => json!(times),
                2 => json!([PARTS[self.roll(16)], self.roll(9), [PARTS[self.roll(16)].repeat(times)]]),
                3 => json!({ PARTS[self.roll(16)]: PARTS[self.roll(16)].repeat(times) }),
                4 => (0..self.roll(200)).map(|_| PARTS[self.roll(16)]).collect::<String>().into(),
                _ => PARTS[self.roll(16)].repeat(times).into(),
            }
        }
    }

    #[test]
    fn a_table_is_a_line_for_each_row_whatever_is_in_it() {
        let mut dice = Dice(9);
        let columns = ["name", "reason", "a_third", "id"];
        for round in 0..300 {
            let row = |dice: &mut Dice| {
                let mut row = json!({});
                for column in columns {
                    if dice.roll(5) > 0 {
                        row[column] = dice.value();
                    }
                }
                row
            };
            let rows: Vec<Value> = (0..dice.roll(4)).map(|_| row(&mut dice)).collect();
            let text = rendered(&columns[..dice.roll(5)], &rows);
            assert_eq!(text.lines().count(), if rows.is_empty() { 1 } else { rows.len() + 1 }, "{round}");
            let harmful = |c| words::is_harmful(c) && c != '\n';
            assert!(text.ends_with('\n') && !text.contains(harmful), "{round}: {text:?}");
            let longest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
            assert!(longest <= columns.len() * (WORD_CHARS_MAX + 2), "{round}: {longest}");
        }
    }

    #[test]
    fn what_was_not_delivered_is_told_with_where_to_look() {
        let until = "2030-01-01T00:00:00.000Z";
        for (counts, want) in [
            (json!({}), "none"),
            (json!({ "delivered": 3, "pending": 1 }), "3 delivered, 1 pending"),
            (json!({ "failed": 1 }), "1 failed; `vestibule delivery list` shows why"),
            (json!({ "parked": 1 }), "1 parked; `vestibule delivery list` shows why"),
            (json!({ "held": 2 }), "2 held; `vestibule delivery list` shows why"),
            (json!({ "unknown": 1 }), "1 unknown; `vestibule delivery list` shows why"),
            (json!({ "dropped": 1 }), "1 dropped"),
            (
                json!({ "deferred": 1 }),
                "1 deferred (the next until 2030-01-01T00:00:00.000Z); `vestibule delivery list` shows why",
            ),
        ] {
            let next = counts.get("deferred").map(|_| until);
            assert_eq!(on_their_way(&json!({ "deliveries": counts, "next_deferred": next })), want);
        }
        let doubled = json!({ "deliveries": { "delivered": 3 }, "possible_duplicates": 2 });
        let want = "3 delivered, of which their chats may show 2 twice; `vestibule delivery list` shows why";
        assert_eq!(on_their_way(&doubled), want);
        let rows = with_doubts(vec![json!({ "state": "delivered", "possible_duplicate": true })]);
        assert_eq!(rows[0]["state"], "delivered, may be there twice");
    }

    #[test]
    fn when_a_session_tries_again_is_told() {
        let at = "2030-01-01T00:00:00.000Z";
        for (state, tries, again_at, want) in [
            ("failing", json!(2), json!(at), json!(at)),
            ("failing", json!(6), json!(null), json!("with the next message")),
            ("quarantined", json!(1), json!(null), json!("when it is released")),
            ("waiting", json!(null), json!(null), json!(null)),
        ] {
            let session = json!({ "state": state, "tries": tries, "again_at": again_at });
            assert_eq!(with_next_try(session)["again_at"], want);
        }
    }

    #[test]
    fn a_reason_is_told_in_words() {
        for (reason, want) in [
            ("no_agent_wired", "no agent was wired to the chat"),
            ("no_agent_engaged", "no agent wired to the chat wakes for it"),
            ("group_has_a_new_id", "group has a new id"),
            ("the module guard: snake_case is Rude", "the module guard: snake_case is Rude"),
        ] {
            let rows = reasons_in_words(vec![json!({ "reason": reason })]);
            assert_eq!(rows[0]["reason"], want);
        }
    }

    #[test]
    fn a_table_is_aligned_up_to_a_width() {
        let long = "x".repeat(100);
        let rows =
            [json!({ "name": "a", "why": long, "id": 1 }), json!({ "name": "bcd", "why": "y", "id": 2 })];
        let (wide, pad) = (" ".repeat(COLUMN_CHARS_MAX - 3), " ".repeat(COLUMN_CHARS_MAX - 1));
        let want = format!("NAME  WHY{wide}  ID\na     {long}  1\nbcd   y{pad}  2\n");
        assert_eq!(rendered(&["name", "nothing", "why", "id"], &rows), want);
        assert_eq!(rendered(&["name"], &[]), "none\n");
    }
}
