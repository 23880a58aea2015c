//! What must be true when the traffic is over.

use super::{Traffic, numbers};
use crate::support::{PATIENCE, Runtime, rows};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

impl Traffic {
    /// How many rows wait for something.
    pub fn open(&self) -> i64 {
        self.runtime.query(
            "SELECT (SELECT COUNT(*) FROM messages_in WHERE status = 'pending') + \
             (SELECT COUNT(*) FROM deliveries WHERE state NOT IN ('delivered', 'failed'))",
        )[0]
    }

    /// Waits until nothing is open any more. An operator's part is done here: sessions in quarantine are
    /// released; answers how many there were.
    pub fn settle(&self, patience: Duration) -> usize {
        let deadline = Instant::now() + patience;
        let mut released = 0;
        loop {
            let waiting = self.open();
            if waiting == 0 {
                return released;
            }
            for id in self.runtime.query::<String>("SELECT id FROM sessions WHERE quarantined IS NOT NULL") {
                released += 1;
                assert!(released < 20, "{id} is quarantined again and again\n{}", self.runtime.log());
                self.runtime.ok(&["session", "release", &id]);
            }
            assert!(Instant::now() < deadline, "{waiting} rows are still open\n{}", self.runtime.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What must be true once everything is settled. Answers how many messages were posted twice.
    pub fn verify(&mut self) -> Outcome {
        let acked = self.platform.acked.lock().unwrap().clone();
        let runtime = &self.runtime;
        let mut taken: BTreeMap<u64, usize> = BTreeMap::new();
        for text in runtime.query::<String>("SELECT content FROM messages_in") {
            for number in numbers(&text) {
                *taken.entry(number).or_default() += 1;
            }
        }
        let lost: Vec<&u64> = acked.iter().filter(|number| !taken.contains_key(number)).collect();
        assert!(lost.is_empty(), "acknowledged and not in the ledger: {lost:?}");
        let twice: Vec<_> = taken.iter().filter(|(_, count)| **count > 1).collect();
        assert!(twice.is_empty(), "taken twice: {twice:?}");
        let states = "SELECT status || ' ' || COUNT(*) FROM messages_in GROUP BY status";
        assert_eq!(runtime.query::<String>(states), [format!("completed {}", taken.len())]);
        let failed = "SELECT last_error FROM deliveries WHERE state = 'failed'";
        assert_eq!(runtime.query::<String>(failed), [""; 0], "every reply is delivered");

        // What the platform saw.
        let posts = self.platform.posts.lock().unwrap().clone();
        let unanswered: Vec<_> = taken.keys().filter(|number| !posts.contains_key(number)).collect();
        assert!(unanswered.is_empty(), "never answered: {unanswered:?}");
        let mut answers: BTreeMap<u64, usize> = BTreeMap::new();
        let mut doubtful = BTreeSet::new();
        for text in runtime.query::<String>("SELECT possible_duplicate || content FROM deliveries") {
            for number in numbers(&text) {
                *answers.entry(number).or_default() += 1;
                if text.starts_with('1') {
                    doubtful.insert(number);
                }
            }
        }
        let asked_again: BTreeSet<u64> =
            answers.iter().filter(|(_, count)| **count > 1).map(|(n, _)| *n).collect();
        let mut duplicates = vec![0; self.chats as usize];
        for (number, ids) in &posts {
            let ids: Vec<&String> = ids.iter().collect();
            // A platform that promises nothing shows the same id twice.
            let different = ids.iter().collect::<BTreeSet<_>>().len();
            let shown = if self.channel == "plain" { ids.len() } else { different };
            duplicates[(number % self.chats) as usize] += shown - 1;
            let known = shown == 1 || doubtful.contains(number) || asked_again.contains(number);
            assert!(known, "{number} was posted {shown} times, and that is not on record: {ids:?}");
        }
        Outcome {
            messages: taken.len(),
            acked: acked.len(),
            duplicates: duplicates.iter().sum(),
            duplicates_at_one: duplicates.iter().copied().max().unwrap_or(0),
            doubtful: doubtful.len(),
            asked_again: asked_again.len(),
        }
    }

    /// Stops the runtime: the files equal the ledger, and no process is left behind.
    pub fn end(mut self) {
        self.runtime.stop();
        let home = self.runtime.home.path();
        let begin = Instant::now();
        while let Some(pid) = processes_in(home).into_iter().next() {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            assert!(begin.elapsed() < PATIENCE, "{pid} is left, {line}:\n{status}");
            std::thread::sleep(Duration::from_millis(20));
        }
        files_equal_the_ledger(&self.runtime);
    }
}

/// What came of it.
#[derive(Debug)]
#[allow(dead_code, reason = "printed")]
pub struct Outcome {
    /// Messages in the ledger: those that were acknowledged, and those whose acknowledgement was lost.
    pub messages: usize,
    pub acked: usize,
    /// Posts beyond the first that people see.
    pub duplicates: usize,
    /// The most of them at one address: each address has a lane, and each lane one post on its way.
    pub duplicates_at_one: usize,
    /// Replies on record as possible duplicates.
    pub doubtful: usize,
    /// Messages that the agent answered twice.
    pub asked_again: usize,
}

/// The processes that work in this home, the runtime itself apart.
pub fn processes_in(home: &Path) -> Vec<u32> {
    let home = home.to_string_lossy().into_owned();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let found = processes.filter_map(|entry| {
        let pid: u32 = entry.file_name().to_string_lossy().parse().ok()?;
        let cwd = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let named = String::from_utf8_lossy(&line).contains(&home);
        (cwd.to_string_lossy().starts_with(&home) || named).then_some(pid)
    });
    found.collect()
}

/// The children of a process.
pub fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

fn files_equal_the_ledger(runtime: &Runtime) {
    let central = runtime.home.path().join("vestibule.db");
    for session in runtime.sessions() {
        let id = session.file_name().unwrap().to_string_lossy().into_owned();
        let inbound = session.join("inbound.db");
        let of = |file: &Path, sql: &str| rows::<String>(file, sql);
        let row = "id || '|' || seq || '|' || status || '|' || tries || '|' || content";
        assert_eq!(
            of(&inbound, &format!("SELECT {row} FROM messages_in ORDER BY seq")),
            of(&central, &format!("SELECT {row} FROM messages_in WHERE session_id = '{id}' ORDER BY seq")),
            "messages_in of {id}"
        );
        assert_eq!(
            of(&inbound, "SELECT message_out_id || '|' || status FROM delivered ORDER BY 1"),
            of(
                &central,
                &format!(
                    "SELECT message_out_id || '|' || state FROM deliveries WHERE session_id = '{id}' \
                     AND state IN ('delivered', 'failed') ORDER BY 1"
                )
            ),
            "delivered of {id}"
        );
        for file in [inbound, session.join("out/outbound.db")] {
            assert_eq!(of(&file, "PRAGMA integrity_check"), ["ok"], "{}", file.display());
        }
        let written = of(&session.join("out/outbound.db"), "SELECT id FROM messages_out ORDER BY 1");
        let known = of(
            &central,
            &format!("SELECT message_out_id FROM deliveries WHERE session_id = '{id}' ORDER BY 1"),
        );
        assert!(written.iter().all(|id| known.contains(id)), "a reply of {id} was never taken");
        let mut left: Vec<_> = fs::read_dir(&session)
            .unwrap()
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        left.retain(|name| name.contains("journal") || name.contains(".new"));
        assert_eq!(left, [""; 0], "left over in {id}");
    }
}
