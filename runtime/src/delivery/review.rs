//! Asking the modules that review, before anything leaves.

use super::decide::text_of;
use crate::error::Error;
use crate::house::House;
use crate::ledger::{self, Delivery, Direction};
use crate::plugins::{self, CallError, Said};
use crate::questions::Asked;
use rusqlite::Connection;
use serde_json::{Value, json};
use vestibule_plugin_api::{PluginError, Reviewed, Station};

/// The delivery with the text that the modules want; `None` when it stays as it is. The record keeps what
/// the agent wrote, and every attempt asks anew.
///
/// # Errors
/// A module refused it, or failed and lets nothing pass then.
pub async fn reviewed(house: &House, delivery: &Delivery) -> Result<Option<Delivery>, CallError> {
    if house.registry.at(Station::Review).is_empty() {
        return Ok(None);
    }
    let refused = |why| CallError::Plugin(PluginError::refused(why));
    let (session_id, id) = (delivery.session_id.clone(), delivery.message_out_id.clone());
    let read = move |db: &Connection| ledger::files_of(db, &session_id, Direction::Out, &id);
    let files = house.central.read(read).await;
    let files = files.map_err(|error: Error| CallError::Plugin(PluginError::retry(error.to_string())))?;
    let message = Reviewed {
        id: delivery.message_out_id.clone(),
        address: delivery.address.clone(),
        session: delivery.session_id.clone(),
        text: text_of(&delivery.content).map_err(refused)?,
        files: files.into_iter().map(|file| file.name).collect(),
    };
    match plugins::review(&house.registry, message).await {
        Said::Pass(None) => Ok(None),
        Said::Pass(Some(text)) => {
            Ok(Some(Delivery { content: with_text(&delivery.content, &text), ..delivery.clone() }))
        }
        Said::Stop(reason) => Err(refused(reason)),
    }
}

/// The content with another text, its files as they are. What was a question goes out as words only: its
/// options may say what the module took out.
fn with_text(content: &str, text: &str) -> String {
    let mut content: Value = serde_json::from_str(content).unwrap_or_default();
    if Asked::read(&content).is_some() {
        content = json!({});
    }
    if let Some(fields) = content.as_object_mut() {
        fields.remove("markdown");
        fields.insert("text".to_owned(), text.into());
    }
    content.to_string()
}
