//! Programs that others wrote, beneath the lists of calls: a shell, Python and Node do there what agents do
//! with them.

use crate::support::{Runtime, sandboxes, users};
use std::io::Write;
use std::process::{Command, Stdio};

/// What is run as `NAME FILE`, and what it must print.
const TOOLS: [(&str, &str, &str); 3] = [
    ("sh", SHELL, "killed 143\ntimed out 124\nnice\nbound\ncounted 3\n"),
    ("python3", PYTHON, "threads 6\nchild 4\nloop 7\nbound\nnice\nlocked\nrows 1\n"),
    ("node", NODE, "worker 6\nchild 4\nfile 5\nnice\n"),
];

const SHELL: &str = r#"
sleep 600 & kill $!; wait $!; echo "killed $?"
timeout 0.1 sleep 600; echo "timed out $?"
nice -n 5 true && echo nice
taskset -c "$(taskset -cp $$ | sed 's/.*: //')" true && echo bound
mkfifo pipe; (echo one; echo two; echo three) > pipe & echo "counted $(wc -l < pipe)"
"#;

const PYTHON: &str = r#"
import asyncio, concurrent.futures, fcntl, os, sqlite3, subprocess, sys
with concurrent.futures.ThreadPoolExecutor(3) as pool:
    print("threads", sum(pool.map(lambda n: n * 2, range(3))))
print("child", subprocess.run(["sh", "-c", "exit 4"]).returncode)
async def child():
    process = await asyncio.create_subprocess_exec("sh", "-c", "echo 7", stdout=asyncio.subprocess.PIPE)
    return (await process.communicate())[0].decode().strip()
print("loop", asyncio.run(child()))
os.sched_setaffinity(0, os.sched_getaffinity(0)); print("bound")
os.nice(1); print("nice")
with open("lock", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX); fcntl.lockf(lock, fcntl.LOCK_EX); print("locked")
db = sqlite3.connect("rows.db"); db.execute("CREATE TABLE t (n)"); db.execute("INSERT INTO t VALUES (1)"); db.commit()
print("rows", db.execute("SELECT COUNT(*) FROM t").fetchone()[0])
"#;

const NODE: &str = r#"
const { Worker } = require("node:worker_threads");
const { spawnSync } = require("node:child_process");
const fs = require("node:fs"), os = require("node:os");
const worker = new Worker('require("node:worker_threads").parentPort.postMessage(6)', { eval: true });
worker.on("message", async (n) => {
  console.log("worker", n);
  console.log("child", spawnSync("sh", ["-c", "exit 4"]).status);
  await fs.promises.writeFile("five", "12345");
  console.log("file", (await fs.promises.readFile("five")).length);
  os.setPriority(19); console.log("nice");
});
"#;

fn is_there(tool: &str) -> bool {
    let works = Command::new(tool).arg("--version").stdin(Stdio::null()).output().is_ok();
    if !works {
        let get = format!("{tool} is not on the PATH; install it (apt-get install {tool})");
        assert!(std::env::var_os("VESTIBULE_TEST_COUNTERPARTS").is_none(), "{get}");
        // Written past the test harness, which keeps what a passing test says to itself.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {get}");
    }
    works
}

#[test]
fn what_agents_are_made_of_works_in_each_sandbox() {
    for (tool, program, want) in TOOLS.into_iter().filter(|(tool, ..)| is_there(tool)) {
        for sandbox in sandboxes() {
            for user in users() {
                let runtime = Runtime::new(&format!("sandbox = \"{sandbox}\"\n")).of_user(user).up();
                assert_eq!(runtime.chat("hello"), "hello");
                std::fs::write(runtime.home.path().join("groups/assistant/program"), program).unwrap();
                let run = format!("{tool} program");
                let update = ["agent", "update", "assistant", "--provider", "command", "--command"];
                runtime.ok(&[&update[..], &[&format!("sh -c '{run}'")]].concat());
                assert_eq!(runtime.chat("go"), want.trim_end(), "{tool} in {sandbox} as {user:?}");
            }
        }
    }
}
