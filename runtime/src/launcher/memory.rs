//! Whether something runs low that all runners share: memory, or inotify instances.

use rustix::fs::inotify::{CreateFlags, init};

/// What a keeper and its runner take, and one more for what the operator does.
const INSTANCES: usize = 3;

/// Below this part of the memory, and below [`LOW_KIB`], little is left.
const LOW_PART: u64 = 20;
/// See [`LOW_PART`], in KiB.
const LOW_KIB: u64 = 512 * 1024;

/// Whether so little is left that idle runners should end.
pub fn runs_low() -> bool {
    memory_is_low() || instances_are_short()
}

/// Whether the user has fewer inotify instances left than a run takes: it would look instead of being told, and be slow.
fn instances_are_short() -> bool {
    let held: std::result::Result<Vec<_>, _> = (0..INSTANCES).map(|_| init(CreateFlags::CLOEXEC)).collect();
    held.is_err()
}

/// Whether so little memory is left that idle runners should end. Where the kernel does not say, there is enough.
fn memory_is_low() -> bool {
    std::fs::read_to_string("/proc/meminfo").is_ok_and(|text| is_low(&text))
}

fn is_low(meminfo: &str) -> bool {
    let kib = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let (Some(total), Some(available)) = (kib("MemTotal:"), kib("MemAvailable:")) else { return false };
    available < LOW_KIB && available < total / LOW_PART
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_low_when_both_the_part_and_the_amount_are_small() {
        for (total, available, low) in [
            (24_000_000, 20_000_000, false),
            (24_000_000, 600_000, false),
            (24_000_000, 500_000, true),
            (1_000_000, 60_000, false),
            (1_000_000, 40_000, true),
        ] {
            let text = format!("MemTotal: {total} kB\nMemFree: 1 kB\nMemAvailable:   {available} kB\n");
            assert_eq!(is_low(&text), low, "{available} of {total}");
        }
        assert!(!is_low("MemTotal: 1 kB\n"));
    }
}
