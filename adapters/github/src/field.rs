//! A payload, read field by field, so that the error names the field that does not fit. Pure.

use crate::place::{is_name, is_node, login_fault};
use serde_json::Value;
use vestibule_plugin_api::Timestamp;

/// One clear sentence that says what is wrong with a request.
pub type Fault = String;

/// A value in the payload that remembers where it is, for the sentence that refuses it.
pub struct Field<'a> {
    pub value: &'a Value,
    path: String,
}

impl<'a> Field<'a> {
    /// The whole payload.
    pub fn root(value: &'a Value) -> Field<'a> {
        Field { value, path: String::new() }
    }

    /// A member; `null` if there is none.
    pub fn get(&self, key: &str) -> Field<'a> {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Field { value: self.value.get(key).unwrap_or(&Value::Null), path }
    }

    pub fn is_null(&self) -> bool {
        self.value.is_null()
    }

    pub fn fault(&self, must: &str) -> Fault {
        format!("The payload's field `{}` {must}.", self.path)
    }

    pub fn id(&self) -> Result<u64, Fault> {
        let id = self.value.as_u64().filter(|id| *id > 0);
        id.ok_or_else(|| self.fault("must be a positive whole number"))
    }

    pub fn text(&self) -> Result<&'a str, Fault> {
        self.value.as_str().ok_or_else(|| self.fault("must be a text"))
    }

    /// A text that GitHub leaves out where it is empty.
    pub fn text_or_none(&self) -> Result<&'a str, Fault> {
        if self.is_null() { Ok("") } else { self.text() }
    }

    pub fn word(&self) -> Result<&'a str, Fault> {
        let word = self.text()?;
        if is_word(word) { Ok(word) } else { Err(self.fault("must be one word in lower case")) }
    }

    pub fn name(&self) -> Result<&'a str, Fault> {
        let name = self.text()?;
        if is_name(name) { Ok(name) } else { Err(self.fault("is not a name that GitHub gives")) }
    }

    pub fn login(&self) -> Result<&'a str, Fault> {
        let login = self.text()?;
        login_fault(login).map_or(Ok(login), |_| Err(self.fault("is not a login that GitHub gives")))
    }

    pub fn node(&self) -> Result<&'a str, Fault> {
        let node = self.text()?;
        if is_node(node) { Ok(node) } else { Err(self.fault("is not an id that GitHub gives")) }
    }

    pub fn timestamp(&self) -> Result<Timestamp, Fault> {
        // The length is bounded because the text becomes part of an event's id.
        let parsed = self.value.as_str().filter(|text| text.len() <= 40).and_then(|t| t.parse().ok());
        let time: jiff::Timestamp =
            parsed.ok_or_else(|| self.fault("must be a time in the form of RFC 3339"))?;
        Ok(Timestamp(time.as_millisecond()))
    }
}

pub fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}
