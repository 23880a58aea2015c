//! `vestibule plugin check`, `trust` and `untrust`: about files, so no house is needed.

use crate::cli::{PluginFile, TrustArgs};
use crate::{print, up};
use anyhow::anyhow;
use vestibule_runtime::plugins::{self, Report};
use vestibule_runtime::{Config, Home};

/// Says whether a file would be loaded; an error when it would not.
pub async fn check(args: PluginFile) -> anyhow::Result<()> {
    let home = Home::from_env()?;
    let config = Config::load(&home)?;
    let file = std::path::absolute(&args.file).unwrap_or(args.file);
    let report = plugins::examine(&home, &config, &up::program(), &file).await;
    if args.output.json {
        print::json(&serde_json::to_value(&report)?);
    } else {
        show(&report);
    }
    if report.loads { Ok(()) } else { Err(anyhow!("{} would not be loaded", file.display())) }
}

fn show(report: &Report) {
    println!("{}", report.file.display());
    if let Some(manifest) = &report.manifest {
        println!(
            "  {} {}: {}\n  channel {}, interface {}, vocabulary {}",
            manifest.name,
            manifest.version,
            manifest.description,
            manifest.channel_type,
            manifest.abi,
            manifest.api
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
    for line in &report.log {
        println!("  it logged: {}", line.escape_debug());
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
