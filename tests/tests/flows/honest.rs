//! What honest agents do all day: git, archives, copies, package managers. In `bwrap` it all works.

use crate::support::{Runtime, is_root, sandboxes, users};
use std::io::Write;
use std::path::Path;

/// A job, the programs that it needs besides the shell's, and its script. Each starts in an empty folder
/// of its own below the agent's.
const JOBS: [(&str, &[&str], &str); 13] = [
    ("touch", &[], "touch new; touch -d 2001-02-03 new; test -n \"$(find new -not -newermt 2002-01-01)\""),
    (
        "modes",
        &[],
        "printf '#!/bin/sh\necho runs\n' >run; chmod 755 run; ./run; chmod 600 run; ! ./run 2>/dev/null",
    ),
    ("cp -p", &[], "echo x >a; touch -d 2001-02-03 a; cp -p a b; test ! b -nt a; mkdir -p c/d; cp -a c e"),
    ("tar", &[], "mkdir a; echo x >a/b; chmod 750 a/b; tar cf a.tar a; rm -r a; tar xf a.tar; test -x a/b"),
    ("install", &[], "echo x >a; install -m 755 a b; test -x b; install -d -m 700 c"),
    ("links", &[], "echo x >a; ln a b; ln -s a c; mkdir d; mv a d; cat b"),
    ("temporary files", &[], "f=$(mktemp); echo x >$f; echo x >/tmp/y; echo x >/dev/shm/z"),
    (
        "git",
        &["git"],
        "git init -q a; cd a; git config user.name A; git config user.email a@b; echo x >x; git add x; \
         git commit -qm x; cd ..; git clone -q ./a b; git clone -q file://$PWD/a c; cd c; git checkout -q -b y; git gc -q",
    ),
    ("venv", &["python3"], "python3 -m venv v; v/bin/python -c 'import os; print(os.getcwd())'"),
    (
        "shared memory",
        &["python3"],
        "python3 -c 'import multiprocessing as m, shutil, tempfile; m.Lock(); m.Array(\"i\", 9); \
         open(\"a\", \"w\").close(); shutil.copy2(\"a\", \"b\"); tempfile.mkdtemp()'",
    ),
    (
        "node",
        &["node"],
        "mkdir a; echo x >a/b; node -e 'const fs = require(\"fs\"); fs.copyFileSync(\"a/b\", \"c\"); \
         fs.cpSync(\"a\", \"d\", { recursive: true, preserveTimestamps: true }); fs.utimesSync(\"c\", 1, 1); \
         fs.chmodSync(\"c\", 0o755)'",
    ),
    (
        "npm",
        &["node", "npm"],
        "mkdir p; cd p; printf '#!/usr/bin/env node\nconsole.log(\"runs\")\n' >p.js; \
         printf '{\"name\":\"p\",\"version\":\"1.0.0\",\"bin\":{\"p\":\"p.js\"}}' >package.json; npm pack --silent; cd ..; \
         npm init -y >/dev/null; npm install --offline --no-audit --no-fund --silent ./p/p-1.0.0.tgz; \
         test \"$(node_modules/.bin/p)\" = runs",
    ),
    ("not root", &[], "test \"$(id -u)\" != 0; test -O .; echo x >a; test -O a"),
];

/// How long all jobs may take on a busy machine.
const PATIENCE_SECONDS: &str = "200";

/// Where a program lies inside, if it does.
fn has(program: &str) -> bool {
    ["/usr/local/bin", "/usr/bin", "/bin"].iter().any(|folder| Path::new(folder).join(program).exists())
}

fn script() -> String {
    let mut script = "cd \"$HOME\"; rm -rf jobs; mkdir jobs; cd jobs\n".to_owned();
    for (number, (name, needs, job)) in JOBS.iter().enumerate() {
        if let Some(missing) = needs.iter().find(|program| !has(program)) {
            let _ = writeln!(std::io::stderr(), "SKIPPED: the job `{name}`: install {missing}");
            assert!(std::env::var_os("VESTIBULE_TEST_COUNTERPARTS").is_none(), "install {missing}");
            continue;
        }
        script += &format!(
            "mkdir {number}\nif said=$(cd {number} && (set -e\n{job}\n) 2>&1); then echo 'ok {name}'\nelse echo 'FAILED {name}:' $said; fi\n"
        );
    }
    script
}

/// Has an agent of this runtime do all jobs; what it says of each.
fn all_jobs(runtime: &Runtime) -> Vec<String> {
    assert_eq!(runtime.chat("hello"), "hello");
    std::fs::write(runtime.home.path().join("groups/assistant/jobs.sh"), script()).unwrap();
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", "sh jobs.sh"]);
    runtime.ok(&["chat", "go", "--timeout", PATIENCE_SECONDS]).lines().map(str::to_owned).collect()
}

#[test]
fn in_bwrap_git_archives_and_package_managers_work() {
    if !sandboxes().contains(&"bwrap") {
        return;
    }
    for user in users() {
        let of_root = is_root() && user.is_none();
        let runtime = Runtime::new("sandbox = \"bwrap\"\n")
            .of_user(user)
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .up();
        let said = all_jobs(&runtime);
        let failed: Vec<&String> = said.iter().filter(|line| !line.starts_with("ok ")).collect();
        assert!(failed.is_empty() && said.len() >= 8, "of root: {of_root}: {said:#?}");
        let status = runtime.json(&["status"])["sandbox"].as_str().unwrap().to_owned();
        assert_eq!(status.contains("as the user nobody"), of_root, "{status}");
    }
}

#[test]
fn in_process_status_says_what_does_not_work() {
    let runtime = Runtime::new("sandbox = \"process\"\n").up();
    let status = runtime.json(&["status"])["sandbox"].as_str().unwrap().to_owned();
    assert!(
        status.starts_with("process") && status.contains("git and package managers need bwrap"),
        "{status}"
    );
    let command = "sh -c 'touch a; chmod 755 a 2>/dev/null || echo refused'";
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", command]);
    assert_eq!(runtime.chat("go"), "refused");
}
