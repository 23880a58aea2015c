//! Both sides of a session from two mount namespaces, and what remains when a keeper or the runtime is
//! ended in the middle.

use crate::support::{Runtime, Terminal, binary, keeper_of, programs, sandboxes, signal, until, users};

#[test]
fn the_files_work_across_mounts_while_both_sides_write() {
    for sandbox in sandboxes() {
        let runtime = Runtime::new(&format!("sandbox = \"{sandbox}\"\n")).up();
        let mut client = Terminal::connect(&runtime, false);
        // More is written while the runner reads and answers.
        for number in 0..200 {
            client.write(&serde_json::json!({ "text": format!("message {number}") }));
        }
        let (mut taken, mut replies) = (0, Vec::new());
        while taken < 200 || replies.len() < 200 {
            let line = client.read();
            match line["text"].as_str() {
                Some(text) => replies.extend(text.lines().map(str::to_owned)),
                None => taken += usize::from(line["taken"].is_string()),
            }
        }
        let want: Vec<String> = (0..200).map(|number| format!("message {number}")).collect();
        assert_eq!(replies, want, "{sandbox}");
        let log = runtime.log();
        assert_eq!(log.matches("runner started").count(), 1, "{sandbox}: one runner answered all\n{log}");
    }
}

#[test]
fn in_bwrap_a_runner_finds_its_files_where_nanoclaw_has_them() {
    if !sandboxes().contains(&"bwrap") {
        return;
    }
    let runtime = Runtime::new("sandbox = \"bwrap\"\n").up();
    let look = "sh -c 'pwd; echo $HOME $TMPDIR; cd /workspace; ls -d inbound.db out outbound.db agent inbox; touch \
                out/x agent/x /tmp/x; ls $TMPDIR; touch y 2>/dev/null || echo read-only; ls /home /root 2>/dev/null || \
                echo gone'";
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", look]);
    let want = "/workspace/agent\n/workspace/agent /workspace/out/tmp\nagent\ninbound.db\ninbox\nout\noutbound.db\n\
                x\nread-only\ngone";
    assert_eq!(runtime.chat("look"), want);
    let session = runtime.sessions().remove(0);
    assert!(session.join("out/x").exists());
    assert!(runtime.home.path().join("groups/assistant/x").exists());
}

#[test]
fn in_bwrap_there_is_a_small_folder_in_memory_and_tmp_beside_what_is_granted_below_it() {
    if !sandboxes().contains(&"bwrap") {
        return;
    }
    let granted = tempfile::Builder::new().prefix("vst-granted-").tempdir_in("/tmp").unwrap();
    std::fs::write(granted.path().join("note"), "granted").unwrap();
    let config = format!("sandbox = \"bwrap\"\nsandbox_read = [\"{}\"]\n", granted.path().display());
    let runtime = Runtime::new(&config).up();
    let look = format!(
        "sh -c 'cat {0}/note; echo; cd /tmp && echo x >made && cat made; echo x 2>/dev/null >{0}/new || echo read-only; \
         ls $TMPDIR; for at in /tmp /dev/shm; do head -c 80000000 /dev/zero 2>/dev/null >$at/full || wc -c <$at/full; done'",
        granted.path().display()
    );
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", &look]);
    let lines = runtime.chat("look");
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines[..3], ["granted", "x", "read-only"], "{lines:?}");
    for size in &lines[3..] {
        assert!((60 << 20..=64 << 20).contains(&size.parse::<u64>().unwrap()), "{lines:?}");
    }
    assert_eq!(lines.len(), 5, "{lines:?}");
}

#[test]
fn what_a_killed_keeper_leaves_behind_is_ended() {
    for sandbox in [sandboxes(), vec!["none"]].concat() {
        let runtime = Runtime::new(&format!("sandbox = \"{sandbox}\"\n")).up();
        let sleep = format!("sleep 601.{}", runtime.pid());
        let command = format!("sh -c 'setsid {sleep} & exec {sleep}'");
        runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", &command]);
        Terminal::connect(&runtime, false).say("sleep");
        until("both programs sleep", || (programs(&sleep).len() == 2).then_some(()));
        signal("KILL", &keeper_of(&runtime.pid().to_string()));
        until(&format!("{sandbox}: nothing is left"), || programs(&sleep).is_empty().then_some(()));
    }
}

#[test]
fn a_reader_that_hangs_when_the_house_is_killed_does_not_hold_its_session() {
    for sandbox in sandboxes() {
        let mut runtime = Runtime::new(&format!("sandbox = \"{sandbox}\"\n")).up();
        assert_eq!(runtime.chat("hello"), "hello");
        let warden = keeper_of(&runtime.pid().to_string());
        let reader = keeper_of(&warden);
        signal("STOP", &reader);
        runtime.kill();
        let gone = |pid: &str| std::fs::read_link(format!("/proc/{pid}/exe")).is_err();
        until("both halves of the keeper are gone", || (gone(&warden) && gone(&reader)).then_some(()));
        runtime.start();
        assert_eq!(runtime.chat("back"), "back");
    }
}

#[test]
fn a_released_session_can_enter_its_folder_again() {
    // The sandbox `process` refuses the attempt, and the reader of a runtime of root can enter all the same.
    can_enter_again(Runtime::new("sandbox = \"none\"\n").up());
    if sandboxes().contains(&"bwrap") {
        let user = users().pop().flatten();
        can_enter_again(Runtime::new("sandbox = \"bwrap\"\n").of_user(user).up());
    }
}

fn can_enter_again(runtime: Runtime) {
    let lock = "sh -c 'chmod 000 \"$TMPDIR/..\"; sleep 5'";
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", lock]);
    Terminal::connect(&runtime, false).say("lock");
    until("it is quarantined", || {
        (runtime.json(&["session", "list"])[0]["state"] == "quarantined").then_some(())
    });
    let out = runtime.sessions().remove(0).join("out");
    let mode = || {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(&out).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode(), 0);
    runtime.ok(&["agent", "update", "assistant", "--command", "echo better"]);
    let id = runtime.json(&["session", "list"])[0]["id"].as_str().unwrap().to_owned();
    runtime.ok(&["session", "release", &id]);
    let better = "SELECT COUNT(*) FROM deliveries WHERE json_extract(content, '$.text') = 'better'";
    until("it answers", || (runtime.query::<i64>(better)[0] >= 1).then_some(()));
    assert_eq!(mode(), 0o700);
}

#[test]
fn a_machine_without_bubblewrap_says_so() {
    let status = |config: &str| {
        let runtime = Runtime::new(config).env("PATH", "/nowhere").up();
        runtime.json(&["status"])["sandbox"].as_str().unwrap().to_owned()
    };
    let chosen = status("");
    assert!(chosen.starts_with("process") && chosen.ends_with("bubblewrap is not installed"), "{chosen}");
    let refused = status("sandbox = \"bwrap\"\n");
    assert!(refused.starts_with("sandbox = \"bwrap\" does not work here: bubblewrap is not"), "{refused}");
}

/// The kernel's own word on its Landlock, and a real attempt to signal out of the sandbox.
#[test]
fn what_the_kernel_keeps_inside_is_tried() {
    // SAFETY: asked for its version, it reads nothing.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0, 0, 1) };
    let output = std::process::Command::new(binary()).args(["keeper", "--probe"]).output().unwrap();
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found, serde_json::json!({ "landlock": version, "keeps_signals": version >= 6 }));
}
