//! `vestibule bench plugin FILE.so`: prints what the seam costs, in each tier.

use crate::cli::BenchArgs;
use crate::{print, up};
use vestibule_conform::Bench;

/// Measures the plugin in each tier and prints the medians.
pub async fn plugin(args: BenchArgs) -> anyhow::Result<()> {
    let bench = Bench {
        program: up::program(),
        file: std::fs::canonicalize(&args.file)?,
        config: serde_json::from_str(&args.config)?,
        calls: args.calls,
    };
    let answer = bench.run().await.map_err(anyhow::Error::msg)?;
    if args.output.json {
        print::json(&answer)
    } else {
        print::answer("bench.plugin", &answer)
    }
    Ok(())
}
