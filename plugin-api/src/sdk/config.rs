//! A plugin's config, written once: `config!` makes the struct, what reads it and what describes it.

use crate::{ConfigKey, HELP_BYTES_MAX, KEY_BYTES_MAX, KeyType, Schema, Secret};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// Makes the config of a channel or module: a struct whose fields are the keys, and from the same lines
/// what reads it and the schema that the runtime checks `vestibule.toml` against.
///
/// ```
/// vestibule_plugin_api::config! {
///     /// `[channels.acme.<account>]`
///     struct Config {
///         /// The bot's token. This line is shown to the operator.
///         token: vestibule_plugin_api::Secret,
///         /// A key with a default may be left out,
///         poll_seconds: u64 = 5,
///         /// and so may an `Option`.
///         room: Option<String>,
///     }
/// }
/// ```
///
/// A key that is none of these is refused. A default is written as JSON would be: text for whatever is read
/// from text, `[]`, `{}` or `null` for what is empty; or it is an expression of Rust. A field may have any type that
/// is a [`ConfigValue`]. More than 120 keys need `#![recursion_limit = "512"]`.
#[macro_export]
macro_rules! config {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($fields:tt)* }) => {
        $crate::__config! { { [$(#[$meta])*] [$vis] $name } {} $($fields)* }
    };
}

/// One field after another is moved into the braces, its default as a list of tokens: `[]` and `null` are words of
/// JSON, and no expressions of Rust that have a type.
#[doc(hidden)]
#[macro_export]
macro_rules! __config {
    ($head:tt { $($done:tt)* }
        $(#[doc = $help:literal])* $vis:vis $key:ident: $type:ty = null $(, $($rest:tt)*)?) => {
        $crate::__config! { $head { $($done)* { [$($help)*] [$vis] $key [$type] (null) } } $($($rest)*)? }
    };
    ($head:tt { $($done:tt)* }
        $(#[doc = $help:literal])* $vis:vis $key:ident: $type:ty = [$($item:tt)*] $(, $($rest:tt)*)?) => {
        $crate::__config! { $head { $($done)* { [$($help)*] [$vis] $key [$type] ([$($item)*]) } } $($($rest)*)? }
    };
    ($head:tt { $($done:tt)* }
        $(#[doc = $help:literal])* $vis:vis $key:ident: $type:ty = { $($item:tt)* } $(, $($rest:tt)*)?) => {
        $crate::__config! { $head { $($done)* { [$($help)*] [$vis] $key [$type] ({ $($item)* }) } } $($($rest)*)? }
    };
    ($head:tt { $($done:tt)* }
        $(#[doc = $help:literal])* $vis:vis $key:ident: $type:ty = $default:expr $(, $($rest:tt)*)?) => {
        $crate::__config! { $head { $($done)* { [$($help)*] [$vis] $key [$type] ($default) } } $($($rest)*)? }
    };
    ($head:tt { $($done:tt)* }
        $(#[doc = $help:literal])* $vis:vis $key:ident: $type:ty $(, $($rest:tt)*)?) => {
        $crate::__config! { $head { $($done)* { [$($help)*] [$vis] $key [$type] () } } $($($rest)*)? }
    };
    ({ [$($meta:tt)*] [$vis:vis] $name:ident } {
        $({ [$($help:literal)*] [$key_vis:vis] $key:ident [$type:ty] ($($default:tt)*) })*
    }) => {
        $($meta)*
        #[allow(dead_code, reason = "some keys are for the runtime only")]
        $vis struct $name {
            $($(#[doc = $help])* $key_vis $key: $type),*
        }

        impl $crate::__export::Described for $name {
            const KEYS: &'static [$crate::__export::KeyText] = &[
                $($crate::__export::KeyText::of::<$type>(
                    stringify!($key),
                    $crate::__default!($($default)*),
                    &[$($help),*],
                )),*
            ];
        }

        impl<'de> $crate::__export::Deserialize<'de> for $name {
            #[allow(unused_mut, unused_variables, reason = "it may have no keys")]
            fn deserialize<D: $crate::__export::Deserializer<'de>>(
                from: D,
            ) -> ::core::result::Result<Self, D::Error> {
                let mut section = $crate::__export::Section::read::<Self, D>(from)?;
                ::core::result::Result::Ok($name { $($key: section.take(stringify!($key))?),* })
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __default {
    () => {
        ::core::option::Option::None
    };
    ($($default:tt)+) => {
        ::core::option::Option::Some(|| $crate::__export::json!($($default)+))
    };
}

/// A type that the value of a key can have. For a type of your own that is read with serde:
/// `impl ConfigValue for Mode { const TYPE: KeyType = KeyType::String; }`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key's value yet",
    note = "say what the operator writes: `impl ConfigValue for {Self} {{ const TYPE: KeyType = KeyType::String; }}`"
)]
pub trait ConfigValue: DeserializeOwned {
    /// The type of the value that the operator writes.
    const TYPE: KeyType;
    /// Whether the key must be there; else it is read from `null`.
    const REQUIRED: bool = true;
    /// Whether it is a secret.
    const SECRET: bool = false;
}

macro_rules! values {
    ($($kind:ident: $($type:ty),*;)*) => {
        $($(impl ConfigValue for $type { const TYPE: KeyType = KeyType::$kind; })*)*
    };
}

values! {
    String: String, char, PathBuf, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr;
    Integer: u8, u16, u32, u64, usize, i8, i16, i32, i64, isize;
    Number: f32, f64;
    Boolean: bool;
    Any: Value;
}

impl ConfigValue for Secret {
    const TYPE: KeyType = KeyType::String;
    const SECRET: bool = true;
}

impl<T: ConfigValue> ConfigValue for Option<T> {
    const TYPE: KeyType = T::TYPE;
    const REQUIRED: bool = false;
    const SECRET: bool = T::SECRET;
}

impl<T: DeserializeOwned> ConfigValue for Vec<T> {
    const TYPE: KeyType = KeyType::List;
}

impl<T: DeserializeOwned + Ord> ConfigValue for BTreeSet<T> {
    const TYPE: KeyType = KeyType::List;
}

impl<T: DeserializeOwned + Eq + std::hash::Hash> ConfigValue for HashSet<T> {
    const TYPE: KeyType = KeyType::List;
}

impl<T: DeserializeOwned> ConfigValue for BTreeMap<String, T> {
    const TYPE: KeyType = KeyType::Table;
}

impl<T: DeserializeOwned> ConfigValue for HashMap<String, T> {
    const TYPE: KeyType = KeyType::Table;
}

/// One key, as `config!` writes it down.
#[doc(hidden)]
pub struct KeyText {
    pub key: &'static str,
    pub secret: bool,
    kind: KeyType,
    required: bool,
    default: Option<fn() -> Value>,
    help: &'static [&'static str],
}

impl KeyText {
    pub const fn of<T: ConfigValue>(
        name: &'static str,
        default: Option<fn() -> Value>,
        help: &'static [&'static str],
    ) -> KeyText {
        let required = T::REQUIRED && default.is_none();
        assert!(name.is_ascii() && name.len() <= KEY_BYTES_MAX, "a key is made of at most 64 ASCII letters");
        KeyText { key: plain(name), secret: T::SECRET, kind: T::TYPE, required, default, help }
    }

    fn describe(&self) -> ConfigKey {
        let help = self.help.iter().flat_map(|line| line.split_whitespace()).collect::<Vec<_>>().join(" ");
        ConfigKey {
            key: self.key.to_owned(),
            kind: self.kind,
            required: self.required,
            secret: self.secret,
            default: self.default.map(|default| default()),
            help: cut(help),
        }
    }
}

/// Cuts documentation to the length that an operator is shown.
fn cut(mut help: String) -> String {
    if help.len() > HELP_BYTES_MAX {
        help.truncate(help.floor_char_boundary(HELP_BYTES_MAX - '…'.len_utf8()));
        help.push('…');
    }
    help
}

/// `r#type` is the key `type`.
const fn plain(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [b'r', b'#', ..] => name.split_at(2).1,
        _ => name,
    }
}

/// A config that `config!` made.
#[doc(hidden)]
pub trait Described {
    const KEYS: &'static [KeyText];
}

/// Finds out at compile time whether a config is described: the constant of the type itself, which only a
/// described one has, hides that of the trait.
#[doc(hidden)]
pub struct ConfigOf<T>(PhantomData<T>);

#[doc(hidden)]
pub trait Undescribed {
    const KEYS: Option<&'static [KeyText]> = None;
}

impl<T> Undescribed for ConfigOf<T> {}

impl<T: Described> ConfigOf<T> {
    pub const KEYS: Option<&'static [KeyText]> = Some(T::KEYS);
}

/// The schema as it crosses the seam.
pub fn schema(keys: &[KeyText]) -> Schema {
    Schema { keys: keys.iter().map(KeyText::describe).collect(), open: false }
}

/// A section while it is read.
#[doc(hidden)]
pub struct Section {
    keys: &'static [KeyText],
    values: Map<String, Value>,
}

impl Section {
    pub fn read<'de, T: Described, D: Deserializer<'de>>(from: D) -> Result<Section, D::Error> {
        let values = Map::deserialize(from)?;
        match values.keys().find(|name| !T::KEYS.iter().any(|key| key.key == *name)) {
            Some(unknown) => {
                let known: Vec<String> = T::KEYS.iter().map(|key| format!("`{}`", key.key)).collect();
                let expected = match &known[..] {
                    [] => "there are no fields".to_owned(),
                    [one] => format!("expected {one}"),
                    _ => format!("expected one of {}", known.join(", ")),
                };
                Err(D::Error::custom(format!("unknown field `{unknown}`, {expected}")))
            }
            None => Ok(Section { keys: T::KEYS, values }),
        }
    }

    pub fn take<T: ConfigValue, E: Error>(&mut self, name: &'static str) -> Result<T, E> {
        let name = plain(name);
        let default = self.keys.iter().find(|key| key.key == name).and_then(|key| key.default);
        let value = match (self.values.remove(name), default) {
            (Some(value), _) => value,
            (None, Some(default)) => default(),
            (None, None) if !T::REQUIRED => Value::Null,
            (None, None) => return Err(E::custom(format!("missing field `{name}`"))),
        };
        serde_json::from_value(value).map_err(|error| E::custom(format!("`{name}`: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const DOZEN: u32 = 12;

    config! {
        /// A config of every kind of key.
        struct Whole {
            /// Shown to the operator,
            /// in one line.
            token: Secret,
            room: Option<String>,
            pin: Option<Secret>,
            eggs: u32 = DOZEN,
            at: SocketAddr = "127.0.0.1:7",
            names: Vec<String>,
            r#type: String = "plain",
        }
    }

    config! {
        struct Nothing {}
    }

    config! {
        /// Defaults as JSON has them, and as Rust has them.
        pub(crate) struct Defaults {
            none: Vec<String> = [],
            some: Vec<String> = ["a", "b"],
            pub empty: BTreeMap<String, u32> = {},
            table: BTreeMap<String, u32> = { "a": 1, "b": 2 },
            nothing: Option<String> = null,
            below: i32 = -1,
            made: Vec<u32> = vec![DOZEN],
            first: u32 = [7, 8][0],
            no: bool = false
        }
    }

    #[test]
    fn a_default_is_written_as_in_json_or_as_in_rust() {
        let made: Defaults = serde_json::from_value(json!({})).expect("all have defaults");
        assert_eq!((made.none.len(), made.some, made.empty.len()), (0, vec!["a".into(), "b".into()], 0));
        assert_eq!((made.table["b"], made.nothing, made.below), (2, None, -1));
        assert_eq!((made.made, made.first, made.no), (vec![12], 7, false));
        let described = serde_json::to_value(schema(Defaults::KEYS)).expect("it serialises");
        let defaults: Vec<&Value> =
            described["keys"].as_array().expect("keys").iter().map(|key| &key["default"]).collect();
        let want = json!([[], ["a", "b"], {}, { "a": 1, "b": 2 }, null, -1, [12], 7, false]);
        assert_eq!(json!(defaults), want);
    }

    #[test]
    fn one_text_makes_the_schema() {
        let keys = ConfigOf::<Whole>::KEYS.expect("it is described");
        assert_eq!(
            serde_json::to_value(schema(keys)).expect("it serialises"),
            json!({ "keys": [
                { "key": "token", "type": "string", "required": true, "secret": true,
                  "help": "Shown to the operator, in one line." },
                { "key": "room", "type": "string" },
                { "key": "pin", "type": "string", "secret": true },
                { "key": "eggs", "type": "integer", "default": 12 },
                { "key": "at", "type": "string", "default": "127.0.0.1:7" },
                { "key": "names", "type": "list", "required": true },
                { "key": "type", "type": "string", "default": "plain" },
            ] })
        );
        assert_eq!(schema(Nothing::KEYS), Schema::default());
        let long = cut("ü".repeat(400));
        assert!(long.len() <= HELP_BYTES_MAX && long.starts_with("üü") && long.ends_with("ü…"), "{long}");
    }

    #[test]
    fn the_same_text_reads_it() {
        let read = |config: Value| serde_json::from_value::<Whole>(config).map_err(|error| error.to_string());
        let whole = read(json!({ "token": "t", "names": ["a"] })).expect("it fits");
        assert_eq!((whole.eggs, whole.at.port(), whole.r#type.as_str()), (12, 7, "plain"));
        assert_eq!((whole.token.expose(), whole.room, whole.pin.is_none()), ("t", None, true));
        let whole =
            read(json!({ "token": "t", "names": [], "eggs": 1, "type": "x", "room": "r" })).expect("it fits");
        assert_eq!((whole.eggs, whole.r#type.as_str(), whole.room.as_deref()), (1, "x", Some("r")));
        for (config, want) in [
            (json!({ "names": [] }), "missing field `token`"),
            (json!({ "token": "t", "names": 7 }), "`names`: invalid type"),
            (json!({ "token": "t", "names": [], "eggs": -1 }), "`eggs`: invalid value"),
            (json!({ "token": "t", "nams": [] }), "unknown field `nams`, expected one of `token`, `room`"),
            (json!(7), "invalid type"),
        ] {
            let told = read(config.clone()).err().unwrap_or_default();
            assert!(told.contains(want), "{config}: {told}");
        }
        assert!(serde_json::from_value::<Nothing>(json!({})).is_ok());
        let told = serde_json::from_value::<Nothing>(json!({ "x": 1 })).err().expect("refused").to_string();
        assert_eq!(told, "unknown field `x`, there are no fields");
    }

    #[test]
    fn a_config_that_is_not_described_has_no_keys() {
        #[derive(Deserialize)]
        struct Own {}
        assert!(ConfigOf::<Own>::KEYS.is_none() && ConfigOf::<()>::KEYS.is_none());
    }
}
