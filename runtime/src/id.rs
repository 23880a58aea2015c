//! The ids of the runtime: their types, and where they are made.

use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::{Deserialize, Serialize};

/// A new id: `<prefix>-<uuid v7>`, so ids sort by age. Safe as a path segment.
#[allow(clippy::disallowed_methods, reason = "ids are made here only")]
pub fn mint(prefix: &str) -> String {
    format!("{prefix}-{}", uuid::Uuid::now_v7().simple())
}

/// Makes the type of one kind of id: a text that is taken for no other kind.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The id with this text, which names a row, or none.
            pub fn new(text: impl Into<String>) -> Self {
                $name(text.into())
            }

            /// The id as a text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// A new id.
            pub fn mint() -> Self {
                $name(mint($prefix))
            }
        }

        impl std::ops::Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        #[cfg(test)]
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                $name::new(text)
            }
        }

        #[cfg(test)]
        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.0 == *other
            }
        }

        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                self.0.to_sql()
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                String::column_result(value).map($name)
            }
        }
    };
}

id! {
    /// The id of a session: `sess-…`, also the name of its folder.
    SessionId, "sess"
}
/// How the name of a module begins where a session's id would stand.
const MODULE: &str = "module:";

impl SessionId {
    /// What stands in the place of a session's id in the records of words that a module says itself. No session has
    /// such an id.
    pub fn of_module(name: &str) -> SessionId {
        SessionId(format!("{MODULE}{name}"))
    }

    /// The module whose own words these are; `None` for a session.
    pub fn module(&self) -> Option<&str> {
        self.0.strip_prefix(MODULE)
    }
}

id! {
    /// The id of an agent group: `ag-…`, also the name of the folder of its sessions.
    AgentGroupId, "ag"
}
id! {
    /// The id of a messaging group: `mg-…`.
    MessagingGroupId, "mg"
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
