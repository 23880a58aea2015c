//! The one place that asks what time it is.

pub use vestibule_plugin_api::Timestamp;

/// Now.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// A time this many milliseconds later.
pub fn after(at: Timestamp, ms: i64) -> Timestamp {
    Timestamp(at.0.saturating_add(ms))
}
