//! Two agents in one chat: one answers without end. The other is heard all the same, and no more than a bounded
//! part of the flood lies with the runtime.

use crate::support::{Runtime, Terminal, until};
use rusqlite::{Connection, OpenFlags};
use serde_json::json;

/// How many replies it writes in one commit, as any agent can.
const FLOOD: usize = 2_500;
/// What a session may have pending, and the batch that leads beyond it.
const PENDING_MAX: i64 = 1_000 + 256;

/// A runtime with the agents `assistant` and `flood` in the terminal's chat, both of which echo.
fn two_in_one_chat() -> Runtime {
    let runtime = Runtime::new("").up();
    runtime.ok(&["agent", "create", "flood"]);
    let wiring =
        ["wiring", "create", "--agent", "flood", "--channel", "terminal", "--chat", &chat_of(&runtime)];
    runtime.ok(&[&wiring[..], &["--pattern", "^flood"]].concat());
    runtime
}

fn chat_of(runtime: &Runtime) -> String {
    runtime.query("SELECT platform_id FROM messaging_groups WHERE channel_type = 'terminal'").remove(0)
}

/// Writes replies to a chat into the file of the agent `flood`, as it can itself.
fn write_flood(runtime: &Runtime, channel: &str, chat: &str) {
    let of_flood = "SELECT agent_group_id || '/' || id FROM sessions \
                    WHERE agent_group_id = (SELECT id FROM agent_groups WHERE name = 'flood')";
    let session = runtime.home.path().join("sessions").join(&runtime.query::<String>(of_flood)[0]);
    let file = session.join("out/outbound.db");
    let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    db.busy_timeout(crate::support::PATIENCE).unwrap();
    let sql = format!(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {FLOOD} - 1) \
         INSERT INTO messages_out (id, seq, timestamp, kind, platform_id, channel_type, content) \
         SELECT 'flood-' || i, 1001 + 2 * i, '', 'chat', ?1, ?2, json_object('text', 'flood ' || i) FROM n"
    );
    assert_eq!(db.execute(&sql, [chat, channel]).unwrap(), FLOOD);
}

#[test]
fn one_that_floods_a_chat_holds_back_nobody_and_fills_nothing() {
    let runtime = two_in_one_chat();
    let mut terminal = Terminal::connect(&runtime, true);
    terminal.say("flood");
    assert_eq!([terminal.reply(), terminal.reply()], ["flood", "flood"]);
    write_flood(&runtime, "terminal", &chat_of(&runtime));
    terminal.write(&json!({ "text": "are you there" }));
    let (mut numbers, mut answered) = (Vec::new(), false);
    while numbers.len() < FLOOD || !answered {
        let said = terminal.reply();
        answered |= said == "are you there";
        numbers.extend(said.strip_prefix("flood ").map(|number| number.parse::<usize>().unwrap()));
        if numbers.len() % 250 == 1 {
            let open = runtime.query::<i64>(
                "SELECT COUNT(*) FROM deliveries WHERE state IN ('pending', 'sending', 'unknown', 'parked')",
            )[0];
            assert!(open <= PENDING_MAX + 1, "{open} are pending");
        }
    }
    assert!(numbers.iter().copied().eq(0..FLOOD), "in order, and each once");
    let of_flood = |when: &str| {
        let sql = format!(
            "SELECT COUNT(*) FROM deliveries f, deliveries n WHERE n.content LIKE '%are you there%' \
             AND f.message_out_id LIKE 'flood-%' AND {when}"
        );
        runtime.query::<i64>(&sql)[0]
    };
    assert!(of_flood("f.settled_at > n.settled_at") > 0, "the flood was over before the other spoke");
    let before = of_flood("f.settled_at > n.taken_at AND f.settled_at < n.settled_at");
    assert!(before <= 3, "{before} of the flood went before the other's turn came");
    assert!(runtime.log().contains("as many replies pending as a session may"), "it was held back");
}

/// No plugin speaks the channel that the flood goes to: its replies wait for one.
#[test]
fn a_session_without_room_is_shown() {
    let runtime = two_in_one_chat();
    runtime.ok(&["messaging-group", "create", "--channel", "acme", "--chat", "far", "--name", "far"]);
    let far =
        runtime.query::<String>("SELECT id FROM messaging_groups WHERE channel_type = 'acme'").remove(0);
    runtime.ok(&["destination", "create", "--agent", "flood", "--name", "far", "--to", &far]);
    let mut asks = Terminal::connect(&runtime, true);
    asks.say("flood");
    assert_eq!([asks.reply(), asks.reply()], ["flood", "flood"]);
    write_flood(&runtime, "acme", "far");
    let trouble = || runtime.json(&["status"])["in_trouble"].as_array().unwrap().clone();
    let row = until("it is shown", || trouble().pop());
    assert_eq!(row["state"], "waiting", "{row}");
    assert!(row["reason"].as_str().unwrap().contains("as many replies pending as a session may"), "{row}");
}
