//! Provider `command`: any program answers, and what goes wrong with it is told in the chat.

use crate::support::{House, until};

fn with_command(command: &str, more: &[&str]) -> House {
    let house = House::new("").env("ALLOWED", "yes").env("SECRET", "no").up();
    let mut args = vec!["agent", "update", "assistant", "--provider", "command", "--command", command];
    args.extend(more);
    house.ok(&args);
    house
}

fn statuses(house: &House) -> Vec<String> {
    house.query("SELECT status FROM messages_in ORDER BY seq")
}

#[test]
fn a_program_answers_with_only_the_variables_it_was_given() {
    let script = "sh -c 'grep -c \"<message id=\\\"2\\\" from=\\\"terminal\\\"\"; echo \"$ALLOWED,$SECRET\"'";
    let house = with_command(script, &["--env", "ALLOWED"]);
    assert_eq!(house.chat("what do you see?"), "1\nyes,");
}

#[test]
fn a_changed_agent_answers_the_next_message() {
    let house = House::new("").up();
    assert_eq!(house.chat("x"), "x");
    house.ok(&["agent", "update", "assistant", "--provider", "command", "--command", "echo new"]);
    assert_eq!(house.chat("x"), "new");
    house.ok(&["agent", "update", "assistant", "--provider", "echo"]);
    assert_eq!(house.chat("x"), "x");
}

#[test]
fn what_goes_wrong_is_told_in_the_chat_and_the_row_is_failed() {
    for (command, more, words) in [
        ("/no/such/program", vec![], "was not found"),
        ("sh -c 'echo because >&2; exit 3'", vec![], "because"),
        ("sleep 60", vec!["--time-limit", "1"], "longer than 1 s"),
    ] {
        let house = with_command(command, &more);
        let reply = house.chat("hello");
        assert!(reply.starts_with("Error: ") && reply.contains(words), "{command}: {reply}");
        until("the row is failed", || (statuses(&house) == ["failed"]).then_some(()));
        house.ok(&["agent", "update", "assistant", "--provider", "echo"]);
        assert_eq!(house.chat("and on"), "and on");
    }
}

#[test]
fn a_provider_or_a_command_that_cannot_be_is_refused() {
    let house = House::new("").up();
    for (args, words) in [
        (vec!["--provider", "oracle"], "the providers are echo, command"),
        (vec!["--provider", "command"], "name it with --command"),
        (vec!["--provider", "command", "--command", "sh -c 'x"], "check its quotes"),
        (vec!["--time-limit", "0"], "1 to 86400 seconds"),
    ] {
        let mut all = vec!["agent", "update", "assistant"];
        all.extend(&args);
        let output = house.run(&all);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && err.contains(words), "{args:?}: {err}");
    }
    assert_eq!(house.chat("unharmed"), "unharmed");
}
