//! The settings of one session: `run.json`, or NanoClaw's `agent/container.json` where that is absent.

use crate::Error;
use jiff::tz::TimeZone;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;
use vestibule_session::SessionDir;

/// The longest time that a provider's program can be given.
const TIME_LIMIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The file's keys, as written. Keys of other programs are ignored.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    provider: Option<String>,
    assistant_name: Option<String>,
    max_messages_per_prompt: Option<usize>,
    agent_dir: Option<PathBuf>,
    command: Option<String>,
    #[serde(default)]
    env: Vec<String>,
    time_limit_ms: Option<u64>,
}

/// The settings of a runner, checked as far as that is possible without a provider.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the settings come from, for errors.
    pub path: PathBuf,
    /// The provider's name, in lower case.
    pub provider: String,
    /// The agent's name; may be empty.
    pub assistant_name: String,
    /// How many rows one prompt may hold; at least 1.
    pub max_messages: usize,
    /// The folder in which the provider works.
    pub agent_dir: PathBuf,
    /// The program and arguments of the provider `command`, as written.
    pub command: Option<String>,
    /// Names of environment variables that the provider's program may see.
    pub env: Vec<String>,
    /// How long the provider's program may run; at most a day.
    pub time_limit: Duration,
    /// The zone in which the prompt tells time. It has an IANA name.
    pub zone: TimeZone,
}

impl Settings {
    /// Reads the settings of a session.
    ///
    /// # Errors
    /// [`Error::Settings`], naming the file.
    pub fn read(dir: &SessionDir) -> Result<Settings, Error> {
        let (ours, foreign) = (dir.run_config(), dir.foreign_run_config());
        let path = if ours.exists() || !foreign.exists() { ours } else { foreign };
        let wrong = |reason: String| Error::Settings { path: path.clone(), reason };
        let text = std::fs::read_to_string(&path).map_err(|error| {
            wrong(format!("cannot read it: {error}; check that --workspace names a session's folder"))
        })?;
        let file: File = serde_json::from_str(&text).map_err(|error| {
            wrong(format!("not valid settings: {error}; correct the file and start again"))
        })?;
        let known = crate::provider::KNOWN.join(", ");
        let provider = file
            .provider
            .ok_or_else(|| wrong(format!("names no provider; set \"provider\" to one of: {known}")))?
            .to_lowercase();
        if !crate::provider::KNOWN.contains(&provider.as_str()) {
            return Err(wrong(format!("the provider \"{provider}\" is not known; choose one of: {known}")));
        }
        if let Some(name) = file.env.iter().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
            return Err(wrong(format!(
                "\"{name}\" in \"env\" is not the name of a variable; list names, without values"
            )));
        }
        Ok(Settings {
            provider,
            assistant_name: file.assistant_name.unwrap_or_default(),
            max_messages: file.max_messages_per_prompt.unwrap_or(10).max(1),
            agent_dir: dir.root().join(file.agent_dir.unwrap_or_else(|| PathBuf::from("agent"))),
            command: file.command,
            env: file.env,
            time_limit: Duration::from_millis(file.time_limit_ms.unwrap_or(300_000)).min(TIME_LIMIT_MAX),
            zone: zone(std::env::var("TZ").ok().as_deref()),
            path,
        })
    }
}

/// The zone by its IANA name, else the system's, else UTC. Always one that has an IANA name, because
/// the prompt states it.
fn zone(name: Option<&str>) -> TimeZone {
    let named = name.and_then(|name| TimeZone::get(name).ok());
    named
        .or_else(|| TimeZone::try_system().ok())
        .filter(|zone| zone.iana_name().is_some())
        .unwrap_or(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("run.json"), text).unwrap();
        let strip = |error: Error| error.to_string().replace(&format!("{}/", folder.path().display()), "");
        Settings::read(&SessionDir::new(folder.path())).map_err(strip)
    }

    #[test]
    fn defaults() {
        let settings = read(r#"{"provider":"Echo","mcpServers":{},"effort":"high"}"#).unwrap();
        assert_eq!(settings.provider, "echo");
        assert_eq!(settings.max_messages, 10);
        assert_eq!(settings.time_limit, Duration::from_secs(300));
        assert!(settings.agent_dir.ends_with("agent"));
    }

    #[test]
    fn errors_name_the_file_and_the_cure() {
        let cases = [
            ("{}", "run.json: names no provider; set \"provider\" to one of: command, echo"),
            (
                r#"{"provider":"claude"}"#,
                "run.json: the provider \"claude\" is not known; choose one of: command, echo",
            ),
            (
                r#"{"provider":"command","env":["A=1"]}"#,
                "run.json: \"A=1\" in \"env\" is not the name of a variable; list names, without values",
            ),
            (
                r#"{"provider": }"#,
                "run.json: not valid settings: expected value at line 1 column 14; correct the file and start \
                 again",
            ),
        ];
        for (text, error) in cases {
            assert_eq!(read(text).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn the_foreign_file_is_read_where_ours_is_absent() {
        let folder = tempfile::tempdir().unwrap();
        let dir = SessionDir::new(folder.path());
        let error = Settings::read(&dir).unwrap_err().to_string();
        assert!(error.contains("run.json: cannot read it"), "{error}");
        std::fs::create_dir(folder.path().join("agent")).unwrap();
        std::fs::write(dir.foreign_run_config(), r#"{"provider":"echo","maxMessagesPerPrompt":0}"#).unwrap();
        assert_eq!(Settings::read(&dir).unwrap().max_messages, 1);
    }

    #[test]
    fn zones() {
        assert_eq!(zone(Some("Europe/Berlin")).iana_name(), Some("Europe/Berlin"));
        assert!(zone(Some("Middle/Earth")).iana_name().is_some());
    }
}
