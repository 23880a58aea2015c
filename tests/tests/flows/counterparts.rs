//! The programs that others wrote, as scripts install them.

use std::io::Write;
use std::path::{Path, PathBuf};

/// The script that runs them; nothing, said loudly, where what lies in this folder of their cache is not installed.
pub fn script(name: &str, folder: &str) -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("counterparts").join(name);
    let cache = std::env::var("VESTIBULE_COUNTERPARTS").unwrap_or_else(|_| {
        format!("{}/.cache/vestibule-counterparts", std::env::var("HOME").unwrap_or_default())
    });
    let is_here = Path::new(&cache).join(folder).join(".installed").exists();
    if !is_here && std::env::var_os("VESTIBULE_TEST_COUNTERPARTS").is_none() {
        // Written past the test harness, which keeps what a passing test says to itself.
        let get = format!("{} --install", script.display());
        let _ = writeln!(std::io::stderr(), "SKIPPED: {folder} is not installed; get it with {get}");
        return None;
    }
    Some(script)
}
