//! What a plugin file says about itself, read without opening it. Pure: bytes in, a manifest or a
//! sentence out.

use crate::plugins::{LoadCode, LoadError};
use object::elf::{EM_AARCH64, EM_X86_64, ET_DYN, FileHeader64, PT_INTERP, PT_LOAD, SHT_DYNSYM, SHT_NOBITS};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, Sym};
use object::{Endianness, U32Bytes};
use vestibule_plugin_api::{Manifest, PluginKind};
use vestibule_seam::{ABI_MAJOR, ENTRY_PREFIX, NOTE_NAME, NOTE_SECTION, NOTE_TYPE};

type Header = FileHeader64<Endianness>;

const NOT_ELF: LoadError = LoadError::fixed(
    LoadCode::NotElf,
    "it is not a shared library. Remove it from the plugins folder, or build it for Linux.",
);
const TRUNCATED: LoadError = LoadError::fixed(
    LoadCode::Truncated,
    "the file is incomplete or damaged. Copy it again (a half-copied file looks like this).",
);
const NOT_SHARED: LoadError = LoadError::fixed(
    LoadCode::NotShared,
    "it is a program, not a plugin. Build it with crate-type = [\"cdylib\"].",
);
const NOT_A_PLUGIN: LoadError = LoadError::fixed(
    LoadCode::NotAPlugin,
    "it is a shared library but not a Vestibule plugin (no manifest in it). Remove it, or build it with export_channel!.",
);
const NO_ENTRY: LoadError = LoadError::fixed(
    LoadCode::NoEntry,
    "it carries a Vestibule manifest but not the entry point. Build it again without stripping exports.",
);
const TWO_PLUGINS: LoadError =
    LoadError::fixed(LoadCode::TwoPlugins, "it holds more than one plugin. Build each as a file of its own.");

/// What a plugin file says of itself.
#[derive(Debug)]
pub struct Inspected {
    /// The manifest in its note.
    pub manifest: Manifest,
    /// The name of the symbol through which it is entered.
    pub entry: String,
}

/// Reads a whole file.
///
/// # Errors
/// The sentence after "Plugin FILE was not loaded:".
pub fn inspect(bytes: &[u8]) -> Result<Inspected, LoadError> {
    if !bytes.starts_with(b"\x7fELF") {
        return Err(NOT_ELF);
    }
    if bytes.get(4) != Some(&2) {
        return Err(wrong_machine("another word size"));
    }
    let header = Header::parse(bytes).map_err(|_| TRUNCATED)?;
    let endian = header.endian().map_err(|_| wrong_machine("another byte order"))?;
    check_machine(header.e_machine(endian))?;
    check_whole(header, endian, bytes)?;
    let sections = header.sections(endian, bytes).map_err(|_| TRUNCATED)?;
    let manifest = manifest(&sections, endian, bytes)?;
    let symbols = sections.symbols(endian, bytes, SHT_DYNSYM).map_err(|_| TRUNCATED)?;
    let strings = symbols.strings();
    let mut entries = symbols.iter().filter(|symbol| !symbol.is_undefined(endian)).filter_map(|symbol| {
        let name = std::str::from_utf8(symbol.name(endian, strings).ok()?).ok()?;
        name.starts_with(ENTRY_PREFIX).then(|| name.to_owned())
    });
    let entry = entries.next().ok_or(NO_ENTRY)?;
    if entries.next().is_some() {
        return Err(TWO_PLUGINS);
    }
    Ok(Inspected { manifest, entry })
}

fn wrong_machine(built_for: &str) -> LoadError {
    let here = std::env::consts::ARCH;
    let words =
        format!("it was built for {built_for} and this machine is {here}. Get the build for this machine.");
    LoadError::new(LoadCode::WrongArch, words)
}

fn check_machine(machine: u16) -> Result<(), LoadError> {
    let here = if cfg!(target_arch = "aarch64") { EM_AARCH64 } else { EM_X86_64 };
    match machine {
        machine if machine == here => Ok(()),
        EM_X86_64 => Err(wrong_machine("x86_64")),
        EM_AARCH64 => Err(wrong_machine("ARM64")),
        _ => Err(wrong_machine("another processor")),
    }
}

/// Every part that the headers promise must lie inside the file: opening a file that was cut off kills the
/// process that opens it.
fn check_whole(header: &Header, endian: Endianness, bytes: &[u8]) -> Result<(), LoadError> {
    let len = bytes.len() as u64;
    let inside = |offset: u64, size: u64| offset.checked_add(size).is_some_and(|end| end <= len);
    let mut is_program = header.e_type(endian) != ET_DYN;
    for segment in header.program_headers(endian, bytes).map_err(|_| TRUNCATED)? {
        is_program |= segment.p_type(endian) == PT_INTERP;
        if segment.p_type(endian) == PT_LOAD && !inside(segment.p_offset(endian), segment.p_filesz(endian)) {
            return Err(TRUNCATED);
        }
    }
    for section in header.section_headers(endian, bytes).map_err(|_| TRUNCATED)? {
        if section.sh_type(endian) != SHT_NOBITS
            && !inside(section.sh_offset(endian), section.sh_size(endian))
        {
            return Err(TRUNCATED);
        }
    }
    if is_program { Err(NOT_SHARED) } else { Ok(()) }
}

fn manifest(
    sections: &object::read::elf::SectionTable<'_, Header>,
    endian: Endianness,
    bytes: &[u8],
) -> Result<Manifest, LoadError> {
    let (_, section) = sections.section_by_name(endian, NOTE_SECTION.as_bytes()).ok_or(NOT_A_PLUGIN)?;
    let bad = |why: String| {
        let words = format!("its manifest cannot be read ({why}). Build it again with export_channel!.");
        LoadError::new(LoadCode::BadManifest, words)
    };
    let mut rest = section.data(endian, bytes).map_err(|_| TRUNCATED)?;
    let mut found = None;
    while !rest.is_empty() {
        let note = note(rest, endian).ok_or_else(|| bad("the note is damaged".into()))?;
        if note.name != NOTE_NAME.as_bytes() || note.kind != NOTE_TYPE {
            return Err(bad("the note is not Vestibule's".into()));
        }
        if found.replace(note.text).is_some() {
            return Err(TWO_PLUGINS);
        }
        rest = note.after;
    }
    let manifest = Manifest::parse(found.ok_or(NOT_A_PLUGIN)?).map_err(bad)?;
    if manifest.kind == PluginKind::Unknown {
        let words = format!(
            "{} {} is of a kind that this Vestibule does not know. Update Vestibule.",
            manifest.name, manifest.version
        );
        return Err(LoadError::new(LoadCode::Kind, words));
    }
    if manifest.abi != ABI_MAJOR {
        let words = format!(
            "{} {} was built for plugin interface {}, and this Vestibule speaks interface {ABI_MAJOR}. Update \
             Vestibule, or get a build of the plugin for this interface.",
            manifest.name, manifest.version, manifest.abi
        );
        return Err(LoadError::new(LoadCode::AbiMajor, words));
    }
    Ok(manifest)
}

/// One note: its name, type and text, and what follows it.
struct Note<'a> {
    name: &'a [u8],
    kind: u32,
    text: &'a [u8],
    after: &'a [u8],
}

fn note(bytes: &[u8], endian: Endianness) -> Option<Note<'_>> {
    let number = |at: usize| {
        let bytes: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(U32Bytes::from_bytes(bytes).get(endian))
    };
    let (name_len, text_len, kind) = (number(0)? as usize, number(4)? as usize, number(8)?);
    let text_at = 12usize.checked_add(name_len.checked_next_multiple_of(4)?)?;
    let end = text_at.checked_add(text_len.checked_next_multiple_of(4)?)?;
    let name = bytes.get(12..12 + name_len)?.strip_suffix(b"\0")?;
    let text = bytes.get(text_at..text_at.checked_add(text_len)?)?;
    Some(Note { name, kind, text, after: bytes.get(end..)? })
}
