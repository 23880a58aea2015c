//! The log: for each event one line on standard error.
//!
//! Invariants:
//! - Whatever an event holds, its line is one line, clean and bounded: this is the only place that writes it.
//! - No source fills the log, and none uses up another's share.

mod limiter;

use crate::cli::Level;
use limiter::{Limiter, Source};
use std::fmt::{self, Write as _};
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use vestibule_plugin_api::__export::account_in_scope;
use vestibule_runtime::{clock, words};

/// The longest message of a line, and the longest value of a field, in characters.
const MESSAGE_CHARS_MAX: usize = 2_000;
const FIELD_CHARS_MAX: usize = 600;
/// The fields that name the subject of an event: each value is a source of its own.
const NAMES_SOURCE: [&str; 3] = ["plugin", "module", "session"];
/// The part of such a name by which sources are told apart, in characters.
const SOURCE_CHARS_MAX: usize = 80;

/// For whom the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// It stands alone, on standard error.
    Operator,
    /// It stands between what `plugin dev` shows: what concerns the plugins, and all that goes wrong.
    Author,
}

/// Logs from this level on.
pub fn start(level: Level, audience: Audience) {
    let level = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    let log = Log { audience, limiter: Mutex::default(), has_colours: std::io::stderr().is_terminal() };
    tracing_subscriber::registry().with(level).with(log).init();
}

struct Log {
    audience: Audience,
    limiter: Mutex<Limiter>,
    has_colours: bool,
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if self.audience == Audience::Author && !is_for_authors(event.metadata()) {
            return;
        }
        let mut name = Name(String::new());
        event.record(&mut name);
        let source = Source { of: event.metadata(), name: name.0 };
        let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        let (passes, left_out) = limiter.count(source, Instant::now());
        drop(limiter);
        let mut text = String::new();
        for (source, count) in left_out {
            self.head(&mut text, source.of);
            let of = if source.name.is_empty() { source.of.target() } else { &source.name };
            let _ = writeln!(text, "lines were left out, too many came at once count={count} of={of:?}");
        }
        if passes {
            self.head(&mut text, event.metadata());
            event.record(&mut Fields(&mut text));
            // A built-in plugin logs here itself; the line of a plugin file names its account by now.
            if event.metadata().fields().field("account").is_none()
                && let Some(account) = account_in_scope()
            {
                let _ = write!(words::Line::new(&mut text, FIELD_CHARS_MAX), " account={account:?}");
            }
            text.push('\n');
        }
        // A log that cannot be written, on a full disk say, must not end the thread that logs.
        // One write for a line: other programs may write there, too.
        let _ = match self.audience {
            Audience::Operator => std::io::stderr().lock().write_all(text.as_bytes()),
            Audience::Author => std::io::stdout().lock().write_all(text.as_bytes()),
        };
    }
}

impl Log {
    fn head(&self, text: &mut String, of: &Metadata<'_>) {
        let (level, at) = (*of.level(), clock::format_time(clock::now()));
        let (colour, end) = match level {
            _ if !self.has_colours => ("", ""),
            tracing::Level::ERROR => ("\x1b[31m", "\x1b[0m"),
            tracing::Level::WARN => ("\x1b[33m", "\x1b[0m"),
            tracing::Level::INFO => ("\x1b[32m", "\x1b[0m"),
            _ => ("\x1b[2m", "\x1b[0m"),
        };
        let _ = match self.audience {
            Audience::Operator => write!(text, "{at} {colour}{level:>5}{end} "),
            Audience::Author => write!(text, "{}  log        {colour}{level}{end} ", &at[11..19]),
        };
    }
}

/// Whether an author is told of an event: it names a plugin, or something is wrong.
fn is_for_authors(of: &Metadata<'_>) -> bool {
    let names_plugin = ["plugin", "channel", "module"].iter().any(|name| of.fields().field(name).is_some());
    names_plugin || *of.level() <= tracing::Level::WARN
}

/// Finds the field that names an event's source.
struct Name(String);

impl Visit for Name {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if NAMES_SOURCE.contains(&field.name()) {
            self.0 = words::line(format_args!("{value:?}"), SOURCE_CHARS_MAX);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

/// Writes an event's message, then its other fields as `name=value`.
struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // A line that was cut shows it by its last character.
        let _ = if field.name() == "message" {
            write!(words::Line::new(self.0, MESSAGE_CHARS_MAX), "{value:?}")
        } else {
            let _ = write!(self.0, " {}=", field.name());
            write!(words::Line::new(self.0, FIELD_CHARS_MAX), "{value:?}")
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text of a log line, without its time.
    struct Said<'a>(&'a Mutex<Vec<String>>);

    impl<S: Subscriber> Layer<S> for Said<'static> {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut text = String::new();
            event.record(&mut Fields(&mut text));
            self.0.lock().expect("no panic").push(text);
        }
    }

    #[test]
    fn a_line_is_one_line_whatever_it_holds() {
        static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
        let said = tracing_subscriber::registry().with(Said(&SAID));
        let evil = "a\nb\u{1b}[2J\u{9b}c\u{202e}";
        let long = "x".repeat(3_000_000);
        tracing::subscriber::with_default(said, || {
            tracing::warn!(words = evil, reason = %evil, count = 7, "it was refused: {evil}");
            tracing::warn!(long, also = %long, "{long}");
        });
        let said = SAID.lock().expect("no panic");
        assert!(
            said[0].starts_with("it was refused: a b\u{fffd}[2J\u{fffd}c\u{fffd} words=\"a\\nb"),
            "{}",
            said[0]
        );
        assert!(said[0].ends_with("reason=a b\u{fffd}[2J\u{fffd}c\u{fffd} count=7"), "{}", said[0]);
        for line in said.iter() {
            assert!(!line.contains(words::is_harmful), "{line:?}");
            assert!(line.chars().count() < MESSAGE_CHARS_MAX + 2 * FIELD_CHARS_MAX + 50);
        }
    }
}
