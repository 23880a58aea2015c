//! What Slack tells an app: events, commands and clicks, in Slack's shapes; and how it signs them where it posts them.

use super::{BOT, Post, SECRET, SlackApi, TEAM, now};
use crate::support::request;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use std::net::SocketAddr;

pub const JSON: &str = "application/json";
pub const FORM: &str = "application/x-www-form-urlencoded";

impl SlackApi {
    /// An event as Slack wraps it.
    pub fn event(&self, event: Value) -> Value {
        let mut store = self.store();
        store.last_id += 1;
        json!({ "token": "x", "team_id": TEAM, "api_app_id": "A0", "type": "event_callback", "event": event,
            "event_id": format!("Ev{:08}", store.last_id), "event_time": now(), "is_ext_shared_channel": false,
            "authorizations": [{ "enterprise_id": null, "team_id": TEAM, "user_id": BOT, "is_bot": true,
                "is_enterprise_install": false }] })
    }

    /// A person writes in a channel; answers the message, which Slack has not told yet. `null` takes a field out.
    pub fn message(&self, channel: &str, user: &str, text: &str, extra: Value) -> Value {
        let mut store = self.store();
        let ts = store.next_ts();
        let mut message = json!({ "type": "message", "channel": channel, "channel_type": kind_of(channel), "user": user,
            "text": text, "ts": ts, "event_ts": ts });
        let fields = message.as_object_mut().unwrap();
        fields.extend(extra.as_object().unwrap().clone());
        fields.retain(|_, value| !value.is_null());
        store.written.push(message.clone());
        message
    }

    /// A person writes, and Slack tells it. Answers the message's id.
    pub fn say(&self, channel: &str, user: &str, text: &str) -> String {
        let message = self.message(channel, user, text, json!({}));
        let ts = message["ts"].as_str().unwrap().to_owned();
        self.send("events_api", self.event(message));
        ts
    }

    /// A person writes with files, which need not be there; answers the message, which Slack has not told yet.
    pub fn share(&self, channel: &str, user: &str, text: &str, names: &[&str]) -> Value {
        let files: Vec<Value> = names.iter().map(|name| self.file(user, name)).collect();
        self.message(channel, user, text, json!({ "subtype": "file_share", "files": files }))
    }

    /// A file as Slack describes it.
    fn file(&self, user: &str, name: &str) -> Value {
        let mut store = self.store();
        store.last_id += 1;
        let (kind, shown) =
            if name.ends_with(".png") { ("image/png", "PNG") } else { ("text/plain", "Plain Text") };
        let url = format!("{}/files/{name}", self.url.trim_end_matches("/api"));
        json!({ "id": format!("F{:08}", store.last_id), "created": 1_700_000_000, "name": name, "title": name,
            "mimetype": kind, "filetype": name.rsplit('.').next(), "pretty_type": shown, "user": user, "editable": false,
            "size": store.files.get(name).map_or(11, Vec::len), "mode": "hosted", "is_external": false, "external_type": "",
            "is_public": true, "public_url_shared": false, "display_as_bot": false, "username": "", "url_private": url,
            "url_private_download": url, "permalink": format!("https://cp.slack.com/files/{user}/{name}"),
            "channels": [], "groups": [] })
    }

    /// The same message as Slack tells it to an app that it mentions.
    pub fn mention(&self, message: &Value) -> Value {
        let mut mention = json!({ "type": "app_mention", "team": TEAM });
        for key in ["user", "text", "ts", "channel", "event_ts", "thread_ts"] {
            if let Some(value) = message.get(key) {
                mention[key] = value.clone();
            }
        }
        mention
    }

    /// An event of something that people do not see as a message, in a channel.
    fn hidden(&self, channel: &str, event: Value) -> Value {
        let ts = self.store().next_ts();
        let mut event = event;
        event["event_ts"] = ts.clone().into();
        if event["type"] == "message" {
            let place =
                json!({ "hidden": true, "channel": channel, "channel_type": kind_of(channel), "ts": ts });
            event.as_object_mut().unwrap().extend(place.as_object().unwrap().clone());
        }
        event
    }

    /// Slack tells an event.
    pub fn tell(&self, event: Value) {
        self.send("events_api", self.event(event));
    }

    /// A message changes: what of it is as before and now.
    pub fn changed(&self, channel: &str, ts: &str, user: &str, before: Value, now: Value) -> Value {
        let whole = |more: Value| {
            let mut message = json!({ "type": "message", "ts": ts, "user": user });
            message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            message
        };
        let event = json!({ "type": "message", "subtype": "message_changed", "message": whole(now),
            "previous_message": whole(before) });
        self.hidden(channel, event)
    }

    /// A person gives their message another text.
    pub fn edited(&self, channel: &str, ts: &str, user: &str, before: &str, text: &str, at: &str) -> Value {
        let now = json!({ "text": text, "edited": { "user": user, "ts": at } });
        self.changed(channel, ts, user, json!({ "text": before }), now)
    }

    pub fn deleted(&self, channel: &str, ts: &str, user: &str, text: &str) -> Value {
        let before = json!({ "type": "message", "ts": ts, "user": user, "text": text });
        self.hidden(channel, json!({ "type": "message", "subtype": "message_deleted", "deleted_ts": ts, "previous_message": before }))
    }

    /// A person reacts to a message of the bot's, or takes that back: `reaction_added`, `reaction_removed`.
    pub fn reacted(&self, kind: &str, channel: &str, ts: &str, user: &str, name: &str) -> Value {
        self.hidden(
            channel,
            json!({ "type": kind, "user": user, "reaction": name, "item_user": BOT,
                "item": { "type": "message", "channel": channel, "ts": ts } }),
        )
    }

    pub fn renamed(&self, channel: &str, name: &str) -> Value {
        let now = json!({ "id": channel, "name": name, "name_normalized": name, "created": 1_700_000_000,
            "is_channel": true, "is_mpim": false });
        self.hidden(channel, json!({ "type": "channel_rename", "channel": now }))
    }

    /// A person clicks a button under a message of the bot's.
    pub fn click(&self, user: &str, post: &Post, button: &Value) -> Value {
        let mut action = button.clone();
        action["action_ts"] = self.store().next_ts().into();
        let blocks = post.blocks.as_array().into_iter().flatten();
        let is_in = |block: &&Value| {
            block["elements"]
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one["action_id"] == button["action_id"]))
        };
        action["block_id"] =
            blocks.clone().find(is_in).map_or(Value::Null, |block| block["block_id"].clone());
        json!({ "type": "block_actions", "user": { "id": user, "username": user.to_lowercase(),
                "name": user.to_lowercase(), "team_id": TEAM },
            "api_app_id": "A0", "token": "x", "team": { "id": TEAM, "domain": "cp" }, "enterprise": null,
            "is_enterprise_install": false, "channel": { "id": post.channel, "name": "general" }, "actions": [action],
            "container": { "type": "message", "message_ts": post.ts, "channel_id": post.channel, "is_ephemeral": false },
            "trigger_id": "1.2.x", "response_url": "https://hooks.slack.com/actions/T0CP/1/x", "state": { "values": {} },
            "message": post.shown(true) })
    }

    /// A person gives a slash command.
    pub fn command(&self, command: &str, text: &str, user: &str, channel: &str) -> Value {
        json!({ "token": "x", "team_id": TEAM, "team_domain": "cp", "channel_id": channel, "channel_name": "general",
            "user_id": user, "user_name": user.to_lowercase(), "command": command, "text": text, "api_app_id": "A0",
            "is_enterprise_install": "false", "response_url": "https://hooks.slack.com/commands/T0CP/1/x",
            "trigger_id": format!("1.{}.x", self.store().next_ts()) })
    }
}

fn kind_of(channel: &str) -> &'static str {
    if channel.starts_with('D') { "im" } else { "channel" }
}

/// What Slack posts to an app as a form: a command's fields, or an interaction.
pub fn form_of(payload: &Value) -> String {
    let percent = |text: &str| text.bytes().map(|b| format!("%{b:02X}")).collect::<String>();
    if payload["type"] == "block_actions" {
        return format!("payload={}", percent(&payload.to_string()));
    }
    let fields = payload.as_object().unwrap().iter();
    let pairs = fields.map(|(key, value)| format!("{key}={}", percent(value.as_str().unwrap())));
    pairs.collect::<Vec<_>>().join("&")
}

pub fn signed(secret: &str, time: u64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("v0:{time}:{body}").as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("v0={hex}")
}

/// Posts a request to an app, with this time and this signature.
pub fn post_as(
    (at, path): (SocketAddr, &str),
    kind: &str,
    body: &str,
    time: u64,
    signature: &str,
) -> (u16, String) {
    let time = time.to_string();
    let headers = [
        ("content-type", kind),
        ("x-slack-request-timestamp", time.as_str()),
        ("x-slack-signature", signature),
    ];
    request(at, "POST", path, &headers, body.as_bytes())
}

/// Posts a request to an app as Slack does.
pub fn posted(place: (SocketAddr, &str), kind: &str, body: &str) -> (u16, String) {
    let time = now();
    post_as(place, kind, body, time, &signed(SECRET, time, body))
}
