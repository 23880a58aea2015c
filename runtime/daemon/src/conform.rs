//! `vestibule plugin conform FILE.so`: examines a plugin, and prints what is found as soon as it is.

use crate::cli::{ConformArgs, TierWord};
use crate::{print, up};
use std::io::Write;
use vestibule_conform::{Examination, Progress, Report};
use vestibule_runtime::config::TierSetting;
use vestibule_runtime::words;

/// How wide the names of the checks are shown, in characters: the longest of them.
const NAME_CHARS: usize = 23;
/// The longest sentence about a check that is shown, in characters.
const WORDS_CHARS_MAX: usize = 2_000;

/// Examines a file, prints the report, and fails when a check did.
pub async fn conform(args: ConformArgs) -> anyhow::Result<()> {
    let tell = if args.output.json { |_: Progress<'_>| {} } else { show };
    let examination = Examination {
        program: up::program(),
        file: args.file,
        tier: match args.tier {
            TierWord::Process => TierSetting::Process,
            TierWord::InProcess => TierSetting::InProcess,
        },
        config: args.config,
        set: args.set,
        account: args.account,
        chat: args.chat,
        thread: args.thread,
        peer: args.peer,
        only: args.only,
        skip: args.skip,
        calls: args.calls,
        deadline: args.deadline,
    };
    let report = examination.run(tell).await.map_err(anyhow::Error::msg)?;
    if args.output.json {
        print::json(&report.json());
    } else {
        print_sum(&report);
    }
    match report.failed() {
        0 if report.passed() == 0 => {
            anyhow::bail!("nothing was examined: no check was made to its end; see why above")
        }
        0 => Ok(()),
        1 => anyhow::bail!("one check failed"),
        failed => anyhow::bail!("{failed} checks failed"),
    }
}

/// Shows a step of the examination to a person.
fn show(progress: Progress<'_>) {
    match progress {
        Progress::Opened(what) => println!("{}\n", words::line(what, WORDS_CHARS_MAX)),
        Progress::Begun(check) => {
            print!("{check:NAME_CHARS$}  ");
            let _ = std::io::stdout().flush();
        }
        Progress::Done(check) => {
            let (outcome, said) = check.outcome.parts();
            let outcome = if outcome == "failed" { "FAILED" } else { outcome };
            let took = check.took.as_secs_f64();
            println!("{outcome:7}  {took:>6.2} s  {}", words::line(said, WORDS_CHARS_MAX));
        }
    }
}

/// Prints how many checks passed, failed and were skipped, for a person.
fn print_sum(report: &Report) {
    let (passed, failed, skipped) = (report.passed(), report.failed(), report.skipped());
    println!("\n{passed} ok, {failed} failed, {skipped} skipped, in {:.1} s", report.took().as_secs_f64());
}
