//! Any program: the prompt on its standard input, its answer on its standard output, files for it in
//! the folder that `VESTIBULE_REPLY_FILES` names. One run per turn.
//!
//! The program sees nothing of the runner's environment but what every program needs and what the
//! settings name. It runs in a process group of its own, which ends with the turn: nothing that it
//! starts outlives it.

use super::{Provider, ProviderError, ProviderEvent, Query, QueryInput};
use crate::Error;
use crate::config::Settings;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, nice, waitid};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Variables that a program may always see.
const ENV_ALWAYS: [&str; 5] = ["PATH", "HOME", "TMPDIR", "TZ", "LANG"];
/// The longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// How much of the end of the program's errors is kept, in bytes.
const ERRORS_BYTES_MAX: usize = 2 * 1024;
/// How long the runner waits, after the program ended, for the end of its output: something it started may
/// hold that open.
const GRACE: Duration = Duration::from_millis(200);
/// How much nicer a program is than its runner. By five steps the kernel gives it a third of the weight.
const STEPS_BEHIND: i32 = 5;
/// How many pieces of output may wait for the turn.
const QUEUE_MAX: usize = 16;

/// The provider `command`: one program, run once a turn.
pub struct Command {
    program: String,
    args: Vec<String>,
    env: Vec<String>,
    time_limit: Duration,
}

impl Command {
    /// # Errors
    /// The settings hold no usable `command`.
    pub fn open(settings: &Settings) -> Result<Command, Error> {
        let words = settings.command.as_deref().and_then(shlex::split).unwrap_or_default();
        let mut words = words.into_iter();
        let program = words.next().filter(|program| !program.is_empty()).ok_or_else(|| Error::Settings {
            path: settings.path.clone(),
            reason: "the provider \"command\" needs \"command\": a program with its arguments, quoted as in a shell"
                .to_owned(),
        })?;
        Ok(Command {
            program,
            args: words.collect(),
            env: settings.env.clone(),
            time_limit: settings.time_limit,
        })
    }
}

impl Provider for Command {
    fn query(&mut self, input: QueryInput) -> Result<Box<dyn Query>, ProviderError> {
        let names = ENV_ALWAYS.into_iter().chain(self.env.iter().map(String::as_str));
        let mut command = std::process::Command::new(&self.program);
        command
            .args(&self.args)
            .env_clear()
            .envs(names.filter_map(|name| Some((name, std::env::var_os(name)?))))
            .env("VESTIBULE_REPLY_FILES", &input.reply_files)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if input.cwd.is_dir() {
            command.current_dir(&input.cwd);
        }
        let mut child = spawn_behind(&mut command).map_err(|error| self.cannot_start(&error))?;
        let parts = listen(&mut child, format!("{}\n\n{}", input.system, input.prompt));
        Ok(Box::new(Run {
            program: self.program.clone(),
            time_limit: self.time_limit,
            started: Instant::now(),
            child,
            parts,
            output: Vec::new(),
            errors: Vec::new(),
            open: 2,
            ended: None,
            is_over: false,
        }))
    }

    fn plain_text_is_reply(&self) -> bool {
        true
    }

    fn turn_ends_all(&self) -> bool {
        true
    }
}

impl Command {
    fn cannot_start(&self, error: &std::io::Error) -> ProviderError {
        let program = &self.program;
        ProviderError(if error.kind() == ErrorKind::NotFound {
            format!(
                "the program \"{program}\" was not found: put it into the agent's folder below groups/, name its folder in `sandbox_read`, or name another one"
            )
        } else {
            format!("the program \"{program}\" could not be started: {error}")
        })
    }
}

/// Starts a program with less weight than this runner: however many processors it wants, the runner gets
/// to its file, and holds no lock on it for long. What a thread starts inherits the `nice` of the thread.
fn spawn_behind(command: &mut std::process::Command) -> std::io::Result<Child> {
    let behind = || {
        nice(STEPS_BEHIND)?;
        command.spawn()
    };
    let died = |_| Err(std::io::Error::other("the thread that starts it died"));
    thread::scope(|threads| threads.spawn(behind).join().unwrap_or_else(died))
}

enum Part {
    Output(Vec<u8>),
    Errors(Vec<u8>),
    /// One of the two streams has ended.
    Closed,
    Ended,
}

/// Starts the threads around a program. One writes, two read, one waits: none can block another. All
/// of them end with the process group.
fn listen(child: &mut Child, prompt: String) -> Receiver<Part> {
    let (sender, parts) = sync_channel(QUEUE_MAX);
    if let Some(mut stdin) = child.stdin.take() {
        // A program need not read its prompt.
        thread::spawn(move || drop(stdin.write_all(prompt.as_bytes())));
    }
    if let Some(stdout) = child.stdout.take() {
        let sender = sender.clone();
        thread::spawn(move || relay(stdout, &sender, Part::Output));
    }
    if let Some(stderr) = child.stderr.take() {
        let sender = sender.clone();
        thread::spawn(move || relay(stderr, &sender, Part::Errors));
    }
    if let Some(pid) = pid(child) {
        thread::spawn(move || {
            // Not reaped here: until the turn ends, the number must stay the program's.
            let how = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while matches!(waitid(WaitId::Pid(pid), how), Err(Errno::INTR)) {}
            let _ = sender.send(Part::Ended);
        });
    }
    parts
}

fn relay(mut stream: impl Read, sender: &SyncSender<Part>, part: fn(Vec<u8>) -> Part) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => break,
            Ok(n) if sender.send(part(buffer[..n].to_vec())).is_err() => return,
            Ok(_) => {}
        }
    }
    let _ = sender.send(Part::Closed);
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

struct Run {
    program: String,
    time_limit: Duration,
    started: Instant,
    child: Child,
    parts: Receiver<Part>,
    output: Vec<u8>,
    errors: Vec<u8>,
    /// How many of the two streams are open.
    open: u8,
    ended: Option<Instant>,
    is_over: bool,
}

impl Query for Run {
    fn next(&mut self, patience: Duration) -> Option<ProviderEvent> {
        let until = Instant::now() + patience;
        loop {
            if self.is_over {
                return Some(ProviderEvent::End);
            }
            let limit = self.ended.map_or(self.started + self.time_limit, |ended| ended + GRACE);
            let now = Instant::now();
            if (self.ended.is_some() && self.open == 0)
                || now >= limit
                || self.output.len() > ANSWER_BYTES_MAX
            {
                self.is_over = true;
                return Some(self.finish());
            }
            let wakes_at = limit.min(until).max(now);
            let part = self.parts.recv_timeout(wakes_at - now);
            self.excuse_absence(Instant::now().saturating_duration_since(wakes_at));
            match part {
                Ok(Part::Output(bytes)) => {
                    self.output.extend(bytes);
                    return Some(ProviderEvent::Activity);
                }
                Ok(Part::Errors(bytes)) => {
                    self.errors.extend(bytes);
                    self.errors.drain(..self.errors.len().saturating_sub(ERRORS_BYTES_MAX));
                    return Some(ProviderEvent::Activity);
                }
                Ok(Part::Closed) => self.open = self.open.saturating_sub(1),
                Ok(Part::Ended) | Err(RecvTimeoutError::Disconnected) => {
                    self.ended = self.ended.or(Some(Instant::now()));
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() >= limit => {}
                Err(RecvTimeoutError::Timeout) => return None,
            }
        }
    }

    fn push(&mut self, _text: &str) -> bool {
        false
    }
}

impl Run {
    /// The time in which the runner was stopped, or had no processor, is not the program's: what that sent is not read yet.
    fn excuse_absence(&mut self, late: Duration) {
        if late > GRACE {
            self.started += late + GRACE;
            self.ended = self.ended.map(|ended| ended + late);
        }
    }

    /// The outcome of this run. Ends what is left of the process group.
    fn finish(&mut self) -> ProviderEvent {
        let ended = self.ended.is_some();
        let status = self.stop();
        let program = &self.program;
        let message = if self.output.len() > ANSWER_BYTES_MAX {
            format!("the program \"{program}\" wrote more than 1 MiB and was stopped")
        } else if !ended {
            format!("the program \"{program}\" ran longer than {} and was stopped", seconds(self.time_limit))
        } else {
            match status {
                Ok(status) if status.success() => {
                    let text = String::from_utf8_lossy(&self.output).into_owned();
                    return ProviderEvent::Result { text: Some(text) };
                }
                Ok(status) => format!("the program \"{program}\" {}{}", how(status), self.said()),
                Err(error) => format!("the program \"{program}\" was lost: {error}"),
            }
        };
        ProviderEvent::Error { message, retryable: false }
    }

    /// The end of the program's standard error, with a colon before it.
    fn said(&self) -> String {
        let errors = String::from_utf8_lossy(&self.errors);
        let errors = errors.trim().trim_start_matches(char::REPLACEMENT_CHARACTER);
        if errors.is_empty() { String::new() } else { format!(": {errors}") }
    }

    fn stop(&mut self) -> std::io::Result<ExitStatus> {
        if let Some(group) = pid(&self.child) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        self.child.wait()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.is_over {
            let _ = self.stop();
        }
    }
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended strangely".to_owned(),
    }
}

fn seconds(time: Duration) -> String {
    if time.subsec_nanos() == 0 {
        format!("{} s", time.as_secs())
    } else {
        format!("{} ms", time.as_millis())
    }
}
