//! WebP decoding, of the first frame if there are several. libwebp, and so Pillow, refuses an incomplete file, even if
//! the missing part is not needed for the first frame.

use std::io::Cursor;

use image::codecs::webp::WebPDecoder;
use image::error::ImageError;
use image::{DynamicImage, ImageDecoder, Limits};

use crate::vision::limits::{PictureError, PictureLimits};

/// The picture as stored (not rotated upright) and its EXIF block.
pub(crate) fn decode(bytes: &[u8], limits: &PictureLimits) -> Result<(DynamicImage, Option<Vec<u8>>), PictureError> {
    if !is_whole(bytes) {
        return Err(PictureError::Broken("a part of it is missing".to_owned()));
    }
    let broken = |error: ImageError| match error {
        ImageError::Limits(_) => PictureError::Memory { limit: limits.memory_bytes },
        other => PictureError::Broken(other.to_string()),
    };
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(broken)?;
    limits.check_size(decoder.dimensions())?;
    if decoder.total_bytes() > limits.memory_bytes {
        return Err(PictureError::Memory { limit: limits.memory_bytes });
    }
    let mut memory = Limits::default();
    memory.max_alloc = Some(limits.memory_bytes);
    decoder.set_limits(memory).map_err(broken)?;
    // EXIF data that cannot be read are ignored.
    let exif = decoder.exif_metadata().unwrap_or_default();
    Ok((DynamicImage::from_decoder(decoder).map_err(broken)?, exif))
}

/// Whether the file is as long as its header says.
fn is_whole(bytes: &[u8]) -> bool {
    let Some(size) = bytes.strip_prefix(b"RIFF").and_then(long) else { return false };
    let Some(mut rest) = bytes.get(8..).and_then(|rest| rest.get(..size)).and_then(|rest| rest.strip_prefix(b"WEBP"))
    else {
        return false;
    };
    // Chunks follow up to the end, each padded to an even number of bytes.
    while !rest.is_empty() {
        let Some(size) = rest.get(4..).and_then(long) else { return false };
        let Some(behind) = size.checked_add(8 + size % 2).and_then(|end| rest.get(end..)) else { return false };
        rest = behind;
    }
    true
}

fn long(bytes: &[u8]) -> Option<usize> {
    Some(u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_lies_inside_the_file() {
        let whole = b"RIFF\x1a\0\0\0WEBPVP8 \x01\0\0\0x\0EXIF\x04\0\0\0abcd";
        assert!(is_whole(whole));
        assert!(is_whole(&[&whole[..], b"more"].concat()));
        assert!((0..whole.len()).all(|len| !is_whole(&whole[..len])));
        let mut longer = *whole;
        longer[26] = 6;
        assert!(!is_whole(&longer));
    }
}
