//! Every id that the runtime makes is made here.

/// A new id: `<prefix>-<uuid v7>`, so ids sort by age. Safe as a path segment.
#[allow(clippy::disallowed_methods, reason = "ids are made here only")]
pub fn mint(prefix: &str) -> String {
    format!("{prefix}-{}", uuid::Uuid::now_v7().simple())
}

/// A new secret of 256 bits, in hexadecimal.
pub fn mint_token() -> std::io::Result<String> {
    use std::io::Read;
    let mut bytes = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Which run of the operating system this is: files written under another one were not
/// necessarily flushed.
pub fn boot_id() -> &'static str {
    static BOOT: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
    });
    &BOOT
}

/// Which process this is, among all that ever ran.
pub fn process_id() -> &'static str {
    static PROCESS: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| mint("process"));
    &PROCESS
}
