//! The author's kit: `vestibule plugin conform` on real files, good ones and bad ones.

use crate::bot_api::{BotApi, TOKEN};
use crate::github_api::{self, GithubApi};
use crate::slack_api::{APP_TOKEN, BOT_TOKEN, SECRET, SlackApi};
use crate::support::{Runtime, binary, free_port, plugin_file};
use crate::whatsapp_api::{self, WhatsAppApi};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

/// The report on a file.
pub struct Report(Value);

pub fn conform(krate: &str, args: &[&str]) -> Report {
    let output = Command::new(binary())
        .args(["plugin", "conform", plugin_file(krate).to_str().unwrap(), "--json"])
        .args(args)
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("no report: {}", String::from_utf8_lossy(&output.stderr)));
    let failed = report["failed"].as_u64().unwrap();
    assert_eq!(output.status.code(), Some(i32::from(failed > 0)), "{report:#}");
    Report(report)
}

impl Report {
    pub fn of(&self, outcome: &str) -> Vec<String> {
        let checks = self.0["checks"].as_array().unwrap().iter();
        let of = checks.filter(|check| check["outcome"] == outcome);
        of.map(|check| check["check"].as_str().unwrap().to_owned()).collect()
    }

    pub fn words(&self, name: &str) -> &str {
        let mut checks = self.0["checks"].as_array().unwrap().iter();
        checks.find(|check| check["check"] == name).unwrap()["words"].as_str().unwrap()
    }

    /// Nothing failed, and nothing was skipped but these.
    pub fn is_good(&self, skipped: &[&str]) {
        assert_eq!(self.of("failed"), [""; 0], "{:#}", self.0);
        assert_eq!(self.of("skipped"), skipped, "{:#}", self.0);
    }
}

/// What is built in, and the test that examines its file in both tiers.
const EXAMINED: [(&str, fn()); 6] = [
    ("agent-to-agent", agent_to_agent_conforms_in_both_tiers),
    ("github", github_conforms_in_both_tiers),
    ("slack", slack_conforms_in_both_tiers),
    ("telegram", telegram_conforms_in_both_tiers),
    ("terminal", terminal_conforms_in_both_tiers),
    ("whatsapp", whatsapp_conforms_in_both_tiers),
];

/// The checks that conform skips for each channel that is built in, for it does not claim what they examine: in both tiers.
const SKIPPED: [(&str, &[&str]); 5] = [
    ("github", &["questions", "working"]),
    ("slack", &[]),
    ("telegram", &["find"]),
    ("terminal", &["questions", "changes", "working", "find", "webhook"]),
    ("whatsapp", &["find"]),
];

pub fn skipped(channel: &str) -> &'static [&'static str] {
    SKIPPED
        .iter()
        .find(|(name, _)| *name == channel)
        .unwrap_or_else(|| panic!("{channel} is not in SKIPPED"))
        .1
}

#[test]
fn nothing_is_built_in_that_is_not_examined() {
    let list = Runtime::new("").up().json(&["plugin", "list"]);
    let plugins = list.as_array().unwrap().iter();
    let built_in = plugins.filter(|plugin| plugin["origin"] == "built in");
    let mut names: Vec<&str> = built_in.map(|plugin| plugin["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, EXAMINED.map(|(name, _)| name), "write its test, and name it in EXAMINED");
}

#[test]
fn agent_to_agent_conforms_in_both_tiers() {
    for (tier, skipped) in
        [("process", &["secrets"][..]), ("in-process", &["start after a crash", "secrets"])]
    {
        let report =
            conform("vestibule-agent-to-agent", &["--tier", tier, "--set", "hops_max=3", "--calls", "400"]);
        report.is_good(skipped);
        assert_eq!(report.words("text"), "forward: post, refuse and note");
        assert_eq!(report.0["plugin"]["stations"], json!(["forward"]));
    }
}

#[test]
fn telegram_conforms_in_both_tiers() {
    for (tier, more) in [("process", &[][..]), ("in-process", &["start after a crash"][..])] {
        let api = BotApi::start();
        let (root, token) = (format!("api_root={}", api.url), format!("token={TOKEN}"));
        let args =
            ["--tier", tier, "--set", &root, "--set", &token, "--chat", "telegram:7", "--calls", "160"];
        let report = conform("vestibule-telegram", &args);
        report.is_good(&[skipped("telegram"), more].concat());
        assert_eq!(report.words("text"), "done", "the message was sent");
        assert_eq!(report.words("secrets"), "none of 1 stands in a log line or an error");
        assert!(api.texts().iter().any(|text| text == "Hello from vestibule plugin conform."));
    }
}

#[test]
fn github_conforms_in_both_tiers() {
    for (tier, more) in [("process", &[][..]), ("in-process", &["start after a crash"][..])] {
        let api = GithubApi::start();
        let url = format!("api_url={}", api.url);
        let token = format!("token={}", github_api::TOKEN);
        let report = conform(
            "vestibule-github",
            &[
                "--tier",
                tier,
                "--set",
                &url,
                "--set",
                &token,
                "--set",
                "webhook_secret=whs_conform_1",
                "--chat",
                github_api::CHAT,
                "--thread",
                "github:Codertocat/Hello-World:issue:1",
                "--calls",
                "160",
            ],
        );
        report.is_good(&[skipped("github"), more].concat());
        assert_eq!(report.words("text"), "done", "the comment was posted");
        assert_eq!(report.words("find"), "it finds what was sent, and not what was never sent");
        assert_eq!(report.words("secrets"), "none of 2 stands in a log line or an error");
        let said = "Hello from `vestibule plugin conform`.";
        assert!(api.comments(1).iter().any(|comment| comment.body.starts_with(said)));
    }
}

#[test]
fn slack_conforms_in_both_tiers() {
    for (tier, more) in [("process", &[][..]), ("in-process", &["start after a crash"][..])] {
        let api = SlackApi::start();
        let secrets = [("bot_token", BOT_TOKEN), ("app_token", APP_TOKEN), ("signing_secret", SECRET)];
        let mut sets: Vec<String> = secrets.iter().map(|(key, value)| format!("{key}={value}")).collect();
        sets.push(format!("api_url={}", api.url));
        let mut args = vec!["--tier", tier, "--chat", "slack:C012", "--calls", "160"];
        args.extend(sets.iter().flat_map(|set| ["--set", set.as_str()]));
        let report = conform("vestibule-slack", &args);
        report.is_good(&[skipped("slack"), more].concat());
        assert_eq!(report.words("text"), "done", "the message was posted");
        assert_eq!(report.words("find"), "it finds what was sent, and not what was never sent");
        assert_eq!(report.words("secrets"), "none of 3 stands in a log line or an error");
        let said = "Hello from `vestibule plugin conform`.";
        assert!(api.texts().iter().any(|text| text == said), "{:?}", api.texts());
        assert!(api.store().opened > 0, "it opened a connection");
    }
}

#[test]
fn whatsapp_conforms_in_both_tiers() {
    for (tier, more) in [("process", &[][..]), ("in-process", &["start after a crash"][..])] {
        let api = WhatsAppApi::start();
        let keys = [
            ("access_token", whatsapp_api::TOKEN),
            ("app_secret", whatsapp_api::SECRET),
            ("verify_token", whatsapp_api::VERIFY),
            ("phone_number_id", whatsapp_api::NUMBER),
            ("api_url", &api.url),
        ];
        // In quotes: what looks like a number is read as one.
        let sets: Vec<String> = keys.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
        let mut args = vec!["--tier", tier, "--chat", whatsapp_api::CHAT, "--calls", "160"];
        args.extend(sets.iter().flat_map(|set| ["--set", set.as_str()]));
        let report = conform("vestibule-whatsapp", &args);
        report.is_good(&[skipped("whatsapp"), more].concat());
        assert_eq!(report.words("text"), "done", "the message was sent");
        assert_eq!(report.words("secrets"), "none of 3 stands in a log line or an error");
        let said = "Hello from `vestibule plugin conform`.";
        assert!(api.texts().iter().any(|text| text == said), "{:?}", api.texts());
    }
}

#[test]
fn terminal_conforms_in_both_tiers() {
    let folder = tempfile::tempdir().unwrap();
    let socket = format!("socket={}", folder.path().join("terminal.sock").display());
    let run =
        |tier: &str| conform("vestibule-terminal", &["--tier", tier, "--set", &socket, "--set", "token=t"]);
    let over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| sit_at(&folder.path().join("terminal.sock"), &over));
        let _over = Over(&over);
        run("in-process").is_good(&[skipped("terminal"), &["start after a crash", "secrets"]].concat());
        // A process of its own may open no local socket: it is handed one.
        run("process").is_good(&[skipped("terminal"), &["secrets"]].concat());
    });
}

/// Says so when it goes, also when a check has failed.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A person at an interactive terminal, who comes back whenever it hangs up.
fn sit_at(socket: &Path, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        if let Ok(mut terminal) = UnixStream::connect(socket) {
            let _ = terminal.write_all(b"{\"token\":\"t\",\"interactive\":true}\n");
            let _ = std::io::copy(&mut terminal, &mut std::io::sink());
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// The command line of somebody who calls the example, says hello and listens, again and again.
fn caller(at: std::net::SocketAddr) -> String {
    let call = format!("exec 3<>/dev/tcp/{}/{} && echo hello >&3 && cat <&3 >/dev/null", at.ip(), at.port());
    format!("bash -c 'while :; do ({call}) 2>/dev/null; sleep 0.05; done'")
}

#[test]
fn the_example_conforms_in_both_tiers() {
    let free = free_port();
    let listen = format!("listen={free}");
    let skipped = ["questions", "changes", "working", "find", "webhook", "secrets"];
    let args = ["--set", &listen, "--peer", &caller(free)];
    let report = conform("vestibule-echo-channel", &args);
    report.is_good(&skipped);
    // Also after its process was killed, it goes to who called anew.
    for check in ["text", "files", "many in flight", "restart"] {
        assert!(report.words(check).contains("done"), "{check}: {}", report.words(check));
    }
    let in_process = ["questions", "changes", "working", "find", "webhook", "start after a crash", "secrets"];
    let args = [&args[..], &["--tier", "in-process"]].concat();
    conform("vestibule-echo-channel", &args).is_good(&in_process);
}

#[test]
fn what_a_channel_says_of_webhooks_is_examined() {
    let args = ["--set", "webhook_secret=whsec_YWJj", "--only", "webhook", "--only", "listeners"];
    let report = conform("vestibule-hook-channel", &args);
    report.is_good(&[]);
    assert!(report.words("listeners").contains("is the same one on the platform"), "{:#}", report.0);
}

#[test]
fn a_channel_that_delivered_nothing_is_not_ok() {
    let listen = format!("listen={}", free_port());
    let args = ["--set", &listen, "--calls", "8"];
    let report = conform("vestibule-echo-channel", &args);
    assert_eq!(report.of("failed"), ["delivery"]);
    assert!(report.words("delivery").contains("--peer"), "{}", report.words("delivery"));
    let absent = conform("vestibule-echo-channel", &[&args[..], &["--peer", "true"]].concat());
    assert_eq!(absent.of("failed"), ["peer", "delivery"]);
    assert!(
        absent.words("peer").starts_with("the peer has ended (exit status: 0)"),
        "{}",
        absent.words("peer")
    );
    conform("vestibule-echo-channel", &[&args[..], &["--skip", "delivery"]].concat()).is_good(&[
        "questions",
        "changes",
        "working",
        "find",
        "webhook",
        "secrets",
    ]);
}

#[test]
fn what_is_not_chosen_is_not_made() {
    let names = |report: &Report| {
        let checks = report.0["checks"].as_array().unwrap().iter();
        checks.map(|check| check["check"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let only = ["--only", "text", "--only", "restart"];
    let chosen = conform("vestibule-faulty", &only);
    assert_eq!(names(&chosen), ["text", "restart"]);
    assert_eq!((chosen.words("text"), chosen.of("failed")), ("done", vec![]));
    let all = conform("vestibule-faulty", &["--calls", "8", "--peer", "true"]);
    let rest =
        conform("vestibule-faulty", &["--calls", "8", "--skip", "peer", "--skip", "end", "--peer", "true"]);
    assert_eq!(names(&all).len(), names(&rest).len() + 2);

    let unknown = Command::new(binary())
        .args(["plugin", "conform", plugin_file("vestibule-faulty").to_str().unwrap(), "--only", "texts"])
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&unknown.stderr).into_owned();
    let (before, known) = words.trim_end().split_once("; there are: ").expect(&words);
    assert!(before.ends_with("there is no check `texts`") && !unknown.status.success(), "{words}");
    let of_module = conform("vestibule-sieve-module", &["--set", "forbidden=[\"hello\"]", "--calls", "8"]);
    let set = |report: &Report| names(report).into_iter().collect::<BTreeSet<String>>();
    // What only a channel with the capability is asked.
    let mut of_channel = set(&all);
    of_channel.extend(["listeners", "asks"].map(str::to_owned));
    assert_eq!(
        named_on("write-a-channel.md"),
        of_channel,
        "the page names the checks as `--only` takes them"
    );
    assert_eq!(named_on("write-a-module.md"), set(&of_module));
    let made: BTreeSet<String> = of_channel.into_iter().chain(names(&of_module)).collect();
    assert_eq!(known.split(", ").map(str::to_owned).collect::<BTreeSet<_>>(), made);
}

/// The names of the checks in a page's table.
fn named_on(page: &str) -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = std::fs::read_to_string(root.join("docs").join(page)).unwrap();
    let (_, table) = text.split_once("| Check | It fails when |\n|---|---|\n").unwrap();
    let rows = table.lines().map_while(|line| line.strip_prefix("| ")?.split(" | ").next());
    rows.flat_map(|names| names.split(", ")).map(str::to_owned).collect()
}

#[test]
fn what_a_chosen_check_needs_is_reported_when_it_fails() {
    for (args, failed, skipped) in [
        (&["--only", "text", "--set", "at_start=panic"][..], &["start"][..], &["text"][..]),
        (&["--only", "manifest", "--set", "at_start=panic"], &[], &[]),
        (&["--only", "text", "--peer", "true"], &["peer"], &[]),
        (&["--only", "text", "--skip", "peer", "--peer", "true"], &[], &[]),
    ] {
        let report = conform("vestibule-faulty", args);
        assert_eq!((report.of("failed"), report.of("skipped")), (owned(failed), owned(skipped)), "{args:?}");
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn what_is_under_way_is_shown_before_it_is_over() {
    let mut conform = Command::new(binary())
        .args(["plugin", "conform", plugin_file("vestibule-faulty").to_str().unwrap()])
        .args(["--set", "at_stop=never", "--calls", "8"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = conform.stdout.take().unwrap();
    let (mut shown, mut piece) = (String::new(), [0; 4096]);
    while !shown.contains("stop while busy") {
        let read = out.read(&mut piece).unwrap();
        assert!(read > 0, "{shown}");
        shown += std::str::from_utf8(&piece[..read]).unwrap();
    }
    // It takes 5 s, which is told afterwards.
    assert!(shown.trim_end().ends_with("stop while busy"), "{shown}");
    assert!(conform.try_wait().unwrap().is_none());
    out.read_to_string(&mut shown).unwrap();
    let line = shown.lines().find(|line| line.starts_with("stop while busy")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!((words[3], words[5]), ("FAILED", "s"), "{line}");
    assert!(words[4].parse::<f64>().unwrap() >= 5.0, "{line}");
    assert!(!conform.wait().unwrap().success());
}

#[test]
fn a_bug_fails_the_check_that_is_there_for_it() {
    conform("vestibule-faulty", &["--calls", "40"]).is_good(&[
        "files",
        "questions",
        "changes",
        "working",
        "find",
        "webhook",
        "secrets",
    ]);
    // the fault, the first check that fails, what it says
    let table = [
        ("at_start=panic", "start", "it panicked: told to"),
        ("at_deliver=panic", "text", "it panicked: told to"),
        ("at_deliver=segv", "text", "it crashed (SIGSEGV"),
        ("at_deliver=keep", "memory and descriptors", "it keeps something"),
        ("at_deliver=keep-file", "memory and descriptors", "it does not close them"),
        ("at_stop=panic", "stop while busy", "it panicked: told to"),
        ("at_stop=never", "stop while busy", "it did not answer within 5 s"),
    ];
    let examine = |(fault, check, words): (&str, &str, &str)| {
        let report = conform("vestibule-faulty", &["--set", fault, "--deadline", "1", "--calls", "120"]);
        assert_eq!(report.of("failed").first().map(String::as_str), Some(check), "{fault}: {:#}", report.0);
        assert!(report.words(check).contains(words), "{fault}: {}", report.words(check));
        // However bad it is, the examination goes on to its end.
        assert_eq!(report.0["checks"].as_array().unwrap().len(), 36, "{fault}: {:#}", report.0);
    };
    std::thread::scope(|threads| {
        for row in table {
            threads.spawn(move || examine(row));
        }
    });
}

/// The plugin refuses the large file unless all its bytes reach its author's code.
#[test]
fn the_benchmark_hands_a_whole_file_over_in_both_tiers() {
    let file = plugin_file("vestibule-faulty");
    let words = ["bench", "plugin", file.to_str().unwrap(), "--calls", "64", "--json"];
    let output = Command::new(binary()).args(words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    let tiers = ["direct call", "in-process", "process"];
    assert_eq!(rows.as_array().unwrap().len(), tiers.len(), "{rows:#}");
    for (tier, row) in tiers.into_iter().zip(rows.as_array().unwrap()) {
        assert_eq!(row["tier"], tier);
        assert!(row["attachment_50_mib_us"].as_f64().unwrap() > 0.0, "{row:#}");
    }
}

#[test]
fn the_example_module_conforms_in_both_tiers() {
    let args = ["--set", "forbidden=[\"hello\"]", "--calls", "400"];
    let report = conform("vestibule-sieve-module", &args);
    report.is_good(&["secrets"]);
    assert_eq!(report.words("text"), "screen: refuse; review: allow");
    let report = conform("vestibule-sieve-module", &[&args[..], &["--tier", "in-process"]].concat());
    report.is_good(&["start after a crash", "secrets"]);
}

#[test]
fn a_modules_bug_fails_the_check_that_is_there_for_it() {
    conform("vestibule-flawed", &["--calls", "40"]).is_good(&["secrets"]);
    let report = conform("vestibule-guard", &["--calls", "40"]);
    assert_eq!(report.of("failed")[..2], ["manifest", "text"], "{:#}", report.0);
    assert!(report.words("text").contains("forward: its answer is wrong: more than one"), "{:#}", report.0);
    assert!(report.words("text").contains("action: its answer is wrong: "), "{:#}", report.0);
    // the fault, the first check that fails, what it says
    let table = [
        ("panic at the start", "start", "it panicked: told to"),
        ("panic", "text", "screen: it panicked: told to"),
        ("abort", "text", "SIGABRT"),
        ("never", "text", "it did not answer within 1 s"),
        ("deaf", "text", "write `async fn screen`"),
        ("no reason", "text", "it refuses without a reason"),
        ("no word", "text", "its answer is wrong: this runtime does not know"),
        ("counts", "same question again", "`allow` and then `refuse`"),
        ("slices", "long text", "it panicked: "),
        ("adds", "long text", "the limit is 1048576"),
        ("first file", "files", "it panicked: index out of bounds"),
        ("unlisted", "other hooks", "add \"forward\" to its hooks"),
        ("keeps", "memory and descriptors", "it keeps something"),
        ("keeps files", "memory and descriptors", "it does not close them"),
        ("panic at the stop", "stop while busy", "it panicked: told to"),
        ("talks", "what it said", "it answers with effects"),
    ];
    let examine = |(fault, check, words): (&str, &str, &str)| {
        // On a busy machine a second is short, and only this one is meant to miss it.
        let deadline = if fault == "never" { "1" } else { "20" };
        let fault = format!("fault={fault}");
        let report =
            conform("vestibule-flawed", &["--set", &fault, "--deadline", deadline, "--calls", "120"]);
        assert_eq!(report.of("failed").first().map(String::as_str), Some(check), "{fault}: {:#}", report.0);
        assert!(report.words(check).contains(words), "{fault}: {}", report.words(check));
        assert_eq!(report.0["checks"].as_array().unwrap().len(), 29, "{fault}: {:#}", report.0);
    };
    std::thread::scope(|threads| {
        for row in table {
            threads.spawn(move || examine(row));
        }
    });
}

#[test]
fn a_file_that_cannot_be_loaded_is_one_failed_check() {
    let file = tempfile::Builder::new().suffix(".so").tempfile().unwrap();
    std::fs::write(file.path(), "not a library").unwrap();
    let output = Command::new(binary()).args(["plugin", "conform"]).arg(file.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text.contains("FAILED     0.00 s  it is not a shared library") && text.contains("0 ok, 1 failed"),
        "{text}"
    );
}
