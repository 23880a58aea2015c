//! What the README, `docs/write-a-channel.md` and `docs/write-a-module.md` say to authors, followed word for
//! word: every command is run in order, every line of Rust is built.
//!
//! What is changed: release builds become debug builds, fixed ports free ones, and fixed waits end when what
//! they wait for is there. The crate's folder stays between runs, so that only the first one builds all it
//! depends on.

use crate::support::{binary, free_port, plugin_file};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The fenced blocks of a document after a heading, up to the next of that level: language and text.
fn blocks(text: &str) -> Vec<(String, String)> {
    let (mut found, mut open) = (Vec::new(), None::<(String, String)>);
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => open = Some((language.to_owned(), String::new())),
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some((_, text)), None) => *text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    found
}

fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let rest = text.split_once(&format!("\n## {heading}\n")).expect(heading).1;
    rest.split("\n## ").next().unwrap()
}

/// Follows commands as a person in a fresh home would; answers what was printed.
struct Reader {
    home: tempfile::TempDir,
    /// Where the example listens, and where the crate does.
    port: String,
    crate_port: String,
}

impl Reader {
    fn new() -> Reader {
        let home = tempfile::Builder::new().prefix("vst-").tempdir().unwrap();
        let free = free_port();
        let [port, crate_port] = [free, free_port()].map(|free| free.port().to_string());
        let reader = Reader { home, port, crate_port };
        let vestibule = reader.home.path().join(".local/share/vestibule");
        fs::create_dir_all(&vestibule).unwrap();
        let listen = format!("listen = \"127.0.0.1:{}\"", reader.port);
        let config = format!("listen = \"127.0.0.1:0\"\n[channels.echo.main]\n{listen}\n");
        fs::write(vestibule.join("vestibule.toml"), config).unwrap();
        fs::create_dir(reader.home.path().join("bin")).unwrap();
        std::os::unix::fs::symlink(binary(), reader.home.path().join("bin/vestibule")).unwrap();
        reader
    }

    /// Adds to the config.
    fn configure(&self, more: &str) {
        let file = self.home.path().join(".local/share/vestibule/vestibule.toml");
        let text = fs::read_to_string(&file).unwrap() + more;
        fs::write(file, text).unwrap();
    }

    fn follow(&self, script: &str, folder: &Path) -> String {
        let (home, shared, lock) = (self.home.path(), folder.join("target"), root().join("Cargo.lock"));
        let made = |name| {
            format!(
                "cd {name}; ln -s {} target; cp {} .; sed -i s/7506/{}/ src/lib.rs $(ls examples/* 2>/dev/null)",
                shared.display(),
                lock.display(),
                self.crate_port
            )
        };
        let script = script
            .replace("cargo build --release --workspace", "true")
            .replace(
                "target/release/libvestibule_echo_channel.so",
                plugin_file("vestibule-echo-channel").to_str().unwrap(),
            )
            .replace(" --release", "")
            .replace("target/release/", "target/debug/")
            .replace("7007", &self.port)
            .replace("7506", &self.crate_port)
            .replace("sleep 2", "settle")
            .replace("-q 1 ", "-q 3 ")
            .replace("cd acme", &made("acme"))
            .replace("cd rules", &made("rules"));
        let script = format!(
            "set -eu\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n\
             settle() {{ for i in $(seq 300); do\n\
               if vestibule status >now 2>/dev/null && ! grep -q connecting now; then\n\
                 for so in ~/.local/share/vestibule/plugins/*.so; do\n\
                   [ -e \"$so\" ] && ! grep -qE '^(echo|acme) .* (live|degraded)' now \\\n\
                     && ! vestibule plugin list | grep -qE '^rules .* loaded' && continue 2\n\
                 done; return 0; fi; sleep 0.1; done; exit 9; }}\n{script}"
        );
        let path = format!("{}:{}", home.join("bin").display(), std::env::var("PATH").unwrap());
        let dirs = |name: &str, folder: &str| {
            std::env::var(name).unwrap_or_else(|_| format!("{}/{folder}", std::env::var("HOME").unwrap()))
        };
        let output = Command::new("bash")
            .args(["-c", &script])
            .current_dir(folder)
            .env("CARGO_HOME", dirs("CARGO_HOME", ".cargo"))
            .env("RUSTUP_HOME", dirs("RUSTUP_HOME", ".rustup"))
            .env("CARGO_NET_OFFLINE", "true")
            .env_remove("XDG_DATA_HOME")
            .env_remove("VESTIBULE_HOME")
            .env_remove("CARGO_TARGET_DIR")
            .envs([("HOME", home.to_str().unwrap()), ("PATH", &path)])
            .output()
            .unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script}\n--- it printed\n{out}\n--- and to standard error\n{err}");
        out.into_owned()
    }
}

/// A folder of this build for the crate; without what an earlier run made.
fn fresh_folder(krate: &str) -> PathBuf {
    let folder = binary().parent().unwrap().join("kit");
    let _ = fs::remove_dir_all(folder.join(krate));
    fs::create_dir_all(folder.join("target")).unwrap();
    folder
}

/// `nc` is what the page uses; it is on most machines.
fn has_nc() -> bool {
    let has = Command::new("nc").arg("-h").output().is_ok();
    let get = "nc is not here; install it (apt-get install netcat-openbsd)";
    assert!(has || std::env::var_os("VESTIBULE_TEST_COUNTERPARTS").is_none(), "{get}");
    if !has {
        let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("SKIPPED: {get}\n").as_bytes());
    }
    has
}

#[test]
fn the_readme_is_followed_literally() {
    if !has_nc() {
        return;
    }
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let [(_, drop_in)] = &blocks(section(&readme, "Drop in a plugin"))[..] else { panic!("one block") };
    let script = drop_in.replace("vestibule plugin list", "settle; vestibule plugin list");
    let script = format!("vestibule up & settle\n{script}");
    let printed = Reader::new().follow(&script, &fresh_folder_for("readme"));
    assert!(
        printed.contains("chats that no agent is wired to") && printed.ends_with("and now?\n"),
        "{printed}"
    );
}

fn fresh_folder_for(name: &str) -> PathBuf {
    let folder = binary().parent().unwrap().join(format!("kit-{name}"));
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// What a page says to do.
struct Page {
    script: String,
    /// Lines of what `plugin new` makes.
    excerpts: Vec<String>,
    /// What stands in the config beforehand.
    config: String,
}

impl Page {
    fn read(file: &str) -> Page {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let mut page = Page { script: String::new(), excerpts: Vec::new(), config: String::new() };
        for (language, text) in blocks(&text) {
            match language.as_str() {
                "sh" => page.script += &text,
                "rust" if text.starts_with("//!") => {
                    page.script += &format!("cp src/lib.rs made.rs\ncat > src/lib.rs <<'RUST'\n{text}RUST\n");
                }
                "rust" => page.excerpts.push(text),
                "toml" => page.config += &text,
                // Commands that need a server of another project.
                "text" => {}
                other => panic!("what is to be done with a block of `{other}`?"),
            }
        }
        page
    }
}

/// The excerpts stand in what was made, or in the example of a real platform.
fn assert_shown(excerpts: &[String], krate: &Path) {
    let made = |file: &str| fs::read_to_string(krate.join(file)).unwrap();
    let made = made("made.rs") + &made("src/tests.rs") + &irc();
    assert!(excerpts.len() > 4, "{}", excerpts.len());
    for excerpt in excerpts {
        assert!(
            made.contains(excerpt),
            "neither what `plugin new` makes nor the example of IRC contains\n{excerpt}"
        );
    }
}

#[test]
fn write_a_module_is_followed_literally() {
    let folder = fresh_folder("rules");
    let Page { script, excerpts, config } = Page::read("docs/write-a-module.md");
    let reader = Reader::new();
    reader.configure(&config);
    let printed = reader.follow(&script, &folder);
    let (before, after) = printed.split_once("\nNAME ").expect("the list of plugins");
    assert!(before.contains("\nthe key is ghp_0123456789abcdef"), "before the module: {printed}");
    assert!(after.contains("\nthe key is [a key was removed]\nnobody heard it\n"), "with it: {printed}");
    assert!(after.contains("the module rules refused it: the word `rude` is forbidden"), "{printed}");
    assert!(printed.contains("4 passed; 0 failed"), "the tests: {printed}");
    assert_eq!(printed.matches(" 0 failed, ").count(), 2, "both examinations: {printed}");
    assert_shown(&excerpts, &folder.join("rules"));
}

fn irc() -> String {
    fs::read_to_string(root().join("examples/irc-channel/src/lib.rs")).unwrap()
}

#[test]
fn the_example_of_a_real_platform_has_less_than_200_lines_of_code() {
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
    assert!(irc().lines().filter(is_code).count() < 200);
}

/// One test, since both build the same crate in the same folder.
#[test]
fn write_a_channel_is_followed_literally() {
    if !has_nc() {
        return;
    }
    let folder = fresh_folder("acme");
    let Page { script, excerpts, .. } = Page::read("docs/write-a-channel.md");
    let printed = Reader::new().follow(&script, &folder);
    assert!(printed.contains("\nann: and now?\n"), "the agent's answer: {printed}");
    assert!(!printed.contains("\nann: anybody there?\n"), "no agent is wired yet: {printed}");
    assert!(printed.contains("4 passed; 0 failed"), "the tests: {printed}");
    assert_eq!(printed.matches(" 0 failed, ").count(), 2, "both examinations: {printed}");
    assert_shown(&excerpts, &folder.join("acme"));

    let _ = fs::remove_dir_all(folder.join("acme"));
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    // After the example: both run in one runtime, each where it listens.
    let [(_, drop_in)] = &blocks(section(&readme, "Drop in a plugin"))[..] else { panic!("one block") };
    let drop_in = drop_in.replace("vestibule plugin list", "settle; vestibule plugin list");
    let [(_, write)] = &blocks(section(&readme, "Write a channel"))[..] else { panic!("one block") };
    let settled = "for i in $(seq 300); do vestibule status >now; grep -qE '^acme .* degraded' now && break; sleep 0.1; done";
    let script = format!("vestibule up & settle\n{drop_in}\n{write}\n{settled}; cat now");
    let printed = Reader::new().follow(&script, &folder);
    let is = |name: &str, how: &str| printed.lines().any(|line| line.starts_with(name) && line.contains(how));
    // Its server does not run.
    assert!(printed.contains(" 0 failed, ") && is("echo ", " live") && is("acme ", " degraded"), "{printed}");
}
