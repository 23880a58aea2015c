//! `vestibule channel add` with a person at a terminal: what is asked, and in which order.

use crate::slack_api::{APP_TOKEN, BOT_TOKEN, SECRET, SlackApi};
use crate::support::{PATIENCE, binary, until};
use crate::whatsapp_api::{self, WhatsAppApi};
use crate::words::terminal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command};

/// A person before a program.
struct Person {
    screen: File,
    program: Child,
    /// What was shown, all of it, and how much of it was answered.
    shown: String,
    answered: usize,
}

impl Person {
    fn adds(home: &Path, args: &[&str]) -> Person {
        let (screen, given) = terminal();
        // The terminal is its own, as a shell gives it: secrets are asked past all that is piped.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(binary()).args(["channel", "add"]).args(args);
        command.env("VESTIBULE_HOME", home).stdin(given.try_clone().unwrap());
        let program = command.stdout(given.try_clone().unwrap()).stderr(given).spawn().unwrap();
        Person { screen, program, shown: String::new(), answered: 0 }
    }

    /// Whether more came.
    fn reads(&mut self) -> bool {
        let mut bytes = [0; 4_096];
        let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        let ready = poll(&mut [PollFd::new(&self.screen, PollFlags::IN)], Some(&patience)).unwrap();
        assert!(ready > 0, "nothing more is shown: {}", self.shown);
        // It ends with an error.
        let count = self.screen.read(&mut bytes).unwrap_or(0);
        self.shown += &String::from_utf8_lossy(&bytes[..count]);
        count > 0
    }

    /// Waits for this question, and types an answer.
    fn answers(&mut self, question: &str, answer: &str) {
        while !self.shown[self.answered..].contains(question) {
            assert!(self.reads(), "{question} was not asked: {}", self.shown);
        }
        self.answered = self.shown.len();
        self.screen.write_all(format!("{answer}\n").as_bytes()).unwrap();
    }

    /// The same with a secret, once the terminal shows no more what is typed.
    fn confides(&mut self, question: &str, secret: &str) {
        while !self.shown[self.answered..].contains(question) {
            assert!(self.reads(), "{question} was not asked: {}", self.shown);
        }
        until("what is typed is not shown", || {
            // SAFETY: an all-zero `termios` is a place for the answer, and the descriptor is open.
            let settings = unsafe {
                let mut settings: libc::termios = std::mem::zeroed();
                assert_eq!(libc::tcgetattr(self.screen.as_raw_fd(), &raw mut settings), 0);
                settings
            };
            (settings.c_lflag & libc::ECHO == 0).then_some(())
        });
        self.answers(question, secret);
    }

    /// The rest of what is shown, and whether the program succeeded.
    fn ends(mut self) -> (bool, String) {
        while self.reads() {}
        (self.program.wait().unwrap().success(), self.shown.replace("\r\n", "\n"))
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = self.program.kill();
    }
}

fn config(home: &Path) -> String {
    std::fs::read_to_string(home.join("vestibule.toml")).unwrap()
}

#[test]
fn only_what_the_way_needs_is_asked_for_slack() {
    let api = SlackApi::start();
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("socket");
    let add = ["slack", "--set", &format!("api_url={}", api.url)];
    let mut person = Person::adds(&home, &add);
    person.confides("bot_token (The", BOT_TOKEN);
    person.confides("app_token (The", APP_TOKEN);
    person.answers("Enter leaves all of it out: ", "");
    let (ok, shown) = person.ends();
    assert!(ok && shown.contains("slack main works"), "{shown}");
    assert!(shown.contains("set `app_token` for Socket Mode"), "{shown}");
    for unasked in ["signing_secret (", "refresh_token (", "client_id (", "client_secret ("] {
        assert!(!shown.contains(unasked), "{unasked}: {shown}");
    }
    assert!(!shown.contains(BOT_TOKEN) && !shown.contains(APP_TOKEN), "{shown}");
    let config = config(&home);
    assert!(config.contains("app_token = { file") && !config.contains("signing_secret"), "{config}");
}

#[test]
fn another_way_is_taken_by_leaving_out_and_by_naming() {
    let api = SlackApi::start();
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("http");
    let mut person = Person::adds(&home, &["slack", "--set", &format!("api_url={}", api.url)]);
    person.confides("bot_token (The", BOT_TOKEN);
    person.confides("app_token (The", "");
    person.confides("signing_secret (The", SECRET);
    person.answers("Enter leaves all of it out: ", "refresh");
    person.answers("There is no refresh among them", "refresh_token");
    person.confides("refresh_token (The", "xoxe-first");
    // What belongs to it is asked, too, because the channel says so.
    person.answers("client_id (", "client");
    person.confides("client_secret (The", "very-secret");
    let (ok, shown) = person.ends();
    // A token that is good once is not used up by a try.
    assert!(!ok && shown.contains("cannot be seen while no vestibule runs"), "{shown}");
    let config = config(&home);
    assert!(
        config.contains("client_id = \"client\"") && config.contains("client_secret = { file"),
        "{config}"
    );
    assert!(config.contains("signing_secret = { file") && !config.contains("app_token"), "{config}");
    assert_eq!(api.store().calls.get("oauth.v2.access"), None);
}

#[test]
fn a_channel_of_webhooks_is_asked_for_what_verifies_them() {
    let api = WhatsAppApi::start();
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let mut person = Person::adds(&home, &["whatsapp", "--set", &format!("api_url={}", api.url)]);
    person.confides("access_token (The", whatsapp_api::TOKEN);
    person.answers("phone_number_id (", whatsapp_api::NUMBER);
    person.confides("app_secret (The", whatsapp_api::SECRET);
    person.confides("verify_token (A", whatsapp_api::VERIFY);
    let (ok, shown) = person.ends();
    assert!(ok && shown.contains("whatsapp main works") && !shown.contains("It may have more"), "{shown}");
    let config = config(&home);
    assert!(config.contains("app_secret = { file") && config.contains("verify_token = { file"), "{config}");
}
