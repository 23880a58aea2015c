//! The commands that a bot's menu offers, as an operator writes them: `ask - Ask the agent`, the form in which BotFather
//! takes them. Pure.

use serde_json::{Value, json};

/// Telegram's limits.
const COMMANDS_MAX: usize = 100;
const NAME_CHARS_MAX: usize = 32;
const DESCRIPTION_CHARS_MAX: usize = 256;

/// Reads the commands.
///
/// # Errors
/// A sentence that says which is none, and why.
pub fn commands(lines: &[String]) -> Result<Value, String> {
    if lines.len() > COMMANDS_MAX {
        return Err(format!("`commands` names {}, and Telegram takes {COMMANDS_MAX}", lines.len()));
    }
    let read = |line: &String| {
        let (name, description) = line.split_once(" - ").unwrap_or((line, ""));
        let (name, description) = (name.trim().trim_start_matches('/'), description.trim());
        let is_sign = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let is_name = (1..=NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(is_sign);
        if !is_name {
            return Err(format!(
                "`commands` has `{}`: a command is made of small letters, digits and `_`, {NAME_CHARS_MAX} at most",
                line.escape_debug()
            ));
        }
        match description.chars().count() {
            1..=DESCRIPTION_CHARS_MAX => Ok(json!({ "command": name, "description": description })),
            _ => Err(format!(
                "`commands` has `{name}` without saying what it does: write `{name} - what it does`, in \
                 {DESCRIPTION_CHARS_MAX} characters at most"
            )),
        }
    };
    lines.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_is() {
        let (long, wordy) = ("x".repeat(33), format!("x - {}", "x".repeat(257)));
        for (line, want) in [
            ("ask - Ask the agent", Ok(("ask", "Ask the agent"))),
            (" /new_1  -  Begin - anew ", Ok(("new_1", "Begin - anew"))),
            ("ask", Err("`ask - what it does`")),
            ("ask - ", Err("`ask - what it does`")),
            ("Ask - x", Err("small letters")),
            ("ask now - x", Err("small letters")),
            ("", Err("small letters")),
            (&long, Err("small letters")),
            (&wordy, Err("256")),
        ] {
            match (commands(&[line.to_owned()]), want) {
                (Ok(read), Ok((command, description))) => {
                    assert_eq!(read, json!([{ "command": command, "description": description }]));
                }
                (Err(told), Err(want)) => assert!(told.contains(want), "{line}: {told}"),
                (read, _) => panic!("{line}: {read:?}"),
            }
        }
        assert_eq!(commands(&[]), Ok(json!([])));
        assert!(commands(&vec!["a - x".to_owned(); 101]).is_err());
    }
}
