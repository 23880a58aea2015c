//! Whether a file came whole: a connection that ends without having said how long the file is says nothing of it. Pure.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// The size of a file as Meta tells it: a number, or its digits.
pub fn size(found: &Value) -> Option<u64> {
    let size = &found["file_size"];
    size.as_u64().or_else(|| size.as_str()?.parse().ok())
}

/// Whether these bytes have the size and the hash that Meta names with the file's address, as far as it names them.
pub fn is_whole(found: &Value, bytes: &[u8]) -> bool {
    if size(found).is_some_and(|size| size != bytes.len() as u64) {
        return false;
    }
    let said = found["sha256"].as_str().unwrap_or_default().to_ascii_lowercase();
    let is_hash = said.len() == 64 && said.bytes().all(|b| b.is_ascii_hexdigit());
    !is_hash || Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>() == said
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_size_is_a_number_or_its_digits() {
        for (told, want) in
            [(json!(303_833), Some(303_833)), (json!("303833"), Some(303_833)), (json!("x"), None)]
        {
            assert_eq!(size(&json!({ "file_size": told })), want);
        }
        assert_eq!(size(&json!({})), None);
    }

    #[test]
    fn what_is_not_as_meta_names_it_is_not_whole() {
        let hash = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        for (found, want) in [
            (json!({ "file_size": 5, "sha256": hash }), true),
            (json!({ "file_size": "5", "sha256": hash.to_uppercase() }), true),
            (json!({ "sha256": hash }), true),
            (json!({}), true),
            // A hash that is written in another way says nothing that is known here.
            (json!({ "file_size": null, "sha256": "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=" }), true),
            (json!({ "file_size": 17 }), false),
            (json!({ "file_size": "17", "sha256": hash }), false),
            (json!({ "file_size": 5, "sha256": hash.replace('2', "3") }), false),
        ] {
            assert_eq!(is_whole(&found, b"hello"), want, "{found}");
        }
    }
}
