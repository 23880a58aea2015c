//! Bytes of an agent's file, damaged at random, and a real, confined keeper that reads them.
//!
//! What must hold of every case:
//! - The keeper says how it went, or dies, before its deadline.
//! - Each frame passes the check with which the runtime receives it.
//! - A reply is handed over only if it stood in the file before the damage, word for word, or if plain
//!   SQLite reads it from the damaged bytes, too: the file is the agent's, and what can be read from it
//!   was said by it. None is handed over twice, and numbers rise.
//! - What damage cannot have touched is handed over whole.
//!
//! `VESTIBULE_FUZZ_SECONDS=600` goes on for that long; `VESTIBULE_FUZZ_SEED` chooses other cases, and with
//! `VESTIBULE_FUZZ_CASE` one of them is run alone.

use crate::support::{KEEPER_DEADLINE, Kept, adopt, hot_journal, keep};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};
use vestibule_session::{CONTENT_BYTES_MAX, FIELD_BYTES_MAX, MessageOut, SessionDir};

/// How many cases the ordinary test command tries.
const SHORT: u64 = 300;
const SEED: u64 = 0x5eed;

/// The files of one folder, by name.
type Files = BTreeMap<String, Vec<u8>>;

/// A valid file, with what lies beside it, and what an honest reader reads from it.
struct Shape {
    name: &'static str,
    files: Files,
    replies: BTreeSet<Said>,
}

/// What matters of a reply: its id, where it goes, and what it says.
type Said = [Option<String>; 5];

fn said(reply: &MessageOut) -> Said {
    [
        Some(reply.id.clone()),
        reply.channel_type.clone(),
        reply.platform_id.clone(),
        reply.thread_id.clone(),
        Some(reply.content.clone()),
    ]
}

const MAKE: &[(&str, &str, &str)] = &[
    ("three rows", "", "3"),
    ("many rows", "", "700"),
    ("long rows", "", "20"),
    ("small pages", "PRAGMA page_size = 512; VACUUM;", "120"),
    ("large pages", "PRAGMA page_size = 65536; VACUUM;", "50"),
    ("pointer maps", "PRAGMA auto_vacuum = FULL; PRAGMA page_size = 1024; VACUUM;", "150"),
    ("UTF-16", "", "60"),
    ("free pages", "", "200"),
    ("a hot journal", "", "40"),
    ("a write-ahead log", "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;", "80"),
];

fn shapes() -> Vec<Shape> {
    MAKE.iter().map(|(name, before, rows)| shape(name, before, rows)).collect()
}

fn shape(name: &'static str, before: &str, rows: &str) -> Shape {
    let home = tempfile::tempdir().unwrap();
    let dir = SessionDir::new(home.path());
    dir.create().unwrap();
    let file = dir.outbound_db_real();
    if name == "UTF-16" {
        let schema = schema_of(&file);
        fs::remove_file(&file).unwrap();
        let db = open(&file);
        db.execute_batch("PRAGMA encoding = 'UTF-16le'").unwrap();
        db.execute_batch(&schema).unwrap();
    }
    let db = open(&file);
    db.execute_batch("PRAGMA synchronous = OFF").unwrap();
    db.execute_batch(before).unwrap();
    let long = if name == "long rows" { 15_000 } else { 20 };
    db.execute_batch(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {rows}) INSERT INTO messages_out (id, seq, \
         in_reply_to, timestamp, kind, channel_type, platform_id, thread_id, content) SELECT 'msg-' || i, 2 * i - 1, 'm' || i, \
         '2026-01-15T08:00:00.000Z', 'chat', 'slack', 'slack:C' || i % 5, CASE i % 3 WHEN 0 THEN 't' || i END, \
         json_object('text', 'reply ' || i || ' ' || hex(zeroblob({long}))) FROM n;
         INSERT INTO processing_ack SELECT in_reply_to, 'completed', '' FROM messages_out;
         INSERT INTO session_state VALUES ('continuation:claude', 'c-1', '')"
    ))
    .unwrap();
    let kept_open = match name {
        "free pages" => {
            db.execute_batch("DELETE FROM messages_out WHERE seq % 4 = 1; DELETE FROM processing_ack")
                .unwrap();
            None
        }
        "a hot journal" => {
            drop(db);
            hot_journal(
                &file,
                "WITH RECURSIVE n(i) AS (SELECT 101 UNION ALL SELECT i + 2 FROM n LIMIT 200) INSERT INTO messages_out (id, seq, \
                 timestamp, kind, content) SELECT 'half-' || i, i, '', 'chat', hex(zeroblob(800)) FROM n; \
                 UPDATE messages_out SET content = 'half' WHERE seq < 50",
            );
            None
        }
        _ => Some(db),
    };
    // Read while the connection is open: closing it would fold the log in.
    let mut files = Files::new();
    for entry in fs::read_dir(dir.out()).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().unwrap().to_str().unwrap().to_owned();
        if entry.is_file() && !name.ends_with("-shm") {
            files.insert(name, fs::read(entry).unwrap());
        }
    }
    drop(kept_open);
    let replies = readable(&files);
    let rows: usize = rows.parse().unwrap();
    assert_eq!(replies.len(), if name == "free pages" { rows / 2 } else { rows }, "{name}");
    assert_eq!(files.len(), if name.starts_with("a ") { 2 } else { 1 }, "{name}");
    Shape { name, files, replies }
}

/// A folder that no disk slows down, where there is such a place.
fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// An `inbound.db` as the runtime makes it.
fn inbound() -> Vec<u8> {
    let home = tempfile::tempdir().unwrap();
    let dir = SessionDir::new(home.path());
    drop(vestibule_session::InboundWriter::rebuild(&dir).unwrap());
    fs::read(dir.inbound_db()).unwrap()
}

fn open(path: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    Connection::open_with_flags(path, flags).unwrap()
}

fn schema_of(path: &Path) -> String {
    let all = crate::support::rows::<String>(path, "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL");
    all.join(";\n")
}

fn put(files: &Files, folder: &Path) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_file() {
            fs::remove_file(entry).unwrap();
        }
    }
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

/// What plain SQLite reads from these bytes, whichever way it walks, until it meets damage.
fn readable(files: &Files) -> BTreeSet<Said> {
    let home = in_memory();
    put(files, home.path());
    let mut found = BTreeSet::new();
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let Ok(db) = Connection::open_with_flags(home.path().join("outbound.db"), flags) else { return found };
    // A column whose name is damaged is not there, as in an older layout.
    let there = |column: &&str| db.prepare(&format!("SELECT {column} FROM messages_out")).is_ok();
    let named = ["id", "channel_type", "platform_id", "thread_id", "content"];
    let columns = named.map(|column| if there(&column) { column } else { "NULL" }).join(", ");
    for walk in
        ["NOT INDEXED", "NOT INDEXED ORDER BY rowid DESC", "WHERE seq > -9223372036854775808 ORDER BY seq"]
    {
        let Ok(mut statement) = db.prepare(&format!("SELECT {columns} FROM messages_out {walk}")) else {
            continue;
        };
        let Ok(mut rows) = statement.query([]) else { continue };
        while let Ok(Some(row)) = rows.next() {
            let cell = |at| match row.get_ref(at).unwrap() {
                ValueRef::Null => None,
                ValueRef::Integer(number) => Some(number.to_string()),
                ValueRef::Real(number) => Some(number.to_string()),
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
                    Some(String::from_utf8_lossy(bytes).into_owned())
                }
            };
            // What is too long is left out; a content says so.
            let short = |at| cell(at).filter(|text| text.len() <= FIELD_BYTES_MAX);
            let content = match row.get_ref(4).unwrap() {
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) if bytes.len() > CONTENT_BYTES_MAX => {
                    format!("{{\"oversized\":{}}}", bytes.len())
                }
                _ => cell(4).unwrap_or_default(),
            };
            found.insert([cell(0), short(1), short(2), short(3), Some(content)]);
        }
    }
    found
}

/// Numbers that look random and are the same for the same case.
struct Dice(u64);

impl Dice {
    fn of(seed: u64, case: u64) -> Dice {
        let mut dice = Dice(seed ^ case.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            dice.next();
        }
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end.max(1)
    }

    fn byte(&mut self) -> u8 {
        // Ends of ranges find more than the middle.
        match self.below(4) {
            0 => 0,
            1 => 0xff,
            _ => (self.next() >> 24) as u8,
        }
    }

    fn noise(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }
}

type Damage = (&'static str, fn(&mut Vec<u8>, usize, &mut Dice));

/// Ways to damage a file; the number is its page size.
const DAMAGE: &[Damage] = &[
    ("nothing", |_, _, _| {}),
    ("bits", |file, _, dice| {
        for _ in 0..=dice.below(32) {
            let at = dice.below(file.len());
            file[at] ^= 1 << dice.below(8);
        }
    }),
    ("bytes", |file, _, dice| {
        for _ in 0..=dice.below(64) {
            let at = dice.below(file.len());
            file[at] = dice.byte();
        }
    }),
    ("header", |file, _, dice| {
        for _ in 0..=dice.below(4) {
            let at = dice.below(100.min(file.len()));
            file[at] = dice.byte();
        }
    }),
    ("schema", |file, page, dice| {
        for _ in 0..=dice.below(6) {
            let at = 100 + dice.below(page.min(file.len()) - 100);
            file[at] = dice.byte();
        }
    }),
    ("page heads", |file, page, dice| {
        for _ in 0..=dice.below(4) {
            let start = dice.below(file.len() / page) * page;
            let at = (start + dice.below(12)).min(file.len() - 1);
            file[at] = dice.byte();
        }
    }),
    ("cell pointers", |file, page, dice| {
        for _ in 0..=dice.below(8) {
            let start = dice.below(file.len() / page) * page;
            let at = (start + 8 + dice.below(40)).min(file.len() - 1);
            file[at] = dice.byte();
        }
    }),
    ("pages swapped", |file, page, dice| {
        let (a, b) = (dice.below(file.len() / page) * page, dice.below(file.len() / page) * page);
        for i in 0..page {
            file.swap(a + i, b + i);
        }
    }),
    ("a page over another", |file, page, dice| {
        let (a, b) = (dice.below(file.len() / page) * page, dice.below(file.len() / page) * page);
        file.copy_within(a..a + page, b);
    }),
    ("a page of zeros", |file, page, dice| {
        let start = dice.below(file.len() / page) * page;
        file[start..start + page].fill(0);
    }),
    ("a page of noise", |file, page, dice| {
        let start = dice.below(file.len() / page) * page;
        let noise = dice.noise(page);
        file[start..start + page].copy_from_slice(&noise);
    }),
    ("a page pointing to itself", |file, page, dice| {
        let number = dice.below(file.len() / page);
        let to = u32::try_from(1 + number).unwrap().to_be_bytes();
        let at = (number * page + 4 * dice.below(page / 4)).min(file.len() - 4);
        file[at..at + 4].copy_from_slice(&to);
    }),
    ("cut", |file, _, dice| file.truncate(dice.below(file.len()))),
    ("cut between pages", |file, page, dice| file.truncate(dice.below(file.len() / page) * page)),
    ("grown", |file, page, dice| {
        let more = dice.below(3 * page);
        let noise = dice.noise(more);
        file.extend(noise);
    }),
    ("bytes put in", |file, _, dice| {
        let (at, count) = (dice.below(file.len()), 1 + dice.below(64));
        let noise = dice.noise(count);
        file.splice(at..at, noise);
    }),
    ("bytes taken out", |file, _, dice| {
        let at = dice.below(file.len());
        let end = (at + 1 + dice.below(64)).min(file.len());
        file.drain(at..end);
    }),
    ("all noise", |file, _, dice| {
        let noise = dice.noise(file.len().min(20_000));
        file[..noise.len()].copy_from_slice(&noise);
        file[..16].copy_from_slice(b"SQLite format 3\0");
    }),
];

/// What one case did, for the count.
struct Case {
    shape: &'static str,
    damage: &'static str,
    ended: String,
    slowest: Duration,
}

fn try_one(shapes: &[Shape], inbound: &[u8], seed: u64, number: u64) -> Case {
    let mut dice = Dice::of(seed, number);
    let shape = &shapes[dice.below(shapes.len())];
    let (damage, spoil) = DAMAGE[dice.below(DAMAGE.len())];
    let mut files = shape.files.clone();
    let names: Vec<String> = files.keys().cloned().collect();
    // What lies beside the file half of the time.
    let name = if dice.below(2) == 0 { &names[0] } else { names.last().unwrap() };
    let page = match shape.name {
        "small pages" => 512,
        "large pages" => 65536,
        "pointer maps" => 1024,
        _ => 4096,
    };
    spoil(files.get_mut(name).unwrap(), page, &mut dice);
    let what = format!(
        "{}, {name}: {damage}; run it alone with VESTIBULE_FUZZ_SEED={seed} VESTIBULE_FUZZ_CASE={number}",
        shape.name
    );

    let home = in_memory();
    let dir = SessionDir::new(home.path().join("session"));
    fs::create_dir_all(dir.out()).unwrap();
    put(&files, &dir.out());
    fs::write(home.path().join("treasure"), "untouched").unwrap();
    // The other keeper: the one that takes a folder over. It only reads, so it goes first.
    let adopting = dice.below(4) == 0;
    let mut slowest = Duration::ZERO;
    if adopting {
        fs::write(dir.inbound_db(), inbound).unwrap();
        let scratch = home.path().join("scratch");
        let adopted = unhurried(|| {
            let _ = fs::remove_dir_all(&scratch);
            fs::create_dir(&scratch).unwrap();
            adopt(dir.root(), &scratch)
        });
        judge(&what, shape, &files, &adopted, damage);
        assert!(
            files.iter().all(|(name, bytes)| fs::read(dir.out().join(name)).unwrap() == *bytes),
            "{what}"
        );
        slowest = adopted.took;
    }
    let kept = unhurried(|| {
        put(&files, &dir.out());
        keep(&dir)
    });
    judge(&what, shape, &files, &kept, damage);
    // In a folder that is taken over they need not: the runtime gives such rows new ones.
    assert!(kept.replies.is_sorted_by(|a, b| a.seq < b.seq), "{what}: numbers rise");
    assert_eq!(fs::read_to_string(home.path().join("treasure")).unwrap(), "untouched", "{what}");
    let ended = kept.word.split(':').next().unwrap_or_default().to_owned();
    Case { shape: shape.name, damage, ended, slowest: slowest.max(kept.took) }
}

/// A keeper that hangs does so each time; a busy machine does not.
fn unhurried(mut read: impl FnMut() -> Kept) -> Kept {
    let mut kept = read();
    for _ in 0..2 {
        if kept.took >= KEEPER_DEADLINE {
            kept = read();
        }
    }
    kept
}

/// Whether a reply says what a row does, or leaves part of it out: a column whose name has another case now
/// is none to a reader of older layouts. Without its chat a reply goes nowhere.
fn is_part(said: &Said, row: &Said) -> bool {
    said.iter().zip(row).all(|(said, row)| said.is_none() || said == row)
}

fn judge(what: &str, shape: &Shape, files: &Files, kept: &Kept, damage: &str) {
    assert_eq!(kept.broke_rule, None, "{what}: a frame that the runtime refuses");
    assert_ne!(kept.word, "hung", "{what}");
    assert!(kept.took < KEEPER_DEADLINE, "{what}: {:?}", kept.took);
    let told: BTreeSet<Said> = kept.replies.iter().map(said).collect();
    if !told.is_subset(&shape.replies) {
        let from_bytes = readable(files);
        let known =
            |said: &&Said| shape.replies.contains(*said) || from_bytes.iter().any(|read| is_part(said, read));
        let wrong = told.iter().find(|said| !known(said));
        let shown: String = format!("{wrong:?}").chars().take(300).collect();
        assert!(wrong.is_none(), "{what}: {shown} is in no file");
    }
    let beyond = damage == "grown" && shape.files.len() == 1;
    if damage == "nothing" || beyond {
        assert_eq!(kept.word, "drained", "{what}");
        assert!(told == shape.replies, "{what}: {} of {} came", told.len(), shape.replies.len());
    }
}

#[test]
fn damaged_bytes_cost_a_keeper_at_most_its_life() {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let (shapes, inbound) = (shapes(), inbound());
    let seconds = number("VESTIBULE_FUZZ_SECONDS");
    let by_clock = || UNIX_EPOCH.elapsed().unwrap().as_secs();
    let seed =
        number("VESTIBULE_FUZZ_SEED").unwrap_or_else(|| if seconds.is_some() { by_clock() } else { SEED });
    if let Some(case) = number("VESTIBULE_FUZZ_CASE") {
        let case = try_one(&shapes, &inbound, seed, case);
        println!("{}: {}: {} in {:?}", case.shape, case.damage, case.ended, case.slowest);
        return;
    }
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let (next, cases) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let work = || loop {
        let case = next.fetch_add(1, Ordering::Relaxed);
        if until.map_or(case >= SHORT, |until| Instant::now() >= until) {
            return;
        }
        let done = try_one(&shapes, &inbound, seed, case);
        cases.lock().unwrap().push(done);
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        others.into_iter().for_each(|other| other.join().unwrap());
    });
    report(seed, &cases.into_inner().unwrap());
}

fn report(seed: u64, cases: &[Case]) {
    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    let mut kinds: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for case in cases {
        *ends.entry(&case.ended).or_default() += 1;
        *kinds.entry((case.shape, case.damage)).or_default() += 1;
    }
    let slowest = cases.iter().map(|case| case.slowest).max().unwrap_or_default();
    println!(
        "seed {seed}: {} cases of {} kinds ({} shapes, {} damages): {ends:?}; the slowest keeper took {slowest:?}",
        cases.len(),
        kinds.len(),
        MAKE.len(),
        DAMAGE.len()
    );
    for case in cases.iter().filter(|case| case.slowest > Duration::from_secs(1)) {
        println!("  slow: {}: {}: {} in {:?}", case.shape, case.damage, case.ended, case.slowest);
    }
    // A fuzzer that is refused at the door finds nothing.
    for end in ["drained", "corrupt"] {
        assert!(ends.get(end).is_some_and(|count| count * 10 > cases.len()), "{end} is rare: {ends:?}");
    }
}
