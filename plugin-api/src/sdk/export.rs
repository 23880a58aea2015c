//! The macros that turn a `Channel` or a `Module` into a plugin: a file's entry symbol and manifest note,
//! and the entry in the list of linked-in plugins. Both are always made, so one crate serves both ways.

/// Exports a type that implements [`Channel`](crate::Channel) as this crate's plugin.
///
/// ```ignore
/// export_channel! {
///     channel: Slack,
///     channel_type: "slack",
///     description: "Slack workspaces",
///     capabilities: ["threads", "webhook"],
///     webhook: "github_sha256",
/// }
/// ```
///
/// Webhooks of the scheme `hmac` say how they are signed:
/// `webhook: "hmac", hmac: { header: "X-Signature", prefix: "sha256=", key: "webhook_secret" }`. Other schemes are told
/// what differs from their usual form: `webhook: "secret_header", signing: { header: "X-Gitlab-Token" }`.
/// `challenge: { key: "verify_token" }` is the question by which Meta tries an address, and
/// `answer_headers: ["content-type"]` are the headers that answers may have.
///
/// `deliver_seconds: 300`, after the capabilities, is how long one message may take where a minute is too short. Then come
/// `limits: { post: { unit: "utf16", length: 4096, files: 10 }, question: { buttons: 10 } }`, what the
/// platform takes at most ([`Limits`](crate::Limits)), and `defaults: { group: { engage: "mention" } }`, how agents listen
/// there unless the operator says otherwise ([`Defaults`](crate::Defaults)).
///
/// `channel`, `channel_type` and `description` are required. The plugin's name is the channel type;
/// its version is the crate's. Its secrets are those of its [`config!`](crate::config); for a config that
/// is not made so, `secrets: ["token", "webhook_secret"]` names their keys. `setup: include_str!("../setup.txt")`, last, is
/// what an operator must do on the platform first; `vestibule channel add` shows it.
#[macro_export]
macro_rules! export_channel {
    (
        channel: $channel:ty,
        channel_type: $channel_type:literal,
        description: $description:literal
        $(, capabilities: [$($capability:literal),* $(,)?])?
        $(, deliver_seconds: $deliver_seconds:literal)?
        $(, limits: $limits:tt)?
        $(, defaults: $defaults:tt)?
        $(, webhook: $webhook:literal)?
        $(, hmac: $hmac:tt)?
        $(, signing: $signing:tt)?
        $(, challenge: $challenge:tt)?
        $(, answer_headers: [$($answer_header:literal),* $(,)?])?
        $(, secrets: [$($secret:literal),* $(,)?])?
        $(, handover: $handover:literal)?
        $(, setup: $setup:expr)?
        $(,)?
    ) => {
        $crate::__export_plugin! {
            OfChannel, $channel, $channel_type, [$($($secret),*)?], [$($setup)?],
            .raw(",\"kind\":\"channel\",\"channel_type\":").string($channel_type)
            .raw(",\"description\":").string($description)
            $(.raw(",\"capabilities\":").strings(&[$($capability),*]))?
            $(.raw(concat!(",\"deliver_seconds\":", stringify!($deliver_seconds))))?
            $(.raw(",\"webhook\":").string($webhook))?
            $(.raw(concat!(",\"limits\":", $crate::__json!($limits))))?
            $(.raw(concat!(",\"defaults\":", $crate::__json!($defaults))))?
            $(.raw(concat!(",\"hmac\":", $crate::__json!($hmac))))?
            $(.raw(concat!(",\"signing\":", $crate::__json!($signing))))?
            $(.raw(concat!(",\"challenge\":", $crate::__json!($challenge))))?
            $(.raw(",\"answer_headers\":").strings(&[$($answer_header),*]))?
            $(.raw(",\"handover\":").string($handover))?
        }
    };
}

/// Exports a type that implements [`Module`](crate::Module) as this crate's plugin.
///
/// ```ignore
/// export_module! {
///     module: Polite,
///     name: "polite",
///     description: "Lets no rude word in",
///     hooks: ["screen"],
///     on_failure: "closed",
/// }
/// ```
///
/// `module`, `name`, `description` and `hooks` are required. With the hook `action` come
/// `actions: ["roll"]`, those it takes; with `tick` may come `tick_seconds: 60`. `on_failure` is `open` or `closed` (the
/// default): what becomes of a message when the module fails at `screen` or `review`.
#[macro_export]
macro_rules! export_module {
    (
        module: $module:ty,
        name: $name:literal,
        description: $description:literal,
        hooks: [$($hook:literal),* $(,)?]
        $(, actions: [$($action:literal),* $(,)?])?
        $(, tick_seconds: $tick_seconds:literal)?
        $(, on_failure: $on_failure:literal)?
        $(, secrets: [$($secret:literal),* $(,)?])?
        $(, handover: $handover:literal)?
        $(,)?
    ) => {
        $crate::__export_plugin! {
            OfModule, $module, $name, [$($($secret),*)?], [],
            .raw(",\"kind\":\"module\",\"description\":").string($description)
            .raw(",\"stations\":").strings(&[$($hook),*])
            $(.raw(",\"actions\":").strings(&[$($action),*]))?
            $(.raw(concat!(",\"tick_seconds\":", stringify!($tick_seconds))))?
            $(.raw(",\"on_failure\":").string($on_failure))?
            $(.raw(",\"handover\":").string($handover))?
        }
    };
    // The word of the first versions for `hooks`.
    (
        module: $module:ty,
        name: $name:literal,
        description: $description:literal,
        stations: $hooks:tt $($rest:tt)*
    ) => {
        $crate::export_module! { module: $module, name: $name, description: $description, hooks: $hooks $($rest)* }
    };
}

/// Names with values in braces, as JSON: a literal of text or number reads the same there.
#[doc(hidden)]
#[macro_export]
macro_rules! __json {
    ({ $name:ident: $value:tt $(, $names:ident: $values:tt)* $(,)? }) => {
        concat!(
            "{\"", stringify!($name), "\":", $crate::__json!($value),
            $(",\"", stringify!($names), "\":", $crate::__json!($values),)*
            "}"
        )
    };
    ([$value:tt $(, $values:tt)* $(,)?]) => {
        concat!("[", $crate::__json!($value), $(",", $crate::__json!($values),)* "]")
    };
    ($value:literal) => { stringify!($value) };
}

/// The part that both macros share.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_plugin {
    ($kind:ident, $plugin:ty, $name:literal, [$($secret:literal),*], [$($setup:expr)?], $($text:tt)*) => {
        const _: () = {
            use $crate::__export as x;

            const KEYS: Option<&'static [x::KeyText]> = {
                #[allow(unused_imports, reason = "a described config does not need it")]
                use x::Undescribed as _;
                x::ConfigOf::<<x::$kind<$plugin> as x::Kind>::Config>::KEYS
            };

            const TEXT: x::ManifestText = x::ManifestText::new()
                .raw("{\"name\":").string($name)
                .raw(",\"version\":").string(env!("CARGO_PKG_VERSION"))
                .raw(",\"abi\":1,\"api\":").string($crate::API_LEVEL)
                $($text)*
                .raw(",\"secrets\":").secrets(&[$($secret),*], KEYS)
                .raw(if cfg!(panic = "unwind") { ",\"panic\":\"unwind\"}" } else { ",\"panic\":\"abort\"}" });
            const LEN: usize = TEXT.padded_len();
            static MANIFEST: [u8; LEN] = TEXT.to_array();

            #[used]
            #[unsafe(link_section = ".note.vestibule")]
            static NOTE: x::Note<LEN> = x::Note::new(TEXT.to_array());

            static STATE: x::State<x::$kind<$plugin>> = x::State::with(KEYS, {
                let setup: &[&str] = &[$($setup)?];
                setup.first().copied()
            });

            struct Plugin;

            impl x::PluginCalls for Plugin {
                fn init(runtime: x::RuntimeSide, log_level: u32) -> u32 {
                    x::serve_init(&STATE, $name, runtime, log_level)
                }
                fn call(frame: x::Frame, done: x::Done) -> u64 {
                    x::serve_call(&STATE, frame, done)
                }
                fn cancel(id: u64) {
                    x::serve_cancel(&STATE, id)
                }
                fn shutdown(timeout_ms: u64) -> u32 {
                    x::serve_shutdown(&STATE, timeout_ms)
                }
            }

            extern "C" fn root() -> x::RootModuleResult {
                let made = ::std::panic::catch_unwind(|| {
                    use x::{PrefixRefTrait as _, PrefixTypeTrait as _};
                    let root: x::PluginRootRef = x::PluginRoot::of::<Plugin>().leak_into_prefix();
                    // SAFETY: `from_constructor` asks for an erased reference to its own type.
                    unsafe { root.to_prefix_ref().cast() }
                });
                made.map_err(|_| x::RootModuleError::Unwound).into()
            }

            // The crate's name makes the symbol unique: several plugins link into one binary.
            #[unsafe(export_name = concat!("vestibule_plugin_v1__", env!("CARGO_CRATE_NAME")))]
            // SAFETY: `root` returns an erased `PluginRootRef`.
            static HEADER: x::LibHeader = unsafe {
                x::LibHeader::from_constructor::<x::PluginRootRef>(root, x::CheckTypeLayout::Yes)
            };

            x::inventory::submit! {
                x::Bundled { manifest: &MANIFEST, header: &HEADER }
            }
        };
    };
}
