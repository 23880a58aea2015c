//! A large blob travels as a sealed memory file: no process can change or cut it any more, and it is copied, never
//! mapped.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, memfd_create};

const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::WRITE);

/// Makes a sealed memory file of these bytes.
///
/// # Errors
/// There is no memory, or no descriptor, left.
pub fn seal(bytes: &[u8]) -> std::io::Result<OwnedFd> {
    let file = memfd_create("vestibule-blob", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = &rest[written..];
    }
    fcntl_add_seals(&file, SEALS | SealFlags::SEAL)?;
    Ok(file)
}

/// The bytes of a memory file that the other side sent.
///
/// # Errors
/// It is no memory file, is not sealed, or is not `len` bytes long.
pub fn take(file: impl AsFd, len: u64) -> Result<Vec<u8>, String> {
    let file = file.as_fd();
    // Only a memory file answers with seals: reading anything else might wait for ever.
    let seals = fcntl_get_seals(file).map_err(|_| "a blob that is no memory file")?;
    if !seals.contains(SEALS) {
        return Err("a blob whose memory file is not sealed".to_owned());
    }
    let size = fstat(file).map_err(|error| format!("a blob that cannot be read: {error}"))?.st_size;
    if u64::try_from(size) != Ok(len) {
        return Err(format!("a blob of {len} bytes whose memory file has {size}"));
    }
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| "a blob that is too large")?];
    let mut at = 0;
    while at < bytes.len() {
        // By position: the sender shares the file's own offset.
        match rustix::io::pread(file, &mut bytes[at..], at as u64) {
            Ok(0) => return Err("a blob whose memory file ended early".to_owned()),
            Ok(read) => at += read,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(format!("a blob that cannot be read: {error}")),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{SeekFrom, ftruncate, seek};

    #[test]
    fn only_a_sealed_file_of_the_right_length_is_taken() {
        let file = seal(b"hello").expect("there is memory");
        seek(&file, SeekFrom::End(0)).expect("it seeks");
        assert_eq!(take(&file, 5).as_deref(), Ok(&b"hello"[..]), "whatever the offset");
        assert!(take(&file, 4).is_err() && take(&file, 6).is_err());
        assert!(ftruncate(&file, 1).is_err() && rustix::io::write(&file, b"x").is_err(), "it is sealed");

        let open =
            memfd_create("t", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("there is memory");
        ftruncate(&open, 5).expect("it grows");
        assert!(take(&open, 5).expect_err("unsealed").contains("not sealed"));
        fcntl_add_seals(&open, SealFlags::SHRINK | SealFlags::GROW).expect("it seals");
        assert!(take(&open, 5).expect_err("still writable").contains("not sealed"));
        let plain = std::fs::File::open("/proc/self/exe").expect("it is there");
        assert!(take(&plain, 5).is_err());
    }
}
