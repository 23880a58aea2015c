//! Control groups (version 2): where an operator delegates one to the runtime, each run and each plugin's process gets
//! a group of its own below it. The kernel shares the processors between groups first, however many processes and
//! sessions one of them has.
//!
//! The delegated group itself holds no process: the kernel gives weights only to groups below one that is empty. So
//! the runtime moves to `runtime`, beside `run-…` and `plugin-…`. A run cannot leave its group: its sandbox lets it
//! write nothing of `/sys`.

use rustix::fs::getxattr;
use std::fs::{self, File};
use std::io::{Error, ErrorKind, Result, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the kernel's groups are.
const MOUNT: &str = "/sys/fs/cgroup";
/// The group that the runtime and its keepers are in.
const RUNTIME: &str = "runtime";
const PROCS: &str = "cgroup.procs";
const WEIGHT: &str = "cpu.weight";

/// How much of the processors a group gets beside the others: the kernel's `cpu.weight`. The runtime's group has 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// As much as the runtime.
    Whole,
    /// A third of the runtime's.
    Third,
    /// The least there is.
    Least,
}

impl Weight {
    fn number(self) -> u32 {
        match self {
            Weight::Whole => 100,
            Weight::Third => 33,
            Weight::Least => 1,
        }
    }
}

/// The group below which this process makes groups, once [`take`] has found one.
static TAKEN: OnceLock<PathBuf> = OnceLock::new();

/// Looks for a group that was delegated to this process, and takes it: this process moves into a group below it.
/// Called once, before runs and plugins are started. Returns the group, or `None` when none was delegated.
///
/// # Errors
/// One was delegated and cannot be used: other processes are in it, or it shares no processors.
pub fn take() -> Result<Option<&'static Path>> {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(own) = own_group(&text) else { return Ok(None) };
    let Some(taken) = take_below(Path::new(MOUNT), own, is_delegated)? else { return Ok(None) };
    Ok(Some(TAKEN.get_or_init(|| taken)))
}

/// Whether this process has a delegated group.
pub fn taken() -> bool {
    TAKEN.get().is_some()
}

/// Where the group of the run of a session is to be made, if this process has a delegated group.
pub fn of_run(session_id: &str) -> Option<PathBuf> {
    Some(TAKEN.get()?.join(format!("run-{session_id}")))
}

/// Where the group of a plugin's next process is to be made, if this process has a delegated group. Each process has
/// one of its own: a new one may be tried beside the one that it replaces.
pub fn of_next_plugin() -> Option<PathBuf> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Some(TAKEN.get()?.join(format!("plugin-{}", NEXT.fetch_add(1, Ordering::Relaxed))))
}

/// A group that processes can enter.
pub struct Group {
    folder: PathBuf,
    procs: File,
}

impl Group {
    /// Makes a group with a weight, or takes the one that an earlier run left.
    ///
    /// # Errors
    /// The operator has taken the delegated group back, or the kernel has no room for another.
    pub fn make(folder: &Path, weight: Weight) -> Result<Group> {
        let group = Group::open(folder)?;
        weigh(folder, weight)?;
        Ok(group)
    }

    fn open(folder: &Path) -> Result<Group> {
        if let Err(error) = fs::create_dir(folder)
            && error.kind() != ErrorKind::AlreadyExists
        {
            return Err(error);
        }
        let procs = File::options().write(true).open(folder.join(PROCS))?;
        Ok(Group { folder: folder.to_owned(), procs })
    }

    /// Moves the calling process, and what it starts from now on, into the group. It may be called between fork and
    /// exec.
    ///
    /// # Errors
    /// The kernel does not let it in.
    pub fn enter(&self) -> Result<()> {
        (&self.procs).write_all(b"0")
    }

    /// Another handle of the group.
    ///
    /// # Errors
    /// This process may have no more files open.
    pub fn try_clone(&self) -> Result<Group> {
        Ok(Group { folder: self.folder.clone(), procs: self.procs.try_clone()? })
    }

    /// Removes the group when no process is left in it. One that stays is taken again or removed by the next start.
    pub fn remove(self) {
        let _ = fs::remove_dir(self.folder);
    }
}

/// Changes the weight of a group.
///
/// # Errors
/// The group is gone.
pub fn weigh(folder: &Path, weight: Weight) -> Result<()> {
    fs::write(folder.join(WEIGHT), weight.number().to_string())
}

/// This process's group in the hierarchy of version 2, by what `/proc/self/cgroup` says. Pure.
fn own_group(text: &str) -> Option<&str> {
    let group = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    (!group.split('/').any(|part| part == "..")).then_some(group)
}

/// Whether a group was delegated to this process: systemd says so in an attribute, for root as for others; else the
/// group is this user's and the one around it is not. Root may write every group, so for root that says nothing.
fn is_delegated(group: &Path) -> bool {
    let marked = ["user.delegate", "trusted.delegate"].iter().any(|name| {
        let mut value = [0; 1];
        getxattr(group, *name, &mut value[..]) == Ok(1) && value == *b"1"
    });
    let owner = |group: &Path| fs::metadata(group).map(|group| group.uid()).ok();
    let us = rustix::process::geteuid();
    let is_ours = |group: &Path| owner(group) == Some(us.as_raw());
    marked || (!us.is_root() && is_ours(group) && !group.parent().is_some_and(is_ours))
}

/// Takes `own`, or the group around it: systemd can start a service in a group below the delegated one (`DelegateSubgroup=`).
/// A group that is a unit of its own, as `tmux-spawn-….scope` in `user@1000.service`, is no such.
fn take_below(mount: &Path, own: &str, is_delegated: impl Fn(&Path) -> bool) -> Result<Option<PathBuf>> {
    let own = mount.join(own);
    let is_unit =
        own.extension().is_some_and(|kind| ["scope", "service", "slice"].iter().any(|unit| kind == *unit));
    let around = own.parent().filter(|around| !is_unit && *around != mount && around.starts_with(mount));
    let (group, is_below) = match around {
        _ if own != mount && is_delegated(&own) => (own.as_path(), false),
        Some(around) if is_delegated(around) => (around, true),
        _ => return Ok(None),
    };
    let controllers = fs::read_to_string(group.join("cgroup.controllers"))?;
    if !controllers.split_whitespace().any(|one| one == "cpu") {
        return Err(Error::other("it does not share processors: delegate `cpu`"));
    }
    let sharing = group.join("cgroup.subtree_control");
    if !is_below {
        // Where an earlier life left it shared, this process makes the groups below invalid as long as it is in it.
        let _ = fs::write(&sharing, "-cpu");
        Group::open(&group.join(RUNTIME))?.enter()?;
    }
    fs::write(&sharing, "+cpu").map_err(|error| match error.kind() {
        ErrorKind::ResourceBusy => Error::other("other processes are in it: start the runtime alone in it"),
        _ => error,
    })?;
    remove_empty(group);
    Ok(Some(group.to_owned()))
}

/// Removes the groups that an earlier life left. The kernel refuses one with a process in it.
fn remove_empty(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        let _ = fs::remove_dir(entry.path());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that looks like the kernel's groups, with one group in it.
    fn mount(own: &str, controllers: &str) -> tempfile::TempDir {
        let mount = tempfile::tempdir().unwrap();
        for group in [mount.path().join(own), mount.path().join(own).join(RUNTIME)] {
            fs::create_dir_all(&group).unwrap();
            for (file, text) in
                [("cgroup.controllers", controllers), ("cgroup.subtree_control", ""), (PROCS, "")]
            {
                fs::write(group.join(file), text).unwrap();
            }
        }
        mount
    }

    #[test]
    fn the_own_group_is_the_one_of_version_2() {
        for (text, group) in [
            ("9:cpu:/x\n0::/system.slice/vestibule.service\n", Some("system.slice/vestibule.service")),
            ("0::/\n", Some("")),
            ("0::/../other\n", None),
            ("9:cpu:/x\n", None),
            ("", None),
        ] {
            assert_eq!(own_group(text), group, "{text}");
        }
    }

    #[test]
    fn a_delegated_group_is_left_and_shares_processors() {
        let mount = mount("a.slice/b.service", "cpu io\n");
        let group = mount.path().join("a.slice/b.service");
        fs::create_dir(group.join("run-old")).unwrap();
        let taken = take_below(mount.path(), "a.slice/b.service", |one| one == group).unwrap();
        assert_eq!(taken.as_deref(), Some(group.as_path()));
        let read = |file: &str| fs::read_to_string(group.join(file)).unwrap();
        assert_eq!(read("runtime/cgroup.procs"), "0");
        assert_eq!(read("cgroup.subtree_control"), "+cpu");
        assert!(!group.join("run-old").exists());
    }

    #[test]
    fn who_is_already_below_a_delegated_group_stays_where_he_is() {
        let mount = mount("b.service/main", "cpu\n");
        let group = mount.path().join("b.service");
        fs::write(group.join("cgroup.controllers"), "cpu\n").unwrap();
        let taken = take_below(mount.path(), "b.service/main", |one| one == group).unwrap();
        assert_eq!(taken.as_deref(), Some(group.as_path()));
        assert!(!group.join(RUNTIME).exists());
    }

    #[test]
    fn the_group_around_a_unit_is_that_of_others() {
        let mount = mount("user@1000.service/tmux-spawn-1.scope", "cpu\n");
        let around = mount.path().join("user@1000.service");
        fs::write(around.join("cgroup.controllers"), "cpu\n").unwrap();
        let own = "user@1000.service/tmux-spawn-1.scope";
        assert_eq!(take_below(mount.path(), own, |one| one == around).unwrap(), None);
        assert!(!around.join("cgroup.subtree_control").exists());
    }

    #[test]
    fn what_is_not_delegated_is_not_touched() {
        for own in ["", "a.service", "a.slice/b.service"] {
            let mount = mount(own, "cpu\n");
            assert_eq!(take_below(mount.path(), own, |_| false).unwrap(), None, "{own}");
            // The top is no one's to take, with any owner.
            assert_eq!(take_below(mount.path(), "", |_| true).unwrap(), None);
            let procs = mount.path().join(own).join("runtime/cgroup.procs");
            assert_eq!(fs::read_to_string(procs).unwrap(), "");
        }
    }

    #[test]
    fn a_group_that_shares_no_processors_is_refused() {
        let mount = mount("a.service", "memory pids\n");
        let refused = take_below(mount.path(), "a.service", |_| true).unwrap_err();
        assert!(refused.to_string().contains("delegate `cpu`"), "{refused}");
    }

    #[test]
    fn a_group_is_made_with_its_weight_or_taken_as_it_is() {
        let mount = mount("run-1", "");
        let folder = mount.path().join("run-1");
        for weight in [Weight::Third, Weight::Whole] {
            Group::make(&folder, weight).unwrap().enter().unwrap();
            assert_eq!(fs::read_to_string(folder.join(WEIGHT)).unwrap(), weight.number().to_string());
            assert_eq!(fs::read_to_string(folder.join(PROCS)).unwrap(), "0");
        }
        assert!(Group::make(&mount.path().join("gone/run-2"), Weight::Third).is_err());
    }
}
