//! The disk is full, for real: the home lies on a small tmpfs. Nothing is acknowledged that is not on
//! disk, nothing that was is lost, and nobody has to restart anything.

use crate::support::{binary, new_home, plugin_file};
use crate::traffic::{CHATS, Traffic, in_full};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A small disk; `None`, said loudly, where mounting is not allowed.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path, megabytes: u32) -> Option<Disk> {
        let size = format!("size={megabytes}m,mode=700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Disk(at.to_owned()));
        }
        eprintln!("SKIPPED: a full disk needs a mount of its own, so run this test as root");
        None
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Fills it, but for so many bytes.
    fn fill(&self, but: u64) {
        let mut file = File::options().create(true).append(true).open(self.ballast()).unwrap();
        let block = [0x42; 4096];
        while file.write_all(&block).is_ok() {}
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(but)).unwrap();
    }

    fn free(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_refuses_what_is_new_and_loses_nothing() {
    let home = new_home();
    let Some(disk) = Disk::mount(home.path(), 12) else { return };
    let mut traffic = Traffic::github_in(home, false);
    traffic.up();
    traffic.wire();
    assert_eq!(traffic.send_github(traffic.number()), 200);
    traffic.settle(Duration::from_secs(20));

    // With more and more space left, another write is the first that fails: the log, a new session's folder and
    // files, run.json, the runner's commit.
    let left: Vec<u64> = if in_full() {
        (0..60).map(|page| page * 4096).collect()
    } else {
        vec![0, 4, 14, 32].into_iter().map(|page| page * 4096).collect()
    };
    let (mut refused, mut taken) = (0, 0);
    for but in left {
        eprintln!("left {but}");
        disk.fill(but);
        let begin = Instant::now();
        // The other chats are new to the runtime: their sessions are made on a full disk.
        for _ in 0..CHATS + 6 {
            match traffic.send_github(traffic.number()) {
                200 => taken += 1,
                503 => refused += 1,
                other => panic!("{other}"),
            }
        }
        std::thread::sleep(Duration::from_millis(300));
        assert!(begin.elapsed() < Duration::from_secs(20), "nobody waits for a full disk");
        disk.free();
        let number = traffic.number();
        let freed = Instant::now();
        while traffic.send_github(number) != 200 {
            assert!(freed.elapsed() < Duration::from_secs(10), "{but}: it does not recover");
            std::thread::sleep(Duration::from_millis(50));
        }
        traffic.settle(Duration::from_secs(60));
    }
    println!("on a full disk {taken} messages were taken and {refused} refused");
    assert!(refused > 0, "the disk was never full");
    let log = traffic.runtime.log();
    let told = log.lines().filter(|line| line.contains("ERROR") && line.contains("the disk is full")).count();
    let rounds = log.lines().filter(|line| line.contains("the central database commits again")).count();
    assert!((1..=rounds + 1).contains(&told), "told {told} times in {rounds} rounds");
    let errors: Vec<_> =
        log.lines().filter(|line| line.contains("ERROR") && !line.contains("the disk is full")).collect();
    assert!(errors.len() <= 10 * rounds, "it floods the log: {} lines\n{}", errors.len(), errors.join("\n"));
    assert!(
        traffic
            .runtime
            .query::<String>("SELECT quarantined FROM sessions WHERE quarantined IS NOT NULL")
            .is_empty()
    );
    let outcome = traffic.verify();
    println!("{outcome:?}");
    traffic.end();
}

/// There is space for the central database, and none for the sessions: messages are taken, and wait.
#[test]
fn sessions_without_space_wait_for_it_and_nothing_counts_against_their_messages() {
    let home = new_home();
    let sessions = home.path().join("sessions");
    fs::create_dir(&sessions).unwrap();
    let Some(disk) = Disk::mount(&sessions, 2) else { return };
    let mut traffic = Traffic::github_in(home, false);
    traffic.up();
    traffic.wire();
    let slow = ["--provider", "command", "--command", "sh -c 'sleep 0.7; cat'"];
    traffic.runtime.ok(&[&["agent", "update", "assistant"][..], &slow].concat());
    // A number names its chat: the first two are for two sessions that are there, the next for new ones.
    for _ in 0..2 {
        assert_eq!(traffic.send_github(traffic.number()), 200);
    }
    traffic.settle(Duration::from_secs(20));
    for late in [true, false] {
        let numbers: Vec<u64> = (0..CHATS).map(|_| traffic.number()).collect();
        if !late {
            disk.fill(0);
        }
        for number in numbers {
            assert_eq!(traffic.send_github(number), 200, "the ledger has space");
        }
        if late {
            // The runners have their messages, and think: only their answers meet the full disk.
            std::thread::sleep(Duration::from_millis(350));
            disk.fill(0);
        }
        std::thread::sleep(Duration::from_millis(2500));
        let waiting: i64 =
            traffic.runtime.query("SELECT COUNT(*) FROM messages_in WHERE status = 'pending'")[0];
        assert!(waiting >= 4, "late {late}: only {waiting} wait for space");
        disk.free();
        traffic.settle(Duration::from_secs(30));
    }
    assert_eq!(traffic.runtime.query::<i64>("SELECT COUNT(*) FROM messages_in WHERE tries > 0"), [0]);
    assert!(
        traffic
            .runtime
            .query::<String>("SELECT quarantined FROM sessions WHERE quarantined IS NOT NULL")
            .is_empty()
    );
    let log = traffic.runtime.log();
    let told = log.matches("it waits for something scarce").count();
    assert!((1..=2 * CHATS as usize).contains(&told), "told {told} times");
    println!("{:?}", traffic.verify());
    traffic.end();
}

/// Else each try would leave the disk fuller.
#[test]
fn a_plugins_copy_that_does_not_fit_leaves_nothing_behind() {
    let home = new_home();
    let Some(disk) = Disk::mount(home.path(), 4) else { return };
    let copies = home.path().join("cache/plugins");
    fs::create_dir_all(&copies).unwrap();
    disk.fill(1 << 20);
    let mut check = Command::new(binary());
    check.args(["plugin", "check"]).arg(plugin_file("vestibule-echo-channel"));
    let told = check.env("VESTIBULE_HOME", home.path()).output().unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("its private copy cannot be written"), "{told}");
    assert_eq!(fs::read_dir(&copies).unwrap().count(), 0);
}
