//! Every refusal of the loader, with a real file for each: `docs/abi.md` has the table.

use crate::support::{Runtime, plugin_file, until};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn odd() -> Vec<u8> {
    fs::read(plugin_file("vestibule-odd")).unwrap()
}

/// The bytes with one text in them replaced by one of the same length.
fn patched(mut bytes: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let places: Vec<usize> = bytes
        .windows(from.len())
        .enumerate()
        .filter(|(_, w)| *w == from.as_bytes())
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty(), "`{from}` is not in the file");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}

/// The odd plugin, told how to fail.
fn failing(how: char) -> Vec<u8> {
    patched(odd(), "ODD-MODE:.", &format!("ODD-MODE:{how}"))
}

/// A library that C made.
fn built(folder: &Path, name: &str, source: &str, args: &[&str]) -> PathBuf {
    let (from, to) = (folder.join(format!("{name}.c")), folder.join(format!("lib{name}.so")));
    fs::write(&from, source).unwrap();
    let cc =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&to).arg(&from).args(args).output().unwrap();
    assert!(cc.status.success(), "{}", String::from_utf8_lossy(&cc.stderr));
    to
}

/// The source of a note with the manifest of a plugin of this name.
fn note(name: &str) -> String {
    let manifest = format!(
        "{{\"name\":\"{name}\",\"version\":\"1\",\"kind\":\"channel\",\"abi\":1,\"api\":\"0.1\",\"channel_type\":\"{name}\"}}"
    );
    let manifest = format!("{manifest:<160}");
    format!(
        "struct note_{name} {{ int name_len, text_len, kind; char name[12], text[160]; }};\n\
         __attribute__((used, section(\".note.vestibule\"), aligned(4)))\n\
         static const struct note_{name} n_{name} = {{ 10, 160, 1, \"vestibule\", {manifest:?} }};\n"
    )
}

fn refusals(runtime: &Runtime) -> Vec<(String, String)> {
    let list = runtime.json(&["plugin", "list"]);
    let refused = list.as_array().unwrap().iter().filter(|plugin| plugin["state"] == "refused");
    refused
        .map(|p| (p["name"].as_str().unwrap().to_owned(), p["reason"].as_str().unwrap().to_owned()))
        .collect()
}

/// The files of the table, each with the code of its refusal.
fn files(folder: &Path) -> Vec<(&'static str, &'static str)> {
    let aside = tempfile::tempdir().unwrap();
    let echo = fs::read(plugin_file("vestibule-echo-channel")).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).unwrap();
    let c = |name: &str, source: &str, args: &[&str]| {
        fs::copy(built(aside.path(), name, source, args), folder.join(format!("{name}.so"))).unwrap();
    };
    let entry = "int vestibule_plugin_v1__x = 7;\n";
    write("kind.so", &patched(echo.clone(), "\"kind\":\"channel\"", "\"kind\":\"chamber\""));
    // Its constructor would panic: it must not run.
    write("major.so", &patched(failing('p'), "\"abi\":1", "\"abi\":2"));
    write("manifest.so", &patched(odd(), "{\"name\":\"odd\"", "{\"name\";\"odd\""));
    write("nameless.so", &patched(odd(), "{\"name\":\"odd\"", "{\"nome\":\"odd\""));
    write("sign.so", &patched(odd(), "{\"name\":\"odd\"", "{\"name\":\"../\""));
    write("layout.so", &patched(odd(), "cancel;id,shutdown", "cancer;id,shutdown"));
    write("version.so", &patched(odd(), "vestibule-seam;1.0.0", "vestibule-seam;9.0.0"));
    c("two", &(note("two") + &note("too") + entry), &[]);
    c("entries", &(note("entries") + entry + "int vestibule_plugin_v1__y = 7;\n"), &[]);
    c("noentry", &note("noentry"), &[]);
    c("header", &(note("header") + "long vestibule_plugin_v1__x[99] = { 7 };\n"), &[]);
    let tls = "__thread char large[1 << 22] __attribute__((tls_model(\"initial-exec\")));\nchar *use(void) { return large; }\n";
    c("tls", &(note("tls") + entry + tls), &[]);
    built(aside.path(), "gone", "int gone(void) { return 1; }\n", &[]);
    let place = format!("-L{}", aside.path().display());
    c(
        "missing",
        &(note("missing") + entry + "int gone(void);\nint use(void) { return gone(); }\n"),
        &[&place, "-lgone"],
    );
    write("open.so", &odd());
    fs::set_permissions(folder.join("open.so"), fs::Permissions::from_mode(0o602)).unwrap();
    symlink(plugin_file("vestibule-odd"), folder.join("link.so")).unwrap();
    assert!(Command::new("mkfifo").arg(folder.join("pipe.so")).status().unwrap().success());
    for (name, part) in
        [("cut1.so", 1), ("cut20.so", 20), ("cut60.so", 60), ("cut64.so", 64), ("cut999.so", 999)]
    {
        write(name, &echo[..echo.len() * part / 1000]);
    }
    write("cut-by-one.so", &echo[..echo.len() - 1]);
    // Nothing of it is read, so it may well be empty.
    fs::File::create(folder.join("large.so")).unwrap().set_len(256 * 1024 * 1024 + 1).unwrap();
    let mut narrow = odd();
    narrow[4] = 1; // 32 bits
    write("narrow.so", &narrow);
    for (name, how) in
        [("panic.so", 'p'), ("error.so", 'e'), ("init-panic.so", 'i'), ("root.so", 'r'), ("never.so", 'n')]
    {
        write(name, &failing(how));
    }
    let mut table = vec![
        ("kind.so", "[KIND]"),
        ("major.so", "[ABI_MAJOR]"),
        ("manifest.so", "[BAD_MANIFEST]"),
        ("nameless.so", "[BAD_MANIFEST]"),
        ("sign.so", "[BAD_MANIFEST]"),
        ("layout.so", "[ABI_LAYOUT]"),
        ("version.so", "[ABI_LAYOUT]"),
        ("two.so", "[TWO_PLUGINS]"),
        ("entries.so", "[TWO_PLUGINS]"),
        ("noentry.so", "[NO_ENTRY]"),
        ("tls.so", "[STATIC_TLS]"),
        ("missing.so", "[DLOPEN]"),
        ("open.so", "[WRITABLE]"),
        ("link.so", "[SYMLINK]"),
        ("pipe.so", "[NOT_A_FILE]"),
        ("large.so", "[TOO_LARGE]"),
        ("cut1.so", "[TRUNCATED]"),
        ("cut20.so", "[TRUNCATED]"),
        ("cut60.so", "[TRUNCATED]"),
        ("cut64.so", "[TRUNCATED]"),
        ("cut999.so", "[TRUNCATED]"),
        ("cut-by-one.so", "[TRUNCATED]"),
        ("narrow.so", "[WRONG_ARCH]"),
        ("panic.so", "[CRASHED]"),
        ("error.so", "[INIT]"),
        ("init-panic.so", "[INIT]"),
        ("root.so", "[INIT]"),
        ("never.so", "[INIT]"),
        ("header.so", "[ABI_LAYOUT]"),
    ];
    // Only root can give files away.
    write("given.so", &odd());
    if chown(folder.join("given.so"), Some(1234), None).is_ok() {
        table.push(("given.so", "[OWNER]"));
    } else {
        fs::remove_file(folder.join("given.so")).unwrap();
        eprintln!("SKIPPED: a file of another owner; run it as root");
    }
    table
}

fn every_refusal(tier: &str) {
    let runtime = Runtime::new(&format!("[plugins.odd]\ntier = \"{tier}\"\n")).up();
    let table = files(&runtime.home.path().join("plugins"));
    let told = until("every file is refused", || {
        let told = refusals(&runtime);
        (told.len() >= table.len()).then_some(told)
    });
    for (name, code) in &table {
        let (_, why) =
            told.iter().find(|(file, _)| file == name).unwrap_or_else(|| panic!("{name}: {told:#?}"));
        assert!(why.starts_with(&format!("Plugin {name} was not loaded: ")), "{why}");
        assert!(why.ends_with(code), "{name} wants {code}: {why}");
        // One sentence of fact and one of remedy, in one line.
        assert!(!why.contains('\n') && why.len() < 600, "{why}");
    }
    assert_eq!(runtime.chat("the rest goes on"), "the rest goes on");

    // The file that works, beside all those that do not.
    fs::write(runtime.home.path().join("plugins/good.so"), odd()).unwrap();
    until("the good one is loaded", || {
        let list = runtime.json(&["plugin", "list"]);
        let mut loaded =
            list.as_array().unwrap().iter().filter(|p| p["name"] == "odd" && p["state"] == "loaded");
        loaded.next().map(|plugin| assert_eq!(plugin["tier"], tier))
    });
    // The same name with another channel type, and the same channel type with another name.
    let twin = patched(odd(), "\"channel_type\":\"odd\"", "\"channel_type\":\"add\"");
    fs::write(runtime.home.path().join("plugins/name.so"), twin).unwrap();
    let twin = patched(odd(), "{\"name\":\"odd\"", "{\"name\":\"add\"");
    fs::write(runtime.home.path().join("plugins/type.so"), twin).unwrap();
    for (name, words) in
        [("name.so", "the same name (odd) as good.so"), ("type.so", "the same channel type (odd) as good.so")]
    {
        let why = until(name, || refusals(&runtime).into_iter().find(|(file, _)| file == name));
        assert!(why.1.contains(words) && why.1.ends_with("[DUPLICATE]"), "{why:?}");
    }
}

#[test]
fn every_refusal_in_a_process() {
    every_refusal("process");
}

/// What a file does while it is opened it does to a process that is thrown away, not to the runtime.
#[test]
fn every_refusal_in_process() {
    every_refusal("in-process");
}

/// A plugin of a newer level asks for what this runtime does not know.
#[test]
fn a_verb_of_a_newer_level_is_answered_unsupported() {
    for tier in ["process", "in-process"] {
        let runtime = Runtime::new(&format!("[plugins.odd]\ntier = \"{tier}\"\n")).up();
        fs::write(runtime.home.path().join("plugins/odd.so"), failing('u')).unwrap();
        until("it is answered", || runtime.log().contains("teleport is answered 4").then_some(()));
    }
}

#[test]
fn a_folder_that_others_can_write_is_not_read() {
    let runtime = Runtime::new("").up();
    let folder = runtime.home.path().join("plugins");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(folder.join("good.so"), odd()).unwrap();
    until("the folder is refused", || {
        refusals(&runtime).iter().find(|(_, why)| why.ends_with("[DIR_WRITABLE]")).map(drop)
    });
    let good = folder.join("good.so");
    let checked = || {
        let (loads, whole) = report(&runtime, &good);
        (loads, whole["checks"][0]["words"].as_str().unwrap().to_owned())
    };
    let (loads, words) = checked();
    assert!(!loads && words.ends_with("[DIR_WRITABLE]"), "{words}");
    let ours_alone = || fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    // Only root can give folders away.
    let me = fs::metadata(&folder).unwrap().uid();
    if chown(&folder, Some(1234), None).is_ok() {
        fs::write(folder.join("again.so"), "").unwrap();
        until("the folder is refused", || {
            refusals(&runtime).iter().find(|(_, why)| why.ends_with("[DIR_OWNER]")).map(drop)
        });
        ours_alone();
        let (loads, words) = checked();
        assert!(!loads && words.ends_with("[DIR_OWNER]"), "{words}");
        assert!(!runtime.log().contains("plugin loaded"));
        chown(&folder, Some(me), None).unwrap();
    } else {
        eprintln!("SKIPPED: a folder of another owner; run it as root");
        ours_alone();
    }
    assert!(checked().0);
    fs::write(folder.join("again.so"), "").unwrap();
    until("the file is loaded", || runtime.log().contains("plugin loaded").then_some(()));
}

/// Somebody writes to it for as long as it is read.
#[test]
fn a_file_that_changes_while_it_is_read_is_not_judged() {
    let runtime = Runtime::new("");
    let file = runtime.home.path().join("growing.so");
    let open = fs::File::create(&file).unwrap();
    let (stop, size) = (AtomicBool::new(false), 128 * 1024 * 1024);
    open.set_len(size).unwrap();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for more in (0..2).cycle().take_while(|_| !stop.load(Ordering::Relaxed)) {
                open.set_len(size + more).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let (loads, whole) = report(&runtime, &file);
        stop.store(true, Ordering::Relaxed);
        assert!(!loads && said(&whole, "file").1.ends_with("[CHANGING]"), "{whole}");
    });
    assert!(said(&report(&runtime, &file).1, "file").1.ends_with("[NOT_ELF]"));
}

#[test]
fn without_room_for_its_copy_a_file_is_refused_until_there_is_some() {
    let runtime = Runtime::new("").up();
    let copies = runtime.home.path().join("cache/plugins");
    fs::remove_dir(&copies).unwrap();
    fs::write(&copies, "").unwrap(); // root may write to any folder, so it is none
    let file = runtime.home.path().join("plugins/odd.so");
    fs::write(&file, odd()).unwrap();
    let why = until("it is refused", || refusals(&runtime).pop()).1;
    assert!(why.contains(copies.to_str().unwrap()) && why.ends_with("[COPY]"), "{why}");
    fs::remove_file(&copies).unwrap();
    fs::create_dir(&copies).unwrap();
    fs::write(&file, odd()).unwrap();
    until("it is loaded", || runtime.log().contains("plugin loaded").then_some(()));
}

/// A limit that no kernel sets. Whoever cannot be confined has no process; inside the runtime it was not to be.
#[test]
fn what_cannot_be_confined_runs_in_process_only() {
    let runtime = |tier: &str| {
        let config = format!("[plugins.odd]\nopen_files = {}\ntier = \"{tier}\"\n", u32::MAX);
        let runtime = Runtime::new(&config).up();
        fs::write(runtime.home.path().join("plugins/odd.so"), odd()).unwrap();
        runtime
    };
    let outside = runtime("process");
    let why = until("it is refused", || refusals(&outside).pop()).1;
    assert!(why.contains("cannot be confined") && why.ends_with("[CONFINE]"), "{why}");
    let inside = runtime("in-process");
    until("it is loaded", || inside.log().contains("plugin loaded").then_some(()));
}

/// Codes that no file and no machine brings about: what says `CHECK` is a panic of the loader itself.
const NEVER_SEEN: [&str; 1] = ["CHECK"];

/// Each code of the table in `docs/abi.md` but those is answered in one of these tests. That the table names every code
/// is tested beside the codes.
#[test]
fn every_code_of_the_table_is_seen() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let is_code = |word: &str| word.len() > 2 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let table = fs::read_to_string(root.join("docs/abi.md")).unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let named: BTreeSet<String> = rows
        .flat_map(|row| row.split('`').skip(1).step_by(2))
        .filter(|w| is_code(w))
        .map(str::to_owned)
        .collect();
    let tests = fs::read_dir(root.join("tests/tests/flows")).unwrap().flatten();
    let tests: String = tests.filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect();
    let mut untested = named;
    untested.retain(|code| !NEVER_SEEN.contains(&code.as_str()) && !tests.contains(&format!("[{code}]")));
    assert_eq!(untested, BTreeSet::new(), "no test has these answered");
}

fn report(runtime: &Runtime, file: &Path) -> (bool, Value) {
    let output = runtime.run(&["plugin", "check", file.to_str().unwrap(), "--json"]);
    (output.status.success(), serde_json::from_slice(&output.stdout).unwrap())
}

fn said(report: &Value, what: &str) -> (Option<bool>, String) {
    let check = report["checks"].as_array().unwrap().iter().find(|check| check["what"] == what);
    let check = check.unwrap_or_else(|| panic!("no {what}: {report}"));
    (check["ok"].as_bool(), check["words"].as_str().unwrap().to_owned())
}

#[test]
fn check_says_what_the_loader_would_without_a_runtime() {
    let runtime = Runtime::new("");
    let aside = tempfile::tempdir().unwrap();
    let good = aside.path().join("good.so");
    fs::write(&good, odd()).unwrap();
    let (loads, whole) = report(&runtime, &good);
    assert!(loads && whole["loads"] == true && whole["manifest"]["name"] == "odd", "{whole}");
    assert_eq!(said(&whole, "process").0, Some(true), "{whole}");
    assert!(!runtime.home.path().join("cache").exists(), "it needs no home");
    let words = runtime.ok(&["plugin", "check", good.to_str().unwrap()]);
    assert!(words.contains("odd 1.2.3") && words.contains("ok  process"), "{words}");

    for (name, code) in files(aside.path()) {
        if name == "never.so" {
            continue; // it takes ten seconds
        }
        let (loads, whole) = report(&runtime, &aside.path().join(name));
        let refusal = whole["checks"].as_array().unwrap().iter().find(|check| check["ok"] == false);
        let refusal = refusal.unwrap_or_else(|| panic!("{name}: {whole}"));
        assert!(!loads && refusal["words"].as_str().unwrap().ends_with(code), "{name} wants {code}: {whole}");
    }
    let output = runtime.run(&["plugin", "check", "/nowhere.so"]);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stdout).contains("[UNREADABLE]"));
}

/// No runtime runs: what is built in, and what lies in the plugins folder, is read and not opened.
#[test]
fn check_says_who_has_its_place_already() {
    let runtime = Runtime::new("");
    let config = runtime.home.path().join("vestibule.toml");
    let without = fs::read_to_string(&config).unwrap();
    let (aside, folder) = (tempfile::tempdir().unwrap(), runtime.home.path().join("plugins"));
    fs::create_dir(&folder).unwrap();
    let place = |file: &Path| {
        let (loads, whole) = report(&runtime, file);
        let (ok, words) = said(&whole, "place");
        assert_eq!(Some(loads), ok, "{whole}");
        assert!(loads || words.ends_with("[DUPLICATE]"), "{whole}");
        words
    };
    let built_in = plugin_file("vestibule-terminal");
    assert!(place(&built_in).contains("terminal, which is built in unless"));
    fs::write(&config, without.clone() + "[plugins.terminal]\nbuilt_in = false\n").unwrap();
    place(&built_in).find("no other").expect("its place is free");

    // The same channel type with another name, the same name with another channel type, and neither.
    let named = patched(odd(), "{\"name\":\"odd\"", "{\"name\":\"add\"");
    let typed = patched(odd(), "\"channel_type\":\"odd\"", "\"channel_type\":\"add\"");
    let other = patched(named.clone(), "\"channel_type\":\"odd\"", "\"channel_type\":\"add\"");
    let file = |name: &str, bytes: &[u8]| {
        let file = aside.path().join(name);
        fs::write(&file, bytes).unwrap();
        file
    };
    let inside = folder.join("odd.so");
    fs::write(&inside, odd()).unwrap();
    for (name, bytes, words) in [
        ("again.so", &odd(), "(odd) as odd.so, which is in the plugins folder"),
        ("named.so", &named, "the same channel type (odd) as odd.so"),
        ("typed.so", &typed, "the same name (odd) as odd.so"),
        ("other.so", &other, "no other plugin"),
        // Of its own name: it is to take that file's place, whatever is in it.
        ("odd.so", &odd(), "no other plugin"),
        ("odd.so", &named, "no other plugin"),
    ] {
        let told = place(&file(name, bytes));
        assert!(told.contains(words), "{name}: {told}");
    }
    assert!(place(&inside).contains("no other plugin"), "it is not its own twin");
    let again = folder.join("../plugins/again.so");
    fs::write(&again, odd()).unwrap();
    assert!(place(&again).contains("as odd.so"));
    fs::remove_file(&again).unwrap();

    // What is refused itself takes no place: one that others can change, and one that has none.
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o602)).unwrap();
    assert!(place(&file("again.so", &odd())).contains("no other plugin"));
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(folder.join("typed.so"), typed).unwrap();
    assert!(place(&file("other.so", &other)).contains("no other plugin"), "odd.so is before typed.so");
    fs::remove_file(&inside).unwrap();
    assert!(place(&file("other.so", &other)).contains("the same channel type (add) as typed.so"));
    let opened = fs::read_dir(runtime.home.path()).unwrap().flatten().map(|entry| entry.file_name());
    assert_eq!(opened.filter(|name| name == "cache").count(), 0, "nothing of the home is changed");
}

#[test]
fn a_pinned_plugin_is_loaded_with_its_bytes_and_no_others() {
    let runtime = Runtime::new("require_trusted = true\n").up();
    let file = runtime.home.path().join("plugins/odd.so");
    let refused = |code: &str| {
        until(code, || {
            refusals(&runtime).into_iter().find(|(_, why)| why.ends_with(code)).map(|(_, why)| why)
        })
    };
    let loaded = || {
        until("it is loaded", || {
            let list = runtime.json(&["plugin", "list"]);
            list.as_array().unwrap().iter().find(|p| p["name"] == "odd" && p["state"] == "loaded").cloned()
        })
    };
    fs::write(&file, odd()).unwrap();
    let why = refused("[NOT_TRUSTED]");
    // What the sentence says is what helps, and the running runtime hears of it.
    let command = why.split('`').nth(1).unwrap();
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    assert!(runtime.ok(&words).contains("odd is trusted"));
    let sha256 = loaded()["sha256"].as_str().unwrap().to_owned();
    let lock = fs::read_to_string(runtime.home.path().join("plugins.lock")).unwrap();
    assert!(lock.contains(&sha256) && lock.contains("name = \"odd\"\nfile = \"odd.so\""), "{lock}");
    assert_eq!(fs::metadata(runtime.home.path().join("plugins.lock")).unwrap().mode_bits(), 0o600);

    // Other bytes: refused, and what was loaded runs on.
    let other = patched(odd(), "\"version\":\"1.2.3\"", "\"version\":\"6.6.6\"");
    fs::write(&file, &other).unwrap();
    refused("[PIN]");
    assert_eq!(loaded()["version"], "1.2.3");
    runtime.ok(&["plugin", "trust", "odd"]);
    until("the new one is loaded", || (loaded()["version"] == "6.6.6").then_some(()));

    // Trusted no longer: it runs until it is loaded again.
    runtime.ok(&["plugin", "untrust", "odd"]);
    assert_eq!(loaded()["version"], "6.6.6");
    let again = runtime.run(&["plugin", "reload", "odd"]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("[NOT_TRUSTED]"));
    assert!(!runtime.run(&["plugin", "untrust", "odd"]).status.success());

    // A lock that cannot be read trusts nobody.
    fs::write(runtime.home.path().join("plugins.lock"), "[[plugin]]\n").unwrap();
    fs::write(runtime.home.path().join("plugins/other.so"), odd()).unwrap();
    refused("[LOCK]");
}

trait Mode {
    fn mode_bits(&self) -> u32;
}

impl Mode for fs::Metadata {
    fn mode_bits(&self) -> u32 {
        self.permissions().mode() & 0o777
    }
}

/// Without `require_trusted` an unknown file is loaded, and a pinned one with other bytes is not.
#[test]
fn a_pin_holds_where_none_is_required() {
    let runtime = Runtime::new("");
    fs::create_dir_all(runtime.home.path().join("plugins")).unwrap();
    let file = runtime.home.path().join("plugins/odd.so");
    fs::write(&file, odd()).unwrap();
    runtime.ok(&["plugin", "trust", "odd"]);
    fs::write(&file, patched(odd(), "\"version\":\"1.2.3\"", "\"version\":\"6.6.6\"")).unwrap();
    fs::copy(plugin_file("vestibule-faulty"), runtime.home.path().join("plugins/faulty.so")).unwrap();
    let runtime = runtime.up();
    let why = until("it is refused", || refusals(&runtime).first().cloned());
    assert!(why.0 == "odd.so" && why.1.ends_with("[PIN]"), "{why:?}");
    until("the other is loaded", || runtime.log().contains("plugin loaded").then_some(()));
}
