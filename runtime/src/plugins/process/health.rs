//! Whether a plugin's process is well: how much it holds and takes, and whether it still answers.

use super::child::Process;
use super::conn::Conn;
use super::hog::{Step, put_behind, spins, step, wanted};
use super::spec::{OwnFolder, Spec};
use super::supervisor::Supervisor;
use rustix::process::Pid;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vestibule_keeper::objects::OBJECTS_MAX;
use vestibule_keeper::usage::{self, Usage};
use vestibule_keeper::weigh::{Folder, Weigher};
use vestibule_keeper::wire::Limits;
use vestibule_seam::{Done, Frame};

/// The most threads of a plugin's process: a user has only so many processes and threads, and runners need some.
const THREADS_MAX: u64 = 1024;
const LOOK_EVERY: Duration = Duration::from_secs(1);
const PING_EVERY_MAX: Duration = Duration::from_secs(10);
/// How long a ping is waited for after a call was late.
const LATE_PATIENCE: Duration = Duration::from_secs(5);
/// A plugin that has always something to say is waited for so many times as long.
const BUSY_FACTOR: u32 = 10;
/// So many late calls in a row end a plugin that still answers pings.
const LATE_MAX: u32 = 3;

/// Returns when the process of a plugin must be ended, and says why.
pub async fn watch(plugin: &str, supervisor: &Supervisor, conn: &Arc<Conn>, process: &Process) -> String {
    tokio::select! {
        why = holdings(supervisor, process.pid) => why,
        why = hogging(plugin, conn, process) => why,
        why = pings(supervisor, conn) => why,
    }
}

async fn holdings(supervisor: &Supervisor, pid: Option<u32>) -> String {
    let Some(pid) = pid.and_then(|pid| Pid::from_raw(pid.cast_signed())) else { return pending().await };
    let spec = supervisor.spec();
    let mut weigher = spec.folder.clone().map(weigher);
    let limits = Limits { processes: THREADS_MAX, memory_bytes: spec.memory_bytes, ..Limits::NONE };
    let mut hidden = 0;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if let Some(weighed) = weigher.take() {
            let (weighed, why) = weigh(weighed).await;
            if let Some(why) = why {
                return why;
            }
            weigher = weighed;
        }
        // The figures of a process with much open are many: other plugins do not wait for them.
        let measured = tokio::task::spawn_blocking(move || usage::of_process(pid, &limits)).await;
        let Ok(mut usage) = measured else { continue };
        hidden = if usage.hidden > 0 { hidden + 1 } else { 0 };
        usage.hidden = hidden;
        if let Some(why) = too_much(&usage, spec) {
            return why;
        }
    }
}

fn weigher(folder: OwnFolder) -> Weigher {
    let OwnFolder { path, bytes_max, files_max } = folder;
    let name = format!("its folder {}", path.display());
    Weigher::new(vec![Folder { path, name, bytes_max, files_max, keys: ["folder_mb", "folder_files"] }])
}

/// Counts a while what lies in the folder of its own; says why that is too much, if it is.
async fn weigh(mut weigher: Weigher) -> (Option<Weigher>, Option<String>) {
    let weighed = tokio::task::spawn_blocking(move || {
        let outcome = weigher.step();
        (weigher, outcome)
    });
    match weighed.await {
        Ok((weigher, Ok(why))) => (Some(weigher), why),
        Ok((_, Err(error))) => (None, Some(format!("its folder cannot be looked at: {error}"))),
        Err(_) => (None, None), // the runtime stops
    }
}

/// Why a process that holds so much must end. Pure.
fn too_much(usage: &Usage, spec: &Spec) -> Option<String> {
    let mib = |bytes: u64| bytes / 1024 / 1024;
    // It is ended before the kernel gives it no more.
    let open_max = spec.open_files - spec.open_files / 10;
    if usage.processes > THREADS_MAX {
        return Some(format!("it had more than {THREADS_MAX} threads"));
    }
    if usage.memory_bytes > spec.memory_bytes {
        let (held, most) = (mib(usage.memory_bytes), mib(spec.memory_bytes));
        return Some(format!("it held {held} MiB of memory, and `memory_mb` is {most}"));
    }
    if usage.open_files >= open_max {
        let (open, most) = (usage.open_files, spec.open_files);
        return Some(format!("it held {open} of {most} descriptors: it does not close them"));
    }
    if usage.objects > OBJECTS_MAX {
        return Some(format!("it had more than {OBJECTS_MAX} watches and locks"));
    }
    // One look may come while it ends.
    (usage.hidden > 1).then(|| "it hid what it has open, so that it cannot be measured".to_owned())
}

/// Puts a process behind all others once it is a hog: at two looks in a row one of its threads always wanted a
/// processor, it was silent, and at the second it had not answered what it was asked at the first.
///
/// If it never answers, [`pings`] ends it later; until then it takes next to nothing from the others. If it
/// answers after all, it runs on, behind, until it is started again. One that answers while a thread beside its work
/// spins is left alone.
async fn hogging(plugin: &str, conn: &Arc<Conn>, process: &Process) -> String {
    let group = process.group.as_deref();
    let Some(pid) = process.pid else { return pending().await };
    let (mut before, mut asked, mut hog) = (wanted(pid), None, false);
    loop {
        let begin = Instant::now();
        tokio::time::sleep(LOOK_EVERY).await;
        if hog {
            put_behind(pid, group); // the threads that are new
            continue;
        }
        let now = wanted(pid);
        let spins = spins(&before, &now, conn.quiet(), begin.elapsed());
        before = now;
        let owed = asked.take().filter(|id| conn.waits_for(*id));
        match step(spins, owed.is_some()) {
            Step::LetBe => owed.into_iter().for_each(|id| conn.cancel(id)),
            Step::Ask => asked = Some(ping(conn, Done::new(|_, _| ()))),
            Step::PutBehind => {
                hog = true;
                let done = put_behind(pid, group);
                let what =
                    if done { "it runs behind all else" } else { "it could not be put behind all else" };
                tracing::info!(
                    plugin,
                    "the plugin wants a processor all the time and answers nothing; {what}"
                );
            }
        }
    }
}

/// Asks something that every plugin answers, on the thread that does its work: a verb it cannot know.
fn ping(conn: &Arc<Conn>, done: Done) -> u64 {
    conn.call(Frame::from_head(br#"{"verb":"ping"}"#.to_vec()), done)
}

/// Asks from time to time whether the plugin still answers.
async fn pings(supervisor: &Supervisor, conn: &Arc<Conn>) -> String {
    let deadline = supervisor.deadline();
    let every = (deadline / 4).min(PING_EVERY_MAX);
    loop {
        let patience = tokio::select! {
            () = tokio::time::sleep(every) => deadline,
            () = supervisor.late() => deadline.min(LATE_PATIENCE),
        };
        let (answered, mut answer) = tokio::sync::oneshot::channel();
        let (begin, silence) = (Instant::now(), conn.silence());
        let id = ping(conn, Done::new(move |_, _| _ = answered.send(())));
        while tokio::time::timeout(patience / 10, &mut answer).await.is_err() {
            if is_stuck(begin.elapsed(), conn.silence() - silence, patience) {
                conn.cancel(id);
                return format!("it answered nothing for {} s", begin.elapsed().as_secs());
            }
        }
        if supervisor.late_in_a_row() >= LATE_MAX {
            return format!("{LATE_MAX} calls in a row were not answered in time");
        }
    }
}

/// Whether a plugin that was asked so long ago, and was silent for so much of that time, is stuck. What it
/// said before its answer may be many messages, which the runtime takes as fast as it can commit them: that
/// time is not the plugin's. Pure.
fn is_stuck(asked: Duration, silent: Duration, patience: Duration) -> bool {
    silent >= patience || asked >= patience * BUSY_FACTOR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_holds_too_much_is_ended_and_told_of_what() {
        let spec = Spec {
            file: "/x".into(),
            entry: String::new(),
            log_level: 3,
            memory_bytes: 64 << 20,
            open_files: 100,
            folder: None,
            group: None,
        };
        let fine = Usage {
            processes: 1024,
            memory_bytes: 64 << 20,
            open_files: 89,
            objects: 65_536,
            hidden: 1,
            ..Usage::default()
        };
        for (usage, words) in [
            (fine, None),
            (Usage { processes: 1025, ..fine }, Some("more than 1024 threads")),
            (Usage { memory_bytes: (64 << 20) + 1, ..fine }, Some("`memory_mb` is 64")),
            (Usage { open_files: 90, ..fine }, Some("90 of 100 descriptors")),
            (Usage { objects: 65_537, ..fine }, Some("watches and locks")),
            (Usage { hidden: 2, ..fine }, Some("hid what it has open")),
        ] {
            let found = too_much(&usage, &spec);
            assert_eq!(found.is_some(), words.is_some(), "{usage:?}: {found:?}");
            assert!(found.unwrap_or_default().contains(words.unwrap_or_default()), "{usage:?}");
        }
    }

    #[test]
    fn who_is_silent_is_stuck_and_who_is_busy_is_waited_for() {
        let s = Duration::from_secs;
        for (asked, silent, stuck) in [
            (1, 1, false),
            (60, 60, true),
            (600, 60, true),
            (300, 1, false), // it floods, and the machine is slow
            (600, 1, true),  // it floods for ever
        ] {
            assert_eq!(is_stuck(s(asked), s(silent), s(60)), stuck, "{asked} {silent}");
        }
    }
}
