//! What strangers, plugins and agents say, where people read it: in the log, and on a terminal.

use crate::support::{PATIENCE, Runtime, plugin_file, request};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::Stdio;
use std::time::Instant;

/// It renames a terminal, writes to its clipboard, clears it in both ways, turns the direction of the text, and
/// goes back over what was said.
const EVIL: &str = "\u{1b}]0;TITLE\u{7}\u{1b}]52;c;aGk=\u{7}\u{1b}[2J\u{9b}2Jx\u{202e}y\rback\tand\nforth";

fn is_harmful(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\t'))
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}')
}

/// A terminal of its own: what is shown on it, and what a program is given.
pub fn terminal() -> (File, OwnedFd) {
    let (mut shown, mut given) = (0, 0);
    // SAFETY: both are places for a descriptor; no name, settings or size are asked for or given.
    let opened = unsafe {
        libc::openpty(
            &raw mut shown,
            &raw mut given,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
    assert_eq!(opened, 0);
    // SAFETY: they were just opened, and have no other owner.
    unsafe { (File::from_raw_fd(shown), OwnedFd::from_raw_fd(given)) }
}

/// What a terminal was shown until its programs ended. It puts a carriage return before each line feed.
fn shown(mut terminal: File) -> String {
    let mut bytes = Vec::new();
    let _ = terminal.read_to_end(&mut bytes); // it ends with an error
    String::from_utf8(bytes).unwrap().replace("\r\n", "\n")
}

#[test]
fn what_an_agent_says_does_nothing_to_a_terminal() {
    let runtime = Runtime::new("").up(); // its agent echoes
    for interactive in [false, true] {
        let (screen, given) = terminal();
        let mut command = runtime.command(if interactive { &["chat"][..] } else { &["chat", EVIL] });
        let mut chat = command.stdin(Stdio::piped()).stdout(given).stderr(Stdio::null()).spawn().unwrap();
        drop(command); // it holds the terminal
        let mut words = chat.stdin.take().unwrap();
        if interactive {
            words.write_all(EVIL.replace('\n', " ").as_bytes()).unwrap();
        }
        drop(words);
        let text = shown(screen);
        assert!(chat.wait().unwrap().success());
        assert!(text.contains("\u{fffd}]0;TITLE\u{fffd}") && text.contains("back\tand"), "{text:?}");
        assert!(!text.contains(is_harmful), "{text:?}");
    }
    // A program that reads it gets what was said.
    assert_eq!(runtime.ok(&["chat", EVIL]), format!("{EVIL}\n"));
    // Errors say again what they are about.
    let (screen, given) = terminal();
    let delete = runtime.command(&["agent", "delete", EVIL]).stdout(Stdio::null()).stderr(given).spawn();
    let text = shown(screen);
    assert!(!delete.unwrap().wait().unwrap().success());
    assert!(text.contains("TITLE") && !text.contains(is_harmful), "{text:?}");
}

#[test]
fn strangers_do_not_fill_the_log() {
    const REQUESTS: usize = 3_000;
    let account = "platform = \"127.0.0.1:9\"\nsigning_key = { env = \"PATH\" }\n";
    let runtime = Runtime::new(&format!("[channels.plain.main]\n{account}")).up();
    fs::copy(plugin_file("vestibule-plain-channel"), runtime.home.path().join("plugins/plain.so")).unwrap();
    let at = runtime.listening();
    let before = runtime.log().len();
    let begin = Instant::now();
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = "A%1b%0a%C2%9b".repeat(400);
    for number in 0..REQUESTS {
        let head = format!("POST /webhook/{name}{number}/x HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
    }
    let took = begin.elapsed();
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    assert_eq!(request(at, "POST", "/webhook/x/x", &[], b"").0, 404);
    let log = runtime.log().split_off(before);
    let lines = log.lines().filter(|line| line.contains("a stranger was refused")).count();
    let most = 200 + 20 * (took.as_secs() as usize + 3);
    assert!((200..=most).contains(&lines), "{lines} lines in {took:?}");
    assert!(log.len() < lines * 1_000 + 20_000, "{} bytes", log.len());
    assert!(!log.contains(is_harmful), "{log}");
    let counts =
        log.lines().filter_map(|line| line.split_once("lines were left out, too many came at once count="));
    let left_out: usize =
        counts.map(|(_, rest)| rest.split(' ').next().unwrap().parse::<usize>().unwrap()).sum();
    assert_eq!(lines + left_out, REQUESTS + 1, "each is written, or counted");
}
