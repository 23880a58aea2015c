//! `vestibule plugin new NAME`: a crate for a channel or a module that builds, passes its tests and runs at
//! once. It is the example of this tree, `examples/desk-channel` or `examples/sieve-module`, under the
//! author's name.

use anyhow::{Context, bail};
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};

/// The arguments of `new`.
#[derive(Args)]
pub struct NewArgs {
    /// The plugin's name: a-z, 0-9 and `-`, beginning with a letter
    pub name: String,
    /// Make a module, which screens and reviews messages, in place of a channel
    #[arg(long)]
    pub module: bool,
    /// The folder to make [default: the name]
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
    /// Where the folder `plugin-api` of Vestibule's source lies [default: in the tree that built this program]
    #[arg(long, value_name = "FOLDER", conflicts_with = "git")]
    pub path: Option<PathBuf>,
    /// Take `plugin-api` from this repository instead
    #[arg(long, value_name = "URL")]
    pub git: Option<String>,
}

/// An example, and the files that the crate needs besides its source.
struct Template {
    /// The example's name, which gives way to the author's.
    name: &'static str,
    /// The end of its type's name, which is the kind of plugin.
    kind: &'static str,
    source: &'static str,
    tests: &'static str,
    /// The source of the peer for `conform`; a module has none.
    peer: Option<&'static str>,
    manifest: &'static str,
    readme: &'static str,
}

/// Where the example listens.
const PORT: &str = "7107";

const CHANNEL: Template = Template {
    name: "desk",
    kind: "channel",
    source: include_str!("../../../examples/desk-channel/src/lib.rs"),
    tests: include_str!("../../../examples/desk-channel/src/tests.rs"),
    peer: Some(include_str!("../../../examples/desk-channel/examples/peer.rs")),
    manifest: include_str!("new/channel/Cargo.toml.in"),
    readme: include_str!("new/channel/README.md.in"),
};

const MODULE: Template = Template {
    name: "sieve",
    kind: "module",
    source: include_str!("../../../examples/sieve-module/src/lib.rs"),
    tests: include_str!("../../../examples/sieve-module/src/tests.rs"),
    peer: None,
    manifest: include_str!("new/module/Cargo.toml.in"),
    readme: include_str!("new/module/README.md.in"),
};

/// Makes the crate.
pub fn new(args: &NewArgs) -> anyhow::Result<()> {
    let name = &args.name;
    let template = if args.module { MODULE } else { CHANNEL };
    if let Some(fault) = name_fault(name) {
        bail!(
            "`{name}` {fault}; a plugin's name is made of a-z, 0-9 and -, as in `vestibule plugin new acme`"
        );
    }
    let dependency = match (&args.path, &args.git) {
        (_, Some(url)) => format!("git = {}", quoted(url)),
        (Some(path), None) => format!("path = {}", quoted(&plugin_api(path)?.to_string_lossy())),
        (None, None) => {
            let found = beside_this_program().context(
                "this program does not lie in the tree that built it, so say where to get vestibule-plugin-api: \
                 --path FOLDER (the folder `plugin-api` of Vestibule's source) or --git URL",
            )?;
            format!("path = {}", quoted(&found.to_string_lossy()))
        }
    };
    let folder = args.folder.clone().unwrap_or_else(|| PathBuf::from(name));
    let filled = |text: &str| {
        text.replace("@NAME@", name)
            .replace("@LIB@", &lib_name(name))
            .replace("@DEPENDENCY@", &dependency)
            .replace(PORT, &port_of(name).to_string())
    };
    if fs::symlink_metadata(&folder).is_ok() {
        bail!("{} is there already; remove it, or name another with --folder", folder.display());
    }
    let mut files = vec![
        ("Cargo.toml", filled(template.manifest)),
        ("README.md", filled(template.readme)),
        (".gitignore", "/target\n".to_owned()),
        ("src/lib.rs", template.renamed(template.source, name)),
        ("src/tests.rs", template.renamed(template.tests, name)),
    ];
    files.extend(template.peer.map(|peer| ("examples/peer.rs", template.renamed(peer, name))));
    if let Some(above) = folder.parent() {
        fs::create_dir_all(above).with_context(|| format!("cannot make {}", above.display()))?;
    }
    // It must not be there yet: another user could have put a link into it.
    fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (file, text) in files {
        let path = folder.join(file);
        let parent = path.parent().unwrap_or(&folder);
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let (folder, lib) = (folder.display(), lib_name(name));
    println!("{folder} is made. What to do next:\n");
    println!("  cd {folder}");
    println!("  cargo test");
    println!("  cargo build --release");
    let peer = if template.peer.is_some() { " --peer 'target/debug/examples/peer hello'" } else { "" };
    println!("  vestibule plugin conform target/release/lib{lib}.so{peer}");
    println!("\nREADME.md in it says how to run it.");
    Ok(())
}

fn name_fault(name: &str) -> Option<&'static str> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Some("does not begin with one of a-z");
    }
    if !name.chars().all(fits) || name.ends_with('-') || name.contains("--") {
        return Some("is no name of a plugin");
    }
    // The crate could not have this name, or would shadow one that it depends on.
    let taken = ["core", "std", "alloc", "test", "proc-macro", "serde", "tokio", "tracing"];
    (name.len() > 60 || taken.contains(&name)).then_some("cannot be the name of a crate")
}

/// `acme-chat` becomes `AcmeChat`.
fn type_name(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    };
    name.split('-').map(word).collect()
}

/// Cargo's name for the library.
fn lib_name(name: &str) -> String {
    name.replace('-', "_")
}

/// The port of a new channel: not the example's, and seldom the same for two names.
fn port_of(name: &str) -> u32 {
    7100 + name.bytes().map(u32::from).sum::<u32>() % 800
}

impl Template {
    /// The example's text under another name.
    fn renamed(&self, text: &str, name: &str) -> String {
        let (own, kind, end) = (self.name, self.kind, type_name(self.kind));
        text.replace(&format!("{}{end}", type_name(own)), &format!("{}{end}", type_name(name)))
            .replace(&format!("[{kind}s.{own}"), &format!("[{kind}s.{name}"))
            .replace(&format!("\"{own}\""), &format!("\"{name}\""))
            .replace(PORT, &port_of(name).to_string())
    }
}

/// A TOML string: JSON spells it the same way.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn plugin_api(folder: &Path) -> anyhow::Result<PathBuf> {
    let folder = fs::canonicalize(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let is_it = |folder: &Path| {
        fs::read_to_string(folder.join("Cargo.toml"))
            .is_ok_and(|text| text.contains("name = \"vestibule-plugin-api\""))
    };
    match [folder.clone(), folder.join("plugin-api")].into_iter().find(|folder| is_it(folder)) {
        Some(folder) => Ok(folder),
        None => bail!("{} is not the folder `plugin-api` of Vestibule's source", folder.display()),
    }
}

/// The `plugin-api` of the tree in whose `target` this program lies.
fn beside_this_program() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    program.ancestors().find_map(|folder| plugin_api(&folder.join("plugin-api")).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_plugins() {
        for (name, fits) in [
            ("acme", true),
            ("acme-chat-2", true),
            ("", false),
            ("Acme", false),
            ("2acme", false),
            ("-acme", false),
            ("acme-", false),
            ("a--b", false),
            ("a_b", false),
            ("../up", false),
            ("std", false),
            ("tokio", false),
        ] {
            assert_eq!(name_fault(name).is_none(), fits, "{name}");
        }
        assert_eq!(
            (type_name("acme-chat-2"), lib_name("acme-chat-2"), port_of("acme")),
            ("AcmeChat2".into(), "acme_chat_2".into(), 7506)
        );
    }

    #[test]
    fn nothing_of_the_example_is_left() {
        for template in [CHANNEL, MODULE] {
            for text in [template.source, template.tests] {
                let made = template.renamed(text, "acme");
                assert!(!made.to_lowercase().contains(template.name), "{made}");
            }
        }
        assert!(CHANNEL.renamed(CHANNEL.source, "acme").contains("channel_type: \"acme\""));
        assert!(MODULE.renamed(MODULE.source, "acme").contains("name: \"acme\""));
    }
}
