//! The identity of a plan, by which prefill, decode and router verify that they follow the same one.

/// Hexadecimal digits of an id: 128 bits, enough that two plans never share one by accident.
const DIGITS: usize = 32;

/// BLAKE3 digest of the plan's files as stored on disk, 32 hexadecimal digits.
///
/// The digest covers the bytes, not their meaning: reformatting a plan changes its id, which costs a restart, whereas
/// two interpretations of one file would cost a wrong answer. A missing tensor file and an empty one give different
/// ids.
pub fn id(plan_json: &[u8], safetensors: Option<&[u8]>) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("secateur plan id v1");
    for part in std::iter::once(plan_json).chain(safetensors) {
        // The length comes first, so that moving bytes from one file to the other changes the digest.
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().to_hex()[..DIGITS].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_files_have_equal_ids() {
        assert_eq!(id(b"{}", Some(b"x")), id(b"{}", Some(b"x")));
        assert_eq!(id(b"{}", None).len(), 32);
    }

    #[test]
    fn other_files_have_other_ids() {
        let ids = [
            id(b"{}", None),
            id(b"{} ", None),
            id(b"{}", Some(b"")),
            id(b"{}", Some(b"x")),
            id(b"{}x", Some(b"")),
            blake3::hash(b"{}").to_hex()[..32].to_owned(),
        ];
        let distinct: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
    }
}
