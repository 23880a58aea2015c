//! Homes, configs and sockets that are not as they should be: one clear sentence, the right exit
//! code, nothing lost.

use crate::support::{Api, Runtime, Terminal, plugin_file, request, until};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;

/// Runs `up`, which must end at once: its exit code and its one sentence.
fn refused(runtime: &Runtime) -> (i32, String) {
    let output = runtime.run(&["up", "--log", "error"]);
    let words = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
    assert!(!words.contains('\n'), "one sentence: {words}");
    (output.status.code().unwrap(), words)
}

#[test]
fn a_config_with_a_typo_is_refused_with_a_suggestion() {
    let runtime = Runtime::new("time_zon = \"UTC\"\n");
    let (code, words) = refused(&runtime);
    assert_eq!(code, 2);
    assert!(words.contains("vestibule.toml: `time_zon` is not a key; did you mean `time_zone`?"), "{words}");
    let runtime = Runtime::new("x = [\n");
    assert!(refused(&runtime).1.contains("line "), "{}", refused(&runtime).1);
}

#[test]
fn a_port_in_use_holds_up_only_who_takes_webhooks() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    let platform = Api::start(|_, _| (200, serde_json::json!({ "id": 7, "login": "vestibule-bot" })));
    let runtime = Runtime::new("").env("TEST_KEY", "x").env("GITHUB_API_URL", &platform.url);
    let config = format!(
        "listen = \"{at}\"\n[channels.github.main]\ntoken = {{ env = \"TEST_KEY\" }}\n\
         webhook_secret = {{ env = \"TEST_KEY\" }}\n"
    );
    std::fs::write(runtime.home.path().join("vestibule.toml"), config).unwrap();
    let runtime = runtime.up();
    assert_eq!(runtime.chat("hello"), "hello");
    let account = until("it is known that the port is taken", || {
        let account = runtime.channel("github");
        (account["state"] == "broken").then_some(account)
    });
    let why = account["reason"].as_str().unwrap();
    assert!(why.contains(&at.to_string()) && why.contains("set another `listen`"), "{why}");
    assert_eq!(runtime.json(&["status"])["listen"], serde_json::Value::Null, "nor is it another port");
    drop(taken);
    runtime.wait_live("github");
    assert_eq!(runtime.listening(), at);
}

#[test]
fn without_an_account_that_takes_webhooks_no_port_is_opened() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let runtime = Runtime::new("");
    // Its channel has an account, and no plugin yet.
    let account = "[channels.plain.main]\nplatform = \"127.0.0.1:9\"\nsigning_key = { env = \"PATH\" }\n";
    let config = format!("listen = \"{}\"\n{account}", taken.local_addr().unwrap());
    std::fs::write(runtime.home.path().join("vestibule.toml"), config).unwrap();
    let runtime = runtime.up();
    assert_eq!(runtime.chat("hello"), "hello");
    assert!(runtime.ok(&["status"]).contains("webhooks   none are taken"));
    assert!(!runtime.log().contains("listened on"), "nor is it tried");
    // It is, as soon as a plugin is dropped whose account wants it.
    drop(taken);
    std::fs::copy(plugin_file("vestibule-plain-channel"), runtime.home.path().join("plugins/plain.so"))
        .unwrap();
    assert_eq!(request(runtime.listening(), "POST", "/webhook/no/main", &[], b"").0, 404);
}

/// Its webhooks could not be verified; it may have another way in.
#[test]
fn an_account_without_its_webhook_secret_needs_no_port() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let account = "[channels.plain.main]\nplatform = \"127.0.0.1:9\"\n";
    let runtime = Runtime::new("");
    let config = format!("listen = \"{}\"\n{account}", taken.local_addr().unwrap());
    std::fs::write(runtime.home.path().join("vestibule.toml"), config).unwrap();
    let runtime = runtime.up();
    std::fs::copy(plugin_file("vestibule-plain-channel"), runtime.home.path().join("plugins/plain.so"))
        .unwrap();
    let row = until("it is live", || Some(runtime.channel("plain")).filter(|row| row["state"] == "live"));
    assert!(row["webhook"].is_null(), "{row}");
    assert!(!runtime.log().contains("listened on"), "it is not tried");
}

#[test]
fn a_second_runtime_on_the_same_home_is_refused() {
    let runtime = Runtime::new("").up();
    let (code, words) = refused(&runtime);
    assert_eq!(code, 2);
    assert!(words.contains("another vestibule runs on"), "{words}");
    assert_eq!(runtime.chat("unharmed"), "unharmed");
}

#[test]
fn a_home_of_a_newer_version_is_refused_and_left_alone() {
    let runtime = Runtime::new("");
    assert_eq!(runtime.chat("hello"), "hello");
    let central = runtime.home.path().join("vestibule.db");
    let db =
        rusqlite::Connection::open_with_flags(&central, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    let version: i64 = db.query_row("PRAGMA user_version", [], |r| r.get(0)).unwrap();
    db.execute_batch(&format!("PRAGMA user_version = {}", version + 1)).unwrap();
    let (code, words) = refused(&runtime);
    assert_eq!(code, 2);
    assert!(words.contains("written by a newer Vestibule") && words.contains("VESTIBULE_HOME"), "{words}");
    db.execute_batch(&format!("PRAGMA user_version = {version}")).unwrap();
    assert_eq!(runtime.chat("back"), "back");
}

#[test]
fn without_a_running_house_verbs_say_what_to_do() {
    let runtime = Runtime::new("");
    let output = runtime.run(&["status"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("start it with `vestibule up`"));
}

#[test]
fn both_sockets_demand_the_token() {
    let runtime = Runtime::new("").up();
    let answer = |socket: &str, line: &str| {
        let mut stream = UnixStream::connect(runtime.home.path().join(socket)).unwrap();
        stream.write_all(line.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    for line in
        ["{\"token\":\"wrong\",\"verb\":\"agent.list\"}\n", "{\"token\":\"\",\"verb\":\"agent.list\"}\n"]
    {
        assert!(answer("control.sock", line).contains("the token is wrong"));
    }
    assert!(answer("control.sock", "nonsense\n").contains("cannot be read"));
    assert!(answer("terminal.sock", "{\"token\":\"wrong\"}\n").contains("the token is wrong"));
    assert!(answer("terminal.sock", "nonsense\n").contains("the first line must be"));
    assert!(answer("terminal.sock", "").contains("must show the token"));
    let mut client = Terminal::connect(&runtime, false);
    client.write(&serde_json::json!("no object"));
    assert!(client.read()["error"].as_str().unwrap().contains("cannot be read"));
    client.say("unharmed");
    assert_eq!(client.reply(), "unharmed");
}

#[test]
fn verbs_that_cannot_be_say_why() {
    let runtime = Runtime::new("").up();
    for (args, words) in [
        (vec!["agent", "update", "nobody"], "there is no agent `nobody`; the agents are: assistant"),
        (vec!["agent", "create", "assistant"], "there is an agent `assistant` already"),
        (vec!["agent", "create", "a\nb"], "1 to 64 characters"),
        (vec!["agent", "update", "assistant", "--rename", "a\nb"], "1 to 64 characters"),
        (vec!["wiring", "delete", "x"], "there is no wiring `x`"),
        (vec!["messaging-group", "delete", "x"], "there is no messaging group `x`"),
        (vec!["destination", "delete", "--agent", "assistant", "x"], "no destination `x`"),
        (
            vec!["wiring", "create", "--agent", "assistant", "--channel", "terminal", "--chat", "local"],
            "wired to this chat already",
        ),
        (
            vec![
                "wiring",
                "create",
                "--agent",
                "assistant",
                "--channel",
                "x",
                "--chat",
                "y",
                "--pattern",
                "(",
            ],
            "no regular expression",
        ),
        (
            vec![
                "wiring",
                "create",
                "--agent",
                "assistant",
                "--channel",
                "x",
                "--chat",
                "y",
                "--engage",
                "sometimes",
            ],
            "do not fit",
        ),
        (
            vec!["destination", "create", "--agent", "assistant", "--name", "a\"b", "--to", "local"],
            "without quotes",
        ),
    ] {
        let output = runtime.run(&args);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && err.contains(words), "{args:?}: {err}");
    }
    assert_eq!(
        runtime.json(&["messaging-group", "list"]).as_array().unwrap().len(),
        1,
        "what fails leaves nothing"
    );
}

/// `vestibule status | head -1`: who prints to a pipe that nobody reads ends without a word.
#[test]
fn who_is_not_read_ends_quietly() {
    let runtime = Runtime::new("").up();
    let plugin = crate::support::plugin_file("vestibule-echo-channel");
    for (args, code) in [
        (&["status"][..], 141),
        (&["status", "--json"], 141),
        (&["plugin", "list"], 141),
        (&["wiring", "list"], 141),
        (&["agent", "create", "unread"], 141),
        (&["plugin", "check", plugin.to_str().unwrap()], 141),
        (&["chat", "hello"], 141),
        (&["--help"], 0),
        // It fails, and says so where somebody reads.
        (&["agent", "delete", "nobody"], 1),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = runtime.command(args).stdout(writer).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {told}");
        assert!(!told.contains("panicked") && (told.is_empty() || code == 1), "{args:?}: {told}");
    }
    assert_eq!(runtime.chat("and on"), "and on");
}

/// A variable of a script may be empty.
#[test]
fn an_empty_id_on_the_command_line_is_refused_in_words() {
    let runtime = Runtime::new("").up();
    let chat = ["--channel", "acme", "--chat", ""];
    let named = ["--channel", "acme", "--chat", "c", "--name", ""];
    let wired = ["--agent", "assistant", "--channel", "", "--chat", "c"];
    for (args, key) in [
        ([&["messaging-group", "create"], &chat[..]].concat(), "chat"),
        ([&["messaging-group", "create"], &named[..]].concat(), "name"),
        (vec!["messaging-group", "update", "local", "--name", ""], "name"),
        ([&["wiring", "create"], &wired[..]].concat(), "channel"),
        (vec!["wiring", "update", "", "--priority", "1"], "id"),
        (vec!["agent", "update", "assistant", "--rename", " "], "rename"),
        (vec!["agent", "delete", ""], "name"),
        (vec!["destination", "create", "--agent", "assistant", "--name", "x", "--to", ""], "to"),
        (vec!["session", "adopt", "/tmp", "--agent", ""], "agent"),
        (vec!["session", "release", ""], "id"),
        (vec!["delivery", "drop", "a", ""], "ids"),
        (vec!["delivery", "replay", "--state", "failed", "--session", ""], "session"),
        (vec!["plugin", "reload", ""], "name"),
    ] {
        let output = runtime.run(&args);
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {words}");
        assert_eq!(words, format!("vestibule: `{key}` is empty: say which one\n"), "{args:?}");
    }
    assert_eq!(runtime.json(&["messaging-group", "list"]).as_array().unwrap().len(), 1);
}
