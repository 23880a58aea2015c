//! How a frame lies on the socket between the runtime and a plugin's process. Both ends read what comes as untrusted.
//!
//! A packet is a header of 24 bytes, one length for each blob, the head, and the small blobs. A
//! large blob is a sealed memory file that travels beside the packet.

use super::blob;
use super::socket::Foreign;
use rustix::fd::OwnedFd;
use std::collections::VecDeque;
use vestibule_seam::Frame;

/// The largest packet, in bytes, without what travels in memory files.
pub const PACKET_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The most blobs of one frame.
pub const BLOBS_MAX: usize = 64;
/// A blob larger than this, in bytes, travels as a memory file.
pub const INLINE_BYTES_MAX: usize = 64 * 1024;
/// The largest blob, in bytes.
pub const BLOB_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// The most bytes of one frame's blobs together.
pub const FRAME_BYTES_MAX: u64 = 256 * 1024 * 1024;

const HEADER: usize = 24;
/// Marks a length whose bytes are in a memory file.
const IN_FILE: u64 = 1 << 63;

/// What a packet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Runtime: which file to open, and within which limits. Once, first.
    Open = 1,
    /// Plugin: it is open (`status` is what its `init` said), or the head says why not.
    Opened = 2,
    /// A call; `id` is the caller's.
    Call = 3,
    /// The answer to a call of the other side.
    Answer = 4,
    /// A call of the sender needs no answer any more.
    Cancel = 5,
    /// Plugin: a line for the log; `status` is its level.
    Log = 6,
    /// Runtime: end within `id` milliseconds.
    Shutdown = 7,
    /// Plugin: it has ended, with `id` calls left.
    Ended = 8,
    /// Runtime: the local socket that the head names, open; it travels beside the packet.
    Socket = 9,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        let all = [
            Kind::Open,
            Kind::Opened,
            Kind::Call,
            Kind::Answer,
            Kind::Cancel,
            Kind::Log,
            Kind::Shutdown,
            Kind::Ended,
            Kind::Socket,
        ];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A packet, ready to be sent.
#[derive(Debug)]
pub struct Packed {
    /// All of it but the large blobs.
    pub bytes: Vec<u8>,
    /// The large blobs, as sealed memory files.
    pub files: Vec<OwnedFd>,
}

/// Whether packing or reading this frame copies much: then it is done aside.
pub fn is_large(frame: &Frame) -> bool {
    frame.head.len() > INLINE_BYTES_MAX || frame.blobs.iter().any(|blob| blob.len() > INLINE_BYTES_MAX)
}

/// Packs a frame.
///
/// # Errors
/// It is larger than a packet can be; the words are for the maker of the frame.
pub fn pack(kind: Kind, id: u64, status: u32, frame: &Frame) -> Result<Packed, String> {
    if frame.blobs.len() > BLOBS_MAX {
        return Err(format!("the frame has {} blobs, the limit is {BLOBS_MAX}", frame.blobs.len()));
    }
    let inline = |blob: &[u8]| blob.len() <= INLINE_BYTES_MAX;
    let beside: usize =
        frame.blobs.iter().map(|blob| blob.len()).filter(|len| *len <= INLINE_BYTES_MAX).sum();
    let len = HEADER + frame.blobs.len() * 8 + frame.head.len() + beside;
    if len > PACKET_BYTES_MAX {
        return Err(format!("the frame has {len} bytes, the limit is {PACKET_BYTES_MAX}"));
    }
    let all: u64 = frame.blobs.iter().map(|blob| blob.len() as u64).sum();
    if all > FRAME_BYTES_MAX {
        return Err(format!("the frame's blobs have {all} bytes, the limit is {FRAME_BYTES_MAX}"));
    }
    let mut packed = Packed { bytes: Vec::with_capacity(len), files: Vec::new() };
    let out = &mut packed.bytes;
    out.extend_from_slice(&number(len - 4).to_le_bytes());
    out.extend_from_slice(&[kind as u8, u8::try_from(frame.blobs.len()).unwrap_or(u8::MAX), 0, 0]);
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&status.to_le_bytes());
    out.extend_from_slice(&number(frame.head.len()).to_le_bytes());
    for blob in &frame.blobs {
        let mark = if inline(blob) { 0 } else { IN_FILE };
        out.extend_from_slice(&(blob.len() as u64 | mark).to_le_bytes());
    }
    out.extend_from_slice(&frame.head);
    for blob in &frame.blobs {
        if inline(blob) {
            out.extend_from_slice(blob);
        } else if blob.len() as u64 > BLOB_BYTES_MAX {
            return Err(format!("a blob has {} bytes, the limit is {BLOB_BYTES_MAX}", blob.len()));
        } else {
            packed.files.push(blob::seal(blob).map_err(|error| format!("a blob cannot be sent: {error}"))?);
        }
    }
    Ok(packed)
}

fn number(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// A packet as it came; its memory files are not read yet.
#[derive(Debug)]
pub struct Packet {
    /// What it is for.
    pub kind: Kind,
    /// See [`Kind`].
    pub id: u64,
    /// See [`Kind`].
    pub status: u32,
    /// The frame's head.
    pub head: Vec<u8>,
    /// What a [`Kind::Socket`] brings.
    pub socket: Option<Foreign>,
    blobs: Vec<Blob>,
}

#[derive(Debug)]
enum Blob {
    Here(Vec<u8>),
    InFile(Foreign, u64),
}

impl Packet {
    /// How many bytes its frame has.
    pub fn weight(&self) -> u64 {
        let blob = |blob: &Blob| match blob {
            Blob::Here(bytes) => bytes.len() as u64,
            Blob::InFile(_, len) => *len,
        };
        self.head.len() as u64 + self.blobs.iter().map(blob).sum::<u64>()
    }

    /// Whether something of it travelled as a memory file.
    pub fn has_files(&self) -> bool {
        self.blobs.iter().any(|blob| matches!(blob, Blob::InFile(..)))
    }

    /// The frame, its memory files copied.
    ///
    /// # Errors
    /// A memory file is not sealed, or not as long as the packet says.
    pub fn into_frame(self) -> Result<Frame, String> {
        let mut frame = Frame::from_head(self.head);
        for blob in self.blobs {
            frame.blobs.push(match blob {
                Blob::Here(bytes) => bytes.into(),
                Blob::InFile(file, len) => {
                    let file = file.open().ok_or("a blob whose memory file is closed")?;
                    blob::take(file, len)?.into()
                }
            });
        }
        Ok(frame)
    }
}

/// Bytes and memory files come in, packets go out.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    start: usize,
    files: VecDeque<Foreign>,
}

impl Decoder {
    /// Takes what came.
    ///
    /// # Errors
    /// More memory files came than any packet has.
    pub fn feed(&mut self, bytes: &[u8], files: Vec<Foreign>) -> Result<(), String> {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        if self.bytes.is_empty() && self.bytes.capacity() > 1024 * 1024 {
            self.bytes = Vec::new(); // one large packet must not be paid for ever
        }
        self.bytes.extend_from_slice(bytes);
        self.files.extend(files);
        // One packet may be half here while the next one's files are.
        if self.files.len() > 2 * BLOBS_MAX {
            return Err("more memory files came than any frame may have".to_owned());
        }
        Ok(())
    }

    /// The next whole packet.
    ///
    /// # Errors
    /// What came is no packet; nothing after it can be understood.
    pub fn next(&mut self) -> Result<Option<Packet>, String> {
        let bytes = &self.bytes[self.start..];
        let Some(header) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
        let len = 4 + u32_at(header, 0) as usize;
        if !(HEADER..=PACKET_BYTES_MAX).contains(&len) {
            return Err(format!("a packet of {len} bytes; the limit is {PACKET_BYTES_MAX}"));
        }
        let Some(kind) = Kind::from_byte(header[4]) else {
            return Err(format!("a packet of the unknown kind {}", header[4]));
        };
        let (blobs, head_len) = (usize::from(header[5]), u32_at(header, 20) as usize);
        if blobs > BLOBS_MAX {
            return Err(format!("a frame with {blobs} blobs; the limit is {BLOBS_MAX}"));
        }
        let Some(packet) = bytes.get(..len) else { return Ok(None) };
        let no_sum = || "a packet whose parts do not add up to its length".to_owned();
        let (lengths, rest) = packet[HEADER..].split_at_checked(blobs * 8).ok_or_else(no_sum)?;
        let (head, mut rest) = rest.split_at_checked(head_len).ok_or_else(no_sum)?;
        let (mut all, mut found) = (0u64, Vec::with_capacity(blobs));
        for length in lengths.as_chunks::<8>().0 {
            let length = u64::from_le_bytes(*length);
            let size = length & !IN_FILE;
            all = all.saturating_add(size);
            if size > BLOB_BYTES_MAX || all > FRAME_BYTES_MAX {
                return Err("blobs larger than a frame's may be".to_owned());
            }
            if length & IN_FILE != 0 {
                let file = self.files.pop_front().ok_or("a blob whose memory file did not come")?;
                found.push(Blob::InFile(file, size));
            } else {
                let size = usize::try_from(size).map_err(|_| no_sum())?;
                let (blob, after) = rest.split_at_checked(size).ok_or_else(no_sum)?;
                found.push(Blob::Here(blob.to_vec()));
                rest = after;
            }
        }
        if !rest.is_empty() {
            return Err(no_sum());
        }
        let (id, status) = (u64_at(header, 8), u32_at(header, 16));
        let socket = if kind == Kind::Socket { self.files.pop_front() } else { None };
        let packet = Packet { kind, id, status, head: head.to_vec(), socket, blobs: found };
        self.start += len;
        Ok(Some(packet))
    }
}

fn u32_at(header: &[u8; HEADER], at: usize) -> u32 {
    header[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(header: &[u8; HEADER], at: usize) -> u64 {
    header[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(head: &str, blobs: &[Vec<u8>]) -> Frame {
        let mut frame = Frame::from_head(head.as_bytes().to_vec());
        blobs.iter().for_each(|blob| frame.blobs.push(blob.clone().into()));
        frame
    }

    #[test]
    fn what_is_packed_comes_out_however_it_is_cut() {
        let sent = frame("{\"verb\":\"x\"}", &[vec![1; 10], vec![2; INLINE_BYTES_MAX + 1], vec![]]);
        for step in [1, 7, 24, 100_000] {
            let packed = pack(Kind::Call, 7, 3, &sent).expect("it fits");
            let mut twice = packed.bytes.clone();
            twice.extend(pack(Kind::Cancel, 8, 0, &Frame::default()).expect("it fits").bytes);
            let mut files = packed.files.into_iter().map(Foreign::from).collect();
            let (mut decoder, mut got) = (Decoder::default(), Vec::new());
            for part in twice.chunks(step) {
                decoder.feed(part, std::mem::take(&mut files)).expect("few files");
                while let Some(packet) = decoder.next().expect("whole") {
                    got.push(packet);
                }
            }
            assert_eq!((got[1].kind, got[1].id), (Kind::Cancel, 8));
            let first = got.remove(0);
            assert_eq!((first.kind, first.id, first.status), (Kind::Call, 7, 3));
            let came = first.into_frame().expect("sealed");
            assert_eq!((came.head, came.blobs), (sent.head.clone(), sent.blobs.clone()));
        }
    }

    #[test]
    fn what_breaks_a_rule_is_an_error() {
        let good = pack(Kind::Answer, 1, 0, &frame("{}", &[vec![1; 4]])).expect("it fits").bytes;
        let with = |at: usize, value: &[u8]| {
            let mut bytes = good.clone();
            bytes[at..at + value.len()].copy_from_slice(value);
            bytes
        };
        for (what, bytes) in [
            ("too long", with(0, &u32::MAX.to_le_bytes())),
            ("shorter than a header", with(0, &3u32.to_le_bytes())),
            ("unknown kind", with(4, &[99])),
            ("too many blobs", with(5, &[200])),
            ("more blobs than bytes", with(5, &[2])),
            ("fewer blobs than bytes", with(5, &[0])),
            ("a head beyond the end", with(20, &u32::MAX.to_le_bytes())),
            ("a blob beyond the end", with(24, &5u64.to_le_bytes())),
            ("a blob that ends early", with(24, &3u64.to_le_bytes())),
            ("a blob of no file", with(24, &(4 | IN_FILE).to_le_bytes())),
            ("a blob too large", with(24, &(BLOB_BYTES_MAX + 1).to_le_bytes())),
        ] {
            let mut decoder = Decoder::default();
            decoder.feed(&bytes, vec![]).expect("few files");
            assert!(decoder.next().is_err(), "{what}");
        }
        // A header that promises much costs nothing until it comes.
        let mut decoder = Decoder::default();
        decoder
            .feed(&with(0, &u32::try_from(PACKET_BYTES_MAX - 4).expect("fits").to_le_bytes()), vec![])
            .expect("few");
        assert!(decoder.next().expect("not yet").is_none());
        assert!(decoder.bytes.capacity() < 1024);
    }

    #[test]
    fn what_is_too_large_is_not_packed() {
        assert!(pack(Kind::Call, 1, 0, &frame(&"x".repeat(PACKET_BYTES_MAX), &[])).is_err());
        assert!(pack(Kind::Call, 1, 0, &frame("{}", &vec![vec![]; BLOBS_MAX + 1])).is_err());
    }
}
