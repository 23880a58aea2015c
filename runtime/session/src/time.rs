//! How time is spelled on disk: ISO 8601, UTC, milliseconds, `Z`. In memory it is a [`Timestamp`], and times are never
//! compared as text.

use vestibule_plugin_api::Timestamp;

/// Writes a time as `2026-01-15T08:00:00.000Z`.
pub fn format_time(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_millisecond(at.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Reads both spellings: ISO 8601 with a zone, and SQLite's `YYYY-MM-DD HH:MM:SS`, which is UTC.
pub fn parse_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let zoned = text.parse::<jiff::Timestamp>();
    let at = zoned.or_else(|_| {
        let civil = text.parse::<jiff::civil::DateTime>()?;
        civil.to_zoned(jiff::tz::TimeZone::UTC).map(|zoned| zoned.timestamp())
    });
    at.ok().map(|at| Timestamp(at.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_one_time() {
        let at = Timestamp(1_768_464_000_000);
        assert_eq!(format_time(at), "2026-01-15T08:00:00.000Z");
        for text in ["2026-01-15T08:00:00.000Z", "2026-01-15 08:00:00", "2026-01-15T09:00:00+01:00"] {
            assert_eq!(parse_time(text), Some(at), "{text}");
        }
        assert_eq!(parse_time("soon"), None);
    }
}
