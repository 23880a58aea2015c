//! Verbs: from the command line to the control socket, and the answer back to a person.

use crate::cli::{
    AdoptArgs, AgentArgs, AgentVerb, ChatPlace, Command, Deliveries, DeliveryVerb, DestinationVerb,
    DroppedMessageVerb, How, MessagingGroupVerb, Output, PluginVerb, QuestionVerb, RestoreArgs, SessionVerb,
    WiringVerb,
};
use crate::print;
use anyhow::{Context, bail};
use serde_json::{Map, Value, json};
use std::path::Path;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use vestibule_runtime::control::frame::{Request, Response};
use vestibule_runtime::{Home, backup};

/// Runs one verb.
pub async fn verb(command: Command) -> anyhow::Result<()> {
    let (verb, args, output) = request(command)?;
    let answer = ask(&Home::from_env()?, verb, args).await?;
    if output.json {
        print::json(&answer);
    } else {
        print::answer(verb, &answer);
    }
    failed(&answer)
}

/// Makes a home of a backup.
pub fn restore(args: RestoreArgs) -> anyhow::Result<()> {
    let restored = backup::restore(Home::from_env()?, &args.folder, args.replace)?;
    let answer = serde_json::to_value(restored)?;
    if args.output.json {
        print::json(&answer)
    } else {
        print::answer("restore", &answer)
    }
    Ok(())
}

/// The error in an answer that reports success: a plugin was loaded, and one of its accounts is not started.
fn failed(answer: &Value) -> anyhow::Result<()> {
    match answer["broken"].as_array().filter(|broken| !broken.is_empty()) {
        Some(broken) => bail!(
            "not every account of the plugin {} was started: {} of them must be mended first",
            answer["name"].as_str().unwrap_or_default(),
            broken.len()
        ),
        None => Ok(()),
    }
}

/// Asks the running runtime.
pub async fn ask(home: &Home, verb: &str, args: Value) -> anyhow::Result<Value> {
    let path = home.control_socket();
    let Ok(mut stream) = UnixStream::connect(&path).await else {
        bail!("no vestibule runs on {}; start it with `vestibule up`", home.root().display());
    };
    let request = Request { token: home.token()?, verb: verb.to_owned(), args };
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut line = String::new();
    BufReader::new(stream.take(64 * 1024 * 1024)).read_line(&mut line).await?;
    match serde_json::from_str(&line).context("the running vestibule gave no answer; is it stopping?")? {
        Response::Result(value) => Ok(value),
        Response::Error(why) => bail!(why),
    }
}

/// A verb, its arguments, and how its answer is shown.
type Asked = (&'static str, Value, Output);

fn request(command: Command) -> anyhow::Result<Asked> {
    Ok(match command {
        Command::Status(output) => ("status", Value::Null, output),
        Command::Plugin(PluginVerb::List(output)) => ("plugin.list", Value::Null, output),
        Command::Plugin(PluginVerb::Reload(name)) => {
            ("plugin.reload", json!({ "name": name.name }), name.output)
        }
        Command::Agent(verb) => match verb {
            AgentVerb::List(output) => ("agent.list", Value::Null, output),
            AgentVerb::Create(args) => agent("agent.create", args),
            AgentVerb::Update(args) => agent("agent.update", args),
            AgentVerb::Delete(name) => ("agent.delete", json!({ "name": name.name }), name.output),
        },
        Command::MessagingGroup(verb) => messaging_group(verb),
        Command::Wiring(verb) => wiring(verb),
        Command::Session(verb) => match verb {
            SessionVerb::List(output) => ("session.list", Value::Null, output),
            SessionVerb::Adopt(args) => adopt(args)?,
            SessionVerb::Release { name, new_out, give_up, output } => {
                ("session.release", json!({ "id": name, "new_out": new_out, "give_up": give_up }), output)
            }
        },
        Command::Destination(verb) => destination(verb),
        Command::Question(verb) => match verb {
            QuestionVerb::List(output) => ("question.list", Value::Null, output),
            QuestionVerb::Answer { id, value, output } => {
                ("question.answer", json!({ "id": id, "value": value }), output)
            }
        },
        Command::Delivery(verb) => match verb {
            DeliveryVerb::List { state, output } => ("delivery.list", json!({ "state": state }), output),
            DeliveryVerb::Show { id, session, output } => {
                ("delivery.show", json!({ "ids": [id], "session": session }), output)
            }
            DeliveryVerb::Replay(args) => deliveries("delivery.replay", args),
            DeliveryVerb::Drop(args) => deliveries("delivery.drop", args),
        },
        Command::DroppedMessage(DroppedMessageVerb::List(output)) => {
            ("dropped-message.list", Value::Null, output)
        }
        Command::Backup(args) => ("backup", json!({ "folder": whole(&args.folder)? }), args.output),
        Command::Up
        | Command::Restore(_)
        | Command::Chat(_)
        | Command::Channel(_)
        | Command::Bench(_)
        | Command::Plugin(
            PluginVerb::Check(_)
            | PluginVerb::Trust(_)
            | PluginVerb::Untrust(_)
            | PluginVerb::Conform(_)
            | PluginVerb::Dev(_)
            | PluginVerb::New(_),
        ) => unreachable!("main runs these itself"),
    })
}

fn messaging_group(verb: MessagingGroupVerb) -> Asked {
    match verb {
        MessagingGroupVerb::List(output) => ("messaging-group.list", Value::Null, output),
        MessagingGroupVerb::Create { chat, output } => {
            ("messaging-group.create", Value::Object(place(chat)), output)
        }
        MessagingGroupVerb::Update { id, name, output } => {
            ("messaging-group.update", json!({ "id": id, "name": name }), output)
        }
        MessagingGroupVerb::History { id, thread, after, limit, output } => {
            let args = json!({ "id": id, "thread": thread, "after": after, "limit": limit });
            ("messaging-group.history", args, output)
        }
        MessagingGroupVerb::Delete(name) => {
            ("messaging-group.delete", json!({ "id": name.name }), name.output)
        }
    }
}

fn wiring(verb: WiringVerb) -> Asked {
    match verb {
        WiringVerb::List(output) => ("wiring.list", Value::Null, output),
        WiringVerb::Create { agent, chat, how: way, output } => {
            let mut args = place(chat);
            args.insert("agent".into(), json!(agent));
            args.extend(how(way));
            ("wiring.create", Value::Object(args), output)
        }
        WiringVerb::Update { id, how: way, output } => {
            let mut args = how(way);
            args.insert("id".into(), json!(id));
            ("wiring.update", Value::Object(args), output)
        }
        WiringVerb::Delete(name) => ("wiring.delete", json!({ "id": name.name }), name.output),
    }
}

fn destination(verb: DestinationVerb) -> Asked {
    match verb {
        DestinationVerb::List(output) => ("destination.list", Value::Null, output),
        DestinationVerb::Create { agent, name, to, to_agent, output } => {
            let args = json!({ "agent": agent, "name": name, "to": to, "to_agent": to_agent });
            ("destination.create", args, output)
        }
        DestinationVerb::Update { agent, name, rename, output } => {
            ("destination.update", json!({ "agent": agent, "name": name, "rename": rename }), output)
        }
        DestinationVerb::Delete { agent, name, output } => {
            ("destination.delete", json!({ "agent": agent, "name": name }), output)
        }
    }
}

fn agent(verb: &'static str, args: AgentArgs) -> Asked {
    let env = args.env.map(|names| names.into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>());
    let value = json!({
        "name": args.name,
        "rename": args.rename,
        "provider": args.provider,
        "command": args.command,
        "env": env,
        "time_limit_seconds": args.time_limit,
        "network": args.network,
    });
    (verb, value, args.output)
}

fn deliveries(verb: &'static str, args: Deliveries) -> Asked {
    (verb, json!({ "ids": args.ids, "state": args.state, "session": args.session }), args.output)
}

fn adopt(args: AdoptArgs) -> anyhow::Result<Asked> {
    let value = json!({
        "folder": whole(&args.folder)?,
        "agent": args.agent,
        "channel": args.channel,
        "account": args.account,
        "chat": args.chat,
        "thread": args.thread,
    });
    Ok(("session.adopt", value, args.output))
}

/// A path from the root, for a runtime that runs in another folder.
fn whole(path: &Path) -> anyhow::Result<String> {
    let path = std::path::absolute(path)?;
    let text = path.to_str().with_context(|| format!("{} is no UTF-8: name another path", path.display()))?;
    Ok(text.to_owned())
}

fn place(chat: ChatPlace) -> Map<String, Value> {
    Map::from_iter([
        ("channel".to_owned(), json!(chat.channel)),
        ("account".to_owned(), json!(chat.account)),
        ("chat".to_owned(), json!(chat.chat)),
        ("person".to_owned(), json!(chat.person)),
        ("name".to_owned(), json!(chat.name)),
    ])
}

fn how(how: How) -> Map<String, Value> {
    Map::from_iter([
        ("engage".to_owned(), json!(how.engage)),
        ("pattern".to_owned(), json!(how.pattern)),
        ("session_mode".to_owned(), json!(how.session_mode)),
        ("ignored".to_owned(), json!(how.ignored)),
        ("changes".to_owned(), json!(how.changes)),
        ("priority".to_owned(), json!(how.priority)),
    ])
}
