//! What the value of a key may be: each function reads one, or says what is wanted.

use super::PluginSettings;
use super::read::TEXT;
use axum::http::Uri;
use axum::http::uri::Authority;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Unexpected, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use toml::Table;
use vestibule_plugin_api::ID_BYTES_MAX;

/// No call takes longer than this, in seconds.
pub const DEADLINE_SECONDS_MAX: u32 = 60;

/// A default that is a number.
pub fn of<const N: u64>() -> u64 {
    N
}

/// A default that is true.
pub fn yes() -> bool {
    true
}

/// The default of an address: this machine only.
pub fn this_machine() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8787))
}

/// True or false.
pub fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    from.deserialize_bool(Flag)
}

/// A text.
pub fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    from.deserialize_str(Text).map(Some)
}

/// An address and a port.
pub fn address<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    let shape = |_| D::Error::custom("must be an address and a port, such as \"127.0.0.1:8787\"");
    from.deserialize_str(Text)?.parse().map_err(shape)
}

/// Where platforms reach the listener, without the slash at its end.
pub fn public_url<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let shape = "must be a URL that platforms reach, http or https, without `?`, `#` or a login, such as \"https://example.org\"";
    let text = from.deserialize_str(Text)?;
    let url: Uri = text.parse().map_err(|_| D::Error::custom(shape))?;
    let host = url.authority().filter(|at| !at.as_str().contains('@')).map(Authority::host);
    let fits = matches!(url.scheme_str(), Some("http" | "https"))
        && host.is_some_and(|host| !host.is_empty())
        && !text.contains(['?', '#']);
    if fits { Ok(Some(text.trim_end_matches('/').to_owned())) } else { Err(D::Error::custom(shape)) }
}

/// The name of a time zone that the system has.
pub fn time_zone<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let zone = from.deserialize_str(Text)?;
    match jiff::tz::TimeZone::get(&zone) {
        Ok(_) => Ok(Some(zone)),
        Err(_) => Err(D::Error::custom(format!(
            "names no zone: \"{}\"; write one such as \"Europe/Berlin\"",
            zone.escape_debug()
        ))),
    }
}

/// A number of seconds.
pub fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    from.deserialize_u64(Whole { of: "seconds", max: u32::MAX })
}

/// A number of seconds that is a deadline of calls.
pub fn deadline<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    from.deserialize_u64(Whole { of: "seconds", max: DEADLINE_SECONDS_MAX })
}

/// A number of days.
pub fn days<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    from.deserialize_u64(Whole { of: "days", max: u32::MAX })
}

/// A number of bytes.
pub fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    from.deserialize_u64(Whole { of: "bytes", max: u32::MAX })
}

/// A number of MiB.
pub fn mebibytes<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    from.deserialize_u64(Whole { of: "MiB", max: u32::MAX })
}

/// A number of runners.
pub fn runners<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    from.deserialize_u64(Whole { of: "runners", max: u32::MAX })
}

/// A number of processes and threads.
pub fn processes<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    from.deserialize_u64(Whole { of: "processes", max: u32::MAX })
}

/// A number of files and folders.
pub fn files<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    from.deserialize_u64(Whole { of: "files", max: u32::MAX })
}

/// A number of descriptors.
pub fn descriptors<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    from.deserialize_u64(Whole { of: "descriptors", max: u32::MAX })
}

/// Names of agents.
pub fn names<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Deserialize::deserialize(from).map_err(|_| D::Error::custom("must be a list of names of agents"))
}

/// Absolute paths.
pub fn paths<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<PathBuf>, D::Error> {
    let paths =
        Vec::<PathBuf>::deserialize(from).ok().filter(|paths| paths.iter().all(|path| path.is_absolute()));
    paths.ok_or_else(|| D::Error::custom("must be a list of absolute paths"))
}

/// The sections `[plugins.NAME]`.
pub fn plugins<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, PluginSettings>, D::Error> {
    from.deserialize_map(PluginSections)
}

struct PluginSections;

impl<'de> Visitor<'de> for PluginSections {
    type Value = BTreeMap<String, PluginSettings>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("written [plugins.NAME], such as [plugins.echo]")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut sections: A) -> Result<Self::Value, A::Error> {
        std::iter::from_fn(|| sections.next_entry().transpose()).collect()
    }
}

/// The sections `[modules.NAME]`.
pub fn modules<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Table>, D::Error> {
    let shape = |_| D::Error::custom("must be written [modules.NAME], such as [modules.agent-to-agent]");
    Deserialize::deserialize(from).map_err(shape)
}

type Accounts = BTreeMap<(String, String), Table>;

/// The sections `[channels.TYPE.ACCOUNT]`.
pub fn channels<'de, D: Deserializer<'de>>(from: D) -> Result<Accounts, D::Error> {
    let shape =
        |_| D::Error::custom("must be written [channels.TYPE.ACCOUNT], such as [channels.github.main]");
    let channels: BTreeMap<String, BTreeMap<String, Table>> =
        Deserialize::deserialize(from).map_err(shape)?;
    let names =
        channels.iter().flat_map(|(channel, accounts)| accounts.keys().map(move |name| (channel, name)));
    if let Some((channel, name)) = names.into_iter().find(|(_, name)| !is_account(name)) {
        return Err(D::Error::custom(format!(
            "cannot hold the account \"{}\" of {}: a name is made of letters, digits, `.`, `-` and `_`, and begins with a \
             letter or digit",
            name.escape_debug(),
            channel.escape_debug()
        )));
    }
    let accounts = channels.into_iter().flat_map(|(channel, accounts)| {
        accounts.into_iter().map(move |(account, section)| ((channel.clone(), account), section))
    });
    Ok(accounts.collect())
}

/// Whether an account may have this name: it is a part of the URL of its webhooks.
pub fn is_account(name: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || ".-_".contains(c);
    name.starts_with(char::is_alphanumeric) && name.chars().all(fits) && name.len() <= ID_BYTES_MAX
}

struct Text;

impl<'de> Visitor<'de> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(TEXT)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}

struct Flag;

impl<'de> Visitor<'de> for Flag {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true or false, without quotes")
    }

    fn visit_bool<E: Error>(self, word: bool) -> Result<bool, E> {
        Ok(word)
    }
}

/// A whole number of something, from 1 on.
struct Whole {
    /// What is counted, in the plural.
    of: &'static str,
    /// The largest one that is taken.
    max: u32,
}

impl<'de> Visitor<'de> for Whole {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number of {}, 1 to {}", self.of, self.max)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<u64, E> {
        match u64::try_from(number) {
            Ok(number) if (1..=u64::from(self.max)).contains(&number) => Ok(number),
            _ => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }
}
