//! The content of a row of the kind `task`.

/// Whether a task's content says what to do.
pub fn has_prompt(content: &str) -> bool {
    let content: serde_json::Value = serde_json::from_str(content).unwrap_or_default();
    content["prompt"].as_str().is_some_and(|prompt| !prompt.trim().is_empty())
}

/// Whether a task's content names a script that decides whether it runs. NanoClaw runs a blank one, too, which then says
/// nothing, and so its task does not run.
pub fn has_script(content: &str) -> bool {
    let content: serde_json::Value = serde_json::from_str(content).unwrap_or_default();
    match &content["script"] {
        serde_json::Value::Null => false,
        serde_json::Value::String(script) => !script.is_empty(),
        // Whatever the script is, it was meant to decide.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::{has_prompt, has_script};

    #[test]
    fn what_is_a_script() {
        for (content, want) in [
            (r#"{"prompt":"p","script":"exit 1"}"#, true),
            (r#"{"script":["sh"]}"#, true),
            (r#"{"prompt":"p","script":null}"#, false),
            (r#"{"prompt":"p","script":" "}"#, true),
            (r#"{"prompt":"p","script":""}"#, false),
            (r#"{"prompt":"p"}"#, false),
            ("no JSON", false),
        ] {
            assert_eq!(has_script(content), want, "{content}");
        }
    }

    #[test]
    fn what_is_a_prompt() {
        for (content, want) in [
            (r#"{"prompt":"p"}"#, true),
            (r#"{"prompt":" "}"#, false),
            (r#"{"prompt":7}"#, false),
            (r#"{"text":"p"}"#, false),
            (r#"["prompt"]"#, false),
            (r#"{"prompt":"p""#, false),
            ("", false),
        ] {
            assert_eq!(has_prompt(content), want, "{content}");
        }
    }
}
