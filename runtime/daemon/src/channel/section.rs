//! The section of an account in `vestibule.toml`: where its values come from, and how it is written. Pure.

use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::path::Path;
use toml_edit::{DocumentMut, InlineTable, Item, Table, TableLike, Value};
use vestibule_plugin_api::{ConfigKey, KeyType, Manifest, Schema};
use vestibule_runtime::Config;

/// The mark that some editors put before a text.
const BOM: char = '\u{feff}';

/// Where the value of one key comes from.
#[derive(Debug, Clone)]
pub enum Given {
    /// From an environment variable of this name.
    Env(String),
    /// From the file at this path.
    File(String),
    /// Typed by the person, and not kept yet.
    Typed(String),
    /// From the config itself.
    Plain(Value),
}

/// Reads the words `KEY=VALUE`. A secret is never written down: `env:NAME` and `file:PATH` say where it is kept.
///
/// # Errors
/// The channel has no such key, the value is not of its type, or a key is given twice.
pub fn given(schema: &Schema, set: &[String]) -> anyhow::Result<BTreeMap<String, Given>> {
    let one = |word: &String| {
        let (key, value) = word.split_once('=').with_context(|| format!("`{word}` is not KEY=VALUE"))?;
        let known = schema.key(key);
        if known.is_none() && !schema.open {
            let keys: Vec<&str> = schema.keys.iter().map(|key| key.key.as_str()).collect();
            bail!("it has no key `{key}`; its keys are {}", keys.join(", "));
        }
        let is_secret = known.is_some_and(|key| key.secret);
        let given = match (value.split_once(':'), is_secret) {
            (Some(("env" | "file", "")), true) => {
                bail!("`{word}` names nothing: give it as {key}=env:NAME or {key}=file:PATH")
            }
            (Some(("env", name)), true) => Given::Env(name.to_owned()),
            (Some(("file", path)), true) => {
                // A runtime runs in another folder.
                let path = std::path::absolute(path)?;
                Given::File(
                    path.to_str().with_context(|| format!("{} is no UTF-8", path.display()))?.to_owned(),
                )
            }
            (_, true) => bail!(
                "`{key}` is a secret, which other users can see in a command line: give it as {key}=env:NAME or \
                 {key}=file:PATH, or leave it out and you are asked for it"
            ),
            (_, false) => Given::Plain(plain(known, value)?),
        };
        Ok((key.to_owned(), given))
    };
    let mut all = BTreeMap::new();
    for (key, given) in set.iter().map(one).collect::<anyhow::Result<Vec<_>>>()? {
        if all.insert(key.clone(), given).is_some() {
            bail!("`{key}` is given twice");
        }
    }
    Ok(all)
}

/// The account that is named as the one at which the webhooks of this one come in.
pub fn listener(manifest: &Manifest, values: &BTreeMap<String, Given>) -> Option<String> {
    match values.get("listener") {
        Some(Given::Plain(name)) if manifest.is_runtimes_key("listener") => name.as_str().map(str::to_owned),
        _ => None,
    }
}

/// Whether the channel may do without webhooks, and the account has no address for them.
pub fn is_without_webhook(schema: &Schema, values: &BTreeMap<String, Given>) -> bool {
    let address = schema.key("webhook_url");
    address.is_some_and(|key| !key.required && !values.contains_key(&key.key))
}

/// A value as a person writes it: of the key's type.
///
/// # Errors
/// It is of another type.
pub fn plain(key: Option<&ConfigKey>, text: &str) -> anyhow::Result<Value> {
    match key.map_or(KeyType::Any, |key| key.kind) {
        KeyType::String => Ok(text.into()),
        KeyType::Any | KeyType::Unknown => Ok(text.parse().unwrap_or_else(|_| text.into())),
        kind => {
            let value: Value =
                text.parse().ok().with_context(|| format!("`{text}` is no {}", kind.word()))?;
            let fits = match kind {
                KeyType::Integer => value.is_integer(),
                KeyType::Number => value.is_integer() || value.is_float(),
                KeyType::Boolean => value.is_bool(),
                KeyType::List => value.is_array(),
                _ => value.is_inline_table(),
            };
            if fits { Ok(value) } else { bail!("`{text}` is no {}", kind.word()) }
        }
    }
}

/// The names under which people keep a secret of a channel in their environment, the usual one first:
/// `SLACK_BOT_TOKEN` for `bot_token`, `TELEGRAM_BOT_TOKEN` for `token`.
pub fn env_names(channel_type: &str, key: &str) -> [String; 2] {
    let names = [env_word(key), format!("BOT_{}", env_word(key))];
    let [usual, other] = names.map(|name| format!("{}_{name}", env_word(channel_type)));
    // Of a bot's token, as Telegram's guides call it; elsewhere the key says whose it is.
    if (channel_type, key) == ("telegram", "token") { [other, usual] } else { [usual, other] }
}

/// A word as a part of the name of a variable.
pub fn env_word(text: &str) -> String {
    text.to_uppercase().replace('-', "_")
}

/// The name of the file in which a secret that was typed is kept. Neither channels nor keys have a full stop in them, so no
/// two have the same.
pub fn secret_name(channel_type: &str, account: &str, key: &str) -> String {
    format!("{channel_type}.{account}.{key}")
}

/// The config with one more account.
///
/// # Errors
/// The text is no TOML, or the account is there already.
pub fn added(
    text: &str,
    (channel_type, account): (&str, &str),
    values: &BTreeMap<String, Given>,
) -> anyhow::Result<String> {
    let mut document: DocumentMut = text.parse()?;
    let mut section = Table::new();
    if document.is_empty() && document.trailing().as_str().is_some_and(|words| !words.trim().is_empty()) {
        // Comments without a table stand at the end: what is added belongs below them.
        let words = document.trailing().as_str().unwrap_or_default().trim_end().to_owned();
        section.decor_mut().set_prefix(format!("{words}\n\n"));
        document.set_trailing("");
    }
    for (key, given) in values {
        let value = match given {
            Given::Plain(value) => value.clone(),
            Given::Env(name) => reference("env", name),
            Given::File(path) => reference("file", path),
            Given::Typed(_) => bail!("the secret `{key}` was not kept in a file"),
        };
        section.insert(key, Item::Value(value));
    }
    let path = ["channels", channel_type];
    let mut above: &mut dyn TableLike = document.as_table_mut();
    let mut in_braces = false;
    for (depth, key) in path.into_iter().enumerate() {
        // What is written in braces goes on in braces.
        let new = if in_braces { Item::Value(InlineTable::new().into()) } else { implicit() };
        let next = above.entry(key).or_insert(new);
        in_braces = next.is_inline_table();
        let name = path[..=depth].join(".");
        above = next
            .as_table_like_mut()
            .with_context(|| format!("`{name}` is no section: write it as [channels.TYPE.ACCOUNT]"))?;
    }
    if above.contains_key(account) {
        bail!("[channels.{channel_type}.{account}] is there already");
    }
    let section = match in_braces {
        true => Item::Value(section.into_inline_table().into()),
        false => Item::Table(section),
    };
    above.insert(account, section);
    sound(text, &document, |sections| sections.contains_key(&(channel_type.to_owned(), account.to_owned())))
}

fn implicit() -> Item {
    let mut table = Table::new();
    table.set_implicit(true);
    Item::Table(table)
}

/// The changed text, with the ends of lines that the old one has, once it is read as it is meant.
fn sound(
    before: &str,
    document: &DocumentMut,
    is_meant: impl Fn(&BTreeMap<(String, String), toml::Table>) -> bool,
) -> anyhow::Result<String> {
    let mut text = document.to_string();
    if before.starts_with(BOM) && !text.starts_with(BOM) {
        text.insert(0, BOM);
    }
    if before.contains("\r\n") && before.matches('\n').count() == before.matches("\r\n").count() {
        text = text.replace("\r\n", "\n").replace('\n', "\r\n");
    }
    let by_hand = "this program cannot write the config as it is laid out: change it by hand";
    match Config::parse(&text) {
        Ok(config) if is_meant(&config.channels) => Ok(text),
        Ok(_) => bail!(by_hand),
        // What was wrong before is told as it is.
        Err(why) if Config::parse(before).is_err() => bail!(why),
        Err(why) => bail!("{by_hand} ({why})"),
    }
}

fn reference(kind: &str, what: &str) -> Value {
    let mut reference = InlineTable::new();
    reference.insert(kind, what.into());
    Value::InlineTable(reference)
}

/// The config without an account, and the files in `secrets` that hold what was typed for it. A file that the operator named,
/// or that another section names, is not among them.
///
/// # Errors
/// The text is no TOML, or has no such account.
pub fn removed(
    text: &str,
    (channel_type, account): (&str, &str),
    secrets: &Path,
) -> anyhow::Result<(String, Vec<String>)> {
    let mut document: DocumentMut = text.parse()?;
    let mut above: Option<&mut dyn TableLike> = Some(document.as_table_mut());
    for key in ["channels", channel_type] {
        above = above.and_then(|above| above.get_mut(key)?.as_table_like_mut());
    }
    let section = above.and_then(|of_type| of_type.remove(account));
    let section = section.with_context(|| format!("there is no [channels.{channel_type}.{account}]"))?;
    let text = sound(text, &document, |sections| {
        !sections.contains_key(&(channel_type.to_owned(), account.to_owned()))
    })?;
    let others: toml::Table = text.parse()?;
    let is_typed = |key: &str, path: &str| {
        Path::new(path) == secrets.join(secret_name(channel_type, account, key))
            && !names_file(&toml::Value::Table(others.clone()), path)
    };
    let values = section.as_table_like().into_iter().flat_map(|table| table.iter());
    let files = values.filter_map(|(key, value)| {
        let path = value.get("file")?.as_str()?;
        is_typed(key, path).then(|| path.to_owned())
    });
    Ok((text, files.collect()))
}

/// Whether a value, or one within it, is the path of this file.
fn names_file(value: &toml::Value, path: &str) -> bool {
    match value {
        toml::Value::String(text) => Path::new(text) == Path::new(path),
        toml::Value::Array(items) => items.iter().any(|item| names_file(item, path)),
        toml::Value::Table(table) => table.values().any(|item| names_file(item, path)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn schema() -> Schema {
        let key = |key: &str, kind, secret| ConfigKey {
            key: key.into(),
            kind,
            required: secret,
            secret,
            default: None,
            help: String::new(),
        };
        let keys = vec![
            key("token", KeyType::String, true),
            key("room", KeyType::String, false),
            key("seconds", KeyType::Integer, false),
            key("names", KeyType::List, false),
        ];
        Schema { keys, open: false }
    }

    #[test]
    fn what_a_person_may_give() {
        for (word, want) in [
            ("token=env:TOKEN", Ok("token = { env = \"TOKEN\" }")),
            ("token=file:/a b", Ok("token = { file = \"/a b\" }")),
            ("token=xoxb-1", Err("is a secret")),
            ("room=7", Ok("room = \"7\"")),
            ("room=a=b", Ok("room = \"a=b\"")),
            ("room=env:X", Ok("room = \"env:X\"")),
            ("seconds=7", Ok("seconds = 7")),
            ("seconds=soon", Err("`soon` is no")),
            ("names=[\"a\"]", Ok("names = [\"a\"]")),
            ("names=a", Err("`a` is no")),
            ("rom=x", Err("it has no key `rom`; its keys are token, room, seconds, names")),
            ("room", Err("is not KEY=VALUE")),
            ("token=env:", Err("names nothing")),
            ("token=file:", Err("names nothing")),
        ] {
            let found = given(&schema(), &[word.to_owned()]);
            match (found.and_then(|values| added("", ("x", "main"), &values)), want) {
                (Ok(text), Ok(want)) => assert_eq!(text, format!("[channels.x.main]\n{want}\n"), "{word}"),
                (Err(why), Err(want)) => assert!(why.to_string().contains(want), "{word}: {why}"),
                (found, _) => panic!("{word}: {found:?}"),
            }
        }
        let twice = given(&schema(), &["room=a", "seconds=7", "room=b"].map(str::to_owned));
        assert!(twice.is_err_and(|why| why.to_string().contains("`room` is given twice")));
    }

    #[test]
    fn only_a_file_that_was_written_for_the_account_goes_with_it() {
        let section = |account: &str, file: &str| {
            format!("[channels.x.{account}]\ntoken = {{ file = \"/s/{file}\" }}\n")
        };
        let own = section("one", "x.one.token");
        let in_a_list = format!("{own}[modules.m]\nread = [\"/s/x.one.token\"]\n");
        for (text, deleted) in [
            (own.clone(), &["/s/x.one.token"][..]),
            (section("one", "mine"), &[]),
            (section("one", "x.one.other"), &[]),
            (section("one", "x.two.token"), &[]),
            (section("one", "../x.one.token"), &[]),
            (format!("{own}{}", section("two", "x.one.token")), &[]),
            (in_a_list, &[]),
            (format!("{own}{}", section("two", "x.two.token")), &["/s/x.one.token"]),
        ] {
            let (_, files) = removed(&text, ("x", "one"), Path::new("/s")).expect("it is there");
            assert_eq!(files, deleted, "{text}");
        }
    }

    #[test]
    fn a_file_of_comments_keeps_them_above_and_a_mark_stays_first() {
        let values = BTreeMap::from([("room".to_owned(), Given::Plain("r".into()))]);
        let section = "[channels.x.main]\nroom = \"r\"\n";
        for (before, with) in [
            ("# mine\n", format!("# mine\n\n{section}")),
            ("# mine\n# more\n\n\n", format!("# mine\n# more\n\n{section}")),
            ("\u{feff}", format!("\u{feff}{section}")),
            ("\u{feff}# mine\n", format!("\u{feff}# mine\n\n{section}")),
            ("\u{feff}listen = \"127.0.0.1:1\"\n", format!("\u{feff}listen = \"127.0.0.1:1\"\n\n{section}")),
        ] {
            let text = added(before, ("x", "main"), &values).expect("it is added");
            assert_eq!(text.trim_start_matches('\n'), with, "{before:?}");
        }
    }

    #[test]
    fn names_are_those_that_people_use() {
        assert_eq!(env_names("slack", "bot_token")[0], "SLACK_BOT_TOKEN");
        assert_eq!(env_names("telegram", "token"), ["TELEGRAM_BOT_TOKEN", "TELEGRAM_TOKEN"]);
        assert_eq!(env_names("github", "token")[0], "GITHUB_TOKEN");
        assert_eq!(env_names("whatsapp-web", "pin")[0], "WHATSAPP_WEB_PIN");
    }

    #[test]
    fn no_two_secrets_are_kept_in_one_file() {
        let names = [("x", "a", "b-c"), ("x", "a-b", "c"), ("x-a", "b", "c"), ("x", "a.b", "c")];
        let files: BTreeSet<String> = names.into_iter().map(|(x, a, k)| secret_name(x, a, k)).collect();
        assert_eq!(files.len(), names.len(), "{files:?}");
    }

    #[test]
    fn an_account_comes_and_goes_and_the_rest_stays() {
        let before =
            "# mine\nlisten = '127.0.0.1:8080' # here\n\n[channels.github.main]\ntoken = { env = \"G\" }\n";
        let values = BTreeMap::from([
            ("token".to_owned(), Given::File("/home/secrets/x.main.token".into())),
            ("app".to_owned(), Given::Env("APP".into())),
            ("seconds".to_owned(), Given::Plain(7.into())),
        ]);
        for text in ["", before, "[channels.x.other]\n"] {
            let with = added(text, ("x", "main"), &values).expect("it is added");
            assert!(with.starts_with(text), "{with}");
            assert!(
                with.ends_with(
                    "[channels.x.main]\napp = { env = \"APP\" }\nseconds = 7\n\
                     token = { file = \"/home/secrets/x.main.token\" }\n"
                ),
                "{with}"
            );
            let again = added(&with, ("x", "main"), &values).expect_err("it is there").to_string();
            assert!(again.contains("there already"), "{again}");
            let (without, files) =
                removed(&with, ("x", "main"), Path::new("/home/secrets")).expect("it is there");
            assert_eq!(without.trim_end(), text.trim_end());
            assert_eq!(files, ["/home/secrets/x.main.token"]);
            let (_, files) = removed(&with, ("x", "main"), Path::new("/elsewhere")).expect("it is there");
            assert_eq!(files, [""; 0], "a file of the operator's own stays");
        }
        assert!(removed(before, ("x", "main"), Path::new("/")).is_err());
        for wrong in ["channels = 7", "channels = { x = 7 }", "{{{", "lisen = 7"] {
            assert!(added(wrong, ("x", "main"), &values).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_written_in_braces_or_with_full_stops_goes_on_so() {
        let values = BTreeMap::from([("room".to_owned(), Given::Plain("r".into()))]);
        let section = r#"[channels.x.main]\nroom = "r"\n"#.replace("\\n", "\n");
        for (before, with) in [
            ("channels = {}\n", r#"channels = { x = { main = { room = "r" } } }"#.to_owned()),
            (
                "channels = { y = { main = {} } } # mine\n",
                r#"channels = { y = { main = {} } , x = { main = { room = "r" } } } # mine"#.to_owned(),
            ),
            (
                "[channels]\nx = { other = { room = \"o\" } }\n",
                r#"x = { other = { room = "o" } , main = { room = "r" } }"#.to_owned(),
            ),
            ("channels.y.main.room = \"o\"\n", section.clone()),
            ("[channels.x]\nother.room = \"o\"\n", section.clone()),
        ] {
            let text = added(before, ("x", "main"), &values).expect(before);
            assert!(text.contains(&with), "{before} became {text}");
            let config = Config::parse(&text).expect("it is a config");
            let key = ("x".to_owned(), "main".to_owned());
            assert_eq!(config.channels[&key]["room"].as_str(), Some("r"), "{text}");
            let (without, _) = removed(&text, ("x", "main"), Path::new("/")).expect(before);
            let accounts = |text: &str| Config::parse(text).expect("a config").channels;
            assert_eq!(accounts(&without), accounts(before), "{without}");
        }
    }

    #[test]
    fn the_ends_of_lines_stay_as_they_are() {
        let values = BTreeMap::from([("room".to_owned(), Given::Plain("r".into()))]);
        let before = "# mine\r\nlisten = \"127.0.0.1:1\"\r\n\r\n[channels.y.main]\r\nroom = \"o\" # here\r\n";
        let with = added(before, ("x", "main"), &values).expect("it is added");
        assert!(with.starts_with(before), "{with:?}");
        assert!(with.ends_with("\r\n[channels.x.main]\r\nroom = \"r\"\r\n"), "{with:?}");
        let (without, _) = removed(&with, ("x", "main"), Path::new("/")).expect("it is there");
        assert_eq!(without.trim_end(), before.trim_end());
        let mixed =
            added("# mine\r\nlisten = \"127.0.0.1:1\"\n", ("x", "main"), &values).expect("it is added");
        assert!(mixed.contains("\"127.0.0.1:1\"\n") && mixed.ends_with("room = \"r\"\n"), "{mixed:?}");
    }
}
