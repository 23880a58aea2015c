//! A manifest written at compile time, so that it lies in the file as plain text, in an ELF note.

use super::config::KeyText;
use crate::manifest::MANIFEST_BYTES_MAX;

/// A manifest, as text.
#[doc(hidden)]
pub struct ManifestText {
    pub bytes: [u8; MANIFEST_BYTES_MAX],
    pub len: usize,
}

#[doc(hidden)]
#[allow(clippy::new_without_default, reason = "it is only used in constants")]
impl ManifestText {
    pub const fn new() -> Self {
        ManifestText { bytes: [0; MANIFEST_BYTES_MAX], len: 0 }
    }

    pub const fn raw(mut self, text: &str) -> Self {
        let text = text.as_bytes();
        let mut i = 0;
        while i < text.len() {
            self.bytes[self.len] = text[i];
            self.len += 1;
            i += 1;
        }
        self
    }

    /// A JSON string; a control character stops the build.
    pub const fn string(self, text: &str) -> Self {
        let mut out = self.raw("\"");
        let text = text.as_bytes();
        let mut i = 0;
        while i < text.len() {
            assert!(text[i] >= 0x20, "a manifest may not contain control characters");
            if text[i] == b'"' || text[i] == b'\\' {
                out = out.raw("\\");
            }
            out.bytes[out.len] = text[i];
            out.len += 1;
            i += 1;
        }
        out.raw("\"")
    }

    pub const fn strings(self, items: &[&str]) -> Self {
        let mut out = self.raw("[");
        let mut i = 0;
        while i < items.len() {
            if i > 0 {
                out = out.raw(",");
            }
            out = out.string(items[i]);
            i += 1;
        }
        out.raw("]")
    }

    /// The secrets: those of the described keys, or else those that were written out.
    pub const fn secrets(self, written: &[&str], keys: Option<&[KeyText]>) -> Self {
        let Some(keys) = keys else { return self.strings(written) };
        let mut out = self.raw("[");
        let (mut i, mut count) = (0, 0);
        while i < keys.len() {
            if keys[i].secret {
                if count > 0 {
                    out = out.raw(",");
                }
                out = out.string(keys[i].key);
                assert!(
                    written.is_empty() || among(keys[i].key, written),
                    "`secrets` lacks a key that config! makes a Secret: leave `secrets` out, config! writes it"
                );
                count += 1;
            }
            i += 1;
        }
        assert!(
            written.is_empty() || written.len() == count,
            "`secrets` names a key that config! makes no Secret: leave `secrets` out, config! writes it"
        );
        out.raw("]")
    }

    /// The length of the note's description: padded to four bytes.
    pub const fn padded_len(&self) -> usize {
        self.len.div_ceil(4) * 4
    }

    pub const fn to_array<const N: usize>(&self) -> [u8; N] {
        let mut out = [b' '; N];
        let mut i = 0;
        while i < self.len {
            out[i] = self.bytes[i];
            i += 1;
        }
        out
    }
}

/// Whether a word is among others.
const fn among(word: &str, words: &[&str]) -> bool {
    let mut i = 0;
    while i < words.len() {
        let (one, other) = (word.as_bytes(), words[i].as_bytes());
        let mut same = 0;
        while same < one.len() && same < other.len() && one[same] == other[same] {
            same += 1;
        }
        if same == one.len() && same == other.len() {
            return true;
        }
        i += 1;
    }
    false
}

/// An ELF note: what `readelf -n` shows and the loader reads. JSON allows the padding's blanks.
#[doc(hidden)]
#[repr(C, align(4))]
pub struct Note<const N: usize> {
    name_len: u32,
    text_len: u32,
    kind: u32,
    name: [u8; 12],
    text: [u8; N],
}

#[doc(hidden)]
impl<const N: usize> Note<N> {
    #[allow(clippy::cast_possible_truncation, reason = "a manifest has at most 16 KiB")]
    pub const fn new(text: [u8; N]) -> Self {
        Note { name_len: 10, text_len: N as u32, kind: 1, name: *b"vestibule\0\0\0", text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compile_time_text_is_json() {
        const TEXT: ManifestText = ManifestText::new().raw("{\"a\":").string("say \"hi\" \\o/").raw("}");
        const BYTES: [u8; TEXT.padded_len()] = TEXT.to_array();
        let value: serde_json::Value = serde_json::from_slice(&BYTES).expect("valid");
        assert_eq!(value["a"], "say \"hi\" \\o/");
    }
}
