//! The same channel as `tests/post-channel`, whose platform can change messages and show work.

#[path = "../../post-channel/src/channel.rs"]
mod channel;

vestibule_plugin_api::export_channel! {
    channel: channel::Post,
    channel_type: "rich",
    description: "A platform that can change messages and show work",
    capabilities: ["edits", "deletes", "reactions", "cards", "working"],
}
