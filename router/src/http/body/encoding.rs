//! Decodes the content codings of a request's body, one after the other.

use std::io::{Error, Read};

use axum::http::{HeaderMap, header};
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use secateur_proto::{ErrorCode, ServiceError};

use super::read::too_large;
use crate::admission::Held;

/// The supported codings, in the form of `Accept-Encoding`.
pub const ACCEPTED: &str = "gzip, deflate, zstd";
/// Most codings of one body; no client needs more, and each costs time.
const CODINGS_MAX: usize = 3;
/// Bytes that are decoded before the memory is counted again.
const PIECE: u64 = 256 * 1024;
/// Largest window of a zstd frame, as a power of two: 8 MiB, the most that HTTP allows (RFC 9659). A window is the one
/// buffer beside the decoded bytes whose size the sender chooses; bodies are decoded by a bounded number of workers.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// A coding that can be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950 by its definition; some clients send RFC 1951 (raw deflate) instead, which is accepted too.
    Deflate,
    /// RFC 8878.
    Zstd,
}

/// The codings that `headers` name, in the order in which they were applied.
pub fn codings(headers: &HeaderMap) -> Result<Vec<Coding>, ServiceError> {
    let mut codings = Vec::new();
    for value in headers.get_all(header::CONTENT_ENCODING) {
        for name in value.to_str().unwrap_or("?").split(',') {
            codings.extend(coding(name.trim())?);
        }
    }
    if codings.len() > CODINGS_MAX {
        return Err(unsupported(format!("the body has {} encodings; at most {CODINGS_MAX} are undone", codings.len())));
    }
    Ok(codings)
}

/// The coding of that name; `None` for `identity` or an empty name.
fn coding(name: &str) -> Result<Option<Coding>, ServiceError> {
    match name.to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(None),
        "gzip" | "x-gzip" => Ok(Some(Coding::Gzip)),
        "deflate" => Ok(Some(Coding::Deflate)),
        "zstd" => Ok(Some(Coding::Zstd)),
        _ => {
            let name: String = name.chars().take(50).collect();
            Err(unsupported(format!("the body's encoding {name:?} is not supported; send one of: {ACCEPTED}, or none")))
        }
    }
}

fn unsupported(message: String) -> ServiceError {
    ServiceError::new(ErrorCode::UnsupportedEncoding, message)
}

/// Decodes `codings`. Decoded bytes are counted in `held` as they appear and never exceed `bytes_max`, however small
/// the input is. Takes time, so do not call it on an async task.
pub fn undo(bytes: Vec<u8>, codings: &[Coding], bytes_max: usize, held: &Held) -> Result<Vec<u8>, ServiceError> {
    codings.iter().rev().try_fold(bytes, |bytes, coding| {
        let decoder: Box<dyn Read + '_> = match coding {
            Coding::Gzip => Box::new(MultiGzDecoder::new(bytes.as_slice())),
            Coding::Deflate if has_zlib_header(&bytes) => Box::new(ZlibDecoder::new(bytes.as_slice())),
            Coding::Deflate => Box::new(DeflateDecoder::new(bytes.as_slice())),
            Coding::Zstd => Box::new(zstd_decoder(&bytes).map_err(|_| damaged(*coding))?),
        };
        read(decoder, *coding, bytes.len(), bytes_max, held)
    })
}

/// Whether the bytes begin like zlib's format: with a method and a check sum. A raw deflate stream almost never does.
fn has_zlib_header(bytes: &[u8]) -> bool {
    matches!(bytes, [first, second, ..] if first & 0x0f == 8 && u16::from_be_bytes([*first, *second]) % 31 == 0)
}

fn zstd_decoder(bytes: &[u8]) -> Result<impl Read + '_, Error> {
    let mut decoder = zstd::Decoder::with_buffer(bytes)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    Ok(decoder)
}

fn read(
    mut decoder: impl Read,
    coding: Coding,
    beside: usize,
    bytes_max: usize,
    held: &Held,
) -> Result<Vec<u8>, ServiceError> {
    let mut bytes = Vec::new();
    loop {
        let read = decoder.by_ref().take(PIECE).read_to_end(&mut bytes).map_err(|_| damaged(coding))?;
        if bytes.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        held.resize(beside + bytes.len())?;
        if read == 0 {
            return Ok(bytes);
        }
    }
}

fn damaged(coding: Coding) -> ServiceError {
    let hint = match coding {
        Coding::Gzip | Coding::Deflate => "",
        Coding::Zstd => " (a zstd window may have 8 MiB at most, and dictionaries are not known)",
    };
    let message = format!("the body is not what its content-encoding says: it cannot be inflated{hint}");
    ServiceError::new(ErrorCode::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        net::{IpAddr, Ipv4Addr},
    };

    use axum::http::HeaderValue;
    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };

    use super::*;
    use crate::admission::Admission;

    const MIB: usize = 1 << 20;

    fn named(values: &[&'static str]) -> Result<Vec<Coding>, ServiceError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(value));
        }
        codings(&headers)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd_of(bytes: &[u8], level: i32) -> Vec<u8> {
        zstd::encode_all(bytes, level).unwrap()
    }

    fn undone(bytes: Vec<u8>, codings: &[Coding], bytes_max: usize) -> Result<Vec<u8>, ServiceError> {
        let admission = Admission::new(1, 1, 64 * MIB);
        undo(bytes, codings, bytes_max, &admission.holder(IpAddr::from(Ipv4Addr::LOCALHOST).into()))
    }

    #[test]
    fn names_are_read_as_http_writes_them() {
        assert_eq!(named(&[]).unwrap(), []);
        assert_eq!(named(&["identity"]).unwrap(), []);
        assert_eq!(named(&["Zstd"]).unwrap(), [Coding::Zstd]);
        assert_eq!(named(&["X-GZIP"]).unwrap(), [Coding::Gzip]);
        assert_eq!(named(&["deflate , identity", "gzip"]).unwrap(), [Coding::Deflate, Coding::Gzip]);
        let error = named(&["gzip, br"]).unwrap_err();
        assert_eq!(error.code, ErrorCode::UnsupportedEncoding);
        assert!(error.message.contains("\"br\"") && error.message.contains(ACCEPTED), "{error}");
        assert_eq!(named(&["gzip, gzip, gzip, gzip"]).unwrap_err().code, ErrorCode::UnsupportedEncoding);
    }

    #[test]
    fn every_coding_is_undone_also_several() {
        let text = "some words ".repeat(1_000).into_bytes();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(&text).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::default());
        raw.write_all(&text).unwrap();
        let (zlib, raw) = (zlib.finish().unwrap(), raw.finish().unwrap());
        let members = [gzip(&text[..5_000]), gzip(&text[5_000..])].concat();
        assert_eq!(undone(text.clone(), &[], MIB).unwrap(), text);
        assert_eq!(undone(gzip(&text), &[Coding::Gzip], MIB).unwrap(), text);
        assert_eq!(undone(members, &[Coding::Gzip], MIB).unwrap(), text);
        assert_eq!(undone(raw, &[Coding::Deflate], MIB).unwrap(), text);
        assert_eq!(undone(zstd_of(&text, 3), &[Coding::Zstd], MIB).unwrap(), text);
        let frames = [zstd_of(&text[..5_000], 1), zstd_of(&text[5_000..], 19)].concat();
        assert_eq!(undone(frames, &[Coding::Zstd], MIB).unwrap(), text);
        assert_eq!(undone(gzip(&zlib), &[Coding::Deflate, Coding::Gzip], MIB).unwrap(), text);
    }

    #[test]
    fn bombs_stop_at_the_limit_and_damage_is_told() {
        let bomb = gzip(&vec![0; 20 * MIB]);
        assert!(bomb.len() < MIB / 10);
        assert_eq!(undone(bomb.clone(), &[Coding::Gzip], MIB).unwrap_err().code, ErrorCode::PayloadTooLarge);
        let twice = [Coding::Gzip, Coding::Gzip];
        assert_eq!(undone(gzip(&bomb), &twice, MIB).unwrap_err().code, ErrorCode::PayloadTooLarge);
        for damaged in [b"{}".to_vec(), bomb[..100].to_vec(), Vec::new()] {
            assert_eq!(undone(damaged, &[Coding::Gzip], MIB).unwrap_err().code, ErrorCode::InvalidRequest);
        }
    }

    #[test]
    fn zstd_has_the_same_limits_and_one_on_its_window() {
        let bomb = zstd_of(&vec![0; 20 * MIB], 3);
        assert!(bomb.len() < MIB / 100);
        assert_eq!(undone(bomb.clone(), &[Coding::Zstd], MIB).unwrap_err().code, ErrorCode::PayloadTooLarge);
        let twice = [Coding::Zstd, Coding::Zstd];
        assert_eq!(undone(zstd_of(&bomb, 3), &twice, MIB).unwrap_err().code, ErrorCode::PayloadTooLarge);
        let damaged = [b"{}".to_vec(), bomb[..bomb.len() / 2].to_vec(), windowed(24), windowed(31)];
        for (index, damaged) in damaged.into_iter().enumerate() {
            let error = undone(damaged, &[Coding::Zstd], 64 * MIB).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidRequest, "{index}: {error}");
            assert!(error.message.contains("8 MiB"), "{index}: {error}");
        }
        assert_eq!(undone(windowed(23), &[Coding::Zstd], MIB).unwrap(), b"{}");
    }

    /// A frame with `{}` in a raw block, whose header claims a window of two to this power of bytes.
    fn windowed(log: u8) -> Vec<u8> {
        [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, (log - 10) << 3, 0x11, 0x00, 0x00][..], b"{}"].concat()
    }
}
