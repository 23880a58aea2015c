//! From an agent group to how its runner is started. Pure, but for the environment and the umask it
//! passes on.

use super::choose::Kind;
use crate::agents::AgentGroup;
use crate::config::Config;
use crate::private;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;
use vestibule_keeper::wire::{Grants, Limits, RunnerSpec, Sandbox, inside};
use vestibule_session::SessionDir;

const MIB: u64 = 1024 * 1024;

/// Where the runner finds things: in `bwrap` at NanoClaw's places, else where they are.
pub struct Places<'a> {
    /// Its program.
    pub program: &'a Path,
    /// The session's folder.
    pub workspace: &'a Path,
    /// The agent's own folder.
    pub agent_folder: &'a Path,
}

impl<'a> Places<'a> {
    /// As a runner in this sandbox sees them.
    pub fn seen_in(&self, kind: &Kind) -> Places<'a> {
        match kind {
            Kind::Bwrap(_) => Places {
                program: Path::new(inside::PROGRAM),
                workspace: Path::new(inside::WORKSPACE),
                agent_folder: Path::new(inside::AGENT),
            },
            Kind::Process | Kind::None => Places { ..*self },
        }
    }
}

/// The runner's settings: NanoClaw's keys, and those of the command provider.
pub fn run_config(agent: &AgentGroup, agent_folder: &Path) -> String {
    json!({
        "provider": agent.provider,
        "assistantName": agent.name,
        "groupName": agent.name,
        "agentGroupId": agent.id,
        "maxMessagesPerPrompt": 10,
        "agentDir": agent_folder,
        "command": agent.command,
        "env": agent.env,
        "timeLimitMs": agent.time_limit_ms,
    })
    .to_string()
}

/// What a program of provider `command` may take beyond its time limit: the runner ends it, and writes so.
const AFTER_TIME_LIMIT: Duration = Duration::from_secs(10);

/// How long an agent's provider may show no sign of life, where its settings say so.
pub fn provider_silence(agent: &AgentGroup) -> Option<Duration> {
    let limit = Duration::from_millis(u64::try_from(agent.time_limit_ms).unwrap_or_default());
    (agent.provider == "command").then_some(limit + AFTER_TIME_LIMIT)
}

/// How the runner is started: an explicit, short environment, and nothing of any channel in it.
pub fn runner(agent: &AgentGroup, config: &Config, kind: &Kind, places: &Places) -> RunnerSpec {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let seen = places.seen_in(kind);
    let zone = config
        .time_zone
        .clone()
        .or_else(|| jiff::tz::TimeZone::system().iana_name().map(str::to_owned))
        .unwrap_or_else(|| "UTC".to_owned());
    let mut env = vec![
        ("HOME".to_owned(), text(seen.agent_folder)),
        ("TMPDIR".to_owned(), text(&SessionDir::new(seen.workspace).temporary())),
        ("TZ".to_owned(), zone),
    ];
    let passed_on = ["PATH", "LANG"].into_iter().chain(agent.env.iter().map(String::as_str));
    for name in passed_on {
        if let Ok(value) = std::env::var(name)
            && !env.iter().any(|(known, _)| known == name)
        {
            env.push((name.to_owned(), value));
        }
    }
    let grants = grants(agent, config);
    RunnerSpec {
        program: places.program.to_owned(),
        args: vec!["runner".into(), "--workspace".into(), text(seen.workspace)],
        env,
        agent_folder: places.agent_folder.to_owned(),
        umask: private::take_umask(),
        group: None,
        sandbox: match kind {
            Kind::Bwrap(bubblewrap) => Sandbox::Bwrap { bubblewrap: Box::new(bubblewrap.clone()), grants },
            Kind::Process => Sandbox::Process { grants },
            Kind::None => Sandbox::None,
        },
        limits: Limits {
            processes: config.sandbox_processes,
            memory_bytes: config.sandbox_memory_mb * MIB,
            out_bytes: config.sandbox_out_mb * MIB,
            out_files: config.sandbox_out_files,
            agent_bytes: config.sandbox_agent_mb * MIB,
            agent_files: config.sandbox_agent_files,
        },
    }
}

/// The config's folders, and the program that the operator named by its path.
fn grants(agent: &AgentGroup, config: &Config) -> Grants {
    let words = agent.command.as_deref().and_then(shlex::split).unwrap_or_default();
    let program = words.first().filter(|word| word.starts_with('/')).map(PathBuf::from);
    Grants {
        read: config.sandbox_read.iter().cloned().chain(program).collect(),
        network: agent.network,
        memory_bytes: config.sandbox_memory_mb * MIB,
    }
}
