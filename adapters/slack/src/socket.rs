//! Socket Mode: Slack's events over a WebSocket that the channel opens. The next one is open before the old one ends,
//! and an event is acknowledged on the one it came over, after it is on disk.

use crate::api::Api;
use crate::lines::Lines;
use crate::teams::{Kind, Teams, place_of};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use vestibule_plugin_api::toolbox::json;
use vestibule_plugin_api::toolbox::pace::Pace;
use vestibule_plugin_api::toolbox::socket::Socket;
use vestibule_plugin_api::{Failure, PluginError, Result, Runtime};

/// More than any event has, in bytes.
const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Slack pings every few seconds: when nothing came for so long, it is asked, and after twice that it is gone.
const QUIET: Duration = Duration::from_secs(20);
/// How long Slack may take to greet.
const HELLO_PATIENCE: Duration = Duration::from_secs(15);
/// A connection that ends sooner than this was none: the next one waits.
const SHORT: Duration = Duration::from_secs(10);
/// The least time between two connections.
const BETWEEN: Duration = Duration::from_secs(1);
/// How long a connection stays open after its successor is: for what Slack had sent over it.
const DRAIN: Duration = Duration::from_secs(10);

/// A frame of Slack's.
#[derive(Debug, PartialEq)]
pub enum Envelope {
    Hello,
    /// This connection ends soon. Whether that is the usual change, and Slack's word for it.
    Disconnect(bool, String),
    /// An event, a command or a click, and the id by which it is acknowledged.
    Event(String, Kind, Value),
    /// It is none that Slack's documentation names.
    Unknown,
}

/// Reads a frame. Pure.
pub fn read(text: &str) -> Envelope {
    let mut frame: Value = json::read(text.as_bytes()).unwrap_or_default();
    let kind = match frame["type"].as_str().unwrap_or_default() {
        "hello" => return Envelope::Hello,
        "disconnect" => {
            let reason = frame["reason"].as_str().unwrap_or_default();
            let usual = matches!(reason, "warning" | "refresh_requested");
            return Envelope::Disconnect(usual, reason.to_owned());
        }
        "events_api" => Kind::Event,
        "slash_commands" => Kind::Command,
        "interactive" => Kind::Interaction,
        _ => return Envelope::Unknown,
    };
    match frame["envelope_id"].as_str().map(str::to_owned) {
        Some(id) => Envelope::Event(id, kind, frame["payload"].take()),
        None => Envelope::Unknown,
    }
}

/// What a connection tells of its end.
struct Ending {
    number: u64,
    /// Why it has ended, or `None` if it only will.
    error: Option<PluginError>,
}

/// Keeps a connection open, at first this one, until it is aborted.
pub async fn run(first: Socket, api: Api, teams: Teams, runtime: Runtime, mut pace: Pace) {
    let (tell, mut endings) = mpsc::channel(16);
    // Dropped with this task, it ends the connections.
    let mut lines = JoinSet::new();
    let mut leave: Option<watch::Sender<bool>> = None;
    let mut next = Some(first);
    for number in 0.. {
        let socket = match next.take() {
            Some(socket) => socket,
            None => reopen(&api, &mut pace).await,
        };
        let opened = Instant::now();
        if let Some(leave) = leave.take() {
            leave.send_replace(true);
        }
        let (leaves, leaving) = watch::channel(false);
        leave = Some(leaves);
        while lines.try_join_next().is_some() {}
        lines.spawn(runtime.named(line(number, socket, teams.clone(), tell.clone(), leaving)));
        // Older connections may tell of their ends, too.
        let ending = loop {
            match endings.recv().await {
                Some(ending) if ending.number == number => break ending,
                Some(_) => {}
                None => return,
            }
        };
        match ending.error {
            Some(error) if opened.elapsed() < SHORT => {
                let wait = pace.failed(&error).await;
                sleep(wait).await;
            }
            Some(error) => tracing::info!(reason = error.reason(), "the connection to Slack ended"),
            None => sleep_until(opened + BETWEEN).await,
        }
    }
}

/// Opens the next connection, however long it takes.
async fn reopen(api: &Api, pace: &mut Pace) -> Socket {
    loop {
        match open(api).await {
            Ok(socket) => {
                pace.works().await;
                return socket;
            }
            Err(error) => {
                let wait = pace.failed(&error).await;
                sleep(wait).await;
            }
        }
    }
}

/// Opens a connection; Slack has greeted when it returns.
pub async fn open(api: &Api) -> Result<Socket> {
    let url = api.socket_url().await?;
    let mut socket = Socket::open(&url, "Slack", FRAME_BYTES_MAX, QUIET).await?;
    let first = timeout(HELLO_PATIENCE, socket.next()).await;
    let first =
        first.map_err(|_| Failure::network(false).error("Slack does not greet on its WebSocket"))??;
    match read(&first) {
        Envelope::Hello => Ok(socket),
        Envelope::Disconnect(_, reason) => {
            Err(Failure::network(false).error(format!("Slack wants no connection ({reason})")))
        }
        _ => Err(Failure::network(false).error("what answers there is not Slack's Socket Mode")),
    }
}

/// An event, as it came over a connection: its envelope's id, what it is, and what it says.
type Come = (String, Kind, Value);

/// The events of one connection.
struct UnderWay {
    teams: Teams,
    tasks: JoinSet<Option<String>>,
    /// Whose event each task waits for.
    places: HashMap<Id, String>,
    lines: Lines<Come>,
}

impl UnderWay {
    /// An event comes in: it is handed on, or waits behind others of its workspace.
    fn enter(&mut self, come: Come, bytes: usize) {
        let place = place_of(&come.2).unwrap_or_default().to_owned();
        if let Some(come) = self.lines.enter(&place, come, bytes) {
            self.begin(place, come);
        }
    }

    fn begin(&mut self, place: String, (id, kind, payload): Come) {
        let done = self.teams.submit(kind, &payload);
        let task = self.tasks.spawn(async move { done.await.is_ok().then_some(id) });
        self.places.insert(task.id(), place);
    }

    /// An event is done, and the next one of its workspace begins. Returns what is to be acknowledged.
    fn left(&mut self, done: std::result::Result<(Id, Option<String>), JoinError>) -> Option<String> {
        let (task, id) = done.unwrap_or_else(|error| (error.id(), None));
        if let Some(place) = self.places.remove(&task)
            && let Some(next) = self.lines.leave(&place)
        {
            self.begin(place, next);
        }
        id
    }
}

/// Serves one connection to its end.
async fn line(
    number: u64,
    mut socket: Socket,
    teams: Teams,
    tell: mpsc::Sender<Ending>,
    mut leaving: watch::Receiver<bool>,
) {
    let mut under_way =
        UnderWay { teams, tasks: JoinSet::new(), places: HashMap::new(), lines: Lines::default() };
    let (mut has_told, mut ends_at) = (false, None);
    let error = loop {
        let ends = async {
            match ends_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            frame = socket.next(), if under_way.lines.have_room() => match frame.map(|frame| (read(&frame), frame.len())) {
                Ok((Envelope::Event(id, kind, payload), bytes)) => under_way.enter((id, kind, payload), bytes),
                Ok((Envelope::Disconnect(true, _), _)) if !has_told => {
                    has_told = true;
                    let _ = tell.send(Ending { number, error: None }).await;
                }
                Ok((Envelope::Disconnect(false, reason), _)) => {
                    break Failure::network(false).error(format!("Slack ends the connection ({reason})"));
                }
                Ok((Envelope::Unknown, _)) => tracing::warn!("Slack sent a frame that this version does not know"),
                Ok((Envelope::Hello | Envelope::Disconnect(..), _)) => {}
                Err(error) => break error,
            },
            Some(done) = under_way.tasks.join_next_with_id() => {
                let Some(id) = under_way.left(done) else { continue };
                if let Err(error) = socket.send(json!({ "envelope_id": id }).to_string()).await {
                    break error;
                }
            }
            Ok(()) = leaving.changed(), if ends_at.is_none() => ends_at = Some(Instant::now() + DRAIN),
            () = ends => {
                socket.close().await;
                return;
            }
        }
    };
    if !has_told {
        let _ = tell.send(Ending { number, error: Some(error) }).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slack says again what is not acknowledged, and ends the app's events when too much of it stays so.
    #[test]
    fn one_broken_string_costs_no_event() {
        let text = r#"{"type":"events_api","envelope_id":"e","payload":{"event":{"text":"cut \ud83d"}}}"#;
        let event = json!({ "event": { "text": "cut \u{fffd}" } });
        assert_eq!(read(text), Envelope::Event("e".into(), Kind::Event, event));
        assert_eq!(read("{"), Envelope::Unknown);
    }
}
