//! The same channel as `tests/post-channel`, whose platform answers whatever the runtime asks about it, and has limits.

#[path = "../../post-channel/src/channel.rs"]
mod channel;

vestibule_plugin_api::export_channel! {
    channel: channel::Post,
    channel_type: "ask",
    description: "A platform that answers whatever it is asked",
    capabilities: ["threads", "attachments", "questions", "edits", "reads", "subscribes", "normalises", "people",
        "direct_chats", "history", "linking", "fetches", "folder"],
    limits: {
        post: { unit: "chars", files: 1, file_bytes: 1000, kinds: ["txt", "bin"] },
        edit: { unit: "chars", length: 20, rate: { count: 1, seconds: 1 } },
        question: { unit: "chars", length: 100, buttons: 2, label: 10 },
    },
    defaults: {
        direct: { engage: "pattern", pattern: ".", threads: false, strangers: "public" },
        group: { engage: "mention", session_mode: "per-thread", ignored: "accumulate" },
    },
}
