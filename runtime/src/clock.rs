//! The one place that asks what time it is.

pub use vestibule_plugin_api::Timestamp;
pub use vestibule_session::format_time;

/// Now.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// A time this many milliseconds later.
pub fn after(at: Timestamp, ms: i64) -> Timestamp {
    Timestamp(at.0.saturating_add(ms))
}
