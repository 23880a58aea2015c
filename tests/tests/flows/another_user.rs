//! A runtime that root started: its runners are another user in `bwrap`, and no other user's files change hands.

use crate::support::{Runtime, is_root, sandboxes, until};
use std::os::unix::fs::{MetadataExt, symlink};

fn can_try() -> bool {
    is_root() && sandboxes().contains(&"bwrap")
}

/// Starts the runtime anew with another sandbox.
fn with_sandbox(runtime: &mut Runtime, sandbox: &str) {
    runtime.stop();
    let config = format!("listen = \"127.0.0.1:0\"\nsandbox = \"{sandbox}\"\nsandbox_user = \"61235\"\n");
    std::fs::write(runtime.home.path().join("vestibule.toml"), config).unwrap();
    runtime.start();
}

#[test]
fn what_an_agent_may_write_changes_hands_with_the_sandbox_and_nothing_else_does() {
    if !can_try() {
        return;
    }
    let mut runtime = Runtime::new("sandbox = \"process\"\n").up();
    let write = "sh -c 'mkdir -p a/b $TMPDIR/../kept; for at in a/b/c d $TMPDIR/../kept/e; do echo x >>$at; done; wc -l <d; id -u'";
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", write]);
    assert_eq!(runtime.chat("go"), "1\n0");
    let folder = runtime.home.path().join("groups/assistant");
    let elsewhere = tempfile::tempdir_in(runtime.home.path()).unwrap();
    let treasure = elsewhere.path().join("treasure");
    std::fs::write(&treasure, "x").unwrap();
    std::fs::hard_link(&treasure, folder.join("a/twin")).unwrap();
    symlink(elsewhere.path(), folder.join("a/link")).unwrap();
    let out = runtime.sessions().remove(0).join("out");
    let owners = || {
        let of = [
            folder.join("a/b/c"),
            folder.join("a"),
            out.join("kept/e"),
            out.join("outbound.db"),
            out.clone(),
        ];
        of.map(|path| std::fs::metadata(path).unwrap().uid())
    };
    assert_eq!(owners(), [0; 5]);
    for (sandbox, said, owner) in
        [("bwrap", "2\n61235", 61_235), ("process", "3\n0", 0), ("bwrap", "4\n61235", 61_235)]
    {
        with_sandbox(&mut runtime, sandbox);
        assert_eq!(runtime.chat("go"), said, "{sandbox}");
        assert_eq!(owners(), [owner; 5], "{sandbox}");
        assert_eq!(std::fs::symlink_metadata(folder.join("a/link")).unwrap().uid(), owner, "{sandbox}");
        for kept in [treasure.as_path(), elsewhere.path(), &folder.join("a/twin"), runtime.home.path()] {
            assert_eq!(std::fs::metadata(kept).unwrap().uid(), 0, "{sandbox}: {}", kept.display());
        }
    }
}

#[test]
fn the_files_of_a_message_reach_a_runner_of_another_user_and_no_stranger() {
    if !can_try() {
        return;
    }
    let runtime = Runtime::new("sandbox = \"bwrap\"\nsandbox_user = \"61235\"\n").up();
    let command = "sh -c 'cat /workspace/inbox/*/*; echo made >$VESTIBULE_REPLY_FILES/made; id -u'";
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", command]);
    let given = tempfile::tempdir().unwrap();
    for (name, want) in [("one", "one61235\n"), ("two", "onetwo61235\n")] {
        let file = given.path().join(name);
        std::fs::write(&file, name).unwrap();
        let saved = given.path().join(format!("saved-{name}"));
        let (file, saved_in) = (file.to_str().unwrap(), saved.to_str().unwrap());
        // The second comes while the runner of the first still runs.
        let said = runtime.ok(&["chat", "look", "--file", file, "--save", saved_in, "--timeout", "20"]);
        assert!(said.starts_with(want), "{said:?}");
        until("its answer's file is there", || std::fs::read(saved.join("made")).ok());
    }
    let log = runtime.log();
    assert_eq!(log.matches("runner started").count(), 1, "{log}");
    let session = runtime.sessions().remove(0);
    for path in [session.clone(), session.join("inbound.db"), session.join("inbox"), session.join("run.json")]
    {
        let found = std::fs::metadata(&path).unwrap();
        let is = (found.uid(), found.gid(), found.mode() & 0o007, found.mode() & 0o020);
        assert_eq!(is, (0, 61_235, 0, 0), "{}", path.display());
    }
}
