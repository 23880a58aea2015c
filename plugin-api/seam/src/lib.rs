//! The frozen binary contract between the runtime and its plugins.
//!
//! Everything that crosses is here, and nothing here ever changes: four functions one way, three
//! the other, frames of bytes between them. What the bytes *say* is the vocabulary of
//! `vestibule-plugin-api`, which grows. `abi_stable` describes these types, and the loader compares
//! that description, in both directions, before it calls anything.
//!
//! Rules of the seam:
//! - A `call` returns at once; the answer arrives through its [`Done`], on any thread.
//! - No panic crosses. Each side catches its own and answers [`status::PANIC`].
//! - The side that receives a frame owns it.

// The derive of abi_stable 0.11 expands to impls inside constants; it is the only user here.
#![allow(non_local_definitions)]
#![allow(missing_docs, reason = "abi_stable's derive generates public items without documentation")]

use abi_stable::StableAbi;
use abi_stable::library::RootModule;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RStr, RVec};

/// The version of this contract. It is part of the entry symbol's name and of every manifest.
pub const ABI_MAJOR: u32 = 1;

/// The entry symbol of a plugin file is this prefix followed by the name of the plugin's crate.
pub const ENTRY_PREFIX: &str = "vestibule_plugin_v1__";

/// The ELF section that holds the manifest, and the name inside its note.
pub const NOTE_SECTION: &str = ".note.vestibule";
/// The owner name in the manifest's note, without its terminating NUL.
pub const NOTE_NAME: &str = "vestibule";
/// The type number of the manifest's note.
pub const NOTE_TYPE: u32 = 1;

/// The status of a completion. An unknown number is read as [`status::ERROR`].
pub mod status {
    /// The head is the answer.
    pub const OK: u32 = 0;
    /// The head is a `PluginError`.
    pub const ERROR: u32 = 1;
    /// The callee panicked; the head is a JSON string with the message.
    pub const PANIC: u32 = 2;
    /// The call was cancelled, or its completion was dropped.
    pub const CANCELLED: u32 = 3;
    /// The callee does not know this verb.
    pub const UNSUPPORTED: u32 = 4;
    /// The callee could not read the frame; the head is a JSON string with the reason.
    pub const BAD_FRAME: u32 = 5;
}

/// Everything that crosses: a JSON head, and raw bytes beside it.
#[repr(C)]
#[derive(StableAbi, Debug, Clone, Default)]
pub struct Frame {
    /// UTF-8 JSON.
    pub head: RVec<u8>,
    /// Bytes the head refers to by index: webhook bodies, later attachments. Never base64 in JSON.
    pub blobs: RVec<RVec<u8>>,
}

impl Frame {
    /// A frame without blobs.
    pub fn from_head(head: Vec<u8>) -> Frame {
        Frame { head: head.into(), blobs: RVec::new() }
    }
}

/// A one-shot completion. Completing consumes it; dropping it reports [`status::CANCELLED`], so it
/// fires exactly once, whatever the callee does.
#[repr(C)]
#[derive(StableAbi)]
pub struct Done {
    ctx: *mut (),
    complete: extern "C" fn(*mut (), u32, Frame),
}

// SAFETY: `ctx` is a boxed `FnOnce + Send`, owned by this value alone.
unsafe impl Send for Done {}

type Completion = Box<dyn FnOnce(u32, Frame) + Send>;

impl Done {
    /// A completion that runs `answered` once, on the completing thread. It must not block.
    pub fn new(answered: impl FnOnce(u32, Frame) + Send + 'static) -> Done {
        let boxed: Box<Completion> = Box::new(Box::new(answered));
        Done { ctx: Box::into_raw(boxed).cast(), complete: run_completion }
    }

    /// Completes the call with this answer.
    pub fn complete(self, status: u32, frame: Frame) {
        let this = std::mem::ManuallyDrop::new(self);
        (this.complete)(this.ctx, status, frame);
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        (self.complete)(self.ctx, status::CANCELLED, Frame::default());
    }
}

extern "C" fn run_completion(ctx: *mut (), status: u32, frame: Frame) {
    // SAFETY: `ctx` came from `Box::into_raw` in `Done::new`, and a `Done` fires exactly once.
    let answered = unsafe { Box::from_raw(ctx.cast::<Completion>()) };
    caught((), || answered(status, frame));
}

/// Runs `body`; a panic in it becomes `fallback`, because unwinding out of an `extern "C"`
/// function ends the process.
fn caught<T>(fallback: T, body: impl FnOnce() -> T) -> T {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)) {
        Ok(value) => value,
        Err(payload) => {
            // A panic payload may itself panic when dropped.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || drop(payload)));
            fallback
        }
    }
}

/// What the runtime offers a plugin. Given once, at `init`; it lives for ever.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct RuntimeSide {
    ctx: *mut (),
    call: extern "C" fn(*mut (), Frame, Done) -> u64,
    cancel: extern "C" fn(*mut (), u64),
    log: extern "C" fn(*mut (), u32, RStr<'_>),
}

// SAFETY: `ctx` is a leaked `Box<Box<dyn RuntimeCalls>>`, and `RuntimeCalls` is `Send + Sync`.
unsafe impl Send for RuntimeSide {}
// SAFETY: as above.
unsafe impl Sync for RuntimeSide {}

/// The runtime's half of the seam, in plain Rust.
pub trait RuntimeCalls: Send + Sync + 'static {
    /// A plugin asks something. Returns at once with an id that `cancel` understands.
    fn call(&self, frame: Frame, done: Done) -> u64;
    /// The plugin no longer wants the answer of this call.
    fn cancel(&self, id: u64);
    /// One line for the log. Levels: 1 error, 2 warn, 3 info, 4 debug, 5 trace.
    fn log(&self, level: u32, line: &str);
}

impl RuntimeSide {
    /// Wraps the runtime's half. It is leaked: an in-process plugin may call it until the process
    /// ends.
    pub fn new(calls: impl RuntimeCalls) -> RuntimeSide {
        let boxed: Box<Box<dyn RuntimeCalls>> = Box::new(Box::new(calls));
        RuntimeSide {
            ctx: Box::into_raw(boxed).cast(),
            call: runtime_call,
            cancel: runtime_cancel,
            log: runtime_log,
        }
    }

    /// Asks the runtime something.
    pub fn call(&self, frame: Frame, done: Done) -> u64 {
        (self.call)(self.ctx, frame, done)
    }

    /// Withdraws the call with this id: its answer is no longer wanted.
    pub fn cancel(&self, id: u64) {
        (self.cancel)(self.ctx, id);
    }

    /// Writes one line to the runtime's log. Levels: 1 error, 2 warn, 3 info, 4 debug, 5 trace.
    pub fn log(&self, level: u32, line: &str) {
        (self.log)(self.ctx, level, line.into());
    }
}

fn runtime_calls<'a>(ctx: *mut ()) -> &'a dyn RuntimeCalls {
    // SAFETY: `ctx` came from `RuntimeSide::new`, which leaked it.
    unsafe { &**ctx.cast::<Box<dyn RuntimeCalls>>() }
}

extern "C" fn runtime_call(ctx: *mut (), frame: Frame, done: Done) -> u64 {
    caught(0, || runtime_calls(ctx).call(frame, done))
}

extern "C" fn runtime_cancel(ctx: *mut (), id: u64) {
    caught((), || runtime_calls(ctx).cancel(id));
}

extern "C" fn runtime_log(ctx: *mut (), level: u32, line: RStr<'_>) {
    caught((), || runtime_calls(ctx).log(level, line.as_str()));
}

/// What a plugin offers the runtime: the one exported root.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginRootRef)))]
pub struct PluginRoot {
    /// Starts the plugin's own machinery; `log_level` is the highest level the runtime wants.
    /// Returns [`status::OK`] or [`status::ERROR`].
    pub init: extern "C" fn(runtime: RuntimeSide, log_level: u32) -> u32,
    /// Asks the plugin something. Returns at once with an id that `cancel` understands.
    pub call: extern "C" fn(frame: Frame, done: Done) -> u64,
    /// The runtime no longer wants the answer of this call.
    pub cancel: extern "C" fn(id: u64),
    /// Ends the plugin's machinery within `timeout_ms`; returns how many calls were left.
    #[sabi(last_prefix_field)]
    pub shutdown: extern "C" fn(timeout_ms: u64) -> u32,
}

impl RootModule for PluginRootRef {
    abi_stable::declare_root_module_statics! {PluginRootRef}
    const BASE_NAME: &'static str = "vestibule_plugin";
    const NAME: &'static str = "vestibule_plugin";
    const VERSION_STRINGS: VersionStrings = abi_stable::package_version_strings!();
}

/// The plugin's half of the seam, in plain Rust. A plugin file has one implementation, without
/// state of its own in the seam: hence no `self`.
pub trait PluginCalls: 'static {
    /// See [`PluginRoot::init`].
    fn init(runtime: RuntimeSide, log_level: u32) -> u32;
    /// See [`PluginRoot::call`].
    fn call(frame: Frame, done: Done) -> u64;
    /// See [`PluginRoot::cancel`].
    fn cancel(id: u64);
    /// See [`PluginRoot::shutdown`].
    fn shutdown(timeout_ms: u64) -> u32;
}

impl PluginRoot {
    /// The root of the plugin `P`.
    pub fn of<P: PluginCalls>() -> PluginRoot {
        PluginRoot {
            init: plugin_init::<P>,
            call: plugin_call::<P>,
            cancel: plugin_cancel::<P>,
            shutdown: plugin_shutdown::<P>,
        }
    }
}

extern "C" fn plugin_init<P: PluginCalls>(runtime: RuntimeSide, log_level: u32) -> u32 {
    caught(status::PANIC, || P::init(runtime, log_level))
}

extern "C" fn plugin_call<P: PluginCalls>(frame: Frame, done: Done) -> u64 {
    caught(0, || P::call(frame, done))
}

extern "C" fn plugin_cancel<P: PluginCalls>(id: u64) {
    caught((), || P::cancel(id));
}

extern "C" fn plugin_shutdown<P: PluginCalls>(timeout_ms: u64) -> u32 {
    caught(u32::MAX, || P::shutdown(timeout_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// The description by abi_stable of a type and those inside it, which the loader compares.
    fn describe(layout: &'static abi_stable::type_layout::TypeLayout, text: &mut String) {
        let head = format!(
            "\n{} {} {}: size {}, alignment {}, {:?}\n",
            layout.package(),
            layout.package_version(),
            layout.full_type(),
            layout.size(),
            layout.alignment(),
            layout.data_discriminant()
        );
        if text.contains(&head) {
            return;
        }
        text.push_str(&head);
        // What a prefix type holds is among its phantom fields.
        let fields: Vec<_> =
            layout.get_fields().into_iter().flatten().chain(layout.phantom_fields()).collect();
        for field in &fields {
            text.push_str(&format!("  {}: {}\n", field.name(), field.full_type()));
            for function in field.function_range().iter() {
                let function = function.to_string();
                text.push_str(&format!("    {}\n", function.replace('\n', " ").trim_end()));
            }
        }
        fields.iter().for_each(|field| describe(field.layout(), text));
    }

    /// The promise that a plugin built today loads for ever. If this fails, take the change back: no
    /// plugin file that was built before it would be loaded any more.
    #[test]
    fn the_seam_is_frozen() {
        let offsets = [
            ("Frame.head", std::mem::offset_of!(Frame, head)),
            ("Frame.blobs", std::mem::offset_of!(Frame, blobs)),
            ("Done.ctx", std::mem::offset_of!(Done, ctx)),
            ("Done.complete", std::mem::offset_of!(Done, complete)),
            ("RuntimeSide.ctx", std::mem::offset_of!(RuntimeSide, ctx)),
            ("RuntimeSide.call", std::mem::offset_of!(RuntimeSide, call)),
            ("RuntimeSide.cancel", std::mem::offset_of!(RuntimeSide, cancel)),
            ("RuntimeSide.log", std::mem::offset_of!(RuntimeSide, log)),
            ("PluginRoot.init", std::mem::offset_of!(PluginRoot, init)),
            ("PluginRoot.call", std::mem::offset_of!(PluginRoot, call)),
            ("PluginRoot.cancel", std::mem::offset_of!(PluginRoot, cancel)),
            ("PluginRoot.shutdown", std::mem::offset_of!(PluginRoot, shutdown)),
        ];
        let mut now = format!("{ENTRY_PREFIX} {ABI_MAJOR} {NOTE_SECTION} {NOTE_NAME} {NOTE_TYPE}\n");
        now += &offsets.map(|(field, at)| format!("{field} at {at}\n")).concat();
        describe(<Frame as StableAbi>::LAYOUT, &mut now);
        describe(<Done as StableAbi>::LAYOUT, &mut now);
        describe(<RuntimeSide as StableAbi>::LAYOUT, &mut now);
        describe(<PluginRootRef as StableAbi>::LAYOUT, &mut now);
        let codes = [
            ("OK", status::OK),
            ("ERROR", status::ERROR),
            ("PANIC", status::PANIC),
            ("CANCELLED", status::CANCELLED),
            ("UNSUPPORTED", status::UNSUPPORTED),
            ("BAD_FRAME", status::BAD_FRAME),
        ];
        now += &format!("\n{}", codes.map(|(name, code)| format!("status {name} is {code}\n")).concat());
        let frozen = concat!(env!("CARGO_MANIFEST_DIR"), "/seam-v1.layout");
        let was = std::fs::read_to_string(frozen).unwrap_or_default();
        if was != now {
            let aside = format!("{frozen}.now");
            std::fs::write(&aside, &now).expect("it can be written");
            panic!("the frozen seam moved: compare {frozen} with {aside}, and remove that");
        }
    }

    #[test]
    fn a_done_fires_exactly_once() {
        let (tx, rx) = mpsc::channel();
        let answered = tx.clone();
        Done::new(move |status, _| answered.send(status).expect("open"))
            .complete(status::OK, Frame::default());
        drop(Done::new(move |status, _| tx.send(status).expect("open")));
        assert_eq!(rx.iter().collect::<Vec<_>>(), [status::OK, status::CANCELLED]);
    }

    #[test]
    fn a_panic_stays_on_its_side() {
        struct Bad;
        impl PluginCalls for Bad {
            fn init(_: RuntimeSide, _: u32) -> u32 {
                panic!("no")
            }
            fn call(_: Frame, _: Done) -> u64 {
                panic!("no")
            }
            fn cancel(_: u64) {}
            fn shutdown(_: u64) -> u32 {
                0
            }
        }
        let (tx, rx) = mpsc::channel();
        let root = PluginRoot::of::<Bad>();
        (root.call)(Frame::default(), Done::new(move |status, _| tx.send(status).expect("open")));
        assert_eq!(rx.recv(), Ok(status::CANCELLED), "the dropped completion still answers");
    }
}
