//! What a lane does next. Pure: the same state, event, facts and time give the same answer.
//!
//! Everything that can end a run is here: [`End`] names why the lane asks for it, [`State::over`] says what the end of
//! a run means, and [`State::quarantine`] when nothing runs any more.

use super::state::{
    BURST, BYTES_A_SECOND, Backoff, Batch, Behind, CEILING, CLAIMED_WITHIN, DEATHS_MAX, END_PATIENCE,
    EXCUSE_MAX, End, Event, FAILED_FIRST, FIRST_EVENT_MAX, Facts, KEEPER_SILENCE_MAX, LOCKED_MAX,
    LOCKED_RETRY, LOCKS_EXCUSED, LOOK_AGAIN, LOOK_AT_KEEPER, PROJECT_LATER, Phase, ROOM_RETRY, ROWS_A_SECOND,
    Refusal, Run, SLEEP_MAX, State, Step, TROUBLE_RETRY, Told, Trouble, UNTAKEN_MAX,
};
use crate::clock::Timestamp;
use crate::ledger::Seen;
use std::time::{Duration, Instant};

/// The next state, and the steps that lead there.
pub fn decide(mut state: State, event: Event, facts: &Facts, now: Instant) -> (State, Vec<Step>) {
    let mut steps = Vec::new();
    state.excuse_absence(now);
    state.hear(event, facts, now, &mut steps);
    state.go_on(facts, now, &mut steps);
    state.wakes_at = state.wake_at(facts, now);
    (state, steps)
}

impl State {
    /// The state of a lane that has just opened.
    pub fn new(now: Instant) -> State {
        State {
            phase: Phase::Resting,
            seen: None,
            project_at: Some(now),
            behind_since: None,
            trouble_told: false,
            backoff: Backoff::default(),
            pace: now.checked_sub(BURST).unwrap_or(now),
            stopping: false,
            wakes_at: None,
        }
    }

    /// Whether nothing is left to do until the lane is woken.
    pub fn is_over(&self, facts: &Facts, now: Instant) -> bool {
        matches!(self.phase, Phase::Resting) && self.wake_at(facts, now).is_none()
    }

    /// When the lane must decide again, without being woken.
    pub fn wake_at(&self, facts: &Facts, now: Instant) -> Option<Instant> {
        let own = match &self.phase {
            Phase::Resting if self.stopping => None,
            Phase::Resting => self.launch_at(facts, now),
            Phase::Queued | Phase::Starting { .. } => None,
            Phase::Running(run) => Some(self.run_wakes_at(run, facts, now)),
            Phase::Ending(run, _, by) => {
                let at = (*by + excuse(facts)).min(keeper_looked_at(run, facts));
                Some(earlier(Some(at), earlier(run.take_at, run.answer_at)).unwrap_or(at))
            }
        };
        earlier(own, self.project_at)
    }

    fn run_wakes_at(&self, run: &Run, facts: &Facts, now: Instant) -> Instant {
        let due = self.seen.and_then(|seen| seen.due_while_running).map(|due| now + until(due, facts));
        // While the runtime makes the keeper wait, nothing else is asked of the keeper.
        let own = match (earlier(run.take_at, run.answer_at), self.stuck_at(run, facts, now)) {
            (Some(at), _) | (None, Some((at, _))) => at,
            (None, None) => rests_at(run, facts),
        };
        let at = own.min(keeper_looked_at(run, facts));
        earlier(Some(at), due.filter(|due| *due > now)).unwrap_or(at)
    }

    /// Since when the runner has nothing to do; `None`: there is no runner, or it has something to do.
    pub fn idle_since(&self, facts: &Facts, now: Instant) -> Option<Instant> {
        match &self.phase {
            Phase::Running(run) if self.has_nothing_to_do(run, facts, now) => Some(run.active),
            _ => None,
        }
    }

    /// When the next keeper may start, if one must. A keeper that only reads what is left is of no use without room for
    /// that: the lane is woken when there is room.
    fn launch_at(&self, facts: &Facts, now: Instant) -> Option<Instant> {
        let seen = self.seen.filter(|seen| !seen.quarantined)?;
        let due = match (seen.running, seen.due) {
            (true, _) if !seen.has_room => return None,
            (true, _) => now,
            (false, Some(due)) => now + until(due, facts),
            (false, None) => return None,
        };
        Some(self.backoff.not_before.map_or(due, |not_before| due.max(not_before)))
    }

    // ---- what happened

    /// When the lane decides too late, the runtime stood still: it was stopped, say, or had no processor. The keeper's
    /// frames of that time are not read yet, so it counts against no run.
    fn excuse_absence(&mut self, now: Instant) {
        let Some(late) = self.wakes_at.and_then(|at| now.checked_duration_since(at)) else { return };
        self.behind_since = self.behind_since.map(|since| since + late);
        if let Phase::Ending(_, _, by) = &mut self.phase {
            *by += late;
        }
        let Some(run) = self.run_mut() else { return };
        for since in [&mut run.heard, &mut run.active, &mut run.progress] {
            *since += late;
        }
        run.due_since = run.due_since.map(|since| since + late);
    }

    fn hear(&mut self, event: Event, facts: &Facts, now: Instant, steps: &mut Vec<Step>) {
        match event {
            Event::Woken => self.project_at = Some(now),
            Event::AgentChanged => {
                (self.backoff.failures, self.backoff.locks, self.backoff.not_before) = (0, 0, None);
                self.project_at = Some(now);
                steps.push(Step::Forgive);
                self.end(End::AgentChanged, now, steps);
            }
            // The next message is not to blame for the runs before it.
            Event::GivenUp => {
                (self.backoff.failures, self.backoff.locks, self.backoff.not_before) = (0, 0, None)
            }
            Event::PlaceWanted => {
                if self.run().is_some_and(|run| self.has_nothing_to_do(run, facts, now)) {
                    self.end(End::GivesWay, now, steps);
                }
            }
            Event::ShareIsOver => {
                if let Phase::Running(run) = &mut self.phase
                    && run.gives_way_since.is_none()
                {
                    run.gives_way_since = Some(now);
                    self.project_at = Some(now);
                    steps.push(Step::ShowNoMore);
                }
            }
            Event::StillShown => {
                if let Some(run) = self.run_mut() {
                    run.gives_way_since = None; // its next pulse tries again
                }
            }
            Event::Clock => self.hear_clock(facts, now, steps),
            Event::RuntimeStops => {
                self.stopping = true;
                self.project_at = Some(now);
                self.end(End::RuntimeStops, now, steps);
            }
            Event::Projected(seen) => self.projected(seen, now, steps),
            Event::NotProjected(why) => self.not_projected(why, now, steps),
            Event::PlaceGiven => {
                if matches!(self.phase, Phase::Queued) {
                    self.phase = Phase::Starting { with_runner: true };
                    steps.push(Step::Launch { with_runner: true });
                }
            }
            Event::NoPlace => {}
            Event::Started { provider_silence } => self.started(provider_silence, now),
            Event::NotStarted(trouble) => self.not_started(trouble, now, steps),
            Event::NotRecorded(why) => {
                (self.seen, self.project_at) = (None, Some(now));
                self.failed(why, now, steps);
            }
            event => self.hear_keeper(event, now, steps),
        }
    }

    fn hear_keeper(&mut self, event: Event, now: Instant, steps: &mut Vec<Step>) {
        let was_asked_to_end = matches!(self.phase, Phase::Ending(..));
        let Some(run) = self.run_mut() else { return };
        let silence = unheard(run, now);
        run.progress += silence;
        run.due_since = run.due_since.map(|since| since + silence);
        run.heard = now;
        match event {
            Event::Progress => (run.active, run.progress, run.had_event) = (now, now, true),
            Event::ToolDeclared(silence) => run.tool_silence = silence,
            Event::RunnerExited(how) => {
                (run.exited, run.exited_by_itself) = (Some(how), !was_asked_to_end);
            }
            Event::RunnerStarted => {
                self.backoff.wants = 0;
                self.trouble_is_over(steps);
            }
            Event::KeptLocked => self.end(End::KeptLocked, now, steps),
            Event::Drained => run.drained = true,
            Event::KeeperFailed(trouble) => {
                run.excused = true;
                match trouble {
                    Trouble::Scarce(why) => {
                        // A reader that an agent took over may say so without end.
                        let wait = self.backoff.want();
                        self.wait_for_want(why, wait, now, steps);
                    }
                    Trouble::Damaged(why) | Trouble::Failed(why) => {
                        steps.push(Step::RecordFailing(why.clone()));
                        self.failed(why, now, steps);
                    }
                }
            }
            Event::Corrupt(why) => self.quarantine(why, now, steps),
            Event::HandedOver => {
                run.active = now;
                steps.push(Step::Take);
            }
            Event::Taken(batch) => self.taken(batch, now),
            Event::NoRoom => {
                run.take_at = Some(now + ROOM_RETRY);
                let is_news = self.seen.as_mut().is_some_and(|seen| std::mem::take(&mut seen.has_room));
                steps.extend(is_news.then_some(Step::Tell(Told::NoRoom)));
            }
            Event::NotTaken(refusal) => self.not_taken(refusal, now, steps),
            Event::KeeperGone => self.over(now, steps),
            _ => {}
        }
    }

    fn hear_clock(&mut self, facts: &Facts, now: Instant, steps: &mut Vec<Step>) {
        let Some(run) = self.run_mut() else { return };
        run.looked = now;
        if now >= run.heard + KEEPER_SILENCE_MAX + excuse(facts) {
            return self.quarantine("its keeper hung on what it read".to_owned(), now, steps);
        }
        // Until the keeper is answered it cannot end.
        if let Phase::Ending(run, _, by) = &mut self.phase
            && now >= *by + excuse(facts)
            && run.answer_at.is_none()
        {
            run.excused |= run.take_at.is_some();
            self.over(now, steps); // it was asked to end and did not: it is killed with everything it started
        }
    }

    fn projected(&mut self, seen: Seen, now: Instant, steps: &mut Vec<Step>) {
        if self.behind_since.is_some() {
            self.trouble_is_over(steps);
        }
        (self.project_at, self.behind_since, self.seen) = (None, None, Some(seen));
        if let Some(run) = self.run_mut() {
            // An idle runner has nothing to take: its time begins with the next message.
            run.due_since = seen.due_while_running.and(run.due_since.or(Some(now)));
        }
    }

    fn not_projected(&mut self, why: Behind, now: Instant, steps: &mut Vec<Step>) {
        self.project_at = Some(now + LOCKED_RETRY);
        let since = self.behind_since.unwrap_or(now);
        let is_news = self.behind_since.replace(since).is_none();
        match why {
            Behind::Gone => {
                (self.seen, self.project_at) = (None, None);
                self.end(End::SessionGone, now, steps);
            }
            Behind::Locked(why) => {
                if is_news {
                    steps.push(Step::Tell(Told::Behind(why)));
                }
                if now > since + LOCKED_MAX {
                    self.end(End::KeptLocked, now, steps);
                }
            }
            // While a runner lives the file is not made again: the runner would go on reading the old one.
            Behind::Kept => self.end(End::InboundLost, now, steps),
            Behind::Trouble(why) => {
                self.project_at = Some(now + TROUBLE_RETRY);
                self.trouble(why, steps);
            }
        }
        if self.stopping && self.run().is_none() {
            self.project_at = None; // a projection that fails now is made at the next start
        }
    }

    fn started(&mut self, provider_silence: Option<Duration>, now: Instant) {
        let Phase::Starting { with_runner } = self.phase else { return };
        self.phase = Phase::Running(Run::new(with_runner, provider_silence, now));
    }

    fn not_started(&mut self, trouble: Trouble, now: Instant, steps: &mut Vec<Step>) {
        (self.phase, self.seen, self.project_at) = (Phase::Resting, None, Some(now));
        steps.push(Step::LeavePlace);
        match trouble {
            Trouble::Scarce(why) => self.wait_for_want(why, TROUBLE_RETRY, now, steps),
            Trouble::Damaged(why) => self.quarantine(why, now, steps),
            Trouble::Failed(why) => {
                steps.push(Step::RecordFailing(why.clone()));
                self.failed(why, now, steps);
            }
        }
    }

    fn taken(&mut self, batch: Batch, now: Instant) {
        let at_once = self.seen.is_some_and(|seen| seen.one_at_a_time) && batch.settled;
        let later = if at_once { now } else { now + PROJECT_LATER };
        self.project_at = Some(self.project_at.map_or(later, |at| at.min(later)));
        // What an earlier runner left shows nothing of whether one can be started.
        if self.run().is_some_and(|run| run.with_runner) {
            self.backoff.failures = 0;
        }
        let cost = (batch.rows as f64 / ROWS_A_SECOND).max(batch.bytes as f64 / BYTES_A_SECOND);
        let burst = now.checked_sub(BURST).unwrap_or(now);
        self.pace = self.pace.max(burst) + Duration::from_secs_f64(cost);
        let answer_at = self.pace.max(now);
        let Some(run) = self.run_mut() else { return };
        run.answer_at = Some(answer_at);
        (run.active, run.progress) = (now, now);
        run.had_event &= !batch.claimed;
        run.claims = batch.claims;
        if batch.settled {
            run.due_since = None; // until the next projection shows what is left
        }
    }

    fn not_taken(&mut self, refusal: Refusal, now: Instant, steps: &mut Vec<Step>) {
        let excused = !matches!(refusal, Refusal::BrokeARule(_));
        if let Some(run) = self.run_mut() {
            run.excused |= excused;
        }
        match refusal {
            Refusal::RuntimeStops => {} // a keeper without a runner reads it again
            Refusal::BrokeARule(why) => steps.push(Step::Tell(Told::NotTaken(why))),
            Refusal::Trouble(why) => {
                steps.push(Step::Tell(Told::NotTaken(why)));
                self.backoff.not_before = Some(now + FAILED_FIRST);
            }
        }
        self.over(now, steps);
    }

    // ---- what follows

    fn go_on(&mut self, facts: &Facts, now: Instant, steps: &mut Vec<Step>) {
        if self.project_at.is_some_and(|at| at <= now) {
            steps.push(Step::Project); // its result decides the rest
            self.project_at = Some(now + SLEEP_MAX);
            return;
        }
        match &self.phase {
            Phase::Running(run) | Phase::Ending(run, ..) => match (run.answer_at, run.take_at) {
                (Some(at), _) if at > now => {}
                (Some(_), _) => self.answer(now, steps),
                (None, Some(_)) => self.take_if_there_is_room(now, steps),
                (None, None) => self.end_if_useless(facts, now, steps),
            },
            Phase::Resting => self.launch_if_due(facts, now, steps),
            Phase::Queued if self.stopping || !self.wants_runner(facts) => {
                self.phase = Phase::Resting;
                steps.push(Step::LeavePlace);
            }
            Phase::Queued | Phase::Starting { .. } => {}
        }
    }

    fn answer(&mut self, now: Instant, steps: &mut Vec<Step>) {
        steps.push(Step::Answer);
        if let Some(run) = self.run_mut() {
            // While the runtime made the keeper wait, the keeper had nothing to say.
            (run.answer_at, run.heard) = (None, now);
        }
        if let Phase::Ending(_, _, by) = &mut self.phase {
            *by = now + END_PATIENCE;
        }
    }

    /// A batch waits until some of the replies before it are delivered. When its runner has ended, its keeper does not
    /// wait: another one reads the rest when there is room.
    fn take_if_there_is_room(&mut self, now: Instant, steps: &mut Vec<Step>) {
        let has_room = self.seen.is_some_and(|seen| seen.has_room);
        let Some(run) = self.run_mut() else { return };
        if has_room || run.take_at.is_some_and(|at| at <= now) {
            run.take_at = None;
            steps.push(Step::Take);
        } else if run.exited.is_some() || !run.with_runner {
            run.excused = true;
            self.over(now, steps);
        }
    }

    fn end_if_useless(&mut self, facts: &Facts, now: Instant, steps: &mut Vec<Step>) {
        let Phase::Running(run) = &self.phase else { return };
        match self.stuck_at(run, facts, now) {
            Some((at, _)) if now < at => {}
            Some(_) if facts.disk_is_full => {
                if let Some(run) = self.run_mut() {
                    run.progress = now; // the provider may wait for space: no session is to blame
                }
            }
            Some((_, why)) => self.end(End::Stuck(why), now, steps),
            None if now < rests_at(run, facts) => {}
            None if run.gives_way_since.is_some() => self.end(End::GivesWay, now, steps),
            None => self.end(End::Idle, now, steps),
        }
    }

    /// When the run is stuck if nothing more is heard of its provider, and the reason that is given then. `None`:
    /// nothing is under way.
    fn stuck_at(&self, run: &Run, facts: &Facts, now: Instant) -> Option<(Instant, String)> {
        let (at, why) = self.silent_until(run, facts, now)?;
        match unheard(run, now) {
            Duration::ZERO => Some((at, why)),
            // The keeper says nothing of the provider either.
            silence => Some(((at + silence).max(now + LOOK_AGAIN), why)),
        }
    }

    /// The same for a keeper that tells all it sees.
    fn silent_until(&self, run: &Run, facts: &Facts, now: Instant) -> Option<(Instant, String)> {
        if !run.with_runner || run.exited.is_some() {
            return None;
        }
        if run.claims > 0 {
            let silence = tolerance(run, facts);
            let why = format!("its provider showed no sign of life for {} s", silence.as_secs_f64());
            return Some((run.progress + silence, why));
        }
        if self.behind_since.is_some() {
            return None; // the runner cannot take what it is not shown
        }
        let due = self.seen?.due_while_running.filter(|due| *due <= facts.wall)?;
        let overdue = Duration::from_millis(u64::try_from(facts.wall.0.saturating_sub(due.0)).unwrap_or(0));
        let since = run.due_since?.max(now.checked_sub(overdue).unwrap_or(run.progress));
        let patience = UNTAKEN_MAX.min(facts.silence_max);
        let why = format!("its runner did not take what was due for {} s", patience.as_secs_f64());
        Some((since.max(run.progress) + patience, why))
    }

    fn has_nothing_to_do(&self, run: &Run, facts: &Facts, now: Instant) -> bool {
        run.with_runner
            && run.exited.is_none()
            && run.take_at.is_none()
            && run.answer_at.is_none()
            && (run.gives_way_since.is_none() || now >= rests_at(run, facts))
            && !self.is_due(facts)
            && self.stuck_at(run, facts, now).is_none()
    }

    /// Whether a message is due that the runner takes, as far as is known: the next projection shows what was settled
    /// since.
    fn is_due(&self, facts: &Facts) -> bool {
        self.seen.and_then(|seen| seen.due_while_running).is_some_and(|due| due <= facts.wall)
    }

    fn wants_runner(&self, facts: &Facts) -> bool {
        let seen = self.seen.filter(|seen| !seen.quarantined && !seen.running);
        seen.and_then(|seen| seen.due).is_some_and(|due| due <= facts.wall)
    }

    fn launch_if_due(&mut self, facts: &Facts, now: Instant, steps: &mut Vec<Step>) {
        if self.stopping || self.launch_at(facts, now).is_none_or(|at| at > now) {
            return;
        }
        if self.wants_runner(facts) {
            self.phase = Phase::Queued;
            steps.push(Step::AskForPlace);
        } else {
            // After a crash of the runtime a runner may have written something that was not read.
            self.phase = Phase::Starting { with_runner: false };
            steps.push(Step::Launch { with_runner: false });
        }
    }

    // ---- how a run ends

    /// Asks the keeper to end; it has [`END_PATIENCE`] to hand over what is left.
    fn end(&mut self, why: End, now: Instant, steps: &mut Vec<Step>) {
        if !matches!(self.phase, Phase::Running(_)) {
            return;
        }
        let Phase::Running(run) = std::mem::replace(&mut self.phase, Phase::Resting) else { return };
        steps.push(Step::AskToEnd(why.clone()));
        self.phase = Phase::Ending(run, why, now + END_PATIENCE);
    }

    /// Draws the conclusions when the keeper has gone, or is killed now.
    fn over(&mut self, now: Instant, steps: &mut Vec<Step>) {
        let (run, why) = match std::mem::replace(&mut self.phase, Phase::Resting) {
            Phase::Running(run) => (run, None),
            Phase::Ending(run, why, _) => (run, Some(why)),
            other => return self.phase = other,
        };
        (self.seen, self.project_at) = (None, Some(now));
        steps.extend([Step::Kill, Step::LeavePlace]);
        if run.drained {
            self.backoff.deaths = 0;
        } else if !run.excused {
            self.backoff.deaths += 1;
            self.failed("it ended before it had handed everything over".to_owned(), now, steps);
        }
        if why == Some(End::KeptLocked) {
            // The next runner may hold the file again: the wait grows each time, however well this run ended.
            self.backoff.failures = self.backoff.failures.max(self.backoff.locks);
            self.backoff.locks += 1;
            self.failed("its runner kept a file locked".to_owned(), now, steps);
        } else {
            self.backoff.locks = 0;
        }
        let blame = match (why, &run.exited) {
            (Some(End::KeptLocked), _) if !run.exited_by_itself && self.backoff.locks <= LOCKS_EXCUSED => {
                None
            }
            (Some(why), _) if !run.exited_by_itself => why.blame(),
            _ if !run.with_runner => None,
            (_, Some(how)) => Some(format!("its runner ended by itself: {how}")),
            (_, None) => (!run.excused).then(|| "its runner ended with its keeper".to_owned()),
        };
        steps.push(Step::RecordEnd { drained: run.drained, blame });
        if self.backoff.deaths >= DEATHS_MAX {
            self.quarantine("its keepers died of what they read".to_owned(), now, steps);
        }
    }

    /// Nothing runs in this session until an operator releases it.
    fn quarantine(&mut self, why: String, now: Instant, steps: &mut Vec<Step>) {
        if let Some(run) = self.run() {
            let blame = run.with_runner.then(|| why.clone());
            steps.extend([Step::Kill, Step::LeavePlace, Step::RecordEnd { drained: false, blame }]);
        }
        (self.phase, self.seen, self.project_at) = (Phase::Resting, None, Some(now));
        self.backoff.deaths = 0;
        steps.push(Step::Quarantine(why));
    }

    fn failed(&mut self, why: String, now: Instant, steps: &mut Vec<Step>) {
        let wait = self.backoff.fail(now);
        steps.push(Step::Tell(Told::Failed(why, wait)));
    }

    /// Something is scarce, and no session is to blame: the lane tries soon.
    fn wait_for_want(&mut self, why: String, wait: Duration, now: Instant, steps: &mut Vec<Step>) {
        self.trouble(why, steps);
        self.backoff.not_before = Some(now + wait);
    }

    /// Trouble that no session is to blame for: the operator is told once, and the lane tries until it works.
    fn trouble(&mut self, why: String, steps: &mut Vec<Step>) {
        if !std::mem::replace(&mut self.trouble_told, true) {
            steps.push(Step::Tell(Told::Trouble(why)));
        }
    }

    fn trouble_is_over(&mut self, steps: &mut Vec<Step>) {
        if std::mem::take(&mut self.trouble_told) {
            steps.push(Step::Tell(Told::TroubleIsOver));
        }
    }

    fn run(&self) -> Option<&Run> {
        match &self.phase {
            Phase::Running(run) | Phase::Ending(run, ..) => Some(run),
            Phase::Resting | Phase::Queued | Phase::Starting { .. } => None,
        }
    }

    fn run_mut(&mut self) -> Option<&mut Run> {
        match &mut self.phase {
            Phase::Running(run) | Phase::Ending(run, ..) => Some(run),
            Phase::Resting | Phase::Queued | Phase::Starting { .. } => None,
        }
    }
}

/// For how long a keeper has not said what it sees, if that is longer than usual.
fn unheard(run: &Run, now: Instant) -> Duration {
    Some(now.saturating_duration_since(run.heard))
        .filter(|silence| *silence > LOOK_AT_KEEPER)
        .unwrap_or_default()
}

/// Keepers that get no processor are not to blame for their silence.
fn excuse(facts: &Facts) -> Duration {
    facts.starved.min(EXCUSE_MAX)
}

/// When the lane asks the kernel why a keeper says nothing, or finds that it has been silent for too long.
fn keeper_looked_at(run: &Run, facts: &Facts) -> Instant {
    let look = (run.heard + LOOK_AT_KEEPER).max(run.looked + LOOK_AGAIN);
    look.min((run.heard + KEEPER_SILENCE_MAX + excuse(facts)).max(run.looked + LOOK_AGAIN))
}

/// When a runner with nothing under way is ended. One that gives way may have taken a message that it has not claimed yet.
fn rests_at(run: &Run, facts: &Facts) -> Instant {
    match run.gives_way_since {
        Some(since) => since.max(run.active) + CLAIMED_WITHIN.min(facts.idle_after),
        None => run.active + facts.idle_after,
    }
}

/// How long the provider may be silent.
fn tolerance(run: &Run, facts: &Facts) -> Duration {
    let silence = facts.silence_max.min(CEILING);
    let usual = if run.had_event { silence } else { silence.min(FIRST_EVENT_MAX) };
    // The time limit of the agent's settings holds for its tools, too: what a runner declares is the agent's word.
    usual.max(run.provider_silence.or(run.tool_silence).unwrap_or_default())
}

/// How long until the wall clock shows this time, as far as the lane sleeps in one go.
fn until(due: Timestamp, facts: &Facts) -> Duration {
    Duration::from_millis(u64::try_from(due.0.saturating_sub(facts.wall.0)).unwrap_or(0)).min(SLEEP_MAX)
}

/// The earlier of two moments, each of which may be missing.
fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;
