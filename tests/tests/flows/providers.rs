//! Provider `command`: any program answers, and what goes wrong with it is told in the chat.

use crate::support::{Runtime, until};

fn with_command(command: &str, more: &[&str]) -> Runtime {
    let runtime = Runtime::new("").env("ALLOWED", "yes").env("SECRET", "no").up();
    let mut args = vec!["agent", "update", "assistant", "--provider", "command", "--command", command];
    args.extend(more);
    runtime.ok(&args);
    runtime
}

fn statuses(runtime: &Runtime) -> Vec<String> {
    runtime.query("SELECT status FROM messages_in ORDER BY seq")
}

#[test]
fn a_program_answers_with_only_the_variables_it_was_given() {
    let script = "sh -c 'grep -c \"<message id=\\\"2\\\" from=\\\"terminal\\\"\"; echo \"$ALLOWED,$SECRET\"'";
    let runtime = with_command(script, &["--env", "ALLOWED"]);
    assert_eq!(runtime.chat("what do you see?"), "1\nyes,");
}

#[test]
fn a_changed_agent_answers_the_next_message() {
    let runtime = Runtime::new("").up();
    assert_eq!(runtime.chat("x"), "x");
    runtime.ok(&["agent", "update", "assistant", "--provider", "command", "--command", "echo new"]);
    assert_eq!(runtime.chat("x"), "new");
    runtime.ok(&["agent", "update", "assistant", "--provider", "echo"]);
    assert_eq!(runtime.chat("x"), "x");
}

#[test]
fn what_goes_wrong_is_told_in_the_chat_and_the_row_is_failed() {
    for (command, more, words) in [
        ("/no/such/program", vec![], "was not found"),
        ("sh -c 'echo because >&2; exit 3'", vec![], "because"),
        ("sleep 60", vec!["--time-limit", "1"], "longer than 1 s"),
    ] {
        let runtime = with_command(command, &more);
        let output = runtime.run(&["chat", "hello"]);
        let reply = String::from_utf8_lossy(&output.stdout);
        assert!(reply.starts_with("Error: ") && reply.contains(words), "{command}: {output:?}");
        assert_eq!(output.status.code(), Some(1), "{command}: {output:?}");
        until("the row is failed", || (statuses(&runtime) == ["failed"]).then_some(()));
        runtime.ok(&["agent", "update", "assistant", "--provider", "echo"]);
        assert_eq!(runtime.chat("and on"), "and on");
    }
}

#[test]
fn a_provider_or_a_command_that_cannot_be_is_refused() {
    let runtime = Runtime::new("").up();
    for (args, words) in [
        (vec!["--provider", "oracle"], "the providers are echo, command"),
        (vec!["--provider", "command"], "name it with --command"),
        (vec!["--provider", "command", "--command", "sh -c 'x"], "check its quotes"),
        (vec!["--time-limit", "0"], "1 to 86400 seconds"),
    ] {
        let mut all = vec!["agent", "update", "assistant"];
        all.extend(&args);
        let output = runtime.run(&all);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && err.contains(words), "{args:?}: {err}");
    }
    assert_eq!(runtime.chat("unharmed"), "unharmed");
}
