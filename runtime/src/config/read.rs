//! From a table of TOML to a struct of settings. Which keys there are, only the struct says: serde names them when it
//! meets another one. An error says which key it is about, where that stands, and what is wanted. Pure.

use serde::de::value::SeqDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, Expected, IntoDeserializer, MapAccess,
    Unexpected, Visitor,
};
use std::fmt::{self, Display};
use toml::{Table, Value};

/// Reads a table. Every key of the struct has a default, and no key is unknown.
///
/// # Errors
/// The first key that is not known, or has a value that is not wanted.
pub fn read<T: DeserializeOwned>(table: Table) -> Result<T, Fault> {
    T::deserialize(Node(Value::Table(table)))
}

/// What is wrong with one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The sections in which the key stands, from the outermost one, and the key.
    place: Vec<String>,
    /// What is to be said of it, in words that follow its name.
    words: String,
}

impl Fault {
    fn new(words: String) -> Fault {
        Fault { place: Vec::new(), words }
    }

    /// The same, of what stands under `key`.
    fn under(mut self, key: String) -> Fault {
        self.place.insert(0, key);
        self
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place.split_last() {
            None => f.write_str(&self.words),
            Some((key, [])) => write!(f, "`{}` {}", key.escape_debug(), self.words),
            Some((key, above)) => {
                write!(f, "[{}]: `{}` {}", above.join(".").escape_debug(), key.escape_debug(), self.words)
            }
        }
    }
}

impl std::error::Error for Fault {}

impl serde::de::Error for Fault {
    fn custom<T: Display>(words: T) -> Fault {
        Fault::new(words.to_string())
    }

    fn invalid_type(_: Unexpected<'_>, wanted: &dyn Expected) -> Fault {
        Fault::new(format!("must be {wanted}"))
    }

    fn invalid_value(_: Unexpected<'_>, wanted: &dyn Expected) -> Fault {
        Fault::new(format!("must be {wanted}"))
    }

    fn unknown_variant(word: &str, words: &'static [&'static str]) -> Fault {
        let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        let choice = match quoted.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, some)) => format!("{} or {last}", some.join(", ")),
            None => "nothing".to_owned(),
        };
        Fault::new(format!("is {choice}, not \"{}\"", word.escape_debug()))
    }

    fn unknown_field(key: &str, keys: &'static [&'static str]) -> Fault {
        let remedy = match super::nearest(key, keys.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the keys are {}", keys.join(", ")),
        };
        Fault::new(format!("is not a key; {remedy}")).under(key.to_owned())
    }
}

/// A value, as serde asks for it.
struct Node(Value);

impl<'de> IntoDeserializer<'de, Fault> for Node {
    type Deserializer = Node;

    fn into_deserializer(self) -> Node {
        self
    }
}

impl<'de> Deserializer<'de> for Node {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Table(table) => visitor.visit_map(Keys { rest: table.into_iter(), next: None }),
            Value::Array(items) => visitor.visit_seq(SeqDeserializer::new(items.into_iter().map(Node))),
            Value::String(text) => visitor.visit_string(text),
            Value::Integer(number) => visitor.visit_i64(number),
            Value::Boolean(word) => visitor.visit_bool(word),
            Value::Float(number) => visitor.visit_f64(number),
            // In the form that TOML gives it for serde, a date is read as a date again.
            Value::Datetime(date) => serde_json::to_value(date)
                .and_then(|date| date.deserialize_any(visitor))
                .map_err(Fault::custom),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.0 {
            Value::String(text) => visitor.visit_enum(text.into_deserializer()),
            _ => Err(Fault::invalid_type(Unexpected::Other("another type"), &TEXT)),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// The keys of a table. What is wrong under one of them is said of it.
struct Keys {
    rest: toml::map::IntoIter<String, Value>,
    next: Option<(String, Value)>,
}

impl<'de> MapAccess<'de> for Keys {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        self.next = self.rest.next();
        let Some((key, _)) = &self.next else { return Ok(None) };
        seed.deserialize(key.clone().into_deserializer()).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let Some((key, value)) = self.next.take() else { return Err(Fault::custom("has no value")) };
        seed.deserialize(Node(value)).map_err(|fault| fault.under(key))
    }
}

/// What a text is called in errors.
pub const TEXT: &str = "a text in quotes";
