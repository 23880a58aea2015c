//! `vestibule channel add` with a person at a terminal: what is asked, and in which order.

use crate::github_api::{self, GithubApi};
use crate::slack_api::{APP_TOKEN, BOT_TOKEN, SECRET, SlackApi};
use crate::support::{PATIENCE, binary, until};
use crate::whatsapp_api::{self, WhatsAppApi};
use crate::words::terminal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command};
use std::time::Instant;

const KEY: &str = include_str!("../../fixtures/github/app.pem");

/// A person before a program.
struct Person {
    screen: File,
    /// The program's end of the terminal.
    given: OwnedFd,
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
        command.stdout(given.try_clone().unwrap()).stderr(given.try_clone().unwrap());
        Person { screen, given, program: command.spawn().unwrap(), shown: String::new(), answered: 0 }
    }

    /// Whether more came before the program ended.
    fn reads(&mut self) -> bool {
        let (begin, mut bytes) = (Instant::now(), [0; 4_096]);
        let step = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        loop {
            // Looked for first: what it showed before it ended is there by then.
            let has_ended = self.program.try_wait().unwrap().is_some();
            if poll(&mut [PollFd::new(&self.screen, PollFlags::IN)], Some(&step)).unwrap() > 0 {
                let count = self.screen.read(&mut bytes).unwrap();
                self.shown += &String::from_utf8_lossy(&bytes[..count]);
                return true;
            }
            if has_ended {
                return false;
            }
            assert!(begin.elapsed() < PATIENCE, "nothing more is shown: {}", self.shown);
        }
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

    /// Whether something was typed that no program has read.
    fn has_typed(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(&self.given, PollFlags::IN)], Some(&now)).unwrap() > 0
    }

    /// The rest of what is shown, and whether the program succeeded.
    fn ends(self) -> (bool, String) {
        let (code, shown) = self.ends_with();
        (code == Some(0), shown)
    }

    /// The same with the exit code. Nothing that was typed is left to the shell.
    fn ends_with(mut self) -> (Option<i32>, String) {
        while self.reads() {}
        assert!(!self.has_typed(), "a shell would take what is left: {}", self.shown);
        (self.program.wait().unwrap().code(), self.shown.replace("\r\n", "\n"))
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
    person.confides("Enter leaves all of it out: ", "");
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
    person.confides("Enter leaves all of it out: ", "xoxe-pasted-here");
    person.confides("Enter leaves all of it out: ", "1");
    person.confides("refresh_token (The", "xoxe-first");
    // What belongs to it is asked, too, because the channel says so.
    person.answers("client_id (", "client");
    person.confides("client_secret (The", "very-secret");
    let (ok, shown) = person.ends();
    // A token that is good once is not used up by a try.
    assert!(!ok && shown.contains("cannot be seen while no vestibule runs"), "{shown}");
    assert!(shown.contains("Those are no numbers from 1 to 2.") && !shown.contains("xoxe-pasted"), "{shown}");
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

/// The key of an app has many lines. None is shown, taken for another answer, or left to the shell.
#[test]
fn a_pasted_key_is_one_answer() {
    let api = GithubApi::start();
    api.store().app.installations.insert(1, "acme");
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let url = format!("api_url={}", api.url);
    let mut person = Person::adds(&home, &["github", "--set", &url, "--set", "app_id=12345"]);
    person.confides("webhook_secret (", github_api::SECRET);
    person.confides("token (", "");
    // Some terminals paste each end of a line as a pair.
    person.confides("private_key (", &KEY.replace('\n', "\r\n"));
    let (_, shown) = person.ends();
    let kept = std::fs::read_to_string(home.join("secrets/github.main.private_key")).unwrap();
    assert_eq!(kept.trim(), KEY.trim(), "{shown}");
    assert!(KEY.lines().all(|line| line.is_empty() || !shown.contains(line)), "{shown}");
    assert!(shown.contains("github main works"), "{shown}");
}

/// One of several ways is needed: what was left out is asked again, and nothing is written without it.
#[test]
fn what_is_needed_after_all_is_asked_again() {
    let api = GithubApi::start();
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let mut person = Person::adds(&home, &["github", "--set", &format!("api_url={}", api.url)]);
    person.confides("webhook_secret (", "");
    person.confides("webhook_secret (", github_api::SECRET);
    person.confides("token (", "");
    person.answers("app_id (", "");
    for _ in 0..2 {
        person.confides("private_key (", "");
        person.confides("token (", "");
        person.answers("app_id (", "");
    }
    person.confides("private_key (", "");
    let (code, shown) = person.ends_with();
    assert!(code == Some(1) && shown.contains("Nothing was written"), "{shown}");
    assert!(shown.contains("That does not do: set `token`"), "{shown}");
    assert!(!home.join("vestibule.toml").exists() && !home.join("secrets").exists(), "{shown}");
}

/// What comes with an answer is no other answer, and what a platform refuses is told at once.
#[test]
fn a_refused_token_is_asked_again_and_a_rest_is_thrown_away() {
    let api = SlackApi::start();
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let mut person = Person::adds(&home, &["slack", "--set", &format!("api_url={}", api.url)]);
    // It comes in more pieces than one.
    let rest = "xapp-rest\r\nmore of it".repeat(500);
    person.confides("bot_token (The", &format!("xoxb-wrong\r\n{rest}"));
    person.confides("app_token (The", APP_TOKEN);
    person.confides("bot_token (The", BOT_TOKEN);
    person.confides("Enter leaves all of it out: ", "");
    let (ok, shown) = person.ends();
    assert!(ok && shown.contains("slack main works"), "{shown}");
    assert!(shown.contains("Slack refused the token of the bot (invalid_auth)"), "{shown}");
    assert!(!shown.contains("rest") && !shown.contains("more of it"), "{shown}");
    let kept = |key: &str| std::fs::read_to_string(home.join(format!("secrets/slack.main.{key}"))).unwrap();
    assert_eq!((kept("bot_token").trim(), kept("app_token").trim()), (BOT_TOKEN, APP_TOKEN));
}

/// Whoever gives up finds nothing written, and a terminal as it was.
#[test]
fn giving_up_writes_nothing() {
    let api = SlackApi::start();
    let folder = tempfile::tempdir().unwrap();
    for (name, key, code) in [("c", "\u{3}", 130), ("d", "\u{4}", 1)] {
        let home = folder.path().join(name);
        let mut person = Person::adds(&home, &["slack", "--set", &format!("api_url={}", api.url)]);
        person.confides("bot_token (The", BOT_TOKEN);
        person.confides("app_token (The", key);
        let (ended, shown) = person.ends_with();
        assert_eq!(ended, Some(code), "{shown}");
        assert!(code == 130 || shown.contains("Nothing was written"), "{shown}");
        assert!(!home.join("vestibule.toml").exists() && !home.join("secrets").exists(), "{shown}");
    }
}

/// The config is broken while the questions are open: the secrets that were typed do not stay behind.
#[test]
fn secrets_go_again_when_the_config_cannot_be_written() {
    let api = SlackApi::start();
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let mut person = Person::adds(&home, &["slack", "--set", &format!("api_url={}", api.url)]);
    person.confides("bot_token (The", BOT_TOKEN);
    person.confides("app_token (The", APP_TOKEN);
    std::fs::write(home.join("vestibule.toml"), "half = \"").unwrap();
    person.confides("Enter leaves all of it out: ", "");
    let (code, shown) = person.ends_with();
    assert!(code == Some(1) && shown.contains("vestibule.toml: "), "{shown}");
    assert_eq!(std::fs::read_dir(home.join("secrets")).unwrap().count(), 0, "{shown}");
}

/// A platform hangs: the person is told what is waited for, and what they type meanwhile is neither shown nor left over.
#[test]
fn what_is_typed_while_a_platform_is_asked_is_not_shown() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let url = format!("api_url=http://{}", silent.local_addr().unwrap());
    let mut person = Person::adds(&home, &["slack", "--set", &url]);
    person.confides("bot_token (The", BOT_TOKEN);
    person.confides("app_token (The", APP_TOKEN);
    person.answers("Waiting for the answer of slack", "xapp-ahead");
    until("it lies before the program", || person.has_typed().then_some(()));
    drop(silent);
    person.confides("Enter leaves all of it out: ", "");
    let (code, shown) = person.ends_with();
    assert!(code == Some(1) && !shown.contains("xapp-ahead"), "{shown}");
    // That is no fault of the config.
    assert!(shown.contains("Try it later with") && !shown.contains("Mend it"), "{shown}");
}
