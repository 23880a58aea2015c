//! Landlock: which files can be reached, and which processes signals reach.

use crate::wire::Grants;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use std::io::{Error, Result};
use std::path::{Path, PathBuf};

/// The version of Landlock that is asked for. An older kernel gives less; without any Landlock the process does not
/// start.
const LEVEL: ABI = ABI::V6;

/// The paths that every program reads, besides `/proc`. Of a folder that also holds private keys only the public parts
/// are named: Debian's, Fedora's, Arch's, Alpine's and SUSE's places.
pub const SYSTEM: [&str; 30] = [
    "/bin",
    "/lib",
    "/lib32",
    "/lib64",
    "/sbin",
    "/usr",
    "/etc/alternatives",
    "/etc/ca-certificates/extracted",
    "/etc/group",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/pki/ca-trust/extracted",
    "/etc/pki/java",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/openssl.cnf",
    "/etc/pki/tls/openssl.d",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/timezone",
    "/var/lib/ca-certificates",
];

/// The paths that a plugin's libraries read: code, names and certificates. Nothing of a user's home, and of a folder
/// that also holds private keys only the public parts.
const LIBRARIES: [&str; 35] = [
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/ca-certificates",
    "/usr/share/zoneinfo",
    "/usr/local/share/ca-certificates",
    "/etc/ca-certificates/extracted",
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/pki/ca-trust/extracted",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/openssl.cnf",
    "/etc/pki/tls/openssl.d",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/timezone",
    "/run/NetworkManager/no-stub-resolv.conf",
    "/run/NetworkManager/resolv.conf",
    "/run/systemd/resolve",
    "/var/lib/ca-certificates",
];

/// Devices without a state.
pub const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

fn failed(error: RulesetError) -> Error {
    Error::other(format!("Landlock cannot be set up: {error}"))
}

fn enforced(ruleset: RulesetStatus) -> Result<()> {
    match ruleset {
        RulesetStatus::NotEnforced => Err(Error::other("this kernel has no Landlock")),
        RulesetStatus::PartiallyEnforced | RulesetStatus::FullyEnforced => Ok(()),
    }
}

/// Makes a domain that limits signals and nothing else; returns whether this kernel has it. Beneath a domain that does
/// not speak of moving files from folder to folder, every domain for files refuses that; beneath one that speaks of it,
/// no process can mount.
pub fn signals_only(for_domains: bool) -> bool {
    let make = || {
        let domain = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        let domain = domain.scope(Scope::Signal)?;
        if !for_domains {
            return domain.create()?.restrict_self();
        }
        let domain = domain.handle_access(AccessFs::Refer)?.create()?;
        domain.add_rules(path_beneath_rules(["/"], AccessFs::Refer))?.restrict_self()
    };
    let status = make().map_err(failed);
    status.is_ok_and(|status| status.ruleset == RulesetStatus::FullyEnforced)
}

/// Whether this kernel's Landlock also keeps files that may not be written from being cut: since its third version,
/// Linux 6.2.
pub fn length_is_guarded() -> bool {
    let domain = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    domain.handle_access(AccessFs::Truncate).and_then(|domain| domain.create()).is_ok()
}

/// Confines a runner: the system and its grants to read, its session to read, `out/` and the agent's folder to write.
/// Returns the version of this kernel's Landlock.
pub fn runner(grants: &Grants, session: &Path, agent_folder: &Path, program: &Path) -> Result<u32> {
    let read: Vec<PathBuf> =
        SYSTEM.iter().chain(&["/proc"]).map(PathBuf::from).chain(grants.read.iter().cloned()).collect();
    let write = [session.join("out"), agent_folder.to_owned()];
    let make = || {
        let mut domain = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(LEVEL))?
            .scope(Scope::from_all(LEVEL))?;
        if !grants.network {
            domain = domain.handle_access(AccessNet::from_all(LEVEL))?;
        }
        let reading = AccessFs::from_read(LEVEL);
        domain
            .create()?
            .add_rules(path_beneath_rules(&read, reading))?
            .add_rules(path_beneath_rules([session, program], reading))?
            .add_rules(path_beneath_rules(DEVICES, reading | AccessFs::WriteFile))?
            .add_rules(path_beneath_rules(&write, AccessFs::from_all(LEVEL)))?
            .restrict_self()
    };
    let status = make().map_err(failed)?;
    let version = version(status.landlock);
    enforced(status.ruleset)?;
    Ok(version)
}

fn version(status: LandlockStatus) -> u32 {
    match status {
        LandlockStatus::Available { effective_abi, kernel_abi } => {
            kernel_abi.unwrap_or(effective_abi as i32).unsigned_abs()
        }
        _ => 0,
    }
}

/// Confines a reader: `out/`, the names in the agent's folder, and nothing else.
pub fn reader(out: &Path, agent_folder: Option<&Path>) -> Result<()> {
    let make = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(LEVEL))?
            .handle_access(AccessNet::from_all(LEVEL))?
            .scope(Scope::from_all(LEVEL))?
            .create()?
            .add_rules(path_beneath_rules([out], AccessFs::from_all(LEVEL)))?
            .add_rules(path_beneath_rules(agent_folder, AccessFs::ReadDir))?
            .restrict_self()
    };
    enforced(make().map_err(failed)?.ruleset)
}

/// Confines a keeper that adopts: a foreign folder to read, a private one to write, and nothing else.
pub fn adopter(folder: &Path, scratch: &Path) -> Result<()> {
    let make = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(LEVEL))?
            .handle_access(AccessNet::from_all(LEVEL))?
            .scope(Scope::from_all(LEVEL))?
            .create()?
            .add_rules(path_beneath_rules([folder], AccessFs::ReadFile | AccessFs::ReadDir))?
            .add_rules(path_beneath_rules([scratch], AccessFs::from_all(LEVEL)))?
            .restrict_self()
    };
    enforced(make().map_err(failed)?.ruleset)
}

/// Confines a plugin's process: its file, what its libraries need, and its own entry in `/proc` to read; nothing to
/// write but files and folders in its own folder, if it has one.
pub fn plugin(file: &Path, folder: Option<&Path>) -> Result<()> {
    let reading = AccessFs::from_read(LEVEL);
    // Plain files and folders; no link, no device, and nothing is run there.
    let keeping = AccessFs::ReadFile
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir;
    let make = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(LEVEL))?
            .scope(Scope::from_all(LEVEL))?
            .create()?
            .add_rules(path_beneath_rules(LIBRARIES, reading))?
            .add_rules(path_beneath_rules([file, Path::new("/proc/self")], reading))?
            .add_rules(path_beneath_rules(DEVICES, reading | AccessFs::WriteFile))?
            .add_rules(path_beneath_rules(folder, keeping))?
            .restrict_self()
    };
    enforced(make().map_err(failed)?.ruleset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confine::signals;

    #[test]
    fn nothing_that_is_let_in_holds_the_systems_secrets() {
        for secret in [
            "/etc/gshadow",
            "/etc/pki/nssdb/key4.db",
            "/etc/pki/tls/private/host.key",
            "/etc/shadow",
            "/etc/ssh/ssh_host_ed25519_key",
            "/etc/ssl/private/host.key",
            "/root/.ssh/id_ed25519",
            "/run/NetworkManager/system-connections/office.nmconnection",
            "/run/user/1000/bus",
            "/var/lib/NetworkManager/secret_key",
        ] {
            let within = SYSTEM.iter().chain(&LIBRARIES).find(|place| Path::new(secret).starts_with(place));
            assert_eq!(within, None, "{secret}");
        }
    }

    #[test]
    fn a_kernel_without_landlock_confines_nothing_and_is_refused() {
        for (found, confines) in [
            (RulesetStatus::NotEnforced, false),
            (RulesetStatus::PartiallyEnforced, true),
            (RulesetStatus::FullyEnforced, true),
        ] {
            let words = format!("{found:?}");
            assert_eq!(enforced(found).is_ok(), confines, "{words}");
        }
    }

    /// The version of this kernel's Landlock, in its own word.
    fn of_this_kernel() -> i64 {
        // SAFETY: asked for its version, it reads nothing.
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0, 0, 1) }
    }

    /// Tries in a thread of its own, which alone is confined.
    fn alone<T: Send>(attempt: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|threads| threads.spawn(attempt).join()).expect("it ends")
    }

    #[test]
    fn what_this_kernel_guards_is_found_out() {
        assert_eq!(length_is_guarded(), of_this_kernel() >= 3);
        for for_domains in [true, false] {
            assert_eq!(alone(|| signals(for_domains)), of_this_kernel() >= 6, "{for_domains}");
        }
    }

    #[test]
    fn a_process_that_signals_none_outside_moves_files_only_where_domains_follow() {
        let Some(parent) = rustix::process::getppid().filter(|_| of_this_kernel() >= 6) else { return };
        for for_domains in [true, false] {
            let folder = tempfile::tempdir().expect("a folder");
            let (foreign, scratch) = (folder.path().join("foreign"), folder.path().join("scratch"));
            for path in [&foreign, &scratch.join("from"), &scratch.join("to")] {
                std::fs::create_dir_all(path).expect("a folder");
            }
            std::fs::write(scratch.join("from/file"), "x").expect("a file");
            let (signalled, moved) = alone(|| {
                signals(for_domains);
                let signalled = rustix::process::test_kill_process(parent).is_ok();
                adopter(&foreign, &scratch).expect("it is confined");
                let moved = std::fs::rename(scratch.join("from/file"), scratch.join("to/file"));
                (signalled, moved.is_ok())
            });
            assert_eq!((signalled, moved), (false, for_domains));
        }
    }
}
