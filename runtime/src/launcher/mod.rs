//! The launcher: what starts keepers, and through them runners.
//!
//! Invariant: the runtime opens nothing that the agent can write; it hears of it through a keeper.

mod choose;
mod keeper;
mod spec;

pub use choose::Choice;
pub use keeper::Keeper;

use crate::error::{Error, IoContext, Result};
use crate::house::House;
use crate::{agents, sessions};
use rusqlite::{Connection, OptionalExtension};
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use vestibule_keeper::wire::LaunchSpec;
use vestibule_session::crash;

/// The sandbox that runners live in here; chosen the first time somebody asks.
///
/// # Errors
/// Runners cannot be confined, and nobody allowed to run without.
pub async fn sandbox(house: &House) -> Result<&Choice> {
    house.sandbox.get_or_try_init(|| choose::choose(&house.program, house.config.sandbox)).await
}

/// What a launch needs to know, read in one go.
struct Facts {
    agent: agents::AgentGroup,
    after_seq: i64,
}

/// Starts a session's keeper, with a runner or, to fetch what a dead one left, without.
///
/// # Errors
/// The process cannot be started, or the session is gone.
pub async fn launch(house: &House, session_id: &str, with_runner: bool) -> Result<Keeper> {
    let id = session_id.to_owned();
    let facts = house.central.read(move |db| facts(db, &id)).await?;
    let dir = house.home.session(&facts.agent.id, session_id);
    let runner = if with_runner {
        let agent_folder = house.home.agent_folder(&facts.agent.folder);
        fs::create_dir_all(&agent_folder).context(|| format!("cannot make {}", agent_folder.display()))?;
        write_whole(&dir.run_config(), &spec::run_config(&facts.agent, &agent_folder))?;
        let confined = sandbox(house).await?.confined;
        Some(spec::runner(&facts.agent, &house.config, confined, &house.program, dir.root(), &agent_folder))
    } else {
        None
    };
    let spec = LaunchSpec { session_dir: dir.root().to_owned(), after_seq: facts.after_seq, runner };
    Keeper::start(&house.program, spec).await
}

fn facts(db: &Connection, session_id: &str) -> Result<Facts> {
    let gone = || Error::Refused(format!("the session {session_id} is gone"));
    let session = sessions::by_id(db, session_id)?.ok_or_else(gone)?;
    let agent = agents::by_id(db, &session.agent_group_id)?.ok_or_else(gone)?;
    // A power cut can take replies back out of the agent's file, and the next ones may get their
    // numbers: across a boot everything above the floor is looked at again.
    let after_seq = db
        .query_row(
            "SELECT CASE WHEN outbound_boot_id = ?2 THEN MAX(outbound_floor, outbound_seq) ELSE outbound_floor END \
             FROM sessions WHERE id = ?1",
            [session_id, crate::id::boot_id()],
            |r| r.get(0),
        )
        .optional()?
        .ok_or_else(gone)?;
    Ok(Facts { agent, after_seq })
}

/// Writes a file whole: a reader sees the old or the new, never a part.
fn write_whole(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    let fresh = path.with_extension("new");
    let _ = fs::remove_file(&fresh);
    fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .inspect(|()| crash::point("launch: the settings are written, not in their place"))
        .and_then(|()| fs::rename(&fresh, path))
        .context(|| format!("cannot write {}", path.display()))
}
