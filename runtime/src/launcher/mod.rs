//! The launcher: what starts keepers, and through them runners.
//!
//! Invariant: the runtime opens nothing that the agent can write; it hears of it through a keeper.

mod choose;
mod keeper;
mod memory;
mod orphans;
mod spec;
mod starved;
mod user;
mod weight;

pub use choose::{Choice, Kind};
pub use keeper::{Heard, Keeper};
pub use memory::runs_low;
pub use orphans::adopt_orphans;
pub use weight::words as processors;

use crate::error::{Error, IoContext, Result};
use crate::house::House;
use crate::{agents, sessions};
use rusqlite::{Connection, OptionalExtension};
use rustix::fs::{Mode, OFlags};
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use vestibule_keeper::wire::{AdoptSpec, FromForeign, LaunchSpec, ToKeeper};
use vestibule_session::{SessionDir, crash};

/// The sandbox that runners live in here; chosen the first time somebody asks.
///
/// # Errors
/// Runners cannot be confined, and nobody allowed to run without.
pub async fn sandbox(house: &House) -> Result<&Choice> {
    let choose = || async {
        let file = program_file(house)?;
        choose::choose(&house.program, &file, &house.config, &house.home.cache()).await
    };
    house.sandbox.get_or_try_init(choose).await
}

/// Lets this process have as many files open as its user may: with fewer, an agent that keeps many
/// descriptors on their way through sockets would keep it from sending any.
pub fn allow_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// A keeper that was started.
pub struct Launched {
    /// The keeper.
    pub keeper: Keeper,
    /// How long its runner's provider may be silent, by its settings.
    pub provider_silence: Option<Duration>,
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
pub async fn launch(house: &House, session_id: &str, with_runner: bool) -> Result<Launched> {
    let id = session_id.to_owned();
    let facts = house.central.read(move |db| facts(db, &id)).await?;
    let dir = SessionDir::new(resolved(house.home.session(&facts.agent.id, session_id).root())?);
    mend_mode(&dir.out())?;
    let runner = if with_runner {
        let agent_folder = house.home.agent_folder(&facts.agent.folder);
        fs::create_dir_all(&agent_folder).context(|| format!("cannot make {}", agent_folder.display()))?;
        let agent_folder = resolved(&agent_folder)?;
        let kind = &sandbox(house).await?.kind;
        let program = match kind {
            Kind::Bwrap(_) => program_file(house)?,
            Kind::Process | Kind::None => house.program.clone(),
        };
        let places = spec::Places { program: &program, workspace: dir.root(), agent_folder: &agent_folder };
        let seen = places.seen_in(kind).agent_folder;
        write_whole(&dir.run_config(), &spec::run_config(&facts.agent, seen))?;
        if let Kind::Bwrap(bubblewrap) = kind
            && let Some(user) = bubblewrap.user
        {
            dir.share_with(user.gid).context(|| format!("cannot share {}", dir.root().display()))?;
        }
        Some(spec::runner(&facts.agent, &house.config, kind, &places))
    } else {
        None
    };
    let spec = LaunchSpec {
        session_dir: dir.root().to_owned(),
        after_seq: facts.after_seq,
        files_bytes_max: house.attachments.limits().message_bytes,
        runner,
    };
    let keeper = Keeper::start(&house.program, ToKeeper::Launch(spec)).await?;
    Ok(Launched { keeper, provider_silence: spec::provider_silence(&facts.agent) })
}

/// Starts a keeper that reads out a session folder that somebody else made, by way of `scratch`, an empty
/// private folder.
///
/// # Errors
/// The process cannot be started.
pub async fn adopt(house: &House, folder: &Path, scratch: &Path) -> Result<Keeper<FromForeign>> {
    let limits = house.attachments.limits();
    let spec = AdoptSpec {
        folder: folder.to_owned(),
        scratch: scratch.to_owned(),
        files_bytes_max: limits.message_bytes,
        session_bytes_max: limits.session_bytes,
    };
    Keeper::start(&house.program, ToKeeper::Adopt(spec)).await
}

/// A folder of the home by a path without a link: above what an agent can write, links are its operator's, and
/// the keeper follows none.
fn resolved(folder: &Path) -> Result<PathBuf> {
    fs::canonicalize(folder).context(|| format!("cannot open {}", folder.display()))
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

/// An agent that locked everybody out of its `out/` is quarantined; once released it starts with a folder
/// that can be entered. The name is the runtime's; nothing inside is looked at, and no link followed.
fn mend_mode(out: &Path) -> Result<()> {
    const OWNER: Mode = Mode::RWXU;
    let mend = || -> std::io::Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::open(out, flags, Mode::empty())?;
        let mode = Mode::from_raw_mode(rustix::fs::fstat(&folder)?.st_mode);
        if !mode.contains(OWNER) {
            rustix::fs::chmod(format!("/proc/self/fd/{}", folder.as_raw_fd()), mode | OWNER)?;
        }
        Ok(())
    };
    mend().context(|| format!("cannot open {}", out.display()))
}

/// The program by a path that others can open: `/proc/self/exe` is another file for each of them. A
/// program that was replaced on disk gets a copy of its own.
fn program_file(house: &House) -> Result<PathBuf> {
    let program = &house.program;
    let Ok(path) = fs::read_link(program) else { return Ok(program.clone()) };
    let of = |file: &Path| fs::metadata(file).map(|m| (m.dev(), m.ino()));
    let ours = of(program).context(|| format!("cannot look at {}", program.display()))?;
    if of(&path).is_ok_and(|there| there == ours) {
        return Ok(path);
    }
    let copy = house.home.cache().join(format!("vestibule-{}-{}", ours.0, ours.1));
    if !copy.exists() {
        let part = copy.with_extension(crate::id::mint("part"));
        fs::create_dir_all(house.home.cache())
            .and_then(|()| fs::copy(program, &part))
            .and_then(|_| fs::rename(&part, &copy))
            .context(|| format!("cannot make {}", copy.display()))?;
    }
    Ok(copy)
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
