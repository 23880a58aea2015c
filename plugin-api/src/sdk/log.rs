//! Brings what a plugin logs with `tracing` into the runtime's log.
//!
//! A plugin file has its own copy of `tracing`, without a subscriber; this one forwards each event
//! as a line. A linked-in plugin shares the runtime's subscriber, and this one is never installed.

use super::account;
use std::fmt::Write as _;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use vestibule_seam::RuntimeSide;

struct Forward {
    side: RuntimeSide,
    level: u32,
}

/// Forwards this library's events, unless another subscriber already takes them. Returns whether it forwards them:
/// then this library is a plugin file, alone with its copies of `tracing` and of the standard library.
pub(super) fn install(side: RuntimeSide, level: u32) -> bool {
    tracing::subscriber::set_global_default(Forward { side, level }).is_ok()
}

/// Forwards what this thread logs, until the guard is dropped.
#[cfg(feature = "testing")]
pub(crate) fn on_this_thread(side: RuntimeSide) -> tracing::subscriber::DefaultGuard {
    tracing::subscriber::set_default(Forward { side, level: 5 })
}

fn number(level: &Level) -> u32 {
    match *level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

impl Subscriber for Forward {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        number(metadata.level()) <= self.level
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        if event.metadata().fields().field("account").is_none()
            && let Some(account) = account::current()
        {
            let _ = write!(line.0, " account={account:?}");
        }
        self.side.log(number(event.metadata().level()), &line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0.insert_str(0, &format!("{value:?}"));
        } else {
            let _ = write!(self.0, " {}={value:?}", field.name());
        }
    }
}
