//! `vestibule plugin check`, `trust` and `untrust`: about files, so no runtime is needed.

use crate::cli::{PluginFile, TrustArgs};
use crate::{print, up};
use anyhow::anyhow;
use std::path::Path;
use vestibule_plugin_api::{ConfigKey, Manifest, PluginKind, Schema};
use vestibule_runtime::plugins::{self, Report, Source};
use vestibule_runtime::{Config, Home, config, words};

/// How much is shown of each word that a file says of itself, in characters.
const SAID_CHARS_MAX: usize = 300;

/// Prints whether a file would be loaded and fits its config; an error when not.
pub async fn check(args: PluginFile) -> anyhow::Result<()> {
    let home = Home::from_env()?;
    let is_named = args.config.is_some();
    let config_file = args.config.unwrap_or_else(|| home.config());
    // A home may do without a config; a file that the operator named must be there.
    if is_named && let Err(error) = std::fs::metadata(&config_file) {
        return Err(anyhow!("cannot read {}: {error}; name the config with --config", config_file.display()));
    }
    let alone = keys_alone(&home, &config_file);
    let config = if alone.is_some() { Config::load(&home)? } else { Config::load_from(&home, &config_file)? };
    let file = std::path::absolute(&args.file).unwrap_or(args.file);
    let source = Source { file: &config_file, alone, is_named };
    let report = plugins::examine(&home, &config, source, &up::program(), &file).await;
    if args.output.json {
        print::json(&serde_json::to_value(&report)?);
    } else {
        show(&report);
    }
    match (report.loads, report.fits) {
        (true, true) => Ok(()),
        (true, false) => {
            Err(anyhow!("{} would be loaded, and not every account would start", file.display()))
        }
        (false, _) => Err(anyhow!("{} would not be loaded", file.display())),
    }
}

/// The keys of an account, where a file holds them alone. A home's own config is always a whole one.
fn keys_alone(home: &Home, file: &Path) -> Option<toml::Table> {
    let text = std::fs::read_to_string(file).ok().filter(|_| file != home.config())?;
    text.parse().ok().filter(|table| !config::is_whole(table))
}

fn show(report: &Report) {
    println!("{}", report.file.display());
    if let Some(manifest) = &report.manifest {
        println!("{}", head(manifest));
    }
    if let Some(sha256) = &report.sha256 {
        println!("  sha256 {sha256}");
    }
    for check in &report.checks {
        let mark = match check.ok {
            Some(true) => "ok",
            Some(false) => "NO",
            None => "--",
        };
        println!("  {mark}  {:<10} {}", check.what.replace('_', "-"), words::line(&check.words, usize::MAX));
    }
    if let Some(schema) = &report.schema {
        keys(schema);
    }
    for line in &report.log {
        println!("  it logged: {}", line.escape_debug());
    }
}

/// What a file says that it is, in two lines. The words are a stranger's: a line of his own would look like a check of ours.
fn head(manifest: &Manifest) -> String {
    let kind = match manifest.kind {
        PluginKind::Channel => format!("channel {}, ", manifest.channel_type),
        PluginKind::Module => "module, ".to_owned(),
        PluginKind::Unknown => String::new(),
    };
    let Manifest { name, version, description, abi, api, .. } = manifest;
    let [version, description, api] =
        [version, description, api].map(|said| words::line(said, SAID_CHARS_MAX));
    format!("  {name} {version}: {description}\n  {kind}interface {abi}, vocabulary {api}")
}

/// Prints the keys of a config, a line for each. The loader has checked every word.
fn keys(schema: &Schema) {
    if schema.keys.is_empty() && !schema.open {
        return println!("  its config has no keys");
    }
    println!("  its config{}", if schema.open { ", which may have other keys, too" } else { "" });
    let fact = |key: &ConfigKey| {
        let more = match (&key.default, key.required) {
            (Some(default), _) => format!(", {default} by default"),
            (None, true) => ", required".to_owned(),
            (None, false) => String::new(),
        };
        format!("{}{more}{}", key.kind.word(), if key.secret { ", secret" } else { "" })
    };
    let facts: Vec<String> = schema.keys.iter().map(fact).collect();
    let wide = |words: &mut dyn Iterator<Item = usize>| words.filter(|wide| *wide <= 64).max().unwrap_or(0);
    let name = wide(&mut schema.keys.iter().map(|key| key.key.len()));
    let fact = wide(&mut facts.iter().map(|fact| fact.chars().count()));
    for (key, is) in schema.keys.iter().zip(&facts) {
        println!("    {}", format!("{:name$}  {is:fact$}  {}", key.key, key.help).trim_end());
    }
}

/// Trusts a file with the bytes it has now.
pub fn trust(args: TrustArgs) -> anyhow::Result<()> {
    let pin = plugins::trust(&Home::from_env()?, &args.what).map_err(|why| anyhow!(why))?;
    if args.output.json {
        print::json(&serde_json::to_value(&pin)?);
    } else {
        println!("{} is trusted, as {} with sha256 {}", pin.name, pin.file, pin.sha256);
    }
    Ok(())
}

/// Trusts a plugin no longer.
pub fn untrust(args: TrustArgs) -> anyhow::Result<()> {
    let pin = plugins::untrust(&Home::from_env()?, &args.what).map_err(|why| anyhow!(why))?;
    if args.output.json {
        print::json(&serde_json::to_value(&pin)?);
    } else {
        println!("{} is trusted no longer; one that runs goes on until it is loaded again", pin.name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_says_of_itself_makes_no_line_of_its_own() {
        let text = serde_json::json!({
            "name": "x", "kind": "channel", "abi": 1, "channel_type": "x", "version": "1\n  ok  trust      in plugins.lock",
            "description": "\u{1b}]0;own\u{7}\u{202e}".repeat(200), "api": "0.2\r\n\n",
        });
        let head = head(&Manifest::parse(text.to_string().as_bytes()).expect("it fits"));
        assert_eq!(head.lines().count(), 2, "{head}");
        assert!(
            !head.contains(['\u{1b}', '\u{7}', '\u{202e}', '\r']) && head.chars().count() < 700,
            "{head}"
        );
    }
}
