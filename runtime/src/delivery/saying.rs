//! What a module wants a session to say: read from its effects, planned as replies of the agent, and recorded. A module
//! speaks where the agent may, and in no other place.

use super::decide::{Decision, agent_address, decide};
use super::snapshot::Snapshot;
use super::{Recorded, card, record_one};
use crate::agents;
use crate::clock::{Timestamp, after, format_time};
use crate::db::{ReadTxn, WriteTxn};
use crate::destinations;
use crate::error::{Error, Result};
use crate::id::AgentGroupId;
use crate::ledger;
use crate::questions::{self, ForModule};
use crate::sessions::{self, Session};
use serde_json::{Value, json};
use std::collections::HashSet;
use vestibule_plugin_api::{
    AGENT, Address, AskOption, Card, Effect, Field, Link, TEXT_BYTES_MAX, effect_key_fault, payload_fault,
};
use vestibule_session::MessageOut;

/// A question of a module can be answered for at most this many milliseconds: 30 days.
const DEADLINE_MAX_MS: i64 = 30 * 24 * 3600 * 1000;

/// One thing that a session is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saying {
    /// The agent whose session it is; `None`: the one that the module was asked about.
    pub agent: Option<String>,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// Something new, with its content as a reply has it.
    New { to: Option<String>, key: Option<String>, content: Value, at: Option<Timestamp>, asks: Option<Asks> },
    /// Other words for what was said under a key.
    Edit { key: String, text: String },
}

/// What a question of a module has besides its words.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asks {
    deadline: Option<Timestamp>,
    payload: Value,
}

/// A payload for a tick at a time; without one, it is taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduled {
    /// The module's key of it.
    pub key: String,
    /// When.
    pub at: Option<Timestamp>,
    /// What the tick brings.
    pub payload: Value,
}

impl Scheduled {
    /// # Errors
    /// The key or the payload is too long.
    pub fn new(key: String, at: Option<Timestamp>, payload: Value) -> std::result::Result<Scheduled, String> {
        match effect_key_fault(&key).or_else(|| payload_fault(&payload)) {
            Some(why) => Err(why),
            None => Ok(Scheduled { key, at, payload }),
        }
    }
}

impl Saying {
    /// Reads an effect; `None` for one by which no session says anything. Pure.
    ///
    /// # Errors
    /// It breaks a limit.
    pub fn read(effect: Effect) -> std::result::Result<Option<Saying>, String> {
        let new = |agent, to, key, content, at| Saying {
            agent,
            what: What::New { to, key, content, at, asks: None },
        };
        let saying = match effect {
            Effect::Send { agent, to, key, text, at } => new(agent, to, key, json!({ "text": text }), at),
            Effect::Card { agent, to, key, card, at } => new(agent, to, key, of_card(&card)?, at),
            Effect::Ask { agent, to, key, title, question, options, deadline, payload } => {
                if let Some(why) = payload_fault(&payload) {
                    return Err(why);
                }
                let content = json!({ "type": "ask_question", "title": title, "question": question,
                    "options": options.iter().map(of_option).collect::<Vec<_>>() });
                let asks = Some(Asks { deadline, payload });
                Saying { agent, what: What::New { to, key: Some(key), content, at: None, asks } }
            }
            Effect::React { agent, to, message_id, emoji } => {
                let content = json!({ "operation": "reaction", "messageId": message_id, "emoji": emoji });
                new(agent, to, None, content, None)
            }
            Effect::Edit { agent, key, text } => Saying { agent, what: What::Edit { key, text } },
            _ => return Ok(None),
        };
        let fault = match &saying.what {
            What::New { key: None, .. } => None,
            What::New { key: Some(key), .. } | What::Edit { key, .. } => effect_key_fault(key),
        };
        let too_long = |text: &String| {
            let size = text.len();
            (size > TEXT_BYTES_MAX).then(|| format!("a text has {size} bytes, the limit is {TEXT_BYTES_MAX}"))
        };
        let fault = fault.or_else(|| match &saying.what {
            What::Edit { text, .. } => too_long(text),
            What::New { content, .. } => match &content["text"] {
                Value::String(text) => too_long(text),
                _ => None,
            },
        });
        fault.map_or(Ok(Some(saying)), Err)
    }
}

fn of_option(AskOption { label, value, shown }: &AskOption) -> Value {
    json!({ "label": label, "value": value, "selectedLabel": shown })
}

/// A card as an agent writes it.
fn of_card(shown: &Card) -> std::result::Result<Value, String> {
    let Card { title, text, fields, links, fallback } = shown;
    let fields: Vec<Value> =
        fields.iter().map(|Field { name, value }| json!({ "name": name, "value": value })).collect();
    let links: Vec<Value> =
        links.iter().map(|Link { label, url }| json!({ "label": label, "url": url })).collect();
    let content = json!({ "type": "card", "fallbackText": fallback,
        "card": { "title": title, "description": text, "fields": fields, "actions": links } });
    match card::card(&content) {
        Some(read) if read.fields.len() == fields.len() && read.links.len() == links.len() => Ok(content),
        Some(_) => {
            Err("a field of a card says nothing, a link leads to no web page, or there are too many"
                .to_owned())
        }
        None => Err("a card says nothing".to_owned()),
    }
}

/// What a module's answer is about.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The module.
    pub module: &'a str,
    /// The session; none at a tick.
    pub session: Option<&'a Session>,
    /// Where its agent was asked, if that is known and no agent.
    pub at: Option<&'a Address>,
}

/// A reply that is to be recorded.
#[derive(Debug)]
pub struct Planned {
    session: Session,
    reply: MessageOut,
    asks: Option<ForModule>,
}

/// The id of what a module said under a key.
fn id_of(module: &str, key: &str) -> String {
    format!("mod-{module}-{key}")
}

/// Plans what a module wants said; nothing is recorded yet. The inner error says why all of it is refused.
///
/// # Errors
/// SQLite fails.
pub fn plan(
    db: &WriteTxn,
    about: About,
    said: &[Saying],
    now: Timestamp,
) -> Result<std::result::Result<Vec<Planned>, String>> {
    let (mut planned, mut ids) = (Vec::new(), HashSet::new());
    for saying in said {
        let one = match one(db, about, saying, now) {
            Ok(one) => one,
            Err(Error::Refused(why)) => Err(why),
            Err(error) => return Err(error),
        };
        match one {
            Ok(one) if ids.insert((one.session.id.clone(), one.reply.id.clone())) => planned.push(one),
            Ok(_) => return Ok(Err("one key stands for two things".to_owned())),
            Err(why) => return Ok(Err(why)),
        }
    }
    Ok(Ok(planned))
}

fn one(
    db: &WriteTxn,
    about: About,
    saying: &Saying,
    now: Timestamp,
) -> Result<std::result::Result<Planned, String>> {
    let session = match (&saying.agent, about.session) {
        (Some(agent), _) => {
            let agent = agents::named(db, agent)?;
            let id = match sessions::usable_for_agents(db, &agent.id)? {
                Some(id) => id,
                None => sessions::open_for_agent(db, &agent.id, now)?,
            };
            sessions::named(db, &id)?
        }
        (None, Some(session)) => session.clone(),
        (None, None) => return Ok(Err("it names no agent".to_owned())),
    };
    let planned = match &saying.what {
        What::Edit { key, text } => edit(db, about, &session, key, text)?,
        What::New { to, key, content, at, asks } => {
            // Where the agent was asked is a place of the session that the module was asked about.
            let asked_at = about.at.filter(|_| saying.agent.is_none());
            let address = match place(db, &session, to.as_deref(), asked_at)? {
                Ok(address) => address,
                Err(why) => return Ok(Err(why)),
            };
            let asks = match asks.as_ref().map(|asks| asks.of(about.module, key.as_deref(), now)).transpose()
            {
                Ok(asks) => asks,
                Err(why) => return Ok(Err(why)),
            };
            let id = key.as_ref().map_or_else(|| crate::id::mint("mod"), |key| id_of(about.module, key));
            let mut content = content.clone();
            if asks.is_some() {
                content["questionId"] = id.as_str().into();
            }
            let reply = MessageOut { deliver_after: at.map(format_time), ..reply(id, &address, &content) };
            Ok(Planned { session, reply, asks })
        }
    };
    let planned = match planned {
        Ok(planned) => planned,
        Err(why) => return Ok(Err(why)),
    };
    let (session_id, id) = (&planned.session.id, &planned.reply.id);
    if ledger::state_of(db, session_id, id)?.is_some() {
        return Ok(Err("something was said in this session under the same key before".to_owned()));
    }
    if !ledger::has_room(db, session_id)? {
        return Ok(Err("too much of its session waits to be delivered".to_owned()));
    }
    let Some(snapshot) = Snapshot::load(db, session_id, &planned.reply, now)? else {
        return Ok(Err("its session is gone".to_owned()));
    };
    Ok(match decide(&snapshot, &planned.reply) {
        Decision::Deliver(_) => Ok(planned),
        Decision::Refuse(why) => Err(why),
    })
}

impl Asks {
    /// What is on record with the question.
    fn of(&self, module: &str, key: Option<&str>, now: Timestamp) -> std::result::Result<ForModule, String> {
        let expires_at = self.deadline;
        if expires_at.is_some_and(|at| at <= now || at > after(now, DEADLINE_MAX_MS)) {
            return Err("the deadline of a question must lie in the next 30 days".to_owned());
        }
        Ok(ForModule {
            module: module.to_owned(),
            key: key.unwrap_or_default().to_owned(),
            payload: self.payload.to_string(),
            expires_at,
        })
    }
}

/// An edit goes where the message went, in the session that sent it, if that is one of the same agent.
fn edit(
    db: &ReadTxn,
    about: About,
    session: &Session,
    key: &str,
    text: &str,
) -> Result<std::result::Result<Planned, String>> {
    let mut found = None;
    for record in ledger::with_id(db, &id_of(about.module, key))? {
        // What an agent writes has a number: it cannot put a message of its own under the module's key.
        let owner = sessions::by_id(db, &record.session_id)?.filter(|_| record.reply.seq == 0);
        let owner = owner.filter(|owner| owner.agent_group_id == session.agent_group_id);
        let is_here = record.session_id == session.id;
        if let (Some(owner), Some(address)) = (owner, record.address())
            && (is_here || found.is_none())
        {
            found = Some((owner, address, record.reply.id));
        }
    }
    let Some((owner, address, id)) = found else {
        let key = key.escape_debug();
        return Ok(Err(format!("nothing was said for this agent under the key `{key}`")));
    };
    let content = json!({ "operation": "edit", "messageId": id, "text": text });
    Ok(Ok(Planned { session: owner, reply: reply(crate::id::mint("mod"), &address, &content), asks: None }))
}

/// The place that an agent calls so; without a name, where it was asked, or its session's chat.
fn place(
    db: &ReadTxn,
    session: &Session,
    to: Option<&str>,
    asked_at: Option<&Address>,
) -> Result<std::result::Result<Address, String>> {
    if let Some(name) = to {
        let found =
            destinations::shown(db, &session.agent_group_id)?.into_iter().find(|one| one.name == name);
        let address = found.and_then(|one| match one.agent_group_id {
            Some(agent) => Some(agent_address(&AgentGroupId::new(agent))),
            None => Some(Address {
                channel_type: one.channel_type?.into(),
                account: one.account?.into(),
                platform_id: one.platform_id?.into(),
                thread_id: None,
            }),
        });
        let unknown = || format!("this agent has no destination `{}`", name.escape_debug());
        return Ok(address.ok_or_else(unknown));
    }
    if let Some(at) = asked_at {
        return Ok(Ok(at.clone()));
    }
    let note = super::note::to_agent(db, session, "", 0, Timestamp(0))?;
    Ok(match note.address.channel_type.as_str() {
        AGENT => {
            Err("its session belongs to no chat, so an effect must name a destination (`to`)".to_owned())
        }
        _ => Ok(note.address),
    })
}

/// A row as the runtime writes it in the agent's place: it has no number.
fn reply(id: String, address: &Address, content: &Value) -> MessageOut {
    MessageOut {
        id,
        seq: 0,
        in_reply_to: None,
        timestamp: String::new(),
        deliver_after: None,
        kind: "chat".into(),
        platform_id: Some(address.platform_id.to_string()),
        channel_type: Some(address.channel_type.to_string()),
        thread_id: address.thread_id.as_ref().map(|thread| thread.as_str().to_owned()),
        content: content.to_string(),
        account: (address.channel_type.as_str() != AGENT).then(|| address.account.to_string()),
    }
}

/// Records what was planned; returns where it goes.
///
/// # Errors
/// SQLite fails.
pub fn record(db: &WriteTxn, planned: &[Planned], now: Timestamp) -> Result<Vec<Address>> {
    let mut addresses = Vec::new();
    for Planned { session, reply, asks } in planned {
        if let Recorded::To(address) = record_one(db, &session.id, reply, (Vec::new(), 0), now)? {
            addresses.push(address);
            if let Some(asks) = asks {
                questions::of_module(db, &session.id, &reply.id, asks)?;
            }
        }
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::questions::next_outcome;
    use vestibule_plugin_api::Decision;

    const DAY: i64 = 24 * 3600 * 1000;

    /// Two agents. `ann` is in the chat `c`, and may send to the chat `d` and to `bob`; `bob` is in no chat.
    fn db() -> WriteTxn<'static> {
        let db = crate::db::in_memory();
        db.execute_batch(
            "INSERT INTO agent_groups (id, name, folder, created_at) VALUES ('ag-a', 'ann', 'a', 0), ('ag-b', 'bob', 'b', 0); \
             INSERT INTO messaging_groups (id, channel_type, account, platform_id, created_at) \
             VALUES ('c', 'x', 'main', 'c', 0), ('d', 'x', 'main', 'd', 0), ('e', 'x', 'main', 'e', 0); \
             INSERT INTO sessions (id, agent_group_id, messaging_group_id, thread_id, created_at, last_active) \
             VALUES ('s-a', 'ag-a', 'c', 't', 0, 0), ('s-b', 'ag-b', NULL, NULL, 0, 0); \
             INSERT INTO destinations (agent_group_id, local_name, target_type, target_id, created_at) \
             VALUES ('ag-a', 'team', 'channel', 'd', 0), ('ag-a', 'bob', 'agent', 'ag-b', 0)",
        )
        .expect("it fills");
        db
    }

    fn send(agent: Option<&str>, to: Option<&str>, key: Option<&str>) -> Effect {
        let owned = |word: Option<&str>| word.map(str::to_owned);
        Effect::Send { agent: owned(agent), to: owned(to), key: owned(key), text: "hi".into(), at: None }
    }

    fn ask(to: Option<&str>, key: &str, deadline: Option<i64>) -> Effect {
        let option = |label: &str, value: Option<&str>| AskOption {
            label: label.into(),
            value: value.map(str::to_owned),
            shown: None,
        };
        Effect::Ask {
            agent: None,
            to: to.map(str::to_owned),
            key: key.into(),
            title: "Deploy".into(),
            question: String::new(),
            options: vec![option("Yes", Some("y")), option("No", None)],
            deadline: deadline.map(Timestamp),
            payload: json!({ "n": 7 }),
        }
    }

    fn edit(agent: Option<&str>, key: &str) -> Effect {
        Effect::Edit { agent: agent.map(str::to_owned), key: key.into(), text: "ho".into() }
    }

    /// Performs effects of the module `m`, which was asked about a session; returns where they go, or why nowhere.
    fn perform(
        db: &WriteTxn,
        session: Option<&str>,
        at: Option<&Address>,
        effects: Vec<Effect>,
        now: i64,
    ) -> String {
        let read = |effect| Saying::read(effect).map(|saying| saying.expect("a session says something"));
        let said: std::result::Result<Vec<Saying>, String> = effects.into_iter().map(read).collect();
        let said = match said {
            Ok(said) => said,
            Err(why) => return why,
        };
        let session =
            session.map(|id| sessions::by_id(db, &id.into()).expect("it answers").expect("it is there"));
        let about = About { module: "m", session: session.as_ref(), at };
        match plan(db, about, &said, Timestamp(now)).expect("it is planned") {
            Err(why) => why,
            Ok(planned) => {
                let addresses = record(db, &planned, Timestamp(now)).expect("on record");
                let place = |to: Address| {
                    let thread =
                        to.thread_id.map(|thread| format!("/{}", thread.as_str())).unwrap_or_default();
                    format!("{}:{}{thread}", to.channel_type, to.platform_id)
                };
                addresses.into_iter().map(place).collect::<Vec<_>>().join(" ")
            }
        }
    }

    fn rows(db: &ReadTxn) -> i64 {
        db.query_row("SELECT COUNT(*) FROM deliveries", [], |r| r.get(0)).expect("a row")
    }

    #[test]
    fn a_module_speaks_where_the_agent_may() {
        let asked = |chat: &str| Address {
            channel_type: "x".into(),
            account: "main".into(),
            platform_id: chat.into(),
            thread_id: None,
        };
        let (d, e) = (asked("d"), asked("e"));
        let card = |title: &str, url: &str| Effect::Card {
            agent: None,
            to: None,
            key: None,
            card: Card {
                title: title.into(),
                links: vec![Link { label: "Open".into(), url: url.into() }],
                fallback: title.into(),
                ..Card::default()
            },
            at: None,
        };
        let react = |emoji: &str| Effect::React {
            agent: None,
            to: None,
            message_id: "p".into(),
            emoji: emoji.into(),
        };
        let (a, b) = (Some("s-a"), Some("s-b"));
        for (session, at, effects, want) in [
            (a, None, vec![send(None, None, None)], "x:c/t"),
            (a, None, vec![send(None, Some("team"), None), send(None, None, Some("k"))], "x:d x:c/t"),
            (a, None, vec![send(None, Some("bob"), None)], "agent:ag-b"),
            (a, Some(&d), vec![send(None, None, None)], "x:d"),
            (a, Some(&e), vec![send(None, None, None)], "x:e is no destination of this agent"),
            (a, None, vec![send(None, Some("e"), None)], "this agent has no destination `e`"),
            (b, None, vec![send(None, None, None)], "its session belongs to no chat, so an effect must name"),
            (b, None, vec![send(None, Some("team"), None)], "this agent has no destination `team`"),
            // At a tick the agent is named: what it may count is its own.
            (None, None, vec![send(Some("ann"), None, None)], "x:c/t"),
            (None, None, vec![send(None, None, None)], "it names no agent"),
            (None, None, vec![send(Some("zoe"), None, None)], "there is no agent"),
            (b, Some(&d), vec![send(Some("ann"), None, None)], "x:c/t"),
            (a, Some(&d), vec![send(Some("bob"), None, None)], "its session belongs to no chat"),
            // All or nothing.
            (
                a,
                None,
                vec![send(None, None, None), send(None, Some("e"), None)],
                "this agent has no destination",
            ),
            (
                a,
                None,
                vec![send(None, None, Some("k")), send(None, Some("team"), Some("k"))],
                "one key stands for two",
            ),
            (a, None, vec![send(None, None, Some(""))], "a key is empty"),
            (a, None, vec![card("Build", "https://a.example")], "x:c/t"),
            (a, None, vec![card("Build", "javascript:x")], "a field of a card says nothing"),
            (a, None, vec![card(" ", "https://a.example")], "x:c/t"),
            (a, None, vec![react("eyes")], "x:c/t"),
            (a, None, vec![react("a b")], "emoji must be"),
            (a, None, vec![ask(None, "q", None)], "x:c/t"),
            (a, None, vec![ask(Some("bob"), "q", None)], "an agent is asked in words"),
            (a, None, vec![ask(None, "q", Some(10))], "the deadline of a question must lie"),
            (a, None, vec![ask(None, "q", Some(11))], "x:c/t"),
            (a, None, vec![ask(None, "q", Some(10 + 30 * DAY))], "x:c/t"),
            (a, None, vec![ask(None, "q", Some(11 + 30 * DAY))], "the deadline of a question must lie"),
            (a, None, vec![edit(None, "k")], "nothing was said for this agent under the key `k`"),
        ] {
            let db = db();
            let (said, count) = (format!("{session:?} {at:?} {effects:?}"), effects.len());
            let told = perform(&db, session, at, effects, 10);
            assert!(told.starts_with(want), "{said}: {told}");
            let is_performed = want.starts_with("x:") && !want.contains(' ') || want.starts_with("agent:");
            let is_performed = is_performed || want == "x:d x:c/t";
            assert_eq!(
                rows(&db),
                if is_performed { i64::try_from(count).expect("few") } else { 0 },
                "{said}"
            );
        }
    }

    #[test]
    fn a_card_is_shown_as_the_module_wrote_it() {
        let card = Card {
            title: "Build".into(),
            text: "It is **green**.".into(),
            fields: vec![Field { name: "Tests".into(), value: "12".into() }],
            links: vec![Link { label: "Open".into(), url: "https://a.example".into() }],
            fallback: "Build: green".into(),
        };
        let content = of_card(&card).expect("it says something");
        assert_eq!(card::card(&content), Some(card));
    }

    #[test]
    fn what_was_said_under_a_key_is_edited_by_its_module_for_its_agent() {
        let db = db();
        let go = |session: &str, effect: Effect| perform(&db, Some(session), None, vec![effect], 10);
        assert_eq!(go("s-a", send(None, Some("team"), Some("k"))), "x:d");
        assert!(go("s-a", send(None, None, Some("k"))).contains("under the same key before"));
        assert_eq!(go("s-a", edit(None, "k")), "x:d", "where it was said");
        assert_eq!(perform(&db, None, None, vec![edit(Some("ann"), "k")], 10), "x:d");
        let content = "SELECT content FROM deliveries ORDER BY position DESC LIMIT 1";
        let content: String = db.query_row(content, [], |r| r.get(0)).expect("a row");
        assert!(content.contains(r#""messageId":"mod-m-k""#), "{content}");
        // Another agent's, another module's, and what an agent wrote under such an id.
        assert!(go("s-b", edit(None, "k")).contains("nothing was said for this agent"));
        let session = sessions::by_id(&db, &"s-a".into()).expect("it answers");
        let other = About { module: "n", session: session.as_ref(), at: None };
        let saying = Saying::read(edit(None, "k")).expect("it fits").expect("it says something");
        assert!(plan(&db, other, &[saying], Timestamp(10)).expect("it is planned").is_err());
        db.execute_batch("UPDATE deliveries SET seq = 7").expect("the agent wrote them");
        assert!(go("s-a", edit(None, "k")).contains("nothing was said for this agent"));
    }

    #[test]
    fn what_comes_of_a_question_is_the_modules() {
        let db = db();
        assert_eq!(perform(&db, Some("s-a"), None, vec![ask(None, "q", None)], 10), "x:c/t");
        let next = |module: &str, now: i64| next_outcome(&db, module, Timestamp(now)).expect("it answers");
        assert_eq!(next("m", 10 + DAY - 1), None, "it is open");
        let expired = next("m", 10 + DAY).expect("it is decided by time");
        assert_eq!((expired.verdict.clone(), expired.by.clone()), (Decision::Expired, None));
        assert_eq!(next("n", 10 + DAY), None, "another module hears nothing of it");
        let question = questions::open(&db, Timestamp(11), 9).expect("rows").remove(0);
        let chat = crate::chat_key::ChatKey::new("x", "main", "c");
        let giver =
            questions::Giver { handle: "u1".into(), name: "Ann".into(), is_bot: false, chat: Some(chat) };
        let verdict = questions::answer(&db, &question, 0, &giver, Timestamp(20)).expect("on record");
        assert_eq!(verdict, questions::Judgement::Take);
        let heard = "SELECT COUNT(*) FROM messages_in";
        assert_eq!(
            db.query_row(heard, [], |r| r.get::<_, i64>(0)).expect("a row"),
            0,
            "its agent is told nothing"
        );
        let outcome = next("m", 21).expect("it is decided");
        assert_eq!(outcome.verdict, Decision::Chosen { value: "y".into(), label: "Yes".into() });
        let by = outcome.by.clone().expect("a person");
        assert_eq!(
            (by.handle.as_str(), by.name.as_deref(), by.channel_type.as_deref()),
            ("u1", Some("Ann"), Some("x"))
        );
        assert_eq!(
            (outcome.key.as_str(), &outcome.payload, outcome.decided_at),
            ("q", &json!({ "n": 7 }), Timestamp(20))
        );
        assert_eq!((outcome.id.as_str(), outcome.id == expired.id), ("mod-m-q@10", true));
        questions::was_told(&db, &outcome, Timestamp(22)).expect("on record");
        assert_eq!(next("m", 99 + DAY), None, "it has heard");
        // One that is asked anew, because its delivery failed, stays the module's, and is decided under another id.
        assert_eq!(perform(&db, Some("s-a"), None, vec![ask(None, "r", None)], 30), "x:c/t");
        db.execute_batch("UPDATE deliveries SET state = 'failed' WHERE message_out_id = 'mod-m-r'")
            .expect("it fails");
        let failed = next("m", 31).expect("it is decided");
        assert!(matches!(failed.verdict, Decision::Failed { .. }), "{failed:?}");
        questions::was_told(&db, &failed, Timestamp(32)).expect("on record");
        let asked = super::super::decide::question_of(
            &db.query_row("SELECT content FROM deliveries WHERE message_out_id = 'mod-m-r'", [], |r| {
                r.get::<_, String>(0)
            })
            .expect("a row"),
        );
        db.execute_batch("UPDATE deliveries SET state = 'pending'").expect("it is replayed");
        questions::ask_again(&db, &"s-a".into(), &asked.expect("a question"), &failed.address, Timestamp(40))
            .expect("on record");
        let again = next("m", 40 + DAY).expect("it is decided anew");
        assert_eq!((again.id.as_str(), again.key.as_str()), ("mod-m-r@40", "r"));
    }

    #[test]
    fn a_session_says_no_more_than_has_room() {
        let db = db();
        db.execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) \
             INSERT INTO deliveries (session_id, message_out_id, seq, kind, content, content_bytes, state, taken_at) \
             SELECT 's-a', i, i, 'chat', '', 0, 'parked', 0 FROM n",
        )
        .expect("it fills");
        let told = perform(&db, Some("s-a"), None, vec![send(None, None, None)], 10);
        assert!(told.contains("too much of its session waits"), "{told}");
    }
}
