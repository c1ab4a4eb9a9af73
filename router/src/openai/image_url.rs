//! Decodes pictures from data URIs, and tells them from URLs that would have to be fetched.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;

use crate::request::is_known_format;

// Some clients omit the padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Whether the picture is to be fetched from a web server.
pub fn is_web(url: &str) -> bool {
    let begins = |scheme: &str| url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    begins("http:") || begins("https:")
}

/// Decodes a picture of at most `bytes_max` bytes; an error says what is wrong with it.
pub fn decode(url: &str, bytes_max: usize) -> Result<Bytes, String> {
    let data = payload(url)?;
    // Four characters become three bytes. Whitespace only makes this estimate too high; the exact size is checked
    // below.
    if data.len() / 4 > bytes_max / 3 + 1 {
        return Err(too_large(bytes_max));
    }
    let bytes = decode_base64(data)?;
    if bytes.len() > bytes_max {
        return Err(too_large(bytes_max));
    }
    if !is_known_format(&bytes) {
        return Err("the picture is not a PNG, JPEG, WebP or GIF file".to_owned());
    }
    Ok(bytes.into())
}

fn payload(url: &str) -> Result<&str, String> {
    let is_data = url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
    if !is_data {
        return Err(
            "pictures must be sent as data URIs (data:image/png;base64,...) or as http and https URLs".to_owned()
        );
    }
    let (header, data) = url[5..].split_once(',').ok_or("the data URI has no comma before its data")?;
    let is_base64 = header.rsplit(';').next().is_some_and(|last| last.trim().eq_ignore_ascii_case("base64"));
    if is_base64 { Ok(data) } else { Err("the data URI must be base64 (data:image/png;base64,...)".to_owned()) }
}

fn decode_base64(data: &str) -> Result<Vec<u8>, String> {
    let is_wrapped = data.bytes().any(|byte| byte.is_ascii_whitespace());
    let decoded = if is_wrapped {
        let joined: Vec<u8> = data.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        LENIENT.decode(joined)
    } else {
        LENIENT.decode(data)
    };
    decoded.map_err(|_| "the data URI is not valid base64".to_owned())
}

fn too_large(bytes_max: usize) -> String {
    format!("the picture is larger than {bytes_max} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_case_and_line_breaks_do_not_matter() {
        for url in [
            "data:image/png;base64,iVBORw0KGgo=",
            "DATA:;BASE64,iVBORw0KGgo",
            "data:image/jpeg;name=a;base64,iVBO\nRw0K\r\nGgo=",
        ] {
            assert_eq!(decode(url, 100).unwrap().as_ref(), b"\x89PNG\r\n\x1a\n", "{url}");
        }
    }

    #[test]
    fn urls_of_the_web_are_known_by_their_scheme() {
        assert!(["http://a/b", "HTTPS://a", "http:a"].iter().all(|url| is_web(url)));
        assert!(
            !["data:,http://a", "file:///a", "httpx://a", "http", "", " http://a", "é"].iter().any(|url| is_web(url))
        );
    }

    #[test]
    fn everything_else_is_refused_with_a_reason() {
        for (url, reason) in [
            ("http://a/b.png", "data URI"),
            ("file:///etc/passwd", "or as http and https URLs"),
            ("", "data URI"),
            ("data:image/png", "comma"),
            ("data:image/png,abc", "base64"),
            ("data:image/png;base64,!!!", "base64"),
            ("data:image/png;base64,aGVsbG8=", "PNG"),
            ("data:image/png;base64,", "PNG"),
            ("daté:", "data URI"),
        ] {
            let error = decode(url, 100).unwrap_err();
            assert!(error.contains(reason), "{url}: {error}");
        }
        assert!(decode("data:image/png;base64,iVBORw0KGgo=", 7).unwrap_err().contains("7 bytes"));
    }
}
