//! Who else of this machine sees what lies in a home, and in whose home a runtime may run.

use crate::agents::drop_file;
use crate::support::{Runtime, binary, is_root, plugin_file, sandboxes};
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o777
}

/// The program, started with this umask.
fn with_umask(folder: &Path, umask: &str) -> PathBuf {
    let script = folder.join("vestibule");
    fs::write(&script, format!("#!/bin/sh\numask {umask}\nexec {} \"$@\"\n", binary().display())).unwrap();
    set_mode(&script, 0o755);
    script
}

/// Everything below a folder but links, which have no mode.
fn below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            below(&entry.path(), found);
        }
        if !kind.is_symlink() {
            found.push(entry.path());
        }
    }
}

#[test]
fn what_a_house_makes_is_its_owners_alone_and_what_an_agent_makes_is_the_agents() {
    for sandbox in sandboxes() {
        let aside = tempfile::tempdir().unwrap();
        let runtime = Runtime::new(&format!("sandbox = \"{sandbox}\"\n"));
        let runtime = runtime.program(&with_umask(aside.path(), "000")).up();
        let home = runtime.home.path();
        drop_file(&runtime, "vestibule-echo-channel");
        runtime.ok(&["plugin", "trust", "vestibule-echo-channel.so"]);
        let command = "sh -c 'touch made; echo hi > $VESTIBULE_REPLY_FILES/reply.txt; umask'";
        runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", command]);
        let (sent, saved) = (aside.path().join("sent.txt"), aside.path().join("saved"));
        fs::write(&sent, "a file").unwrap();
        let [sent, saved] = [&sent, &saved].map(|path| path.to_str().unwrap());
        let said = runtime.ok(&["chat", "--file", sent, "--save", saved, "look"]);
        assert!(said.starts_with("0000\n"), "{sandbox}: the runner has the operator's umask: {said}");
        assert_eq!(mode(&home.join("groups/assistant/made")), 0o666, "{sandbox}");
        assert_eq!(mode(Path::new(saved)), 0o700, "{sandbox}: what was said in private is saved so");
        let mut found = vec![home.to_owned()];
        below(home, &mut found);
        let out = runtime.sessions().remove(0).join("out");
        let agents = |path: &Path| {
            path.parent() == Some(&home.join("groups/assistant")) || path.starts_with(&out) && path != out
        };
        // What this test made itself.
        let tests =
            ["vestibule.toml", "log", "plugins/vestibule-echo-channel.so"].map(|name| home.join(name));
        found.retain(|path| !agents(path) && !tests.contains(path));
        for name in ["vestibule.db-wal", "plugins.lock", "attachments", "control.sock", "cache/plugins"] {
            assert!(found.contains(&home.join(name)), "{sandbox}: {name} is looked at");
        }
        // Root's runners in `bwrap` are another user, whose group reads what they must.
        let shared = is_root() && sandbox == "bwrap";
        let (session, blobs) = (out.parent().unwrap(), home.join("attachments"));
        for path in found {
            let is_shared = shared && (path.starts_with(session) || path.parent() == Some(&blobs));
            let others = if is_shared { 0o027 } else { 0o077 };
            assert_eq!(mode(&path) & others, 0, "{sandbox}: {:o} {}", mode(&path), path.display());
        }
    }
}

#[test]
fn a_home_from_before_is_shut() {
    let mut runtime = Runtime::new("").up();
    assert_eq!(runtime.chat("hello"), "hello");
    runtime.stop();
    let home = runtime.home.path().to_owned();
    let parts = ["", "vestibule.db", "control.token", "sessions", "attachments"].map(|name| home.join(name));
    for part in &parts {
        set_mode(part, 0o755);
    }
    assert_eq!(runtime.chat("again"), "again");
    assert_eq!(parts.each_ref().map(|part| mode(part)), [0o700; 5]);
}

/// What a runtime that should not start says, and its exit code.
fn refused(home: &Path, args: &[&str]) -> String {
    // One that starts all the same runs until it is told to stop.
    let mut command = Command::new("timeout");
    command.arg("20").arg(binary()).args(args).env("VESTIBULE_HOME", home).stdin(Stdio::null());
    let output = command.output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{args:?}: {told}");
    told
}

#[test]
fn a_folder_that_is_no_home_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    set_mode(folder.path(), 0o755);
    for args in [&["up"][..], &["chat", "hi"]] {
        let told = refused(folder.path(), args);
        assert!(told.contains("chmod 700 ") && told.contains("VESTIBULE_HOME"), "{told}");
        assert_eq!((mode(folder.path()), fs::read_dir(folder.path()).unwrap().count()), (0o755, 1));
    }
}

#[test]
fn in_another_users_home_nothing_is_done() {
    let runtime = Runtime::new("sandbox = \"none\"\n");
    let home = runtime.home.path();
    // Only root can give folders away; for everybody else root's own are another user's.
    let (home, owner) = match chown(home, Some(1), None) {
        Ok(()) => (home, fs::metadata(home).unwrap().uid()),
        Err(_) => (Path::new("/usr"), 0),
    };
    assert_ne!(owner, fs::metadata(runtime.home.path().join("vestibule.toml")).unwrap().uid());
    let count = || fs::read_dir(home).unwrap().count();
    let before = count();
    let echo = plugin_file("vestibule-echo-channel");
    for args in [
        &["up"][..],
        &["chat", "hi"],
        &["status"],
        &["agent", "create", "x"],
        &["plugin", "trust", echo.to_str().unwrap()],
        &["plugin", "check", echo.to_str().unwrap()],
    ] {
        let told = refused(home, args);
        let way_out = format!("env VESTIBULE_HOME={} vestibule", home.display());
        assert!(told.contains("sudo -u ") && told.contains(&way_out), "{args:?}: {told}");
    }
    assert_eq!(count(), before);
}

#[test]
fn what_others_put_into_an_open_home_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("vestibule.toml");
    fs::write(&config, "sandbox = \"none\"\n").unwrap();
    set_mode(folder.path(), 0o777);
    if chown(&config, Some(4321), None).is_err() {
        let _ = writeln!(std::io::stderr(), "SKIPPED: only root can give a file away");
        return;
    }
    let echo = plugin_file("vestibule-echo-channel");
    let echo = echo.to_str().unwrap();
    for args in [
        &["chat", "hi"][..],
        &["status"],
        &["channel", "add", "github", "--set", "api_url=http://127.0.0.1:1"],
        &["channel", "check", "github"],
        &["channel", "remove", "github"],
        &["plugin", "check", echo],
        &["plugin", "trust", echo],
    ] {
        let told = refused(folder.path(), args);
        assert!(told.contains("`vestibule.toml` in it belongs to user 4321"), "{args:?}: {told}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{args:?}");
        assert_eq!(fs::metadata(&config).unwrap().uid(), 4321, "{args:?}: it does not become ours");
    }
    fs::remove_file(config).unwrap();
    let mut command = Command::new(binary());
    let said = command.args(["chat", "hi"]).env("VESTIBULE_HOME", folder.path()).output().unwrap();
    assert_eq!((said.stdout, mode(folder.path())), (b"hi\n".to_vec(), 0o700));
}

/// Copies of plugins are opened: nobody else may put another in their place.
#[test]
fn a_folder_for_copies_is_made_where_no_one_else_can_replace_it() {
    let (folder, echo) = (tempfile::tempdir().unwrap(), plugin_file("vestibule-echo-channel"));
    let echo = echo.to_str().unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(binary());
        command.args(args).env("TMPDIR", folder.path()).env("VESTIBULE_HOME", folder.path().join("home"));
        let output = command.stdin(Stdio::null()).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let verbs = [
        &["bench", "plugin", echo, "--calls", "10"][..],
        &["plugin", "conform", echo, "--calls", "10"],
        &["plugin", "check", echo],
    ];
    set_mode(folder.path(), 0o777);
    for args in verbs {
        let told = run(args);
        assert!(
            told.contains("can be changed by other users") && told.contains("TMPDIR"),
            "{args:?}: {told}"
        );
    }
    set_mode(folder.path(), 0o1777);
    for args in verbs {
        assert!(!run(args).contains("TMPDIR"), "{args:?}");
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.path()).collect();
        assert!(left.is_empty(), "{args:?}: {left:?}");
    }
}

/// Moves a folder of a home elsewhere, and leaves a link in its place.
fn move_away(home: &Path, name: &str, elsewhere: &Path) {
    let (here, there) = (home.join(name), elsewhere.join(name));
    if here.exists() {
        fs::rename(&here, &there).unwrap();
    } else {
        fs::create_dir(&there).unwrap();
    }
    symlink(there, here).unwrap();
}

/// On another disk, say.
#[test]
fn a_home_is_reached_by_a_link_and_so_is_what_lies_in_it() {
    for sandbox in sandboxes() {
        let elsewhere = tempfile::tempdir().unwrap();
        let link = elsewhere.path().join("home");
        let mut runtime = Runtime::new(&format!("sandbox = \"{sandbox}\"\n"));
        let home = runtime.home.path().to_owned();
        symlink(&home, &link).unwrap();
        runtime = runtime.env("VESTIBULE_HOME", link.to_str().unwrap()).up();
        assert_eq!(runtime.chat("by the link"), "by the link", "{sandbox}");
        runtime.stop();
        for name in ["sessions", "groups", "attachments", "plugins", "cache"] {
            move_away(&home, name, elsewhere.path());
        }
        set_mode(&elsewhere.path().join("sessions"), 0o755);
        runtime.start();
        let sent = elsewhere.path().join("sent.txt");
        fs::write(&sent, "a file").unwrap();
        let said = runtime.ok(&["chat", "--file", sent.to_str().unwrap(), "by links below"]);
        assert!(said.starts_with("by links below"), "{sandbox}: {said}");
        assert_eq!(mode(&elsewhere.path().join("sessions")), 0o700, "{sandbox}: it is shut as any other");
        // Nor is it another installation's.
        let session = runtime.sessions().remove(0);
        let told = runtime.run(&["session", "adopt", session.to_str().unwrap(), "--agent", "assistant"]);
        let told = String::from_utf8_lossy(&told.stderr).into_owned();
        assert!(told.contains("it lies in this home"), "{sandbox}: {told}");
        runtime.stop();
        let agents = elsewhere.path().join("sessions");
        let agent = fs::read_dir(&agents).unwrap().flatten().next().unwrap().file_name();
        move_away(&agents, agent.to_str().unwrap(), elsewhere.path());
        move_away(&elsewhere.path().join("groups"), "assistant", elsewhere.path());
        runtime.start();
        assert_eq!(runtime.chat("by links below these"), "by links below these", "{sandbox}");
    }
}

#[test]
fn a_home_is_refused_whose_name_is_no_utf8_or_whose_folder_is_another_users() {
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join(std::ffi::OsStr::from_bytes(b"ho\xffme"));
    for args in [&["up"][..], &["chat", "hi"], &["status"]] {
        let told = refused(&odd, args);
        assert!(told.contains("is not written in UTF-8") && told.contains("VESTIBULE_HOME"), "{told}");
    }
    fs::create_dir(&odd).unwrap();
    symlink(&odd, folder.path().join("link")).unwrap();
    let told = refused(&folder.path().join("link"), &["up"]);
    assert!(told.contains("is not written in UTF-8"), "where a link leads: {told}");
    let (home, others) = (folder.path().join("home"), folder.path().join("others"));
    fs::create_dir(&home).unwrap();
    fs::create_dir(&others).unwrap();
    set_mode(&home, 0o700);
    symlink(folder.path().join("unmounted"), home.join("sessions")).unwrap();
    let told = refused(&home, &["chat", "hi"]);
    assert!(told.contains("sessions is a link that leads nowhere"), "{told}");
    fs::remove_file(home.join("sessions")).unwrap();
    let others = if chown(&others, Some(4321), None).is_ok() { others } else { PathBuf::from("/usr") };
    symlink(&others, home.join("sessions")).unwrap();
    let told = refused(&home, &["chat", "hi"]);
    assert!(told.contains("sessions leads to") && told.contains("chown"), "{told}");
}

#[test]
fn a_relative_data_folder_is_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary());
    command.args(["chat", "hi"]).env_remove("VESTIBULE_HOME").env("XDG_DATA_HOME", "data");
    let output = command.env("HOME", folder.path()).current_dir(folder.path()).output().unwrap();
    assert_eq!(output.stdout, b"hi\n", "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!folder.path().join("data").exists());
    assert!(folder.path().join(".local/share/vestibule/vestibule.db").exists());
}

/// An operator puts programs there, and names them with `--command`.
#[test]
fn an_agents_folder_is_there_before_its_first_run() {
    let mut runtime = Runtime::new("").up();
    let folder = |name: &str| runtime.home.path().join("groups").join(name);
    assert!(folder("assistant").is_dir());
    runtime.ok(&["agent", "create", "Big Helper"]);
    assert!(folder("big-helper").is_dir());
    assert_eq!(mode(&folder("big-helper")), 0o700);
    let script = folder("assistant").join("answer.sh");
    fs::write(&script, "echo from the folder").unwrap();
    runtime.ok(&["agent", "update", "assistant", "--command", "sh answer.sh"]);
    assert_eq!(runtime.chat("hello"), "from the folder");
    fs::remove_dir(folder("big-helper")).unwrap();
    runtime.stop();
    runtime.start();
    assert!(runtime.home.path().join("groups/big-helper").is_dir());
}

/// A pipe would make it wait, an endless file would fill its memory, and a device is the machine's.
#[test]
fn what_lies_where_a_file_of_the_home_should_be_holds_nothing_up() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let rights = Mode::from_raw_mode(0o666);
    for (name, then) in [
        ("vestibule.toml", "is no plain file"),
        ("control.token", "is no plain file"),
        ("plugins.lock", "is no plain file"),
        ("vestibule.db", "is no plain file"),
        ("cache", "File exists"),
    ] {
        let runtime = Runtime::new("");
        let at = runtime.home.path().join(name);
        for kind in ["a pipe", "an endless file"] {
            if fs::symlink_metadata(&at).is_ok() {
                fs::remove_file(&at).unwrap();
            }
            let made = match kind {
                "a pipe" => mknodat(CWD, &at, FileType::Fifo, rights, 0),
                // Root could change the machine's own.
                _ if is_root() => {
                    mknodat(CWD, &at, FileType::CharacterDevice, rights, rustix::fs::makedev(1, 5))
                }
                _ => rustix::fs::symlink("/dev/zero", &at),
            };
            made.unwrap();
            let before = fs::metadata(&at).unwrap().mode();
            let mut up = runtime.command(&["up"]);
            let up = up.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            let pid = rustix::process::Pid::from_child(&up);
            let (said, told) = std::sync::mpsc::channel();
            std::thread::spawn(move || drop(said.send(up.wait_with_output())));
            let told = told.recv_timeout(crate::support::PATIENCE).unwrap_or_else(|_| {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                panic!("{name}: {kind} holds it up")
            });
            let told = String::from_utf8(told.unwrap().stderr).unwrap();
            assert!(told.contains(then), "{name}: {kind}: {told}");
            assert_eq!(fs::metadata(&at).unwrap().mode(), before, "{name}: {kind}");
        }
    }
}

/// A user who put it there while the home was open may have it open still.
#[test]
fn a_part_of_the_home_that_is_another_users_is_refused() {
    if !is_root() {
        return;
    }
    for (name, is_folder) in [
        ("sessions", true),
        ("secrets", true),
        ("vestibule.db", false),
        ("control.token", false),
        ("plugins.lock", false),
        ("vestibule.toml", false),
    ] {
        let runtime = Runtime::new("");
        let at = runtime.home.path().join(name);
        if is_folder {
            fs::create_dir(&at).unwrap();
        } else {
            fs::write(&at, "").unwrap();
        }
        chown(&at, Some(4711), None).unwrap();
        let told = refused(runtime.home.path(), &["up"]);
        assert!(told.contains(name) && told.contains("belongs to user 4711"), "{name}: {told}");
    }
}

/// Its owner would have put links there, which lead the writing elsewhere.
#[test]
fn nothing_is_written_into_a_folder_of_another_user() {
    if !is_root() {
        return;
    }
    let (folder, runtime) = (tempfile::tempdir().unwrap(), Runtime::new("").up());
    let (theirs, ours) = (folder.path().join("theirs"), folder.path().join("made-by-the-link"));
    fs::create_dir(&theirs).unwrap();
    set_mode(&theirs, 0o777);
    chown(&theirs, Some(4321), None).unwrap();
    let at = theirs.to_str().unwrap();
    let told = runtime.run(&["backup", at]);
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.contains("cannot hold a backup") && told.contains("another user's"), "{told}");
    symlink(&ours, theirs.join("vestibule.toml")).unwrap();
    let echo = plugin_file("vestibule-echo-channel");
    let told = refused(folder.path(), &["plugin", "dev", echo.to_str().unwrap(), "--home", at]);
    assert!(told.contains("belongs to user 4321"), "{told}");
    assert!(!ours.exists() && fs::read_dir(&theirs).unwrap().count() == 1);
    assert_eq!(mode(&theirs), 0o777);
}
