//! The one place that asks what time it is.

use std::time::Duration;

pub use vestibule_plugin_api::Timestamp;
pub use vestibule_session::format_time;

/// The time now, by this machine's clock.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// A time this many milliseconds later.
pub fn after(at: Timestamp, ms: i64) -> Timestamp {
    Timestamp(at.0.saturating_add(ms))
}

/// How long the machine has been running, the time in which it slept included: a clock that no program sets. `None`
/// where the system does not say.
pub fn since_boot() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    Some(Duration::from_secs_f64(text.split_whitespace().next()?.parse().ok()?))
}
