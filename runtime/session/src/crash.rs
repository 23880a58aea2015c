//! Crash points: the moments at which a test may end this process, one by one.
//!
//! A point is one line, `crash::point("module: what is done, and what is not")`, beside the step it names. The
//! walk in `tests/tests/flows/points.rs` finds every such line by itself.
//!
//! In a release build a point is an empty function. In a debug build, which is what `cargo test` builds anyway, it is
//! one look at a value that is set once from `VESTIBULE_CRASH_POINT` (`<name>#<which time>`). A cargo feature would
//! cost a second build of everything.

/// Ends the process here when a test asks for it.
#[inline]
pub fn point(name: &str) {
    #[cfg(debug_assertions)]
    armed::point(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}

/// The variable that arms a point, for the first process that is started with a cleared environment: a later one would
/// die at the same place every time.
pub fn hand_on() -> Option<(String, String)> {
    #[cfg(debug_assertions)]
    return armed::hand_on();
    #[cfg(not(debug_assertions))]
    None
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    const VARIABLE: &str = "VESTIBULE_CRASH_POINT";

    struct Armed {
        whole: String,
        name: String,
        /// How many more times the point is passed alive.
        left: AtomicU32,
        handed_on: AtomicBool,
    }

    static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| {
        let whole = std::env::var(VARIABLE).ok()?;
        let (name, time) = whole.rsplit_once('#')?;
        let left = AtomicU32::new(time.parse().ok()?);
        Some(Armed { name: name.to_owned(), left, handed_on: AtomicBool::new(false), whole: whole.clone() })
    });

    pub fn point(name: &str) {
        if let Some(armed) = &*ARMED
            && armed.name == name
            && armed.left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            std::process::abort();
        }
    }

    pub fn hand_on() -> Option<(String, String)> {
        let armed = ARMED.as_ref()?;
        let first = !armed.handed_on.swap(true, Ordering::Relaxed);
        first.then(|| (VARIABLE.to_owned(), armed.whole.clone()))
    }
}
