//! PNG decoding as Pillow does it: every chunk before the image data must be sound, and after it only the data count,
//! to the last pixel.

use std::io::Cursor;

use ::png::{BitDepth, ColorType, DecodeOptions, Decoder, DecodingError, Transformations};
use image::{DynamicImage, ImageBuffer, Pixel};

use crate::vision::limits::{PictureError, PictureLimits};

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Chunks before the data that the pixels depend on.
const KEPT: [&[u8; 4]; 3] = [b"IHDR", b"PLTE", b"tRNS"];

/// The picture as stored (not rotated upright) and its EXIF block.
pub(crate) fn decode(bytes: &[u8], limits: &PictureLimits) -> Result<(DynamicImage, Option<Vec<u8>>), PictureError> {
    let sound = sound(bytes)?;
    let file = sound.file();
    let decoded = match pixels(&file, false, limits) {
        // A file may end before or within the checksum of its pixel data, if every pixel is there.
        Err(PictureError::Broken(_)) if sound.is_cut => pixels(&file, true, limits),
        decoded => decoded,
    };
    Ok((decoded?, sound.exif))
}

/// The parts of a PNG that determine its pixels, and the EXIF block that precedes its data.
struct Sound {
    /// Signature and chunks up to the data.
    head: Vec<u8>,
    data: Vec<u8>,
    /// Whether the file ends within its data.
    is_cut: bool,
    exif: Option<Vec<u8>>,
}

impl Sound {
    /// A PNG file of only these parts.
    fn file(&self) -> Vec<u8> {
        let mut file = self.head.clone();
        push(&mut file, b"IDAT", &self.data);
        push(&mut file, b"IEND", &[]);
        file
    }
}

/// Refuses a file that is not sound before its data, and leaves out chunks that no pixel depends on.
fn sound(bytes: &[u8]) -> Result<Sound, PictureError> {
    let broken = || PictureError::Broken("its chunks are damaged or cut short".to_owned());
    let mut rest = bytes.strip_prefix(SIGNATURE).ok_or(PictureError::Format)?;
    let mut head = SIGNATURE.to_vec();
    let mut exif = None;
    loop {
        let (kind, size) = header(rest).ok_or_else(broken)?;
        if kind == b"IDAT" {
            let (data, is_cut) = data(rest);
            return Ok(Sound { head, data, is_cut, exif });
        }
        let chunk = rest.get(4..8 + size).ok_or_else(broken)?;
        let checksum = rest.get(8 + size..12 + size).ok_or_else(broken)?;
        if kind == b"IEND" || crc32(chunk).to_be_bytes() != *checksum {
            return Err(broken());
        }
        let content = &chunk[4..];
        if KEPT.contains(&kind) {
            push(&mut head, kind, content);
        } else if kind == b"eXIf" {
            exif = Some(content.to_vec());
        }
        rest = &rest[12 + size..];
    }
}

/// The pixels of a sound file.
fn pixels(file: &[u8], ignores_checksum: bool, limits: &PictureLimits) -> Result<DynamicImage, PictureError> {
    let broken = |error: DecodingError| match error {
        DecodingError::LimitsExceeded => PictureError::Memory { limit: limits.memory_bytes },
        other => PictureError::Broken(other.to_string()),
    };
    let mut options = DecodeOptions::default();
    options.set_ignore_adler32(ignores_checksum);
    let mut decoder = Decoder::new_with_options(Cursor::new(file), options);
    let memory = usize::try_from(limits.memory_bytes).unwrap_or(usize::MAX);
    decoder.set_limits(::png::Limits { bytes: memory });
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(broken)?;
    let (width, height) = reader.info().size();
    limits.check_size((width, height))?;
    let size = reader.output_buffer_size().filter(|size| *size <= memory);
    let mut bytes = vec![0; size.ok_or(PictureError::Memory { limit: limits.memory_bytes })?];
    let output = reader.next_frame(&mut bytes).map_err(broken)?;
    let image = match (output.color_type, output.bit_depth) {
        (ColorType::Grayscale, BitDepth::Eight) => bytes_of(width, height, bytes).map(DynamicImage::ImageLuma8),
        (ColorType::GrayscaleAlpha, BitDepth::Eight) => bytes_of(width, height, bytes).map(DynamicImage::ImageLumaA8),
        (ColorType::Rgb, BitDepth::Eight) => bytes_of(width, height, bytes).map(DynamicImage::ImageRgb8),
        (ColorType::Rgba, BitDepth::Eight) => bytes_of(width, height, bytes).map(DynamicImage::ImageRgba8),
        (ColorType::Grayscale, _) => upper_bytes_of(width, height, &bytes).map(DynamicImage::ImageLuma8),
        (ColorType::GrayscaleAlpha, _) => upper_bytes_of(width, height, &bytes).map(DynamicImage::ImageLumaA8),
        (ColorType::Rgb, _) => upper_bytes_of(width, height, &bytes).map(DynamicImage::ImageRgb8),
        (ColorType::Rgba, _) => upper_bytes_of(width, height, &bytes).map(DynamicImage::ImageRgba8),
        // `Transformations::EXPAND` leaves no palette images.
        (ColorType::Indexed, _) => None,
    };
    image.ok_or_else(|| PictureError::Broken("its size is not that of its data".to_owned()))
}

fn bytes_of<P: Pixel<Subpixel = u8>>(width: u32, height: u32, bytes: Vec<u8>) -> Option<ImageBuffer<P, Vec<u8>>> {
    ImageBuffer::from_raw(width, height, bytes)
}

/// Keeps the upper eight of sixteen bits per channel, as Pillow does, except for 16-bit grey, which Pillow turns all
/// white.
fn upper_bytes_of<P: Pixel<Subpixel = u8>>(width: u32, height: u32, bytes: &[u8]) -> Option<ImageBuffer<P, Vec<u8>>> {
    ImageBuffer::from_raw(width, height, bytes.iter().step_by(2).copied().collect())
}

/// Kind and size of the chunk at the start of `bytes`, if its kind consists of word characters.
fn header(bytes: &[u8]) -> Option<(&[u8; 4], usize)> {
    let kind: &[u8; 4] = bytes.get(4..8)?.try_into().ok()?;
    let is_word = kind.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let size = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?);
    is_word.then_some((kind, size as usize))
}

/// The content of this data chunk and of those that follow it, without checking checksums, and whether the file ends
/// within it.
fn data(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut data = Vec::with_capacity(rest.len());
    let mut is_cut = false;
    while let Some((b"IDAT", size)) = header(rest) {
        is_cut = rest.len() < 8 + size;
        data.extend_from_slice(&rest[8..rest.len().min(8 + size)]);
        rest = rest.get(12 + size..).unwrap_or_default();
    }
    (data, is_cut)
}

fn push(file: &mut Vec<u8>, kind: &[u8; 4], content: &[u8]) {
    // A chunk is at most as long as a file in memory; files of more than four gigabytes are refused long before this.
    file.extend_from_slice(&u32::try_from(content.len()).unwrap_or(u32::MAX).to_be_bytes());
    let start = file.len();
    file.extend_from_slice(kind);
    file.extend_from_slice(content);
    let checksum = crc32(&file[start..]);
    file.extend_from_slice(&checksum.to_be_bytes());
}

/// PNG's checksum.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| (crc >> 8) ^ TABLE[usize::from((crc as u8) ^ byte)])
}

static TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = (byte as u32, 0);
        while bit < 8 {
            crc = (crc >> 1) ^ (0xedb8_8320 * (crc & 1));
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        push(&mut bytes, kind, content);
        bytes
    }

    #[test]
    fn what_stands_before_the_data_must_be_sound_and_what_follows_need_not_be() {
        assert_eq!(crc32(b"IEND"), 0xae42_6082);
        let (head, data) = (chunk(b"IHDR", b"header"), chunk(b"IDAT", b"pixels"));
        let note = chunk(b"tEXt", b"a note");
        let file = |parts: &[&[u8]]| [&[SIGNATURE], parts].concat().concat();
        let expected = file(&[&head, &data, &chunk(b"IEND", b"")]);
        let whole = file(&[&head, &note, &data, b"anything"]);
        assert_eq!(sound(&whole).unwrap().file(), expected);
        let cut = sound(&file(&[&head, &data[..11]])).unwrap();
        assert!(cut.is_cut && !sound(&whole).unwrap().is_cut);
        assert_eq!(cut.file(), file(&[&head, &chunk(b"IDAT", b"pix"), &chunk(b"IEND", b"")]));
        let parts = file(&[&head, &chunk(b"IDAT", b"pix"), &chunk(b"IDAT", b"els")]);
        assert_eq!(sound(&parts).unwrap().file(), expected);
        let mut damaged = whole.clone();
        damaged[SIGNATURE.len() + head.len() + 9] ^= 1;
        assert!(sound(&damaged).is_err(), "a checksum that does not fit");
        assert!(sound(&file(&[&head, &chunk(b"IEND", b"")])).is_err(), "no data");
        assert!(sound(&whole[..30]).is_err());
    }
}
