//! The same channel as `tests/post-channel`, which promises nothing.

#[path = "../../post-channel/src/channel.rs"]
mod channel;

vestibule_plugin_api::export_channel! {
    channel: channel::Post,
    channel_type: "plain",
    description: "A platform without any promise",
}
