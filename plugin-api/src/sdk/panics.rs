//! A panic is told once: by the answer of the call it ended, or else as a line in the runtime's log.
//!
//! A plugin file has its own copy of the standard library, and with it a panic hook of its own, in either tier.
//! A linked-in plugin shares the program's hook, and leaves it alone.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use vestibule_seam::RuntimeSide;

/// The longest part of a panic's message that is told, in characters.
const MESSAGE_CHARS_MAX: usize = 500;
/// How the threads of plugins' runtimes are named.
pub(super) const THREAD_PREFIX: &str = "vst-";

thread_local! {
    /// While this thread serves a call of the runtime: the call's last panic, which its answer may yet tell.
    static IN_CALL: RefCell<Option<Option<String>>> = const { RefCell::new(None) };
}

/// Tells each panic in the runtime's log from now on. Only for a copy of the standard library that is the
/// plugin's own.
pub(super) fn report(side: RuntimeSide) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !is_ours() || cfg!(panic = "abort") {
            before(info); // also a test's, and the last words of a process
        }
        if let Some(line) = keep(line(info)) {
            side.log(1, &line);
        }
    }));
}

/// Runs a part of a call. Of a panic that ends it only the caller hears; one that goes no further, such as
/// that of a task it polls, is told in the log.
pub(super) fn in_call<T>(side: RuntimeSide, body: impl FnOnce() -> T) -> Result<T, Box<dyn Any + Send>> {
    IN_CALL.set(Some(None));
    let done = catch_unwind(AssertUnwindSafe(body));
    let last = IN_CALL.take().flatten();
    if let (Ok(_), Some(line)) = (&done, last) {
        side.log(1, &line);
    }
    done
}

/// Keeps a line until its call ends, if there is one. Returns the line that is to be told now: this one, or
/// the one that was kept before it.
fn keep(line: String) -> Option<String> {
    if cfg!(panic = "abort") {
        return Some(line); // no call comes to its end
    }
    // Nothing is kept on a thread that is ending.
    let kept =
        IN_CALL.try_with(|last| last.try_borrow_mut().ok()?.as_mut().map(|last| last.replace(line.clone())));
    kept.ok().flatten().unwrap_or(Some(line))
}

/// Whether this is a thread of a plugin's runtime.
fn is_ours() -> bool {
    std::thread::current().name().is_some_and(|name| name.starts_with(THREAD_PREFIX))
}

fn line(info: &PanicHookInfo<'_>) -> String {
    let message = one_line(info.payload_as_str().unwrap_or("no message"));
    match info.location() {
        Some(place) => format!("it panicked at {}:{}: {message}", place.file(), place.line()),
        None => format!("it panicked: {message}"),
    }
}

fn one_line(message: &str) -> String {
    message.chars().take(MESSAGE_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_bounded_line() {
        assert_eq!(one_line("no\nway\u{1b}[1m"), "no way [1m");
        assert_eq!(one_line(&"ü".repeat(9_999)).chars().count(), MESSAGE_CHARS_MAX);
    }

    #[test]
    fn a_panic_in_a_call_waits_for_its_end() {
        assert_eq!(keep("outside".into()).as_deref(), Some("outside"));
        IN_CALL.set(Some(None));
        assert_eq!(keep("first".into()), None);
        assert_eq!(keep("second".into()).as_deref(), Some("first"));
        assert_eq!(IN_CALL.take().flatten().as_deref(), Some("second"));
        assert_eq!(keep("after".into()).as_deref(), Some("after"));
    }
}
