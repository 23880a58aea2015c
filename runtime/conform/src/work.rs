//! The daily work of a plugin, whatever its kind: a channel delivers, a module answers. Many calls at once, calls that
//! are withdrawn, and so many that a leak shows.

use crate::harness::{Begun, memory_kib};
use crate::hooks::{self, Row};
use crate::report::Outcome;
use crate::trial::{Said, Trial};
use serde_json::Value;
use vestibule_plugin_api::wire::{self, Request};
use vestibule_plugin_api::{Receipt, TEXT_BYTES_MAX};

/// How many calls are in flight at once.
const IN_FLIGHT: u32 = 256;
/// How many calls are in flight while memory is watched.
const IN_FLIGHT_WATCHED: u32 = 8;
/// The length of each call's text: long enough that one that is kept shows.
const WATCHED_TEXT_BYTES: usize = 16 * 1024;
/// The growth over a whole run that is no leak, in KiB.
const GROWTH_KIB: u64 = 1024;
/// The growth in open descriptors that is no leak.
const GROWTH_DESCRIPTORS: u64 = 16;

/// Texts that a program stumbles over.
pub const ODD_TEXTS: [&str; 6] = [
    "\0\u{1b}[2J\u{7}",
    "\u{202e}abc\u{200f}",
    "\r\n\r\n",
    "{\"kind\":\"text\"}",
    "a\u{301}\u{1f469}\u{200d}\u{1f680}",
    "\u{feff}",
];

/// The longest text. Characters of three bytes: a cut in the middle of one would panic.
pub fn long_text() -> String {
    "\u{20ac}".repeat(TEXT_BYTES_MAX / 3) + &"x".repeat(TEXT_BYTES_MAX % 3)
}

/// A piece of work under way.
pub struct Working {
    /// The call.
    pub begun: Begun,
    row: Option<&'static Row>,
}

impl Trial {
    /// Begins one piece: a delivery, or a question at one of the module's hooks in turn.
    pub fn begin_work(&self, name: &str, number: u32, text: &str) -> Working {
        let id = format!("msg-conform-{name}-{number}");
        let rows: Vec<_> = hooks::listed(self.manifest()).collect();
        let row = rows.get(number as usize % rows.len().max(1)).copied();
        let request = match row {
            Some(row) => row.question(self, &id, text),
            None => Request::Deliver { message: self.message(&id, text) },
        };
        Working { begun: self.harness().begin(wire::frame(&request)), row }
    }

    /// Waits for a piece of work, and reads its answer.
    pub async fn hear_work(&self, work: Working) -> Said<()> {
        let said = self.hear::<Value>(work.begun, self.place.deadline).await;
        let read = |answer: Value| match work.row {
            Some(row) => row.read(answer).map(drop).map_err(|why| format!("{}: {why}", row.verb)),
            None => serde_json::from_value::<Receipt>(answer).map(drop).map_err(|why| why.to_string()),
        };
        match said {
            Said::Done(answer) => read(answer).map_or_else(Said::Bug, Said::Done),
            Said::Error(error) => Said::Error(error),
            Said::Unsupported(why) => Said::Unsupported(why),
            Said::BadFrame(why) => Said::BadFrame(why),
            Said::Bug(why) => Said::Bug(why),
        }
    }

    /// Begins one piece and waits for it.
    pub async fn work(&self, name: &str, text: &str) -> Said<()> {
        self.hear_work(self.begin_work(name, 0, text)).await
    }
}

/// Runs these checks.
pub async fn examine(trial: &mut Trial) {
    trial.check_live("many in flight", in_flight).await;
    trial.check_live("withdrawn calls", withdrawn).await;
    trial.check_live("memory and descriptors", memory).await;
}

async fn in_flight(trial: &Trial) -> Result<Outcome, String> {
    let begin = std::time::Instant::now();
    let calls: Vec<_> = (0..IN_FLIGHT).map(|number| trial.begin_work("many", number, "many")).collect();
    let (mut done, mut other) = (0, None);
    for call in calls {
        match trial.hear_work(call).await {
            Said::Done(()) => done += 1,
            said => other = Some(said.words()?),
        }
    }
    let took = begin.elapsed().as_millis();
    let others = other.map_or(String::new(), |words| format!("; the others: {words}"));
    Ok(Outcome::Ok(format!("{IN_FLIGHT} at once are answered within {took} ms, {done} of them done{others}")))
}

async fn withdrawn(trial: &Trial) -> Result<Outcome, String> {
    for number in 0..IN_FLIGHT {
        trial.harness().cancel(trial.begin_work("withdrawn", number, "withdrawn").begun);
    }
    let words = trial.work("after", "after the withdrawn ones").await.words()?;
    Ok(Outcome::Ok(format!("{IN_FLIGHT} are withdrawn; the next call: {words}")))
}

/// The memory of a process in KiB, and its open descriptors.
fn holdings(pid: &str) -> (u64, u64) {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |entries| entries.count() as u64);
    (memory_kib(pid), open)
}

/// The first quarter of the calls warms the plugin up; the growth over the others is judged.
async fn memory(trial: &Trial) -> Result<Outcome, String> {
    let pid = trial.harness().file.pid().map_or("self".to_owned(), |pid| pid.to_string());
    let quarter = trial.place.calls / 4;
    let mut seen = Vec::new();
    let mut last = String::new();
    for round in 0..4 {
        last = calls(trial, round, quarter).await?;
        seen.push(holdings(&pid));
    }
    let calls = u64::from(quarter) * 3;
    match leak(&seen, calls) {
        Some(why) => Err(why),
        None => {
            let grown = seen[3].0.saturating_sub(seen[0].0);
            Ok(Outcome::Ok(format!(
                "{grown} KiB more after {calls} calls, {} in all; each: {last}",
                seen[3].0
            )))
        }
    }
}

/// Judges the holdings after each quarter; `calls` lie between the first and the last. Pure.
fn leak(seen: &[(u64, u64)], calls: u64) -> Option<String> {
    let (&(memory, open), &(memory_last, open_last)) = (seen.first()?, seen.last()?);
    let grown = memory_last.saturating_sub(memory);
    let always = seen.windows(2).all(|pair| pair[1].0 > pair[0].0);
    if always && grown > GROWTH_KIB && grown * 1024 > calls * 1024 {
        return Some(format!(
            "its memory grows by {} bytes with each call: it keeps something",
            grown * 1024 / calls
        ));
    }
    let opened = open_last.saturating_sub(open);
    (opened > GROWTH_DESCRIPTORS)
        .then(|| format!("{opened} more descriptors are open after {calls} calls: it does not close them"))
}

/// Makes so many calls, some at a time; returns the words of the last answer.
async fn calls(trial: &Trial, round: u32, count: u32) -> Result<String, String> {
    let text = "x".repeat(WATCHED_TEXT_BYTES);
    let mut last = String::new();
    for part in 0..count.div_ceil(IN_FLIGHT_WATCHED) {
        let name = format!("m-{round}-{part}");
        let begun: Vec<_> =
            (0..IN_FLIGHT_WATCHED).map(|number| trial.begin_work(&name, number, &text)).collect();
        for call in begun {
            last = trial.hear_work(call).await.words()?;
        }
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::leak;

    #[test]
    fn a_leak_grows_all_the_time() {
        for (what, seen, want) in [
            ("nothing grows", [(9_000, 20), (9_010, 20), (9_005, 21), (9_012, 20)], None),
            ("16 KiB a call", [(9_000, 20), (17_000, 20), (25_000, 20), (33_000, 20)], Some("16384 bytes")),
            ("it grew once", [(9_000, 20), (33_000, 20), (33_000, 20), (33_000, 20)], None),
            ("a little", [(9_000, 20), (9_100, 20), (9_200, 20), (9_300, 20)], None),
            (
                "files stay open",
                [(9_000, 20), (9_000, 60), (9_000, 90), (9_000, 120)],
                Some("100 more descriptors"),
            ),
        ] {
            let told = leak(&seen, 1_500);
            assert_eq!(told.is_some(), want.is_some(), "{what}: {told:?}");
            assert!(told.unwrap_or_default().contains(want.unwrap_or_default()), "{what}");
        }
    }
}
