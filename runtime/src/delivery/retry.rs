//! From a failed attempt to the time of the next one, or to giving up. Pure.

use crate::clock::{Timestamp, after};
use crate::plugins::CallError;
use vestibule_plugin_api::PluginError;

/// A message is tried for this many milliseconds from when it was due: 24 hours.
const BUDGET_MS: i64 = 24 * 3600 * 1000;
/// The first wait, in milliseconds; it doubles with each attempt.
const FIRST_WAIT_MS: i64 = 1_000;
/// The longest wait, in milliseconds, unless the platform names one.
const WAIT_MAX_MS: i64 = 60_000;

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Try again at this time.
    At(Timestamp),
    /// Wait until the adapter is there.
    Park,
    /// It is final.
    GiveUp,
}

/// Whether the platform may have the message all the same: the call was made, and its outcome is unknown.
pub fn in_doubt(error: &CallError) -> bool {
    matches!(
        error,
        CallError::Late
            | CallError::Cancelled
            | CallError::Panicked(_)
            | CallError::Plugin(PluginError::Retry { in_doubt: true, .. } | PluginError::Unknown)
    )
}

/// What comes after the failure of attempt number `attempts` of a message that was due at `due_at`. `is_there` says
/// whether the adapter is live by now, even if it was not when it was to be called.
pub fn after_failure(
    error: &CallError,
    is_there: bool,
    attempts: i64,
    due_at: Timestamp,
    now: Timestamp,
) -> Next {
    let named = match error {
        CallError::NotThere if is_there => return Next::At(now),
        CallError::NotThere => return Next::Park,
        CallError::Unsupported(_)
        | CallError::Plugin(PluginError::Refused { .. } | PluginError::Unsupported { .. }) => {
            return Next::GiveUp;
        }
        CallError::Plugin(PluginError::Retry { after_ms, .. }) => {
            after_ms.and_then(|ms| i64::try_from(ms).ok())
        }
        CallError::Plugin(_) | CallError::Panicked(_) | CallError::Cancelled | CallError::Late => None,
    };
    if now.0 - due_at.0 > BUDGET_MS {
        return Next::GiveUp;
    }
    let doubled = FIRST_WAIT_MS.saturating_mul(1 << attempts.clamp(1, 16).saturating_sub(1));
    // A channel that names no wait, again and again, is asked less and less often, to once a second.
    let named = named.map(|named| named.max((doubled / 100).min(FIRST_WAIT_MS)));
    Next::At(after(now, named.unwrap_or(doubled.min(WAIT_MAX_MS)).min(BUDGET_MS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_next() {
        let now = Timestamp(BUDGET_MS * 2);
        let retry = |after_ms| {
            CallError::Plugin(PluginError::Retry {
                reason: "busy".into(),
                after_ms,
                in_doubt: false,
                account: false,
            })
        };
        let cases = [
            (retry(None), 1, now, Next::At(after(now, 1_000))),
            (retry(None), 4, now, Next::At(after(now, 8_000))),
            (retry(None), 60, now, Next::At(after(now, WAIT_MAX_MS))),
            (retry(Some(90_000)), 1, now, Next::At(after(now, 90_000))),
            (retry(Some(u64::MAX)), 1, now, Next::At(after(now, 1_000))),
            (retry(Some(0)), 1, now, Next::At(after(now, 10))),
            (retry(Some(0)), 4, now, Next::At(after(now, 80))),
            (retry(Some(0)), 8, now, Next::At(after(now, 1_000))),
            (retry(Some(0)), 60, now, Next::At(after(now, 1_000))),
            (retry(Some(300)), 3, now, Next::At(after(now, 300))),
            (retry(None), 3, after(now, -BUDGET_MS), Next::At(after(now, 4_000))),
            (retry(None), 3, after(now, -BUDGET_MS - 1), Next::GiveUp),
            (retry(None), 3, Timestamp(0), Next::GiveUp),
            (CallError::Plugin(PluginError::refused("no")), 1, now, Next::GiveUp),
            (CallError::Late, 1, now, Next::At(after(now, 1_000))),
            (CallError::NotThere, 9, Timestamp(0), Next::Park),
        ];
        for (error, attempts, due_at, want) in cases {
            assert_eq!(after_failure(&error, false, attempts, due_at, now), want, "{error:?} {attempts}");
            let want = if error == CallError::NotThere { Next::At(now) } else { want };
            assert_eq!(
                after_failure(&error, true, attempts, due_at, now),
                want,
                "there: {error:?} {attempts}"
            );
        }
    }

    #[test]
    fn what_may_have_arrived_all_the_same() {
        let plugin = CallError::Plugin;
        for (error, want) in [
            (CallError::NotThere, false),
            (CallError::Unsupported("x".into()), false),
            (plugin(PluginError::refused("no")), false),
            (plugin(PluginError::broken("no")), false),
            (plugin(PluginError::retry("not sent")), false),
            (plugin(PluginError::in_doubt("no answer")), true),
            (plugin(PluginError::from(std::io::Error::other("no adapter classified it"))), true),
            (plugin(PluginError::Unknown), true),
            (CallError::Late, true),
            (CallError::Cancelled, true),
            (CallError::Panicked("x".into()), true),
        ] {
            assert_eq!(in_doubt(&error), want, "{error}");
        }
    }
}
