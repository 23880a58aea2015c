//! The house rules that a test can check: who imports whom, one door for each danger, documents that
//! match the tree.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every Rust file that is not a test, with its text: path relative to the root.
fn sources() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders: Vec<PathBuf> = ["plugin-api", "runtime", "runner", "adapters", "modules", "examples"]
        .iter()
        .map(|folder| root().join(folder))
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "tests" && name != "target" {
                folders.push(path);
            } else if name.ends_with(".rs") && name != "tests.rs" {
                let text = fs::read_to_string(&path).unwrap();
                found.insert(path.strip_prefix(root()).unwrap().to_string_lossy().into_owned(), text);
            }
        }
    }
    assert!(found.len() > 50, "the sources are not where this test looks");
    found
}

/// A file's code: without its unit tests and without comments.
fn code(text: &str) -> String {
    let code = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or(text);
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The files under `within` that contain `word`, other than the doors.
fn outside(word: &str, within: &str, doors: &[&str]) -> Vec<String> {
    let at_door = |path: &str| doors.iter().any(|door| path.starts_with(door));
    let found =
        sources().into_iter().filter(|(path, text)| path.starts_with(within) && code(text).contains(word));
    found.map(|(path, _)| path).filter(|path| !at_door(path)).collect()
}

#[test]
fn each_danger_has_one_door() {
    for (word, within, doors) in [
        // Each pen in one hand.
        ("InboundWriter", "runtime/", &["runtime/session/", "runtime/src/ledger/"][..]),
        ("OutboundReader", "runtime/", &["runtime/session/", "runtime/keeper/"]),
        ("OutboundWriter", "runtime/", &["runtime/session/"]),
        // The names inside a session's folder.
        ("\"inbound.db", "", &["runtime/session/src/layout.rs"]),
        ("\"outbound.db\"", "", &["runtime/session/src/layout.rs"]),
        ("\".heartbeat", "", &["runtime/session/src/layout.rs"]),
        // Of an emoji it is the name.
        ("\"outbox", "", &["runtime/session/src/layout.rs", "plugin-api/src/toolbox/emoji.rs"]),
        // Foreign code, and processes.
        ("libloading", "runtime/", &["runtime/src/plugins/file/load.rs"]),
        ("Command::new", "runtime/src/", &["runtime/src/launcher/", "runtime/src/plugins/process/child.rs"]),
        (
            "Connection::open",
            "runtime/",
            &["runtime/src/db/", "runtime/session/src/inbound.rs", "runtime/session/src/outbound.rs"],
        ),
        (
            "unsafe",
            "",
            &[
                "plugin-api/seam/",
                "plugin-api/src/sdk/export.rs",
                // A descriptor that the runtime handed over is known by its number only.
                "plugin-api/src/sdk/local.rs",
                "runtime/src/plugins/file/load.rs",
                // How a process is scheduled is a system call that no crate in use wraps.
                "runtime/src/plugins/process/hog.rs",
                "runtime/keeper/src/launch.rs",
                // A descriptor that the keeper handed over is known by its number only.
                "runtime/keeper/src/user.rs",
                // rustix panics on a session that another pid namespace began.
                "runtime/keeper/src/weight.rs",
                // SQLite takes its system calls as C functions.
                "runtime/session/src/calls.rs",
            ],
        ),
        // What the agent can write.
        (".outbound_db", "runtime/src/", &[]),
        (".heartbeat(", "runtime/src/", &[]),
    ] {
        assert_eq!(outside(word, within, doors), [""; 0], "`{word}` has a door of its own: {doors:?}");
    }
}

#[test]
fn every_unsafe_has_its_reason() {
    for (path, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let is_code = !line.trim_start().starts_with("//") && !line.contains("\"unsafe");
            let opens = line.contains("unsafe {") || line.contains("unsafe impl");
            if is_code && opens {
                let before = &lines[number.saturating_sub(4)..number];
                let reason = before.iter().any(|line| line.contains("SAFETY:"));
                assert!(reason, "{path}:{}: unsafe without `// SAFETY:`", number + 1);
            }
        }
    }
}

#[test]
fn crates_import_only_whom_they_may() {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let may = |name: &str| -> &[&str] {
        match name {
            "vestibule-seam" => &[],
            "vestibule-plugin-api" => &["vestibule-seam"],
            "vestibule-session" => &["vestibule-plugin-api"],
            "vestibule-keeper" => &["vestibule-session"],
            "vestibule-runner" => &["vestibule-plugin-api", "vestibule-session"],
            "vestibule-runtime" => {
                &["vestibule-keeper", "vestibule-plugin-api", "vestibule-seam", "vestibule-session"]
            }
            "vestibule-conform" => &["vestibule-plugin-api", "vestibule-runtime", "vestibule-seam"],
            "vestibule" => &[
                "vestibule-agent-to-agent",
                "vestibule-conform",
                "vestibule-github",
                "vestibule-keeper",
                "vestibule-plugin-api",
                "vestibule-runner",
                "vestibule-runtime",
                "vestibule-slack",
                "vestibule-telegram",
                "vestibule-terminal",
                "vestibule-whatsapp",
            ],
            _ => &["vestibule-plugin-api"], // a plugin sees the author's side and nothing else
        }
    };
    let mut seen = 0;
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        if name == "vestibule-tests" {
            continue;
        }
        seen += 1;
        for dependency in package["dependencies"].as_array().unwrap() {
            let on = dependency["name"].as_str().unwrap();
            let ours = on.starts_with("vestibule");
            let for_tests = dependency["kind"] == "dev";
            assert!(!ours || for_tests || may(name).contains(&on), "{name} may not import {on}");
        }
    }
    assert!(seen >= 10, "{seen} packages");
}

/// The modules of `runtime/src`, from the bottom up. A module imports from the layers below its own, and nothing else:
/// neither from above, nor from beside it.
const LAYERS: [(&str, &[&str]); 13] = [
    ("the ground", &["chat_key", "clock", "error", "id", "lock", "plain_file"]),
    ("the floor", &["lanes", "listener", "observer", "places"]),
    ("private files", &["private"]),
    ("the home", &["home"]),
    ("the config", &["config"]),
    ("the central database", &["db"]),
    ("the bytes of files", &["attachments"]),
    ("the ledger", &["ledger"]),
    (
        "rooms",
        &[
            "agents",
            "destinations",
            "drops",
            "messaging_groups",
            "plugin_state",
            "questions",
            "sessions",
            "taken_webhooks",
            "wirings",
        ],
    ),
    ("doors to other programs", &["launcher", "plugins"]),
    ("what the loops share", &["context"]),
    ("loops", &["backup", "delivery", "http", "inbound"]),
    ("loops above loops", &["adopt", "housekeeping", "wake"]),
];

/// Above all layers: what operators ask may concern each of them, and what starts them names them all.
const TOP: [&str; 4] = ["control", "services", "run", "lib"];

fn layer(module: &str) -> usize {
    let top = TOP.iter().position(|one| *one == module).map(|at| LAYERS.len() + at);
    let found = LAYERS.iter().position(|(_, modules)| modules.contains(&module)).or(top);
    found.unwrap_or_else(|| panic!("runtime/src/{module} has no layer: give it one in LAYERS"))
}

/// The modules of the runtime that a file names by `crate::x` or `use crate::{x, y::{z}}`.
fn imports(text: &str) -> BTreeSet<String> {
    let word =
        |text: &str| text.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>();
    let mut found = BTreeSet::new();
    for part in code(text).split("crate::").skip(1) {
        let Some(list) = part.strip_prefix('{') else {
            found.insert(word(part));
            continue;
        };
        // The names at the first level of the braces.
        let (mut depth, mut names) = (1, String::new());
        for letter in list.chars() {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ if depth == 1 => names.push(letter),
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
        found.extend(names.split(',').map(|name| word(name.trim())));
    }
    found.remove("");
    found
}

#[test]
fn the_imports_of_a_file_are_found() {
    let text =
        "use crate::{a, b_c::{d, e}, f::G};\nuse crate::h::i;\nlet x = crate::j();\nuse crate::Result;";
    assert_eq!(imports(text).into_iter().collect::<Vec<_>>(), ["a", "b_c", "f", "h", "j"]);
}

#[test]
fn inside_the_runtime_imports_go_down() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some(inside) = path.strip_prefix("runtime/src/") else { continue };
        let module = inside.split(['/', '.']).next().unwrap();
        for import in imports(&text) {
            if import != module && import != "words" && layer(&import) >= layer(module) {
                wrong.push(format!("{path} imports {import}"));
            }
        }
        let pure =
            inside.ends_with("decide.rs") || text.lines().next().is_some_and(|line| line.contains("Pure"));
        if pure {
            for word in ["rusqlite", "std::fs", "tokio", "crate::db", "crate::plugins::Registry"] {
                assert!(!code(&text).contains(word), "{path} is pure and names {word}");
            }
        }
    }
    assert_eq!(wrong, [""; 0], "a module imports from the layers below its own only");
}

/// What a module may do in tables that are another's.
const FOREIGN_SQL: [(&str, &str, &[&str]); 5] = [
    // The ledger's counters of a session, and of an agent's destinations, are columns of their rows.
    ("ledger", "changes", &["sessions", "agent_groups"]),
    // Names of places and agents come by a join, not by a query each.
    ("destinations", "reads", &["messaging_groups", "agent_groups"]),
    ("sessions", "reads", &["messaging_groups"]),
    // What a backup holds, and which bytes are in use, is asked of the tables as they are.
    ("backup", "reads", &["sessions", "files"]),
    ("attachments", "reads", &["files"]),
];

/// The table of each `FROM`, `JOIN`, `INTO` and `UPDATE`, and whether its rows are changed.
fn tables(text: &str) -> BTreeSet<(String, bool)> {
    let text = text.replace("\\\n", " ").replace("UPDATE OR IGNORE ", "UPDATE ");
    let words: Vec<&str> =
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|w| !w.is_empty()).collect();
    let verb = |at: usize| match words[at] {
        "INTO" | "UPDATE" => Some(true),
        "FROM" => Some(at > 0 && words[at - 1] == "DELETE"),
        "JOIN" => Some(false),
        _ => None,
    };
    (0..words.len().saturating_sub(1)).filter_map(|at| Some((words[at + 1].to_owned(), verb(at)?))).collect()
}

/// A table is its room's: what others want to know of it, or have changed in it, they ask the room. `control` shows
/// operators all tables together.
#[test]
fn sql_stands_in_the_room_of_its_table() {
    let mut owners = BTreeMap::new();
    for module in LAYERS.iter().flat_map(|(_, modules)| *modules) {
        let folder = root().join("runtime/src").join(module).join("migrations");
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            for table in text.split("CREATE TABLE ").skip(1) {
                owners.insert(table.split([' ', '\n', '(']).next().unwrap().to_owned(), *module);
            }
        }
    }
    assert!(owners.len() > 12, "{owners:?}");
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some(inside) = path.strip_prefix("runtime/src/") else { continue };
        let module = inside.split(['/', '.']).next().unwrap();
        for (table, changes) in tables(&code(&text)) {
            let Some(owner) = owners.get(&table) else { continue };
            let may = |(who, what, whose): &(&str, &str, &[&str])| {
                *who == module && (*what == "changes" || !changes) && whose.contains(&table.as_str())
            };
            let is_shown = module == "control" && !changes;
            if *owner != module && !is_shown && !FOREIGN_SQL.iter().any(may) {
                let what = if changes { "changes" } else { "reads" };
                wrong.push(format!("{path} {what} `{table}`, which is the table of {owner}"));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn every_file_opens_by_saying_what_it_is() {
    for (path, text) in sources() {
        let first = text.lines().next().unwrap_or_default();
        assert!(first.starts_with("//! "), "{path} opens with `{first}`");
    }
}

/// The map, and with it the page of each decision.
fn map_and_decisions() -> String {
    let mut text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut pages: Vec<PathBuf> =
        fs::read_dir(root().join("docs/decisions")).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.sort();
    for (at, page) in pages.iter().enumerate() {
        let one = fs::read_to_string(page).unwrap();
        assert!(
            one.starts_with(&format!("# {}. ", at + 1)),
            "{}: decisions are numbered in a row",
            page.display()
        );
        text.push_str(&one);
    }
    text
}

#[test]
fn the_map_names_every_folder_and_only_what_exists() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut folders = BTreeSet::new();
    for path in sources().keys() {
        let folder = Path::new(path).parent().unwrap().to_string_lossy().into_owned();
        folders.insert(folder.trim_end_matches("/src").to_owned());
    }
    for folder in folders {
        assert!(map.contains(&format!("`{folder}/`")), "ARCHITECTURE.md says nothing about `{folder}/`");
    }
    let all = map_and_decisions();
    let code = all.split('`').skip(1).step_by(2);
    for named in code.filter(|word| word.contains('/') && !word.contains([' ', '<', '*', '$'])) {
        let path = named.trim_end_matches('/').split("::").next().unwrap();
        let ours =
            ["plugin-api/", "runtime/", "runner/", "adapters/", "modules/", "examples/", "tests/", "docs/"];
        if ours.iter().any(|folder| named.starts_with(folder)) {
            assert!(
                root().join(path).exists(),
                "ARCHITECTURE.md or a decision names {named}, which is not there"
            );
        }
    }
}

/// The walks of the map, and decisions, name functions as `file::function`.
#[test]
fn the_functions_of_the_walks_exist() {
    let map = map_and_decisions();
    let mut seen = 0;
    for named in map.split('`').skip(1).step_by(2) {
        let Some((file, function)) = named.split_once(".rs::") else { continue };
        let text =
            fs::read_to_string(root().join(format!("{file}.rs"))).unwrap_or_else(|_| panic!("{named}"));
        let name = function.trim_end_matches("()").rsplit("::").next().unwrap();
        let is = text.contains(&format!("fn {name}(")) || text.contains(&format!("fn {name}<"));
        assert!(is, "ARCHITECTURE.md or a decision names {named}, which is not there");
        seen += 1;
    }
    assert!(seen > 20, "the walks name {seen} functions");
}

/// The functions of a file with their lines: by the brace that stands under their first letter, as rustfmt writes it.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(place) = words.iter().position(|word| *word == "fn") else { continue };
        let opens = words[..place]
            .iter()
            .all(|word| word.starts_with("pub") || ["async", "const", "unsafe"].contains(word));
        let name = words.get(place + 1).map(|word| word.split(['(', '<']).next().unwrap_or_default());
        let (true, Some(name)) = (opens, name) else { continue };
        let ends = |line: &&str| {
            line.len() > indent && line[indent..].starts_with('}') && line.trim_end().len() == indent + 1
        };
        let rest = lines[at..].iter().position(ends);
        let is_declared = lines[at..]
            .iter()
            .take(12)
            .find(|line| line.ends_with(';') || line.ends_with('{') || line.ends_with('}'));
        if let Some(length) = rest.filter(|_| is_declared.is_some_and(|line| line.ends_with('{'))) {
            found.push((name.to_owned(), length + 1));
        }
    }
    found
}

#[test]
fn functions_are_measured() {
    let text = "fn a() {\n    b();\n}\n\nimpl C {\n    pub async fn d(\n        e: u8,\n    ) -> u8 {\n        f()\n    }\n\n    fn g();\n}\n";
    assert_eq!(functions(text), [("a".to_owned(), 3), ("d".to_owned(), 5)]);
}

#[test]
fn no_function_is_longer_than_a_page() {
    const LINES_MAX: usize = 70;
    let mut long = Vec::new();
    for (path, text) in sources() {
        let code = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or(&text);
        let over = functions(code).into_iter().filter(|(_, lines)| *lines > LINES_MAX);
        long.extend(over.map(|(name, lines)| format!("{path}: {name} has {lines} lines")));
    }
    assert_eq!(long, [""; 0], "a function has {LINES_MAX} lines at most");
}

/// A crash point that stands at two places would be reached at the first of them only.
#[test]
fn a_crash_point_stands_at_one_place() {
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for (_, text) in sources() {
        for part in code(&text).split("crash::point(\"").skip(1) {
            *places.entry(part.split('"').next().unwrap().to_owned()).or_default() += 1;
        }
    }
    assert!(places.len() > 20, "{places:?}");
    let twice: Vec<String> =
        places.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name).collect();
    assert_eq!(twice, [""; 0]);
}

/// What NanoClaw v2 does, by the rows of the list by which the two are compared: those that are built, each with the tests
/// that are named by it. A row that is not here is not built, or not whole.
const ROWS: [(&str, &str); 14] = [
    (
        "c01",
        "an account without its credentials stops no other channel, and what the network refuses is tried again",
    ),
    ("c02", "webhooks: signatures, limits, unknown paths, several channels on one port"),
    (
        "c04",
        "Slack: events, threads, mentions, files, cards, clicks, edits, reactions, work shown, direct chats opened, events told \
         twice",
    ),
    (
        "c05",
        "GitHub: issues, pull requests, reviews and their threads, discussions, edits, deletions, reactions, files, apps",
    ),
    (
        "c06",
        "Telegram: polling and webhooks, mentions, topics, files and albums both ways, long texts, buttons, edits, reactions",
    ),
    (
        "c07",
        "WhatsApp, by Meta's Cloud API: texts, files, replies, questions, reactions, a token that is refused",
    ),
    ("c09", "the same message of a platform is taken once"),
    ("c10", "what a channel cannot show comes in words, and can be answered in words"),
    ("i17", "a channel is told once of a thread in which an agent listens"),
    ("m09", "the direct chat with a person is opened, or found, by their handle"),
    ("o07", "edits and reactions reach the message that the agent names"),
    ("o08", "questions and cards"),
    ("o10", "that an agent works is shown until the answer comes"),
    ("o11", "long texts become several messages, and none is sent twice"),
];

/// The tests that a file names by a row: `row_c04_…`.
fn rows_of_tests(text: &str) -> impl Iterator<Item = &str> {
    let tests = text.split("\n#[test]\nfn row_").skip(1);
    tests.map(|rest| rest.split('_').next().unwrap_or_default())
}

#[test]
fn each_row_that_is_built_has_its_test() {
    let flows = fs::read_dir(root().join("tests/tests/flows")).unwrap().map(|entry| entry.unwrap().path());
    let texts: Vec<String> = flows.filter_map(|path| fs::read_to_string(path).ok()).collect();
    let shown: BTreeSet<&str> = texts.iter().flat_map(|text| rows_of_tests(text)).collect();
    let listed: BTreeSet<&str> = ROWS.iter().map(|(row, _)| *row).collect();
    assert_eq!(listed.len(), ROWS.len(), "a row is listed twice");
    let without: Vec<&&str> = listed.difference(&shown).collect();
    assert!(without.is_empty(), "no test shows the rows {without:?}: name one `row_ROW_what_it_shows`");
    let unknown: Vec<&&str> = shown.difference(&listed).collect();
    assert!(unknown.is_empty(), "tests name the rows {unknown:?}, which are not in ROWS");
}

/// A comment names who acts: the runner, the plugin, the operator.
#[test]
fn comments_name_the_actor() {
    let mut vague = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            let Some((_, comment)) = line.split_once("//") else { continue };
            // The system's user of that name.
            let comment = comment.replace("`nobody`", "").replace("user nobody", "");
            let words = comment.split(|c: char| !c.is_alphabetic()).map(str::to_lowercase);
            let of = ["somebody", "someone", "whoever", "nobody", "anybody", "anyone"];
            let found = words.filter(|word| of.contains(&word.as_str()));
            vague.extend(found.map(|word| format!("{path}:{}: {word}", number + 1)));
        }
    }
    assert_eq!(vague, [""; 0]);
}
