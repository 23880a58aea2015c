//! Resources of which a user has only so many, for all programs together, and how much of each is in use.

use rustix::process::{Resource, getrlimit, getuid};
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};

const MIB: u64 = 1024 * 1024;

/// One such resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Scarce {
    /// Its name, in the plural.
    pub what: &'static str,
    /// How many are in use. A process that does not let itself be read counts for none.
    pub used: u64,
    /// How many there may be; `None` where the kernel sets no limit.
    pub most: Option<u64>,
}

impl Scarce {
    /// Whether little is left: a fifth, or less.
    pub fn is_low(&self) -> bool {
        self.most.is_some_and(|most| self.used.saturating_mul(5) >= most.saturating_mul(4))
    }

    /// How many of how many are in use, in words.
    pub fn in_words(&self) -> String {
        match self.most {
            Some(most) => format!("{} of {most} {}", self.used, self.what),
            None => format!("{} {}, without a limit", self.used, self.what),
        }
    }
}

/// What the processes of one user have, as far as they can be seen.
#[derive(Debug, Default, PartialEq, Eq)]
struct Used {
    processes: u64,
    /// Of the process that has most: the limit is for each process.
    locked_kib: u64,
    inotify_instances: u64,
    inotify_watches: u64,
}

/// Measures them for the user of this process. Looks at all processes there are, which takes some milliseconds.
pub fn measure() -> Vec<Scarce> {
    let mut used = Used::default();
    for process in processes() {
        add(&process, getuid().as_raw(), &mut used);
    }
    let soft = |resource| getrlimit(resource).current;
    // These two limits do not bind root.
    let of_others = |resource| soft(resource).filter(|_| !getuid().is_root());
    let open = entries(Path::new("/proc/self/fd")).count() as u64;
    let scarce = |what, used, most| Scarce { what, used, most };
    vec![
        scarce("inotify instances", used.inotify_instances, inotify_most("instances")),
        scarce("inotify watches", used.inotify_watches, inotify_most("watches")),
        scarce("processes and threads", used.processes, of_others(Resource::Nproc)),
        scarce("open files of the runtime", open, soft(Resource::Nofile)),
        scarce(
            "MiB of locked memory in one process",
            used.locked_kib.div_ceil(1024),
            of_others(Resource::Memlock).map(|most| most / MIB),
        ),
    ]
}

/// Measures them, and logs which are low.
pub fn tell() {
    let scarce = measure();
    let all: Vec<String> = scarce.iter().map(Scarce::in_words).collect();
    tracing::info!(in_use = all.join(", "), "resources of which this user has only so many");
    for low in scarce.iter().filter(|one| one.is_low()) {
        tracing::warn!("little is left: this user's programs have {}", low.in_words());
    }
}

/// Adds what a process of this user has.
fn add(process: &Path, user: u32, used: &mut Used) {
    let status = fs::read_to_string(process.join("status")).unwrap_or_default();
    if number(&status, "Uid:") != Some(u64::from(user)) {
        return;
    }
    used.processes += number(&status, "Threads:").unwrap_or(0);
    used.locked_kib = used.locked_kib.max(number(&status, "VmLck:").unwrap_or(0));
    for open in entries(&process.join("fd")) {
        let is_inotify = fs::read_link(&open).is_ok_and(|to| to == Path::new("anon_inode:inotify"));
        if let Some(name) = open.file_name().filter(|_| is_inotify) {
            let info = fs::read_to_string(process.join("fdinfo").join(name)).unwrap_or_default();
            used.inotify_instances += 1;
            used.inotify_watches += info.lines().filter(|line| line.starts_with("inotify ")).count() as u64;
        }
    }
}

/// The lower of two limits: that of the machine, and that of this user namespace.
fn inotify_most(what: &str) -> Option<u64> {
    let files =
        [format!("/proc/sys/fs/inotify/max_user_{what}"), format!("/proc/sys/user/max_inotify_{what}")];
    files.iter().filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok()).min()
}

fn processes() -> impl Iterator<Item = PathBuf> {
    let is_number = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit))
    };
    entries(Path::new("/proc")).filter(is_number)
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// The first number of a line such as `Uid:  1000  1000`.
fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_has_is_counted_for_its_user_only() {
        let us = Path::new("/proc/self");
        let user = getuid().as_raw();
        let count = |user| {
            let mut used = Used::default();
            add(us, user, &mut used);
            used
        };
        let before = count(user);
        assert!(before.processes >= 2, "{before:?}");
        let folder = tempfile::tempdir().expect("a folder");
        let inotify = inotify::Inotify::init().expect("an instance");
        inotify.watches().add(folder.path(), inotify::WatchMask::CREATE).expect("a watch");
        let after = count(user);
        // Other tests of this process may make some, too.
        assert!(after.inotify_instances > before.inotify_instances, "{before:?} {after:?}");
        assert!(after.inotify_watches > before.inotify_watches, "{before:?} {after:?}");
        assert_eq!(count(user + 1), Used::default());
    }

    #[test]
    fn little_is_left_when_a_fifth_is() {
        for (used, most, low, words) in [
            (79, Some(100), false, "79 of 100 things"),
            (80, Some(100), true, "80 of 100 things"),
            (0, Some(0), true, "0 of 0 things"),
            (9, None, false, "9 things, without a limit"),
        ] {
            let scarce = Scarce { what: "things", used, most };
            assert_eq!((scarce.is_low(), scarce.in_words()), (low, words.to_owned()));
        }
    }
}
