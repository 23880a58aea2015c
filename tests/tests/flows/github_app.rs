//! GitHub Apps: what the stand-in says to an app, and one app in several installations.

use crate::github_api::Answer;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What GitHub knows of an app.
#[derive(Default)]
pub struct AppStore;

impl AppStore {
    /// What is asked of the app itself, in no installation.
    pub fn answer(
        &mut self,
        method: &str,
        path: &str,
        word: &str,
        tokens: &mut BTreeMap<String, u64>,
    ) -> Option<Answer> {
        let _ = (method, word, tokens);
        path.starts_with("/app").then(|| Answer::Json(401, json!({ "message": "no app", "id": Value::Null })))
    }
}
