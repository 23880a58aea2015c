//! Files that agents send: how Telegram shows each, and which of them go out together, as an album. Pure.

use vestibule_plugin_api::Attachment;

/// The largest picture that Telegram shows as one, in bytes.
const PHOTO_BYTES_MAX: usize = 10 * 1024 * 1024;
/// The most files of one album.
const ALBUM_MAX: usize = 10;
/// The most bytes of one album, so that it is sent within a call's time. A file that is larger goes out alone.
const ALBUM_BYTES_MAX: usize = 50 * 1024 * 1024;

/// How Telegram shows a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A picture in the chat.
    Photo,
    /// A video that plays in the chat.
    Video,
    /// Music, with a player.
    Audio,
    /// A file as it is.
    Document,
}

/// A file that goes out.
#[derive(Debug, PartialEq)]
pub struct File {
    /// How it is shown.
    pub kind: Kind,
    /// Its name and its bytes.
    pub attachment: Attachment,
}

impl Kind {
    /// The method that sends one such file.
    pub fn method(self) -> &'static str {
        match self {
            Kind::Photo => "sendPhoto",
            Kind::Video => "sendVideo",
            Kind::Audio => "sendAudio",
            Kind::Document => "sendDocument",
        }
    }

    /// What Telegram calls such a file.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Photo => "photo",
            Kind::Video => "video",
            Kind::Audio => "audio",
            Kind::Document => "document",
        }
    }

    /// Whether both may be in one album: of pictures and videos, of music alone, or of other files alone.
    fn goes_with(self, other: Kind) -> bool {
        let shown = |kind| matches!(kind, Kind::Photo | Kind::Video);
        self == other || shown(self) && shown(other)
    }
}

impl File {
    /// A file as Telegram is to show it.
    pub fn of(attachment: Attachment) -> File {
        let kind = match attachment.mime_type.as_deref().unwrap_or_default() {
            "image/jpeg" | "image/png" if size(&attachment) <= PHOTO_BYTES_MAX => Kind::Photo,
            "video/mp4" => Kind::Video,
            "audio/mpeg" | "audio/mp4" => Kind::Audio,
            _ => Kind::Document,
        };
        File { kind, attachment }
    }

    /// Whether it may be in an album. Of a GIF Telegram makes an animation, and of a WebP a sticker: these stand alone.
    fn may_join(&self) -> bool {
        !matches!(self.attachment.mime_type.as_deref(), Some("image/gif" | "image/webp"))
    }
}

fn size(attachment: &Attachment) -> usize {
    attachment.bytes.as_ref().map_or(0, |bytes| bytes.len())
}

/// The files in the order in which they go out, those together that one call sends.
pub fn albums(files: Vec<Attachment>) -> Vec<Vec<File>> {
    let mut albums: Vec<Vec<File>> = Vec::new();
    for file in files.into_iter().map(File::of) {
        match albums.last_mut() {
            Some(album) if takes(album, &file) => album.push(file),
            _ => albums.push(vec![file]),
        }
    }
    albums
}

fn takes(album: &[File], file: &File) -> bool {
    let bytes: usize = album.iter().map(|file| size(&file.attachment)).sum();
    let fits = album.len() < ALBUM_MAX && bytes + size(&file.attachment) <= ALBUM_BYTES_MAX;
    fits && file.may_join() && album.iter().all(|other| other.may_join() && other.kind.goes_with(file.kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, mime_type: &str, size: usize) -> Attachment {
        Attachment {
            name: name.into(),
            mime_type: Some(mime_type.into()).filter(|word: &String| !word.is_empty()),
            bytes: Some(vec![0; size].into()),
            ..Attachment::default()
        }
    }

    #[test]
    fn how_a_file_is_shown() {
        for (mime_type, size, want) in [
            ("image/jpeg", 1, Kind::Photo),
            ("image/png", PHOTO_BYTES_MAX, Kind::Photo),
            ("image/png", PHOTO_BYTES_MAX + 1, Kind::Document),
            ("image/gif", 1, Kind::Document),
            ("image/webp", 1, Kind::Document),
            ("video/mp4", 1, Kind::Video),
            ("video/webm", 1, Kind::Document),
            ("audio/mpeg", 1, Kind::Audio),
            ("audio/mp4", 1, Kind::Audio),
            ("audio/ogg", 1, Kind::Document),
            ("application/pdf", 1, Kind::Document),
            ("", 1, Kind::Document),
        ] {
            assert_eq!(File::of(file("a", mime_type, size)).kind, want, "{mime_type} {size}");
        }
    }

    #[test]
    fn which_files_go_out_together() {
        let (jpg, mp4, mp3, pdf, gif) =
            ("image/jpeg", "video/mp4", "audio/mpeg", "application/pdf", "image/gif");
        let eleven = [jpg; 11];
        let table: [(&[&str], &[usize]); 9] = [
            (&[], &[]),
            (&[pdf], &[1]),
            (&[jpg, mp4, jpg], &[3]),
            (&[jpg, pdf, pdf, jpg], &[1, 2, 1]),
            (&[mp3, mp3, pdf], &[2, 1]),
            (&[jpg, mp3], &[1, 1]),
            (&[pdf, gif, pdf, pdf], &[1, 1, 2]),
            (&[gif, gif], &[1, 1]),
            (&eleven, &[10, 1]),
        ];
        for (kinds, want) in table {
            let files = kinds.iter().enumerate().map(|(number, kind)| file(&number.to_string(), kind, 1));
            let albums = albums(files.collect());
            assert_eq!(albums.iter().map(Vec::len).collect::<Vec<_>>(), want, "{kinds:?}");
            let names: Vec<_> = albums.iter().flatten().map(|file| file.attachment.name.clone()).collect();
            assert_eq!(names, (0..kinds.len()).map(|number| number.to_string()).collect::<Vec<_>>());
        }
        let large = ALBUM_BYTES_MAX / 2 + 1;
        let of = |sizes: [usize; 2]| albums(sizes.map(|size| file("a", pdf, size)).into()).len();
        assert_eq!((of([large, 1]), of([large, large])), (1, 2));
    }
}
