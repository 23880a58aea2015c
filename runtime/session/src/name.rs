//! Names that strangers chose, and which of them may become part of a path. Pure.

/// The longest path segment that file systems take, in bytes.
const SEGMENT_BYTES_MAX: usize = 255;

/// Whether a name can be one segment of a path as it is.
pub fn is_safe_segment(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= SEGMENT_BYTES_MAX
        && !name.contains(['/', '\\'])
        && !name.contains(char::is_control)
}

/// The longest extension that is kept of a name that is not, in characters.
const EXTENSION_CHARS_MAX: usize = 10;

/// The name under which a file is stored: its own, if that is safe; instead of an unsafe one `attachment-<ms>` with its
/// extension; where there is no name at all, with one by the media type or the platform's word for it.
pub fn file_name(name: &str, mime_type: Option<&str>, kind: Option<&str>, now_ms: i64) -> String {
    if is_safe_segment(name) {
        return name.to_owned();
    }
    let extension = match name {
        "" => extension(mime_type, kind),
        _ => {
            name.rsplit_once('.').map(|(_, extension)| extension).filter(|extension| is_extension(extension))
        }
    };
    match extension {
        Some(extension) => format!("attachment-{now_ms}.{extension}"),
        None => format!("attachment-{now_ms}"),
    }
}

fn is_extension(text: &str) -> bool {
    (1..=EXTENSION_CHARS_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// The name with a number before its extension, for the second file of one name.
pub fn numbered(name: &str, number: usize) -> String {
    let (stem, extension) = match name.rfind('.') {
        Some(at) if at > 0 => name.split_at(at),
        _ => (name, ""),
    };
    let tail = format!("-{number}{extension}");
    let mut keep = stem.len().min(SEGMENT_BYTES_MAX.saturating_sub(tail.len()));
    while !stem.is_char_boundary(keep) {
        keep -= 1;
    }
    // An extension that is longer than a name may be is no extension.
    if tail.len() < SEGMENT_BYTES_MAX {
        format!("{}{tail}", &stem[..keep])
    } else {
        format!("attachment-{number}")
    }
}

/// The folder of a message's files: its id, where that is safe, else its number.
pub fn folder_name(message_id: &str, seq: i64) -> String {
    if is_safe_segment(message_id) { message_id.to_owned() } else { format!("message-{seq}") }
}

/// Media types and their extensions, NanoClaw's list. The first of an extension is its type.
const TYPES: [(&str, &str); 26] = [
    ("image/jpeg", "jpg"),
    ("image/png", "png"),
    ("image/webp", "webp"),
    ("image/gif", "gif"),
    ("image/heic", "heic"),
    ("audio/ogg", "ogg"),
    ("audio/mpeg", "mp3"),
    ("audio/wav", "wav"),
    ("audio/mp4", "m4a"),
    ("video/mp4", "mp4"),
    ("video/webm", "webm"),
    ("video/quicktime", "mov"),
    ("application/pdf", "pdf"),
    ("application/msword", "doc"),
    ("application/vnd.ms-excel", "xls"),
    ("application/vnd.ms-powerpoint", "ppt"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
    ("application/vnd.openxmlformats-officedocument.presentationml.presentation", "pptx"),
    ("text/plain", "txt"),
    ("application/json", "json"),
    ("application/zip", "zip"),
    ("image/jpeg", "jpeg"),
    ("audio/aac", "aac"),
    ("audio/amr", "amr"),
    ("video/3gpp", "3gp"),
];

fn extension(mime_type: Option<&str>, kind: Option<&str>) -> Option<&'static str> {
    let plain = mime_type.and_then(|m| m.split(';').next()).map(|m| m.trim().to_ascii_lowercase());
    let by_type = TYPES.iter().find(|(mime, _)| Some(*mime) == plain.as_deref()).map(|(_, ext)| *ext);
    by_type.or(match kind.unwrap_or_default() {
        "image" | "photo" => Some("jpg"),
        "sticker" => Some("webp"),
        "voice" => Some("ogg"),
        "audio" => Some("mp3"),
        "video" | "animation" => Some("mp4"),
        _ => None,
    })
}

/// The media type by the extension of a name.
pub fn mime_type(name: &str) -> Option<&'static str> {
    let extension = name.rsplit_once('.')?.1.to_ascii_lowercase();
    TYPES.iter().find(|(_, ext)| *ext == extension).map(|(mime, _)| *mime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_segment() {
        let long = "x".repeat(256);
        for name in ["", ".", "..", "a/b", "a\\b", "a\0", "a\nb", "/etc/passwd", "../x", &long] {
            assert!(!is_safe_segment(name), "{name:?}");
        }
        for name in ["a.pdf", "...", "1718000000.000100:ag-1", "ä ö", ".hidden", &long[1..]] {
            assert!(is_safe_segment(name), "{name:?}");
        }
    }

    #[test]
    fn the_name_of_a_file() {
        let long = format!("{}.pdf", "ä".repeat(130));
        let cases = [
            ("a.pdf", Some("image/png"), None, "a.pdf"),
            ("", Some("IMAGE/JPEG; charset=x"), None, "attachment-7.jpg"),
            ("", Some("application/x-new"), Some("voice"), "attachment-7.ogg"),
            ("", None, Some("file"), "attachment-7"),
            ("", None, None, "attachment-7"),
            ("../../etc/passwd", Some("image/png"), None, "attachment-7"),
            ("a/b\n.PDF", None, None, "attachment-7.PDF"),
            (&long, Some("image/png"), None, "attachment-7.pdf"),
            ("a.pdf/../..", None, None, "attachment-7"),
            ("a/b.p\0f", None, None, "attachment-7"),
            ("a/b.elevenchars", None, None, "attachment-7"),
        ];
        for (name, mime, kind, want) in cases {
            assert_eq!(file_name(name, mime, kind, 7), want, "{name} {mime:?} {kind:?}");
        }
    }

    #[test]
    fn the_second_of_one_name() {
        let long = format!("{}.pdf", "ä".repeat(125));
        assert_eq!(numbered("a.tar.gz", 2), "a.tar-2.gz");
        assert_eq!(numbered(".hidden", 3), ".hidden-3");
        assert!(is_safe_segment(&numbered(&long, 2)) && numbered(&long, 2).ends_with("ä-2.pdf"));
        assert!(is_safe_segment(&numbered(&format!("a.{}", "x".repeat(250)), 2)));
    }
}
