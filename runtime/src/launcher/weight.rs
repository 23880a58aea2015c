//! How runs share the processors with the runtime and with each other, in words, for `status`.

use std::fs;
use vestibule_keeper::groups;

/// What holds here: that depends on how this machine's kernel is set up.
pub fn words() -> &'static str {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let enabled = read("/proc/sys/kernel/sched_autogroup_enabled").trim() == "1";
    if groups::taken() {
        return "each run has one share, a third of the runtime's, however many processes it has (a control group)";
    }
    said_of(enabled && at_the_top(&read("/proc/self/cgroup"), has_weight))
}

fn said_of(sessions: bool) -> &'static str {
    if sessions {
        "each run has one share, a third of the runtime's, however many processes it has (sched_autogroup)"
    } else {
        "each program of an agent weighs a tenth of the runtime's (nice); runs are not kept apart from each other"
    }
}

/// Whether this process is in no control group that shares processors: in one, the kernel does not look at
/// sessions. `cgroups` is what `/proc/self/cgroup` says; `weighs` whether such a group of version 2 has a
/// weight. Pure.
fn at_the_top(cgroups: &str, weighs: impl Fn(&str) -> bool) -> bool {
    cgroups.lines().all(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        match controllers {
            "" => !ancestors(group).any(&weighs),
            _ => group == "/" || !controllers.split(',').any(|one| one == "cpu"),
        }
    })
}

/// A group and those around it, without the top.
fn ancestors(group: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(group), |group| group.rsplit_once('/').map(|(around, _)| around))
        .filter(|group| !group.is_empty())
}

fn has_weight(group: &str) -> bool {
    fs::exists(format!("/sys/fs/cgroup{group}/cpu.weight")).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_count_only_outside_of_groups_that_share_processors() {
        let weighs = |group: &str| group == "/user.slice";
        for (cgroups, top) in [
            ("0::/", true),
            ("0::/user.slice/user-1000.slice", false),
            ("0::/system.slice/x.service", true),
            ("1:cpu:/\n4:memory:/some/group\n0::/", true),
            ("1:cpu,cpuacct:/some/group\n0::/", false),
            ("", true),
        ] {
            assert_eq!(at_the_top(cgroups, weighs), top, "{cgroups}");
        }
        assert!(said_of(true).contains("one share") && said_of(false).contains("not kept apart"));
    }
}
