//! The words of the binary about itself. This test also makes `cargo test` build the binary, which the
//! flows in `tests/` run.

use std::process::Command;

fn vestibule(args: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_vestibule")).args(args).output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("a code"), text(output.stdout), text(output.stderr))
}

#[test]
fn help_names_the_words_and_the_home() {
    let (code, out, _) = vestibule(&["--help"]);
    assert_eq!(code, 0);
    for word in ["up", "chat", "status", "plugin", "agent", "wiring", "destination", "VESTIBULE_HOME"] {
        assert!(out.contains(word), "{word}");
    }
    assert!(!out.contains("keeper"), "inner programs are not for people");
}

#[test]
fn a_wrong_word_is_usage() {
    assert_eq!(vestibule(&["dance"]).0, 2);
}

#[test]
fn the_runner_is_inside() {
    let (code, out, _) = vestibule(&["runner", "--help"]);
    assert_eq!(code, 0);
    assert!(out.contains("--workspace"), "{out}");
}

#[test]
fn a_keeper_started_by_hand_says_so() {
    let (code, _, err) = vestibule(&["keeper"]);
    assert_eq!(code, 1);
    assert!(err.contains("started by the runtime"), "{err}");
}
