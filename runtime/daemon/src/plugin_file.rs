//! `vestibule plugin check`, `trust` and `untrust`: about files, so no runtime is needed.

use crate::cli::{PluginFile, TrustArgs};
use crate::{print, up};
use anyhow::anyhow;
use std::path::Path;
use vestibule_plugin_api::{ConfigKey, PluginKind, Schema};
use vestibule_runtime::plugins::{self, Report, Source};
use vestibule_runtime::{Config, Home, config};

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
        let kind = match manifest.kind {
            PluginKind::Channel => format!("channel {}, ", manifest.channel_type),
            PluginKind::Module => "module, ".to_owned(),
            PluginKind::Unknown => String::new(),
        };
        println!(
            "  {} {}: {}\n  {kind}interface {}, vocabulary {}",
            manifest.name, manifest.version, manifest.description, manifest.abi, manifest.api
        );
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
        println!("  {mark}  {:<10} {}", check.what.replace('_', "-"), check.words);
    }
    if let Some(schema) = &report.schema {
        keys(schema);
    }
    for line in &report.log {
        println!("  it logged: {}", line.escape_debug());
    }
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
