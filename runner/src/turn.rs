//! One turn: prompt → query → replies and acknowledgements, in one transaction; a slow one claims its
//! rows first.

use crate::Error;
use crate::batch::Batch;
use crate::config::Settings;
use crate::poll::Look;
use crate::provider::{Provider, ProviderEvent, Query, QueryInput};
use crate::reply::{self, Draft};
use crate::{files, format, id, parse};
use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use vestibule_plugin_api::Timestamp;
use vestibule_session::{AckStatus, Destination, MessageIn, MessageOut, OutboundWriter, SessionDir, is_note};

/// The words to the conversation about a task whose script would say whether it runs.
const NOT_RUN: &str = "Error: a task was not run. It has a script that decides whether it runs, and scripts of tasks \
                       cannot be run yet.";
/// How long one wait for a provider's event lasts.
const PATIENCE: Duration = Duration::from_secs(5);
/// A turn of a provider that answers at once claims its rows when it takes longer than this all the same.
const CLAIM_AFTER: Duration = Duration::from_millis(20);
/// So long the runner relies on its last look at the runtime's file; then it looks up an answer's destinations anew.
const LOOK_AGE_MAX: Duration = Duration::from_secs(1);
/// Signs of life come at most this often, so that a fast turn does not pay for several.
const BEAT_MIN: Duration = Duration::from_secs(1);
const FULL_PAUSE: Duration = Duration::from_millis(500);

/// A runner at work: its pen, its provider, and what it remembers.
pub struct Runner {
    dir: SessionDir,
    settings: Settings,
    outbound: OutboundWriter,
    provider: Box<dyn Provider>,
    continuation: Option<String>,
    taken: HashSet<String>,
    beaten: Option<Instant>,
}

impl Runner {
    /// Opens the runner's own file. This drops the claims of a runner that died.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn open(dir: SessionDir, settings: Settings, provider: Box<dyn Provider>) -> Result<Runner, Error> {
        let cannot = |reason| Error::Open { path: dir.outbound_db(), reason };
        let outbound = patiently(|| OutboundWriter::open(&dir)).map_err(cannot)?;
        let taken = outbound.taken().map_err(cannot)?;
        let continuation = outbound.state(&continuation_key(&settings)).map_err(cannot)?;
        let mut runner = Runner { dir, settings, outbound, provider, continuation, taken, beaten: None };
        runner.beat();
        files::forget_temporary(&runner.dir);
        Ok(runner)
    }

    /// The session's folder.
    pub fn dir(&self) -> &SessionDir {
        &self.dir
    }

    /// The session's settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The ids of rows that are not to be answered again.
    pub fn taken(&self) -> &HashSet<String> {
        &self.taken
    }

    /// Forgets the rows that are not pending any more: the runtime knows that they are settled.
    ///
    /// # Errors
    /// An error of SQLite.
    pub fn keep(&mut self, pending: HashSet<String>) -> vestibule_session::Result<()> {
        let settled: Vec<String> = self.taken.difference(&pending).cloned().collect();
        if !settled.is_empty() {
            self.write(|outbound| outbound.forget(&settled))?;
            self.taken = pending;
        }
        Ok(())
    }

    /// Deletes replies that the runtime has settled and forgotten.
    ///
    /// # Errors
    /// An error of SQLite.
    pub fn prune(&mut self, floor: i64) -> vestibule_session::Result<()> {
        self.write(|outbound| outbound.prune(floor))
    }

    /// Takes a batch through one turn. `look` is the look that found it.
    ///
    /// # Errors
    /// The runner's own file cannot be written; the batch will be answered by the next runner.
    pub fn turn(&mut self, batch: Batch, look: Look) -> Result<(), Error> {
        let mut rest = batch.ids();
        self.taken.extend(rest.iter().cloned());
        let (clears, batch) = batch.split_clears();
        if !clears.is_empty() {
            self.remember(None)?;
            let all = if batch.is_some() { None } else { Some(self.without_notes(rest)) };
            self.answer_alike(&clears, ("Session cleared.", AckStatus::Completed), &look, all)?;
        }
        let Some(batch) = batch else { return Ok(()) };
        rest = batch.ids();
        let (gated, batch) = batch.split_gated();
        if !gated.is_empty() {
            eprintln!("vestibule-runner: tasks with a script are not run: {}", gated.len());
            let all = if batch.is_some() { None } else { Some(self.without_notes(rest)) };
            self.answer_alike(&gated, (NOT_RUN, AckStatus::Failed), &look, all)?;
        }
        let Some(batch) = batch else { return Ok(()) };
        let reply_files = match files::fresh(&self.dir) {
            Ok(folder) => folder,
            Err(error) => return Err(Error::Files(error)),
        };
        let input = QueryInput {
            prompt: format::prompt(batch.rows(), &look.destinations, &self.settings.zone, self.dir.root()),
            system: look.destinations.instructions(&self.settings.assistant_name),
            continuation: self.continuation.clone(),
            cwd: self.settings.agent_dir.clone(),
            files: files::of_rows(&self.dir, batch.rows()),
            reply_files: reply_files.clone(),
        };
        let unsettled = batch.ids();
        Turn { runner: self, look, batch, unsettled, reply_files, claimed: false, nudged: false }
            .serve(input)?;
        if self.provider.turn_ends_all() {
            files::forget_temporary(&self.dir);
        }
        Ok(())
    }

    /// Replies to each of these rows with the same words, and settles them; `all` are the rows to settle when nothing
    /// else was asked.
    fn answer_alike(
        &mut self,
        rows: &[MessageIn],
        (words, status): (&str, AckStatus),
        look: &Look,
        all: Option<Vec<String>>,
    ) -> Result<(), Error> {
        let home = || look.reader.routing().unwrap_or_default();
        let mut replies: Vec<MessageOut> =
            rows.iter().map(|row| reply::to_row(draft(words), row, home)).collect();
        let ids = all.unwrap_or_else(|| rows.iter().map(|row| row.id.clone()).collect());
        let (highest, now) = (look.highest_seq, Timestamp::now());
        Ok(self.write(|outbound| outbound.post(&mut replies, &ids, status, highest, now))?)
    }

    /// Those of these rows that are no notes of the runtime: no provider has seen the notes, so they stay for the next turn.
    fn without_notes(&mut self, ids: Vec<String>) -> Vec<String> {
        let (notes, others): (Vec<String>, Vec<String>) = ids.into_iter().partition(|id| is_note(id));
        self.taken.retain(|id| !notes.contains(id));
        others
    }

    /// Keeps the provider's token, or forgets it, before anything else: a crash in mid-turn must not
    /// lose the conversation.
    fn remember(&mut self, continuation: Option<String>) -> Result<(), Error> {
        if self.continuation != continuation {
            let key = continuation_key(&self.settings);
            self.write(|outbound| outbound.set_state(&key, continuation.as_deref(), Timestamp::now()))?;
            self.continuation = continuation;
        }
        Ok(())
    }

    /// Writes to the runner's own file, as soon as the disk has space: an answer that was paid for is not thrown away
    /// because a disk is full for a while.
    fn write(
        &mut self,
        mut work: impl FnMut(&mut OutboundWriter) -> vestibule_session::Result<()>,
    ) -> vestibule_session::Result<()> {
        patiently(|| work(&mut self.outbound))
    }

    /// Shows that the provider did something, unless that was shown a moment ago. A sign that cannot be written is
    /// left out: the keeper judges a runner that shows none.
    fn beat(&mut self) {
        if self.beaten.is_none_or(|last| last.elapsed() >= BEAT_MIN) {
            let _ = vestibule_session::touch_heartbeat(&self.dir);
            self.beaten = Some(Instant::now());
        }
    }
}

/// Tries again as long as the disk is full.
fn patiently<T>(mut work: impl FnMut() -> vestibule_session::Result<T>) -> vestibule_session::Result<T> {
    let mut told = false;
    loop {
        match work() {
            Err(error) if error.is_full() => {
                if !std::mem::replace(&mut told, true) {
                    eprintln!(
                        "vestibule-runner: cannot write to out/, trying again until there is space: {error}"
                    );
                }
                std::thread::sleep(FULL_PAUSE);
            }
            other => return other,
        }
    }
}

fn continuation_key(settings: &Settings) -> String {
    format!("continuation:{}", settings.provider)
}

fn draft(text: &str) -> Draft<'_> {
    Draft { id: id::message_id(), text, now: Timestamp::now() }
}

/// One pass of the provider over one batch.
struct Turn<'a> {
    runner: &'a mut Runner,
    look: Look,
    batch: Batch,
    /// The rows of the batch, until they are acknowledged.
    unsettled: Vec<String>,
    /// Where the provider puts files for its answer.
    reply_files: PathBuf,
    /// Whether the claim is on disk.
    claimed: bool,
    /// Whether the provider was told already that its answer reached no destination.
    nudged: bool,
}

impl Turn<'_> {
    fn serve(mut self, input: QueryInput) -> Result<(), Error> {
        // A provider that takes this process with it, or never answers, must leave a trace of what it was asked.
        if !self.runner.provider.answers_at_once() {
            self.claim()?;
        }
        let mut query = match self.runner.provider.query(input) {
            Ok(query) => query,
            Err(error) => return self.fail(&error.0),
        };
        loop {
            let event = query.next(if self.claimed { PATIENCE } else { CLAIM_AFTER });
            if event.is_some() {
                self.runner.beat();
            }
            match event {
                None if !self.claimed => self.claim()?,
                None | Some(ProviderEvent::Activity) => {}
                Some(ProviderEvent::Init { continuation }) => self.runner.remember(Some(continuation))?,
                Some(ProviderEvent::Result { text }) => {
                    self.answer(text.as_deref().unwrap_or_default(), query.as_mut())?;
                }
                Some(ProviderEvent::Error { retryable: true, .. }) => {
                    eprintln!("vestibule-runner: the provider met an error and tries again");
                }
                Some(ProviderEvent::Error { message, .. }) => return self.fail(&message),
                Some(ProviderEvent::End) => return self.post(Vec::new(), AckStatus::Completed),
            }
        }
    }

    /// Shows that the rows are being answered. A turn that is over before that is acknowledged at once, which saves a
    /// commit.
    fn claim(&mut self) -> Result<(), Error> {
        self.claimed = true;
        self.runner.beaten = None; // the first event after the claim is always shown
        let ids = &self.unsettled;
        Ok(self.runner.write(|outbound| outbound.claim(ids, Timestamp::now()))?)
    }

    /// Sends what the provider wrote. A provider whose answer reaches no destination is told so, once.
    fn answer(&mut self, text: &str, query: &mut dyn Query) -> Result<(), Error> {
        self.look_again();
        let text = &parse::without_internal(text);
        let answer = parse::answer(text);
        let mut replies = Vec::new();
        let mut lost = Vec::new();
        for block in &answer.blocks {
            match self.look.destinations.by_name(block.to) {
                _ if block.body.is_empty() => {}
                Some(to) => replies.push(self.reply(block.body, to)),
                None => lost.push(block),
            }
        }
        // A plain program need not know about blocks, and may show examples of them.
        let plain = if answer.blocks.is_empty() { &answer.rest } else { text.trim() };
        let unaddressed = replies.is_empty() && (!lost.is_empty() || answer.blocks.is_empty());
        let plain_is_sent = unaddressed && !plain.is_empty() && self.runner.provider.plain_text_is_reply();
        if plain_is_sent {
            replies.push(self.reply_here(plain));
        }
        let files::Found { names, left_out } = files::found(&self.reply_files);
        if !(names.is_empty() && left_out.is_empty()) {
            if replies.is_empty() {
                replies.push(self.reply_here(""));
            }
            let first = &mut replies[0];
            if !left_out.is_empty() {
                first.content = files::name_left_out(&first.content, &left_out);
            }
            if !names.is_empty() {
                files::attach(&self.runner.dir, &self.reply_files, names, first).map_err(Error::Files)?;
            }
        }
        let reached_nobody = replies.is_empty() && (!lost.is_empty() || !answer.rest.is_empty());
        if reached_nobody && !self.nudged && query.push(&nudge(&self.look.destinations.names())) {
            self.nudged = true;
            return Ok(());
        }
        if !plain_is_sent {
            // The runtime refuses these replies: they are on record, and the agent is told.
            replies.extend(lost.iter().map(|block| self.reply_to_no_destination(block.body, block.to)));
        }
        if replies.is_empty() && reached_nobody {
            eprintln!("vestibule-runner: an answer was not sent: it has no block for a known destination");
        }
        self.post(replies, AckStatus::Completed)
    }

    /// Tells the conversation why there is no answer.
    fn fail(&mut self, reason: &str) -> Result<(), Error> {
        eprintln!("vestibule-runner: the provider failed; the conversation was told why");
        if self.runner.continuation.is_some() && self.runner.provider.is_session_invalid(reason) {
            self.runner.remember(None)?;
        }
        let reply = self.reply_here(&format!("Error: {}", parse::without_internal(reason)));
        self.post(vec![reply], AckStatus::Failed)
    }

    /// Writes replies, and settles the batch unless that is done.
    fn post(&mut self, mut replies: Vec<MessageOut>, status: AckStatus) -> Result<(), Error> {
        if !replies.is_empty() || !self.unsettled.is_empty() {
            let (ids, now) = (&self.unsettled, Timestamp::now());
            let highest = self.look.highest_seq;
            self.runner.write(|outbound| outbound.post(&mut replies, ids, status, highest, now))?;
            self.unsettled.clear();
        }
        Ok(())
    }

    fn reply(&self, text: &str, to: &Destination) -> MessageOut {
        reply::to_destination(draft(text), to, &self.batch, |to| {
            let (channel, chat) = (to.channel_type.as_deref()?, to.platform_id.as_deref()?);
            self.look.reader.latest_from(channel, chat).ok().flatten()
        })
    }

    fn reply_to_no_destination(&self, text: &str, name: &str) -> MessageOut {
        reply::to_no_destination(draft(text), name, self.batch.asked())
    }

    fn reply_here(&self, text: &str) -> MessageOut {
        reply::to_row(draft(text), self.batch.asked(), || self.look.reader.routing().unwrap_or_default())
    }

    /// Destinations may have changed while the provider thought. A file that cannot be read now
    /// leaves what was known before.
    fn look_again(&mut self) {
        if self.look.at.elapsed() > LOOK_AGE_MAX
            && let Ok(look) = Look::take(&self.runner.dir)
        {
            self.look = look;
        }
    }
}

fn nudge(names: &str) -> String {
    format!(
        "<system>Nothing of your last answer was delivered: it has no `<message to=\"name\">…</message>` block \
         for a destination you have. Your destinations: {names}. Wrap what people should read in such a block, \
         mark the rest with `<internal>…</internal>`, and send your answer again.</system>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destinations::tests::chat;
    use crate::provider::ProviderError;
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};
    use vestibule_session::{Ack, InboundWriter, OutboundReader, Projection, Routing};

    #[derive(Default)]
    struct Script {
        events: VecDeque<ProviderEvent>,
        inputs: Vec<QueryInput>,
        pushed: Vec<String>,
        takes_pushes: bool,
        calls_session_invalid: bool,
        plain_is_reply: bool,
    }

    #[derive(Clone, Default)]
    struct Scripted(Arc<Mutex<Script>>);

    impl Provider for Scripted {
        fn query(&mut self, input: QueryInput) -> Result<Box<dyn Query>, ProviderError> {
            self.0.lock().unwrap().inputs.push(input);
            Ok(Box::new(self.clone()))
        }

        fn plain_text_is_reply(&self) -> bool {
            self.0.lock().unwrap().plain_is_reply
        }

        fn is_session_invalid(&self, _reason: &str) -> bool {
            self.0.lock().unwrap().calls_session_invalid
        }
    }

    impl Query for Scripted {
        fn next(&mut self, _patience: Duration) -> Option<ProviderEvent> {
            Some(self.0.lock().unwrap().events.pop_front().unwrap_or(ProviderEvent::End))
        }

        fn push(&mut self, text: &str) -> bool {
            let mut script = self.0.lock().unwrap();
            script.pushed.push(text.to_owned());
            script.takes_pushes
        }
    }

    struct Fixture {
        _folder: tempfile::TempDir,
        dir: SessionDir,
        script: Scripted,
        runner: Runner,
    }

    fn fixture() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let dir = SessionDir::new(folder.path());
        let mut inbound = InboundWriter::rebuild(&dir).unwrap();
        let routing = Some((vec![chat("general", "slack:C1", None)], Routing::default()));
        inbound.apply(&Projection { change: 1, routing, ..Default::default() }).unwrap();
        std::fs::write(dir.run_config(), r#"{"provider":"echo"}"#).unwrap();
        let script = Scripted::default();
        let settings = Settings::read(&dir).unwrap();
        let runner = Runner::open(dir.clone(), settings, Box::new(script.clone())).unwrap();
        Fixture { _folder: folder, dir, script, runner }
    }

    impl Fixture {
        /// A turn over rows that say `texts`, and the texts of the replies.
        fn turn(&mut self, texts: &[&str], events: &[ProviderEvent]) -> Vec<String> {
            self.script.0.lock().unwrap().events = events.iter().cloned().collect();
            let rows = texts.iter().zip(1..).map(|(text, i)| MessageIn {
                content: serde_json::json!({ "text": text }).to_string(),
                ..crate::batch::tests::row(2 * i, true, Some("t"))
            });
            let batch = crate::batch::tests::batch(rows.collect());
            self.runner.turn(batch, Look::take(&self.dir).unwrap()).unwrap();
            let replies = self.outbound().replies(0, 100).unwrap();
            assert!(replies.iter().all(|r| r.seq % 2 == 1 && r.thread_id.as_deref() == Some("t")));
            replies.into_iter().map(|r| r.content).collect()
        }

        fn outbound(&self) -> OutboundReader {
            OutboundReader::open(&self.dir, true).unwrap()
        }

        fn continuation(&self) -> Option<String> {
            self.runner.outbound.state("continuation:echo").unwrap()
        }

        fn acks(&self) -> Vec<Ack> {
            let rows = self.outbound().acks(i64::MAX, 100).unwrap().0;
            let mut acks: Vec<Ack> = rows.into_iter().map(|row| row.ack).collect();
            acks.sort_by(|a, b| a.message_id.cmp(&b.message_id));
            acks
        }
    }

    fn ack(id: &str, status: AckStatus) -> Ack {
        Ack { message_id: id.to_owned(), status }
    }

    fn result(text: &str) -> ProviderEvent {
        ProviderEvent::Result { text: Some(text.to_owned()) }
    }

    fn init(continuation: &str) -> ProviderEvent {
        ProviderEvent::Init { continuation: continuation.to_owned() }
    }

    fn error(retryable: bool) -> ProviderEvent {
        ProviderEvent::Error { message: "overloaded".to_owned(), retryable }
    }

    #[test]
    fn blocks_are_sent_and_the_rest_is_not() {
        let mut it = fixture();
        let text = "hm <message to=\"general\">a</message><message to=\"nobody\">b</message>\
                    <message to=\"general\"> </message>";
        // A block for a name that no destination has goes to the runtime, which refuses it and says so.
        assert_eq!(it.turn(&["x"], &[result(text)]), [r#"{"text":"a"}"#, r#"{"text":"b"}"#]);
        assert_eq!(it.acks(), [ack("m2", AckStatus::Completed)]);
        assert_eq!(it.script.0.lock().unwrap().pushed, [""; 0], "one good block is enough");
    }

    #[test]
    fn an_answer_to_nobody_is_sent_back_once() {
        let mut it = fixture();
        it.script.0.lock().unwrap().takes_pushes = true;
        let good = result("<message to=\"general\">a</message>");
        let replies = it.turn(&["x"], &[result("plain"), good]);
        assert_eq!(replies, [r#"{"text":"a"}"#]);
        let pushed = it.script.0.lock().unwrap().pushed.clone();
        assert!(matches!(pushed.as_slice(), [one] if one.contains("`general`")), "{pushed:?}");

        let mut it = fixture();
        it.script.0.lock().unwrap().takes_pushes = true;
        let lost = result("<message to=\"nobody\">a</message>");
        assert_eq!(it.turn(&["x"], &[lost, result("still plain")]), [""; 0]);
        assert_eq!(it.script.0.lock().unwrap().pushed.len(), 1);
        assert_eq!(it.acks(), [ack("m2", AckStatus::Completed)]);
    }

    #[test]
    fn silence_settles_the_batch() {
        let mut it = fixture();
        let events = [error(true), ProviderEvent::Activity, ProviderEvent::Result { text: None }];
        assert_eq!(it.turn(&["x", "y"], &events), [""; 0]);
        assert_eq!(it.turn(&["x"], &[]), [""; 0], "not even a result");
        assert_eq!(it.turn(&["x"], &[result("<internal>no</internal>")]), [""; 0]);
        assert_eq!(it.script.0.lock().unwrap().pushed, [""; 0]);
        assert_eq!(it.acks(), [ack("m2", AckStatus::Completed), ack("m4", AckStatus::Completed)]);
    }

    #[test]
    fn what_is_internal_is_sent_by_no_way() {
        for (text, plain_is_reply, want) in [
            // Its one block names no destination: a plain program's whole text goes out, but for what is internal.
            (
                "<internal>secret</internal>see <message to=\"nobody\">x</message>",
                true,
                "see <message to=\"nobody\">x</message>",
            ),
            ("<internal>secret</internal>plain", true, "plain"),
            ("<message to=\"general\">a<internal>secret</internal></message>", false, "a"),
        ] {
            let mut it = fixture();
            it.script.0.lock().unwrap().plain_is_reply = plain_is_reply;
            assert_eq!(it.turn(&["x"], &[result(text)]), [serde_json::json!({ "text": want }).to_string()]);
        }
        for text in
            ["<internal>secret<message to=\"nobody\">x</message></internal>", "<internal>secret, cut off"]
        {
            let mut it = fixture();
            it.script.0.lock().unwrap().plain_is_reply = true;
            assert_eq!(it.turn(&["x"], &[result(text)]), [""; 0], "{text}");
            assert_eq!(it.acks(), [ack("m2", AckStatus::Completed)]);
        }
    }

    #[test]
    fn a_failure_is_told() {
        let mut it = fixture();
        assert_eq!(it.turn(&["x"], &[error(false), result("late")]), [r#"{"text":"Error: overloaded"}"#]);
        assert_eq!(it.acks(), [ack("m2", AckStatus::Failed)]);
    }

    #[test]
    fn a_failure_after_an_answer_leaves_the_batch_answered() {
        let mut it = fixture();
        let replies = it.turn(&["x"], &[result("<message to=\"general\">a</message>"), error(false)]);
        assert_eq!(replies, [r#"{"text":"a"}"#, r#"{"text":"Error: overloaded"}"#]);
        assert_eq!(it.acks(), [ack("m2", AckStatus::Completed)]);
    }

    #[test]
    fn the_conversation_is_found_again_until_it_is_cleared_or_lost() {
        let mut it = fixture();
        it.turn(&["x"], &[init("c1"), error(false)]);
        assert_eq!(it.continuation().as_deref(), Some("c1"), "kept although the turn failed");
        it.turn(&["x"], &[]);
        let inputs = it.script.0.lock().unwrap().inputs.clone();
        let tokens: Vec<_> = inputs.iter().map(|input| input.continuation.as_deref()).collect();
        assert_eq!(tokens, [None, Some("c1")]);

        it.script.0.lock().unwrap().calls_session_invalid = true;
        it.turn(&["x"], &[error(false)]);
        assert_eq!(it.continuation(), None);

        it.turn(&["x"], &[init("c2")]);
        it.turn(&["/clearance please"], &[]);
        assert_eq!(it.continuation().as_deref(), Some("c2"), "another word");
        let replies = it.turn(&["/clear", "y"], &[]);
        assert_eq!(replies.last().map(String::as_str), Some(r#"{"text":"Session cleared."}"#));
        assert_eq!(it.continuation(), None);
        let inputs = it.script.0.lock().unwrap().inputs.clone();
        assert_eq!(inputs.len(), 6, "the other row was asked");
        assert!(!inputs[5].prompt.contains("/clear") && inputs[5].continuation.is_none());
        assert!(it.acks().iter().all(|ack| ack.status == AckStatus::Completed));
    }

    /// A dead runner's declared time is not this runner's: one of its turns that hangs would last that long.
    #[test]
    fn the_tool_of_a_runner_that_died_is_forgotten() {
        let it = fixture();
        let sql = "INSERT INTO container_state (id, current_tool, tool_declared_timeout_ms, updated_at) \
                   VALUES (1, 'Bash', 86400000, '')";
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
        let file = rusqlite::Connection::open_with_flags(it.dir.outbound_db(), flags).unwrap();
        file.execute(sql, []).unwrap();
        assert_eq!(it.outbound().tool_silence_ms().unwrap(), Some(86_400_000));
        let settings = Settings::read(&it.dir).unwrap();
        drop(Runner::open(it.dir.clone(), settings, Box::new(it.script.clone())).unwrap());
        assert_eq!(it.outbound().tool_silence_ms().unwrap(), None);
    }

    /// No provider has read the note: it is for the next turn.
    #[test]
    fn a_clear_settles_no_note() {
        let mut it = fixture();
        let row = crate::batch::tests::row;
        let note = MessageIn { id: "undelivered-1".into(), ..row(2, false, None) };
        let clear = MessageIn { content: r#"{"text":"/clear"}"#.to_owned(), ..row(6, true, None) };
        let batch = crate::batch::tests::batch(vec![note, row(4, false, None), clear]);
        it.runner.turn(batch, Look::take(&it.dir).unwrap()).unwrap();
        assert_eq!(it.acks(), [ack("m4", AckStatus::Completed), ack("m6", AckStatus::Completed)]);
        assert!(!it.runner.taken().contains("undelivered-1"));
    }

    #[test]
    fn a_clear_alone_asks_nobody() {
        let mut it = fixture();
        assert_eq!(it.turn(&["/clear"], &[]), [r#"{"text":"Session cleared."}"#]);
        assert_eq!(it.acks(), [ack("m2", AckStatus::Completed)]);
        assert_eq!(it.script.0.lock().unwrap().inputs.len(), 0);
    }
}
