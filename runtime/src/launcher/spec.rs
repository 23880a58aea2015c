//! From an agent group to how its runner is started. Pure, but for the environment it passes on.

use crate::agents::AgentGroup;
use serde_json::json;
use std::path::Path;
use vestibule_keeper::wire::RunnerSpec;

/// The runner's settings: NanoClaw's keys, and ours for the command provider.
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

/// How the runner is started: an explicit, short environment, and nothing of any channel in it.
pub fn runner(
    agent: &AgentGroup,
    program: &Path,
    workspace: &Path,
    agent_folder: &Path,
    time_zone: Option<&str>,
) -> RunnerSpec {
    let mut env = vec![("HOME".to_owned(), agent_folder.to_string_lossy().into_owned())];
    let zone = time_zone
        .map(str::to_owned)
        .or_else(|| jiff::tz::TimeZone::system().iana_name().map(str::to_owned))
        .unwrap_or_else(|| "UTC".to_owned());
    env.push(("TZ".to_owned(), zone));
    let passed_on = ["PATH", "LANG"].into_iter().chain(agent.env.iter().map(String::as_str));
    for name in passed_on {
        if let Ok(value) = std::env::var(name)
            && !env.iter().any(|(known, _)| known == name)
        {
            env.push((name.to_owned(), value));
        }
    }
    RunnerSpec {
        program: program.to_owned(),
        args: vec!["runner".into(), "--workspace".into(), workspace.to_string_lossy().into_owned()],
        env,
        cwd: agent_folder.to_owned(),
    }
}
