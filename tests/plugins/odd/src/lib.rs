//! A plugin that fails while it is opened, started or asked to describe itself. How, is one byte of the file: the last of
//! `ODD-MODE:.`, which a test changes in a copy.

use vestibule_plugin_api::__export as x;

#[used]
static MODE: [u8; 10] = *b"ODD-MODE:.";

fn mode() -> u8 {
    // SAFETY: it is a static; volatile, so that what the file says is read, not what was compiled.
    unsafe { std::ptr::read_volatile(&MODE[9]) }
}

/// Runs while the file is opened.
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = {
    extern "C" fn constructor() {
        match mode() {
            b'p' => panic!("in a constructor"),
            b'w' => wait(),
            _ => {}
        }
    }
    constructor
};

fn wait() {
    loop {
        std::thread::park();
    }
}

/// The same to every verb: as an older plugin does, unless told otherwise.
fn answer(done: x::Done) {
    let keys = |keys: &str| format!(r#"{{"config":{{"keys":[{keys}]}}}}"#);
    let (status, head) = match mode() {
        b'A' => std::process::abort(),
        b'C' => return drop(done),
        b'D' => {
            let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
            (0, keys(&format!(r#"{{"key":"k","type":"any","default":{deep}}}"#)))
        }
        b'E' => (1, r#"{"error":"retry","reason":"later"}"#.to_owned()),
        b'G' => (0, "no JSON".to_owned()),
        b'K' => {
            let key = |number| format!(r#"{{"key":"k{number}","type":"any"}}"#);
            (0, keys(&(0..300_000).map(key).collect::<Vec<_>>().join(",")))
        }
        b'L' => return std::mem::forget(done),
        b'O' => (0, r#"{"config":{"keys":[],"open":true}}"#.to_owned()),
        b'S' => (0, keys(r#"{"key":"token","type":"string","secret":true}"#)),
        b'T' => (0, keys(r#"{"key":"two\nlines","type":"any"}"#)),
        b'V' => (0, "{}".to_owned()),
        b'W' => (0, keys(r#"{"key":"wanted","type":"integer","required":true,"help":"How many"}"#)),
        _ => (4, "\"older\"".to_owned()),
    };
    done.complete(status, x::Frame::from_head(head.into_bytes()));
}

struct Odd;

impl x::PluginCalls for Odd {
    fn init(runtime: x::RuntimeSide, _: u32) -> u32 {
        match mode() {
            b'u' => {
                let head = br#"{"verb":"teleport","to":{"x":1}}"#.to_vec();
                let told =
                    x::Done::new(move |status, _| runtime.log(2, &format!("teleport is answered {status}")));
                runtime.call(x::Frame::from_head(head), told);
                0
            }
            b'e' => 1,
            b'i' => panic!("in init"),
            b'n' => {
                wait();
                0
            }
            _ => 0,
        }
    }

    fn call(_: x::Frame, done: x::Done) -> u64 {
        answer(done);
        0
    }

    fn cancel(_: u64) {}

    fn shutdown(_: u64) -> u32 {
        0
    }
}

const TEXT: x::ManifestText = x::ManifestText::new().raw(
    "{\"name\":\"odd\",\"version\":\"1.2.3\",\"kind\":\"channel\",\"abi\":1,\"api\":\"0.1\",\"channel_type\":\"odd\",\
     \"panic\":\"unwind\"}",
);
const LEN: usize = TEXT.padded_len();

#[used]
#[unsafe(link_section = ".note.vestibule")]
static NOTE: x::Note<LEN> = x::Note::new(TEXT.to_array());

extern "C" fn root() -> x::RootModuleResult {
    use x::{PrefixRefTrait as _, PrefixTypeTrait as _};
    if mode() == b'r' {
        return Err(x::RootModuleError::Unwound).into();
    }
    let root: x::PluginRootRef = x::PluginRoot::of::<Odd>().leak_into_prefix();
    // SAFETY: `from_constructor` asks for an erased reference to its own type.
    Ok(unsafe { root.to_prefix_ref().cast() }).into()
}

#[unsafe(export_name = "vestibule_plugin_v1__vestibule_odd")]
// SAFETY: `root` returns an erased `PluginRootRef`.
static HEADER: x::LibHeader =
    unsafe { x::LibHeader::from_constructor::<x::PluginRootRef>(root, x::CheckTypeLayout::Yes) };
