//! All rooms' migrations, in the order in which they were written. Each is applied once; none is
//! ever changed.

use crate::error::{Error, Result};
use rusqlite::Connection;
use rusqlite_migration::{M, MigrationDefinitionError, Migrations};

const ALL: &[M<'static>] = &[
    M::up(include_str!("migrations/0000_meta.sql")),
    M::up(include_str!("../agents/migrations/0001_agent_groups.sql")),
    M::up(include_str!("../messaging_groups/migrations/0002_messaging_groups.sql")),
    M::up(include_str!("../wirings/migrations/0003_wirings.sql")),
    M::up(include_str!("../destinations/migrations/0004_destinations.sql")),
    M::up(include_str!("../sessions/migrations/0005_sessions.sql")),
    M::up(include_str!("../ledger/migrations/0006_ledger.sql")),
    M::up(include_str!("../drops/migrations/0007_drops.sql")),
    M::up(include_str!("../ledger/migrations/0008_files.sql")),
    M::up(include_str!("../sessions/migrations/0012_adoptions.sql")),
    M::up(include_str!("../sessions/migrations/0011_outbound_seq.sql")),
    M::up(include_str!("../ledger/migrations/0013_hops.sql")),
    M::up(include_str!("../plugin_state/migrations/0014_plugin_state.sql")),
    M::up(include_str!("../messaging_groups/migrations/0016_conversation.sql")),
    M::up(include_str!("../questions/migrations/0015_questions.sql")),
    M::up(include_str!("../ledger/migrations/0017_turns.sql")),
    M::up(include_str!("../ledger/migrations/0018_failing.sql")),
    M::up(include_str!("../ledger/migrations/0019_states.sql")),
    M::up(include_str!("../ledger/migrations/0020_set_back.sql")),
    M::up(include_str!("../ledger/migrations/0021_deferred.sql")),
];

/// Applies what is missing.
///
/// # Errors
/// The database was written by a newer version, or SQLite fails.
pub fn to_latest(db: &mut Connection) -> Result<()> {
    Migrations::from_slice(ALL).to_latest(db).map_err(|error| match error {
        rusqlite_migration::Error::MigrationDefinition(MigrationDefinitionError::DatabaseTooFarAhead) => {
            Error::Setup(
                "this home was written by a newer Vestibule; update Vestibule, or choose another home with \
                 VESTIBULE_HOME"
                    .into(),
            )
        }
        rusqlite_migration::Error::RusqliteError { err, .. } => Error::Db(err),
        error => Error::Setup(format!("the central database cannot be brought up to date: {error}")),
    })
}
