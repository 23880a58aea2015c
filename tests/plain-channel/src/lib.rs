//! The same channel as `tests/post-channel`, which promises nothing.

#[path = "../../post-channel/src/channel.rs"]
mod channel;

vestibule_plugin_api::export_channel! {
    channel: channel::Post,
    channel_type: "plain",
    description: "A platform without any promise",
    capabilities: ["webhook"],
    webhook: "hmac",
    hmac: {
        header: "X-Plain-Signature",
        prefix: "v1,",
        encoding: "base64",
        key: "signing_key",
        signed: "{timestamp}.{body}",
        timestamp_header: "X-Plain-Time",
        window_seconds: 60,
    },
    secrets: ["signing_key"],
}
