//! The config against what each plugin describes: before an account is started, and without a runtime.

use crate::support::{Runtime, free_port, plugin_file, until};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn write_config(runtime: &Runtime, text: &str) {
    let config = format!("listen = \"127.0.0.1:0\"\n{text}");
    fs::write(runtime.home.path().join("vestibule.toml"), config).unwrap();
}

fn config_file(runtime: &Runtime) -> String {
    runtime.home.path().join("vestibule.toml").display().to_string()
}

fn listed(runtime: &Runtime, name: &str) -> Option<Value> {
    let list = runtime.json(&["plugin", "list"]);
    list.as_array().unwrap().iter().find(|plugin| plugin["name"] == name).cloned()
}

fn reason(of: &Value) -> &str {
    of["reason"].as_str().unwrap_or_default()
}

/// The odd plugin, which answers as it is told: see `tests/plugins/odd`.
fn odd(how: char) -> Vec<u8> {
    let mut bytes = fs::read(plugin_file("vestibule-odd")).unwrap();
    let at = bytes.windows(10).position(|part| part == b"ODD-MODE:.").expect("the mode is in the file");
    bytes[at + 9] = how as u8;
    bytes
}

#[test]
fn a_typo_breaks_one_account_and_is_mended_by_a_reload() {
    for tier in ["process", "in-process"] {
        let at = free_port();
        let good = format!("[plugins.echo]\ntier = \"{tier}\"\n[channels.echo.main]\nlisten = \"{at}\"\n");
        let runtime = Runtime::new(&format!("{good}[channels.echo.other]\nlissten = \"127.0.0.1:0\"\n")).up();
        fs::copy(plugin_file("vestibule-echo-channel"), runtime.home.path().join("plugins/echo.so")).unwrap();
        let account = |name: &str| {
            let status = runtime.json(&["status"]);
            let channels = status["channels"].as_array().unwrap().iter();
            let mut found = channels.filter(|c| c["channel"] == "echo" && c["account"] == name);
            found.next().cloned().unwrap_or_default()
        };
        let other = until("it is broken", || Some(account("other")).filter(|c| c["state"] == "broken"));
        let place = format!("{}: [channels.echo.other]", config_file(&runtime));
        let want =
            format!("{place} has the key \"lissten\", which echo does not know; did you mean \"listen\"?");
        assert_eq!(reason(&other), want);
        until("the account beside it is live", || (account("main")["state"] == "live").then_some(()));
        let plugin = listed(&runtime, "echo").unwrap();
        assert_eq!(plugin["state"], "loaded", "the plugin itself is well");
        assert!(reason(&plugin).ends_with(&want), "{plugin}");
        let told = not_all_started(&runtime, "echo");
        assert_eq!(told, format!("plugin echo reloaded\n  its account other is broken: {want}\n"));

        write_config(&runtime, &format!("{good}[channels.echo.other]\nlisten = \"127.0.0.1:0\"\n"));
        assert_eq!(runtime.ok(&["plugin", "reload", "echo"]), "plugin echo reloaded\n");
        assert_eq!(["main", "other"].map(|name| account(name)["state"].clone()), ["live", "live"]);
    }
}

/// Reloads a plugin of which one account does not start: what is said of it.
fn not_all_started(runtime: &Runtime, plugin: &str) -> String {
    let output = runtime.run(&["plugin", "reload", plugin]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    let json = runtime.run(&["plugin", "reload", plugin, "--json"]);
    let answer: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((json.status.code(), answer["broken"].as_array().unwrap().len()), (Some(1), 1), "{answer}");
    let want = format!("not every account of the plugin {plugin} was started");
    assert!(told.contains(&want), "{told}");
    String::from_utf8(output.stdout).unwrap()
}

/// Whoever reloads hears of the account that waits for something.
#[test]
fn a_reload_says_what_is_not_live() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("listen = \"{}\"\n", taken.local_addr().unwrap());
    let runtime = Runtime::new(&format!("[channels.echo.main]\n{listen}")).up();
    fs::copy(plugin_file("vestibule-echo-channel"), runtime.home.path().join("plugins/echo.so")).unwrap();
    until("it waits", || (runtime.channel("echo")["state"] == "waiting").then_some(()));
    let told = runtime.ok(&["plugin", "reload", "echo"]);
    let want = "plugin echo reloaded\n  its account main is waiting: ";
    assert!(told.starts_with(want) && told.contains("in use"), "{told}");
    drop(taken);
    assert_eq!(runtime.ok(&["plugin", "reload", "echo"]), "plugin echo reloaded\n");
}

/// What is built in hears of a mended config, too; what is not mended changes nothing.
#[test]
fn what_is_built_in_is_started_again_with_the_config_of_now() {
    let config = "[channels.telegram.main]\ntokn = { env = \"T\" }\n[modules.agent-to-agent]\nhops = 3\n";
    let runtime = Runtime::new(config).up();
    let telegram = until("telegram is broken", || {
        Some(runtime.channel("telegram")).filter(|channel| channel["state"] == "broken")
    });
    let want = "[channels.telegram.main] has the key \"tokn\", which telegram does not know; did you mean \"token\"?";
    assert_eq!(reason(&telegram), format!("{}: {want}", config_file(&runtime)));
    let module = || listed(&runtime, "agent-to-agent").unwrap();
    let broken = until("the module is broken", || Some(module()).filter(|m| m["state"] == "broken"));
    assert!(reason(&broken).ends_with("does not know; did you mean \"hops_max\"?"), "{broken}");

    write_config(&runtime, "[modules.agent-to-agent]\nhops_max = \"3\"\n");
    let told = not_all_started(&runtime, "agent-to-agent");
    assert!(told.contains("and now: broken, ") && told.contains("wants a whole number"), "{told}");
    write_config(&runtime, "[modules.agent-to-agent]\nhops_max = 3\n");
    assert_eq!(runtime.ok(&["plugin", "reload", "agent-to-agent"]), "plugin agent-to-agent reloaded\n");
    assert_eq!((reason(&module()), module()["state"].as_str()), ("", Some("loaded")));

    // One that is live stays so when the new config does not fit.
    for (config, words) in [
        ("[modules.agent-to-agent]\nhops_max = true\n", "gives \"hops_max\" true or false"),
        ("lissten = 7\n", "`lissten` is not a key; did you mean `listen`? Mend that first. [CONFIG]"),
    ] {
        write_config(&runtime, config);
        let output = runtime.run(&["plugin", "reload", "agent-to-agent"]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && told.contains(words) && told.contains("[CONFIG]"), "{told}");
        assert_eq!(module()["state"], "loaded");
    }
    assert_eq!(runtime.chat("the rest goes on"), "the rest goes on");
}

/// A new file that wants what the config does not have changes nothing, until the config has it.
#[test]
fn a_replacement_waits_for_its_config() {
    for tier in ["process", "in-process"] {
        let config = format!("[plugins.odd]\ntier = \"{tier}\"\n[channels.odd.main]\n");
        let runtime = Runtime::new(&config).up();
        let file = runtime.home.path().join("plugins/odd.so");
        fs::write(&file, odd('V')).unwrap();
        runtime.wait_live("odd");
        let before = listed(&runtime, "odd").unwrap()["sha256"].clone();

        fs::write(&file, odd('W')).unwrap();
        let refused = until("it is refused", || listed(&runtime, "odd.so"));
        let why = reason(&refused);
        let fact = format!(
            "Plugin odd.so was not loaded: {}: [channels.odd.main] lacks the key \"wanted\", which odd needs (How many); \
             add wanted = NUMBER. What ran before runs on",
            config_file(&runtime)
        );
        assert!(why.starts_with(&fact) && why.ends_with("[CONFIG]"), "{why}");
        assert_eq!(runtime.channel("odd")["state"], "live");
        assert_eq!(listed(&runtime, "odd").unwrap()["sha256"], before);

        // The runtime hears that the config was mended.
        write_config(&runtime, &format!("{config}wanted = 7\n"));
        until("the new one runs", || (listed(&runtime, "odd")?["sha256"] != before).then_some(()));
        runtime.wait_live("odd");
        assert!(listed(&runtime, "odd.so").is_none(), "nothing is refused any more");
    }
}

/// A config that nobody can read keeps no plugin out for ever.
#[test]
fn a_file_waits_for_a_config_that_can_be_read() {
    let runtime = Runtime::new("").up();
    write_config(&runtime, "[channels.odd.main\n");
    fs::write(runtime.home.path().join("plugins/odd.so"), odd('V')).unwrap();
    let refused = until("it is refused", || listed(&runtime, "odd.so"));
    assert!(
        reason(&refused).contains("vestibule.toml: line 2") && reason(&refused).ends_with("[CONFIG]"),
        "{refused}"
    );
    write_config(&runtime, "[channels.odd.main]\n");
    runtime.wait_live("odd");
}

/// Whatever it answers, the file is refused, and the runtime goes on: a process that ends, no answer, a
/// level too deep, an error, no JSON, too many keys, a secret that its manifest does not name, a key of two
/// lines, and none for ever.
#[test]
fn a_plugin_that_does_not_describe_itself_is_refused() {
    let faults = [
        ('A', "its process ended: it crashed (SIGABRT"),
        ('C', "it dropped the call"),
        ('D', "recursion limit exceeded"),
        ('E', "later"),
        ('G', "cannot be read: expected"),
        ('K', "the limit is 262144"),
        ('S', "its key `token` is a secret in only one of manifest and schema"),
        ('T', "its key `two\\nlines` is not made of"),
        ('L', "it did not answer within 10 s"),
    ];
    let refused = |tier: &str| {
        let runtime = Runtime::new(&format!("[plugins.odd]\ntier = \"{tier}\"\n")).up();
        let file = |how: char| format!("{how}.so");
        for (how, _) in faults.iter().filter(|(how, _)| *how != 'L') {
            fs::write(runtime.home.path().join("plugins").join(file(*how)), odd(*how)).unwrap();
        }
        for (how, words) in faults {
            let name = file(how);
            if how == 'L' {
                // It keeps the others waiting.
                fs::write(runtime.home.path().join("plugins").join(&name), odd(how)).unwrap();
            }
            let refused = until(&format!("{name} is refused"), || listed(&runtime, &name));
            let why = reason(&refused);
            assert!(
                why.starts_with(&format!("Plugin {name} was not loaded: it does not describe its config ("))
            );
            assert!(why.contains(words) && why.ends_with("[DESCRIBE]"), "{tier} {how}: {why}");
            assert!(!why.contains('\n') && why.len() < 600, "{why}");
        }
        assert_eq!(runtime.chat("the rest goes on"), "the rest goes on");
    };
    std::thread::scope(|threads| {
        threads.spawn(|| refused("process"));
        threads.spawn(|| refused("in-process"));
    });
}

fn checked(runtime: &Runtime, file: &Path, more: &[&str]) -> (bool, Value) {
    let words = [&["plugin", "check", file.to_str().unwrap(), "--json"], more].concat();
    let output = runtime.run(&words);
    (output.status.success(), serde_json::from_slice(&output.stdout).unwrap())
}

fn config_check(report: &Value) -> (Option<bool>, &str) {
    let mut checks = report["checks"].as_array().unwrap().iter();
    let check =
        checks.find(|check| check["what"] == "config").unwrap_or_else(|| panic!("no config: {report}"));
    (check["ok"].as_bool(), check["words"].as_str().unwrap())
}

#[test]
fn check_shows_the_schema_and_holds_a_config_against_it() {
    let runtime = Runtime::new("").env("T", "secret");
    let telegram = plugin_file("vestibule-telegram");
    let aside = tempfile::tempdir().unwrap();
    let other = aside.path().join("other.toml");
    let path = other.to_str().unwrap();
    for (config, ok, words) in [
        ("", Some(false), " has no [channels.telegram.ACCOUNT]: add it"),
        (
            "[channels.telegramm.a]\ntoken = { env = \"T\" }\n",
            Some(false),
            "add it; did you mean it by [channels.telegramm.…]?",
        ),
        ("[channels.telegram.a]\ntoken = { env = \"T\" }\n", Some(true), "[channels.telegram.a] fits"),
        ("[channels.telegram.a]\ntoken = \"t0p\"\n", Some(false), "`token` is a secret: write { env"),
        ("[channels.telegram.a]\ntokn = 1\n", Some(false), "did you mean \"token\"?"),
    ] {
        // Nothing else is to have its place.
        fs::write(&other, format!("{config}[plugins.telegram]\nbuilt_in = false\n")).unwrap();
        let (good, report) = checked(&runtime, &telegram, &["--config", path]);
        let (fits, told) = config_check(&report);
        assert_eq!(fits, ok, "{config}: {report}");
        assert_eq!((good, report["fits"] == true), (ok != Some(false), good), "{config}: {report}");
        assert!(told.starts_with(path) && told.contains(words) && !told.contains("t0p"), "{config}: {told}");
        assert_eq!(report["loads"], true, "{report}");
    }
    let output = runtime.run(&["plugin", "check", telegram.to_str().unwrap(), "--config", path]);
    let words = String::from_utf8(output.stdout).unwrap();
    for want in [
        "token           string, required, secret ",
        "  The bot's token, from BotFather\n",
        "api_root        string, \"https://api.telegram.org\" by default  Where",
    ] {
        assert!(words.contains(want), "{words}");
    }
    let missing = runtime.run(&["plugin", "check", telegram.to_str().unwrap(), "--config", "/nowhere.toml"]);
    assert!(String::from_utf8_lossy(&missing.stderr).contains("cannot read /nowhere.toml"));

    // A home may do without a config, and a plugin without a section; a config that was named says something of it.
    let echo = plugin_file("vestibule-echo-channel");
    let more = ["--config", path];
    for (config, named, ok, words) in [
        (None, false, Some(true), " has no [channels.echo.main], and it needs none"),
        (
            Some("[channels.ecko.main]\nlisten = \"127.0.0.1:0\"\n"),
            true,
            Some(false),
            "by [channels.ecko.…]?",
        ),
        (
            Some("[channels.echo.main]\nlisten = \"127.0.0.1:0\"\n"),
            true,
            Some(true),
            "[channels.echo.main] fits",
        ),
    ] {
        config.iter().for_each(|text| fs::write(&other, text).unwrap());
        let (_, report) = checked(&runtime, &echo, if named { &more } else { &[] });
        let (fits, told) = config_check(&report);
        assert!(fits == ok && told.contains(words), "{config:?}: {report}");
    }
    let absent = runtime.home.path().join("vestibule.toml");
    fs::remove_file(&absent).unwrap();
    let missing =
        runtime.run(&["plugin", "check", echo.to_str().unwrap(), "--config", absent.to_str().unwrap()]);
    assert!(!missing.status.success() && String::from_utf8_lossy(&missing.stderr).contains("cannot read"));

    // One that describes no config, and one whose config is open.
    let file = aside.path().join("odd.so");
    fs::write(&other, "[channels.odd.main]\nwhatever = 7\n").unwrap();
    for (how, ok) in [('.', None), ('O', Some(true))] {
        fs::write(&file, odd(how)).unwrap();
        let (good, report) = checked(&runtime, &file, &["--config", path]);
        assert_eq!((good, config_check(&report).0), (true, ok), "{report}");
    }
}

/// Each `toml` block of the pages for operators that has a channel's section, as the channel's file would find it.
#[test]
fn the_configs_that_the_pages_show_fit() {
    let mut runtime = Runtime::new("");
    let names = [
        "GITHUB_TOKEN",
        "GITHUB_WEBHOOK_SECRET",
        "SLACK_APP_TOKEN",
        "SLACK_BOT_TOKEN",
        "TELEGRAM_BOT_TOKEN",
        "TELEGRAM_WEBHOOK_SECRET",
        "WHATSAPP_ACCESS_TOKEN",
        "WHATSAPP_APP_SECRET",
        "WHATSAPP_VERIFY_TOKEN",
    ];
    for name in names {
        runtime = runtime.env(name, "secret");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let shown = runtime.home.path().join("shown.toml");
    let key = runtime.home.path().join("vestibule-agent.pem");
    fs::write(&key, "a key").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let mut seen = BTreeSet::new();
    let pages = [
        "docs/operating.md",
        "adapters/github/README.md",
        "adapters/slack/README.md",
        "adapters/telegram/README.md",
        "adapters/whatsapp/README.md",
    ];
    for page in pages {
        let text = fs::read_to_string(root.join(page)).unwrap();
        for block in text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()) {
            for name in ["github", "slack", "telegram", "whatsapp"] {
                if !block.contains(&format!("[channels.{name}.main]")) {
                    continue;
                }
                let block = block.replace("/PATH/TO/", &format!("{}/", runtime.home.path().display()));
                // Nothing else is to have its place.
                fs::write(&shown, format!("{block}\n[plugins.{name}]\nbuilt_in = false\n")).unwrap();
                let file = plugin_file(&format!("vestibule-{name}"));
                let (good, report) = checked(&runtime, &file, &["--config", shown.to_str().unwrap()]);
                assert!(good && config_check(&report).0 == Some(true), "{page}: {report}");
                seen.insert((page, name));
            }
        }
    }
    assert_eq!(seen.len(), 7, "{seen:?}");
}

#[test]
fn check_takes_the_keys_of_one_account_as_conform_does() {
    let runtime = Runtime::new("[plugins.telegram]\nbuilt_in = false\n").env("T", "secret");
    let aside = tempfile::tempdir().unwrap();
    let (keys, file) = (aside.path().join("keys.toml"), aside.path().join("odd.so"));
    fs::write(&file, odd('O')).unwrap();
    let telegram = plugin_file("vestibule-telegram");
    for (plugin, config, ok, words) in [
        (&telegram, "token = { env = \"T\" }\n", true, "[channels.telegram.main] fits"),
        (&telegram, "tokn = 1\n", false, "did you mean \"token\"?"),
        (&telegram, "token = \"t0p\"\n", false, "`token` is a secret: write { env"),
        (&file, "channels = [\"general\"]\n", true, "[channels.odd.main] fits"),
    ] {
        fs::write(&keys, config).unwrap();
        let (good, report) = checked(&runtime, plugin, &["--config", keys.to_str().unwrap()]);
        let (fits, told) = config_check(&report);
        assert_eq!((good, fits), (ok, Some(ok)), "{config}: {report}");
        assert!(told.contains(words) && !told.contains("t0p"), "{config}: {told}");
    }
}

/// What `up` says of a config, `plugin check` says before, in the same words.
#[test]
fn check_says_what_the_start_would_say() {
    let aside = tempfile::tempdir().unwrap();
    let named = aside.path().join("vestibule.toml");
    let telegram = plugin_file("vestibule-telegram");
    let check =
        ["plugin", "check", telegram.to_str().unwrap(), "--json", "--config", named.to_str().unwrap()];
    let section = |token: &str| format!("[channels.telegram.main]\ntoken = {token}\n");
    let mut runtime = Runtime::new("");
    let config = runtime.home.path().join("vestibule.toml");
    // Nothing else is to have its place.
    let alone = "[plugins.telegram]\nbuilt_in = false\n";

    // The whole config is refused: what it says, and the sentence.
    for (text, want) in [
        ("[chanels.telegram.main]\n", "`chanels` is not a key; did you mean `channels`?"),
        ("[plugin.telegram.x]\n", "`plugin` is not a key; did you mean `plugins`?"),
        ("[channels.telegram.\"\"]\n", "cannot hold the account \"\" of telegram: a name is"),
        ("[channels.telegram.\"a b\"]\n", "cannot hold the account \"a b\" of telegram: a name is"),
    ] {
        fs::write(&named, text).unwrap();
        fs::write(&config, alone).unwrap();
        let output = runtime.run(&check);
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told).into_owned();
        assert!(!output.status.success() && told.replace("\\\"", "\"").contains(want), "{text}: {told}");
        fs::write(&config, text).unwrap();
        let output = runtime.run(&["up", "--log", "error"]);
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && words.contains(want), "{text}: {words}");
    }

    // The account is not started: its token, what `check` takes that for, and the sentence.
    for (token, fits, want) in [
        ("{ file = \"/no/such\" }", Some(false), "`token` is missing: cannot read /no/such: No such file"),
        ("{ file = 7 }", Some(false), "`token` must be { env = \"NAME\" } or { file = \"PATH\" }"),
        ("7", Some(false), "gives \"token\" a whole number, and telegram wants text"),
        ("{ env = \"NO_SUCH\" }", None, "`token` is missing: the environment variable NO_SUCH is not set"),
    ] {
        fs::write(&named, section(token) + alone).unwrap();
        let report: Value = serde_json::from_slice(&runtime.run(&check).stdout).unwrap();
        let (found, told) = config_check(&report);
        assert!(found == fits && told.contains(want), "{token}: {report}");
        fs::write(&config, section(token)).unwrap();
        runtime.start();
        let row = until("its account was started", || {
            let row = runtime.channel("telegram");
            (row["state"] == "broken").then_some(row)
        });
        assert!(reason(&row).contains(want), "{token}: {row}");
        runtime.stop();
    }
}

/// The examination of authors: a start that takes what the schema does not allow.
#[test]
fn conform_holds_the_start_to_the_schema() {
    let (runtime, aside) = (Runtime::new(""), tempfile::tempdir().unwrap());
    let file = aside.path().join("odd.so");
    let conform = |how: char| -> Value {
        fs::write(&file, odd(how)).unwrap();
        let set = ["--set", "wanted=7", "--calls", "8", "--json"];
        let output = runtime.run(&[&["plugin", "conform", file.to_str().unwrap()][..], &set].concat());
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let check = |report: &Value, name: &str| {
        let mut checks = report["checks"].as_array().unwrap().iter();
        let check = checks.find(|check| check["check"] == name).unwrap_or_else(|| panic!("{report}"));
        (check["outcome"].as_str().unwrap().to_owned(), check["words"].as_str().unwrap().to_owned())
    };
    let report = conform('W');
    assert_eq!(check(&report, "schema"), ("ok".into(), "its config has the keys wanted".into()));
    let want = "its account starts without \"wanted\", which its schema does not allow";
    assert_eq!(check(&report, "schema and start"), ("failed".into(), want.into()));
    assert_eq!(check(&conform('S'), "schema").0, "failed");
    let report = conform('.');
    assert_eq!(
        (check(&report, "schema").0, check(&report, "schema and start").0),
        ("skipped".into(), "skipped".into())
    );
}

/// A secret is named once, by the type of its key: manifest and schema cannot differ.
#[test]
fn every_plugin_of_the_tree_describes_its_config() {
    let runtime = Runtime::new("");
    for (krate, keys, secrets) in [
        ("terminal", &["socket", "token"][..], &["token"][..]),
        (
            "github",
            &[
                "token",
                "webhook_secret",
                "private_key",
                "app_id",
                "installation_id",
                "api_url",
                "anyone",
                "bot_username",
                "teams",
                "listener",
            ],
            &["token", "webhook_secret", "private_key"],
        ),
        (
            "telegram",
            &["token", "webhook_url", "webhook_secret", "commands", "api_root"],
            &["token", "webhook_secret"],
        ),
        ("agent-to-agent", &["hops_max"], &[]),
        ("echo-channel", &["listen"], &[]),
        ("faulty", &["listen", "socket", "at_start", "at_deliver", "at_stop"], &[]),
        ("guard", &["tell"], &[]),
    ] {
        let (_, report) = checked(&runtime, &plugin_file(&format!("vestibule-{krate}")), &[]);
        let described = report["schema"]["keys"].as_array().unwrap_or_else(|| panic!("{krate}: {report}"));
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let all: Vec<String> = described.iter().map(|key| word(&key["key"])).collect();
        let secret = described.iter().filter(|key| key["secret"] == true).map(|key| word(&key["key"]));
        let declared = report["manifest"]["secrets"].as_array().unwrap().iter().map(word);
        assert_eq!(all, keys, "{krate}");
        assert_eq!(secret.collect::<Vec<_>>(), secrets, "{krate}");
        assert_eq!(declared.collect::<Vec<_>>(), secrets, "{krate}");
        let silent: BTreeSet<String> = described
            .iter()
            .filter(|key| word(&key["help"]).is_empty())
            .map(|key| word(&key["key"]))
            .collect();
        assert!(silent.is_empty(), "{krate} does not say what these are: {silent:?}");
    }
}
