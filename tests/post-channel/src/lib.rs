//! A channel that says that its platform shows one message for one id.

mod channel;

vestibule_plugin_api::export_channel! {
    channel: channel::Post,
    channel_type: "post",
    description: "A platform that shows one message for one id",
    capabilities: ["idempotent"],
}
