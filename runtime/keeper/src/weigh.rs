//! How much lies in the folders that an agent can write. The reader counts it, because the agent chose the names there.

use rustix::fd::AsFd;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;
use std::collections::HashSet;
use std::io::{Error, Result};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How deep folders may be nested: each is held open while those in it are counted.
const DEPTH_MAX: usize = 100;
/// How long one step may take: the agent's replies wait meanwhile.
const STEP: Duration = Duration::from_millis(20);
/// Steps may take one part in this many of the time.
const PART: u32 = 50;
/// A count begins at least this long after the one before ended.
const PAUSE: Duration = Duration::from_secs(1);
/// The clock is asked once for this many entries.
const ENTRIES: u32 = 64;

/// A folder, and how much it may hold.
#[derive(Debug)]
pub struct Folder {
    /// Where it lies.
    pub path: PathBuf,
    /// The name that people know it by.
    pub name: String,
    /// How many bytes all files may hold together.
    pub bytes_max: u64,
    /// How many files and folders there may be.
    pub files_max: u64,
    /// The keys of the config that set these limits, of bytes and of files.
    pub keys: [&'static str; 2],
}

/// Counts folders one after the other, for ever, a step at a time.
pub struct Weigher {
    folders: Vec<Folder>,
    /// Which folder is being counted.
    at: usize,
    count: Count,
    next: Instant,
    /// The fullest folder of this round, in tenths of its limit.
    fullest: Option<(u64, usize)>,
    filling: Option<String>,
}

/// One count, as far as it has come. A file that has several names, or gets another meanwhile, counts once.
#[derive(Default)]
struct Count {
    begun: bool,
    open: Vec<Dir>,
    bytes: u64,
    known: HashSet<u64>,
}

impl Weigher {
    /// Begins at once, with the first folder.
    pub fn new(folders: Vec<Folder>) -> Weigher {
        Weigher {
            folders,
            at: 0,
            count: Count::default(),
            next: Instant::now(),
            fullest: None,
            filling: None,
        }
    }

    /// The folder that is half full or more, by the last round; `None`: there is none.
    pub fn filling(&self) -> Option<&str> {
        self.filling.as_deref()
    }

    /// When the next step is due.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// Counts a while, if it is time; returns why the folders hold too much, as soon as they do. Files that move or
    /// vanish meanwhile may not be counted.
    ///
    /// # Errors
    /// One of the folders cannot be read.
    pub fn step(&mut self) -> Result<Option<String>> {
        let begin = Instant::now();
        if begin < self.next {
            return Ok(None);
        }
        let outcome = self.count_until(begin + STEP);
        let took = begin.elapsed() * PART;
        let is_over = self.at == self.folders.len();
        self.next = Instant::now() + if is_over { took.max(PAUSE) } else { took };
        if is_over {
            self.at = 0;
            self.filling = self.fullest.take().and_then(|(tenths, at)| {
                let folder = self.folders.get(at).filter(|_| tenths >= 5)?;
                let [bytes_key, files_key] = folder.keys;
                Some(format!("{} is {} % full (`{bytes_key}`, `{files_key}`)", folder.name, tenths * 10))
            });
        }
        outcome
    }

    fn count_until(&mut self, until: Instant) -> Result<Option<String>> {
        while let Some(folder) = self.folders.get(self.at) {
            match self.count.go_on(folder, until)? {
                Outcome::TooMuch(why) => return Ok(Some(why)),
                Outcome::Late => return Ok(None),
                Outcome::Fine => {
                    let tenths = self.count.tenths(folder);
                    if self.fullest.is_none_or(|(fullest, _)| fullest < tenths) {
                        self.fullest = Some((tenths, self.at));
                    }
                    (self.at, self.count) = (self.at + 1, Count::default());
                }
            }
        }
        Ok(None)
    }
}

enum Outcome {
    Fine,
    TooMuch(String),
    /// There is more to count than there was time for.
    Late,
}

impl Count {
    fn go_on(&mut self, folder: &Folder, until: Instant) -> Result<Outcome> {
        if !std::mem::replace(&mut self.begun, true) {
            self.open.push(enter(CWD, &folder.path)?);
        }
        for entry in 1_u32.. {
            if entry.is_multiple_of(ENTRIES) && Instant::now() >= until {
                return Ok(Outcome::Late);
            }
            let Some(above) = self.open.last_mut() else { break };
            match above.read() {
                Some(Ok(entry)) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
                Some(Ok(entry)) => {
                    if let Some(why) = self.add(folder, entry.file_name())? {
                        return Ok(Outcome::TooMuch(why));
                    }
                }
                // The count also ends where the folder was removed meanwhile.
                None => drop(self.open.pop()),
                Some(Err(error)) => return Err(error.into()),
            }
        }
        Ok(Outcome::Fine)
    }

    /// How full the folder is, in tenths of the limit that is nearer.
    fn tenths(&self, folder: &Folder) -> u64 {
        let part = |has: u64, may: u64| has.saturating_mul(10) / may.max(1);
        part(self.bytes, folder.bytes_max).max(part(self.known.len() as u64, folder.files_max))
    }

    /// Adds an entry of the innermost open folder; returns why it is too much, if it is.
    fn add(&mut self, folder: &Folder, entry: &std::ffi::CStr) -> Result<Option<String>> {
        let (name, [bytes_key, files_key]) = (&folder.name, folder.keys);
        let above = self.open.last().ok_or_else(|| Error::other("no folder is open"))?.fd()?;
        let Ok(stat) = statat(above, entry, AtFlags::SYMLINK_NOFOLLOW) else { return Ok(None) };
        if self.known.insert(stat.st_ino) {
            let bytes = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
            self.bytes = self.bytes.saturating_add(bytes);
        }
        if self.known.len() as u64 > folder.files_max {
            return Ok(Some(format!(
                "{name} holds more than {files_key} = {} allows: remove files, or raise that",
                folder.files_max
            )));
        }
        if self.bytes > folder.bytes_max {
            let most = folder.bytes_max / (1024 * 1024);
            return Ok(Some(format!(
                "{name} holds more than {bytes_key} = {most} allows: remove files, or raise that"
            )));
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(None);
        }
        match enter(above, entry) {
            Ok(_) if self.open.len() >= DEPTH_MAX => {
                return Ok(Some(format!("folders in {name} are nested more than {DEPTH_MAX} deep")));
            }
            Ok(inner) => self.open.push(inner),
            Err(Errno::ACCESS) => return Ok(Some(format!("a folder in {name} may not be read"))),
            Err(_) => {} // it is gone
        }
        Ok(None)
    }
}

fn enter(at: impl AsFd, name: impl rustix::path::Arg) -> rustix::io::Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Dir::new(openat(at, name, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    fn folder(path: &Path) -> Folder {
        let keys = ["sandbox_out_mb", "sandbox_out_files"];
        Folder { path: path.to_owned(), name: "out/".to_owned(), bytes_max: 1 << 20, files_max: 130, keys }
    }

    /// The result of the first count, in as many steps as it takes.
    fn weigh(folders: Vec<Folder>) -> Option<String> {
        let mut weigher = Weigher::new(folders);
        loop {
            weigher.next = Instant::now();
            let found = weigher.step().unwrap();
            // A step that was cut short has not ended the count.
            if found.is_some() || (weigher.at == 0 && !weigher.count.begun) {
                return found;
            }
        }
    }

    #[test]
    fn a_folder_is_weighed_without_following_anything() {
        let out = tempfile::tempdir().unwrap();
        let weigh = || weigh(vec![folder(out.path())]);
        fs::create_dir_all(out.path().join("a/b")).unwrap();
        fs::write(out.path().join("a/b/half"), vec![1; 600 << 10]).unwrap();
        fs::hard_link(out.path().join("a/b/half"), out.path().join("twin")).unwrap();
        std::os::unix::fs::symlink("/usr", out.path().join("link")).unwrap();
        assert_eq!(weigh(), None, "the twin costs nothing, the link leads nowhere");
        fs::write(out.path().join("more"), vec![1; 600 << 10]).unwrap();
        assert_eq!(
            weigh().unwrap(),
            "out/ holds more than sandbox_out_mb = 1 allows: remove files, or raise that"
        );
        fs::remove_file(out.path().join("more")).unwrap();
        fs::create_dir_all(out.path().join(vec!["d"; 120].join("/"))).unwrap();
        assert!(weigh().unwrap().contains("deep"));
        fs::remove_dir_all(out.path().join("d")).unwrap();
        for number in 0..130 {
            fs::write(out.path().join(number.to_string()), "").unwrap();
        }
        assert_eq!(
            weigh().unwrap(),
            "out/ holds more than sandbox_out_files = 130 allows: remove files, or raise that"
        );
    }

    #[test]
    fn each_folder_is_weighed_by_its_own_limits() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(second.path().join("big"), vec![1; 2 << 20]).unwrap();
        let roomy = Folder { bytes_max: 4 << 20, ..folder(second.path()) };
        assert_eq!(weigh(vec![folder(first.path()), roomy]), None);
        let tight = Folder { name: "groups/x/".to_owned(), ..folder(second.path()) };
        let found = weigh(vec![folder(first.path()), tight]).unwrap();
        assert!(found.starts_with("groups/x/ holds more"), "{found}");
    }

    #[test]
    fn what_is_half_full_is_told_before_it_is_too_full() {
        let out = tempfile::tempdir().unwrap();
        let mut weigher = Weigher::new(vec![folder(out.path())]);
        let mut told = |files: std::ops::Range<u32>| {
            for number in files {
                fs::write(out.path().join(number.to_string()), "").unwrap();
            }
            loop {
                weigher.next = Instant::now();
                assert_eq!(weigher.step().unwrap(), None);
                if weigher.at == 0 && !weigher.count.begun {
                    return weigher.filling().map(str::to_owned);
                }
            }
        };
        assert_eq!(told(0..64), None);
        let half = "out/ is 50 % full (`sandbox_out_mb`, `sandbox_out_files`)";
        assert_eq!(told(64..70).as_deref(), Some(half));
        assert!(told(70..130).unwrap().starts_with("out/ is 100 % full"));
    }

    /// A count that is cut into steps of a few entries, with changes in between.
    #[test]
    fn what_changes_between_two_steps_is_neither_an_error_nor_counted_twice() {
        let out = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            fs::create_dir(out.path().join(name)).unwrap();
            for number in 0..40 {
                fs::write(out.path().join(name).join(number.to_string()), vec![1; 8 << 10]).unwrap();
            }
        }
        let roomy = Folder { files_max: 90, ..folder(out.path()) };
        let (mut count, now) = (Count::default(), Instant::now());
        assert!(matches!(count.go_on(&roomy, now).unwrap(), Outcome::Late));
        let counted = count.known.len();
        assert!((40..82).contains(&counted), "{counted}");
        for name in ["a", "b"] {
            let (from, to) = (out.path().join(name), out.path().join(format!("moved-{name}")));
            fs::create_dir(&to).unwrap();
            for file in fs::read_dir(&from).unwrap().flatten() {
                fs::rename(file.path(), to.join(file.file_name())).unwrap();
            }
            fs::remove_dir(&from).unwrap();
        }
        let outcome = loop {
            match count.go_on(&roomy, now).unwrap() {
                Outcome::Late => {}
                outcome => break outcome,
            }
        };
        assert!(matches!(outcome, Outcome::Fine), "80 files and their folders");
        assert!(count.bytes <= 90 * (8 << 10), "{}", count.bytes);
    }
}
