//! The plugins folder of a running runtime.

use crate::support::{Runtime, free_port, plugin_file, until};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

fn with_echo(at: SocketAddr) -> Runtime {
    Runtime::new(&format!("[channels.echo.main]\nlisten = \"{at}\"\n")).up()
}

fn listed(runtime: &Runtime, name: &str) -> Option<Value> {
    let list = runtime.json(&["plugin", "list"]);
    list.as_array().unwrap().iter().find(|plugin| plugin["name"] == name).cloned()
}

/// The sentence that refuses a file.
fn refusal(runtime: &Runtime, name: &str) -> String {
    until(&format!("{name} is refused"), || {
        listed(runtime, name)
            .filter(|plugin| plugin["state"] == "refused")
            .map(|p| p["reason"].as_str().unwrap().to_owned())
    })
}

/// Two accounts of one file: each line says whose it is, also that of a task which `start` began.
#[test]
fn what_a_plugin_logs_names_the_account() {
    let [one, two] = [free_port(), free_port()];
    let accounts =
        format!("[channels.echo.one]\nlisten = \"{one}\"\n[channels.echo.two]\nlisten = \"{two}\"\n");
    let runtime = Runtime::new(&accounts);
    let plugins = runtime.home.path().join("plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    std::fs::copy(plugin_file("vestibule-echo-channel"), plugins.join("echo.so")).unwrap();
    let runtime = runtime.up();
    let says = |words: &str, account: &str| {
        let named = format!("account=\"{account}\"");
        until(&format!("{words} {account}"), || {
            runtime.log().lines().any(|line| line.contains(words) && line.contains(&named)).then_some(())
        });
    };
    says("taking lines", "one");
    says("taking lines", "two");
    // No text: the call ends with a word of the channel's own.
    let mut call = std::net::TcpStream::connect(two).unwrap();
    std::io::Write::write_all(&mut call, b"\xff\xfe\n").unwrap();
    says("a call ended early", "two");
}

#[test]
fn a_dropped_file_carries_a_message_in_and_the_reply_out() {
    let at = free_port();
    let runtime = with_echo(at);
    let file = runtime.home.path().join("plugins/echo.so");
    fs::copy(plugin_file("vestibule-echo-channel"), &file).unwrap();
    runtime.wait_live("echo");

    let mut call = BufReader::new(TcpStream::connect(at).unwrap());
    call.get_mut().write_all(b"is anybody there?\n").unwrap();
    let unwired = until("the unwired chat is on record", || {
        let unwired = runtime.json(&["status"])["unwired"].clone();
        unwired.as_array().filter(|rows| !rows.is_empty()).map(|rows| rows[0].clone())
    });
    assert_eq!(unwired["messages"], 1);
    // What status says is what wires it, word for word.
    let command = unwired["wire_with"].as_str().unwrap();
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    runtime.ok(&words);
    assert_eq!(runtime.json(&["status"])["unwired"], Value::Array(vec![]));

    call.get_mut().write_all(b"and now?\n").unwrap();
    let mut line = String::new();
    call.read_line(&mut line).unwrap();
    assert_eq!(line, "and now?\n");
    let plugin = listed(&runtime, "echo").unwrap();
    assert_eq!((plugin["state"].as_str(), plugin["tier"].as_str()), (Some("loaded"), Some("process")));

    // The same bytes under another name are a duplicate; the running one is unharmed.
    fs::copy(&file, runtime.home.path().join("plugins/twin.so")).unwrap();
    assert!(refusal(&runtime, "twin.so").contains("[DUPLICATE]"));
    call.get_mut().write_all(b"unharmed\n").unwrap();
    line.clear();
    call.read_line(&mut line).unwrap();
    assert_eq!(line, "unharmed\n");

    fs::remove_file(runtime.home.path().join("plugins/twin.so")).unwrap();
    fs::remove_file(&file).unwrap();
    until("it is gone", || listed(&runtime, "echo").is_none().then_some(()));
    assert!(TcpStream::connect(at).is_err(), "its listener has ended");
    assert_eq!(runtime.chat("the rest goes on"), "the rest goes on");
}

#[test]
fn a_file_that_is_copied_slowly_is_taken_once_and_whole() {
    let at = free_port();
    let runtime = with_echo(at);
    let bytes = fs::read(plugin_file("vestibule-echo-channel")).unwrap();
    let mut file = fs::File::create(runtime.home.path().join("plugins/echo.so")).unwrap();
    for part in bytes.chunks(bytes.len() / 5 + 1) {
        file.write_all(part).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(150));
    }
    runtime.wait_live("echo");
    assert_eq!(runtime.log().matches("plugin loaded").count(), 1);
    assert_eq!(runtime.log().matches("was not loaded").count(), 0);
}

#[test]
fn files_that_are_no_plugins_are_refused_in_one_sentence() {
    let runtime = Runtime::new("").up();
    let folder = runtime.home.path().join("plugins");
    let whole = fs::read(plugin_file("vestibule-echo-channel")).unwrap();
    fs::write(folder.join("text.so"), "not a library").unwrap();
    fs::write(folder.join("empty.so"), "").unwrap();
    for (name, percent) in [("a10.so", 10), ("b50.so", 50), ("c90.so", 90), ("d99.so", 99)] {
        fs::write(folder.join(name), &whole[..whole.len() * percent / 100]).unwrap();
    }
    fs::write(folder.join("header.so"), &whole[..100]).unwrap();
    fs::copy("/proc/self/exe", folder.join("program.so")).unwrap();
    let library = fs::read_to_string("/proc/self/maps").unwrap();
    let library = library
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .find(|path| path.contains("libgcc_s"))
        .unwrap();
    fs::copy(library, folder.join("libgcc.so")).unwrap();
    std::os::unix::fs::symlink(plugin_file("vestibule-echo-channel"), folder.join("link.so")).unwrap();
    fs::create_dir(folder.join("folder.so")).unwrap();
    let mut open = fs::File::create(folder.join("open.so")).unwrap();
    open.write_all(&whole).unwrap();
    fs::set_permissions(folder.join("open.so"), std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let mut other = whole.clone();
    other[18] = 0xB7; // e_machine
    fs::write(folder.join("arm.so"), &other).unwrap();
    for (name, code) in [
        ("text.so", "[NOT_ELF]"),
        ("empty.so", "[NOT_ELF]"),
        ("header.so", "[TRUNCATED]"),
        ("a10.so", "[TRUNCATED]"),
        ("b50.so", "[TRUNCATED]"),
        ("c90.so", "[TRUNCATED]"),
        ("d99.so", "[TRUNCATED]"),
        ("program.so", "[NOT_SHARED]"),
        ("libgcc.so", "[NOT_A_PLUGIN]"),
        ("link.so", "[SYMLINK]"),
        ("folder.so", "[NOT_A_FILE]"),
        ("open.so", "[WRITABLE]"),
        ("arm.so", "[WRONG_ARCH]"),
    ] {
        let sentence = refusal(&runtime, name);
        assert!(sentence.starts_with(&format!("Plugin {name} was not loaded: ")), "{sentence}");
        assert!(sentence.ends_with(code) && !sentence.contains('\n'), "{sentence}");
    }
    fs::copy(plugin_file("vestibule-terminal"), folder.join("terminal.so")).unwrap();
    assert!(refusal(&runtime, "terminal.so").contains("which is built in"));
    assert_eq!(runtime.chat("the rest goes on"), "the rest goes on");
}

#[test]
fn a_plugin_whose_config_does_not_fit_says_so() {
    let runtime = Runtime::new("[channels.echo.main]\nlissten = \"127.0.0.1:0\"\n").up();
    fs::copy(plugin_file("vestibule-echo-channel"), runtime.home.path().join("plugins/echo.so")).unwrap();
    let reason = until("it is broken", || {
        let channel = runtime.channel("echo");
        (channel["state"] == "broken").then(|| channel["reason"].as_str().unwrap().to_owned())
    });
    assert!(reason.ends_with("which echo does not know; did you mean \"listen\"?"), "{reason}");
}
