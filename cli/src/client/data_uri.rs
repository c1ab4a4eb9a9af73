//! A picture inside a request, as a data URI.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// The data URI of a picture's file, byte for byte.
pub fn of(media_type: &str, bytes: &[u8]) -> String {
    format!("data:{media_type};base64,{}", STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_kept() {
        assert_eq!(of("image/png", b"\x89PNG\r\n\x1a\n"), "data:image/png;base64,iVBORw0KGgo=");
    }
}
