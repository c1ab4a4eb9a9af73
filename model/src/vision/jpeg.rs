//! JPEG decoding, bit for bit as libjpeg-turbo does it: Pillow uses that library, so models are measured with its
//! output.
//!
//! The standard leaves the rounding of the inverse transform and all of the upsampling of colour to the decoder. For
//! the most common kind of photograph other decoders differ in every fourth byte, by up to four steps; enough to change
//! a token sooner or later. `mozjpeg` decodes with libjpeg-turbo's own code. It is the only JPEG decoder here: a second
//! one would be tried where this one refuses, and would fill in the missing parts of a damaged file.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::panic::{self, AssertUnwindSafe};

use image::{DynamicImage, GrayImage, RgbImage};
use mozjpeg::{ColorSpace, CompInfo, Decompress, Marker};

use crate::vision::limits::{PictureError, PictureLimits};

/// Limit on scans: each one processes the whole picture, so more scans than any encoder makes are an attack on CPU
/// time.
const SCANS_MAX: usize = 64;

/// The picture as stored (not rotated upright) and its EXIF block.
pub(crate) fn decode(bytes: &[u8], limits: &PictureLimits) -> Result<(DynamicImage, Option<Vec<u8>>), PictureError> {
    // An error in the C code unwinds, because it has no other way out; it does not call the panic hook.
    panic::catch_unwind(|| read(bytes, limits)).unwrap_or_else(|_| Err(broken("its data are damaged or cut short")))
}

fn broken(problem: &str) -> PictureError {
    PictureError::Broken(problem.to_owned())
}

fn read(bytes: &[u8], limits: &PictureLimits) -> Result<(DynamicImage, Option<Vec<u8>>), PictureError> {
    let damaged = |_: io::Error| broken("its data are damaged or cut short");
    if scans(bytes) > SCANS_MAX {
        return Err(broken("it has more scans than any encoder makes"));
    }
    let has_ended = Cell::new(false);
    let source = Whole { rest: bytes, has_ended: &has_ended };
    let decoder = Decompress::with_markers(&[Marker::APP(1)]).from_reader(source).map_err(damaged)?;
    let exif = exif(&decoder);
    let (width, height) = decoder.size();
    limits.check_size((width as u32, height as u32))?;
    let channels = decoder.components().len();
    let space = match channels {
        1 => ColorSpace::JCS_GRAYSCALE,
        3 => ColorSpace::JCS_RGB,
        4 => ColorSpace::JCS_CMYK,
        _ => return Err(broken("it has neither one, three nor four channels")),
    };
    let pixels = width as u64 * height as u64;
    // Two bytes per coefficient, all of which are kept if there are several scans; the decoded picture; and its RGB
    // form.
    let memory = decoder.components().iter().map(coefficients).sum::<u64>() * 2 + pixels * (channels as u64 + 3);
    if memory > limits.memory_bytes {
        return Err(PictureError::Memory { limit: limits.memory_bytes });
    }
    let mut decoder = decoder.to_colorspace(space).map_err(damaged)?;
    let mut decoded = vec![0; width * height * channels];
    decoder.read_scanlines_into(&mut decoded).map_err(damaged)?;
    // Data missing after the last line, such as the end marker, does no harm; data that is present must be sound.
    let is_sound = panic::catch_unwind(AssertUnwindSafe(|| decoder.finish().is_ok())).unwrap_or(false);
    if !is_sound && !has_ended.get() {
        return Err(broken("its data are damaged"));
    }
    let (width, height) = (width as u32, height as u32);
    let image = match space {
        ColorSpace::JCS_GRAYSCALE => GrayImage::from_raw(width, height, decoded).map(DynamicImage::from),
        ColorSpace::JCS_CMYK => {
            let rgb = decoded.chunks_exact(4).flat_map(rgb_of_inverted_cmyk).collect();
            RgbImage::from_raw(width, height, rgb).map(DynamicImage::from)
        }
        _ => RgbImage::from_raw(width, height, decoded).map(DynamicImage::from),
    };
    Ok((image.ok_or_else(|| broken("its size is not that of its data"))?, exif))
}

/// All APP1 segments that begin with EXIF's prefix, concatenated.
fn exif<R>(decoder: &Decompress<R>) -> Option<Vec<u8>> {
    let blocks: Vec<&[u8]> =
        decoder.markers().map(|marker| marker.data).filter(|data| data.starts_with(b"Exif\0\0")).collect();
    let (first, more) = blocks.split_first()?;
    Some(more.iter().fold(first.to_vec(), |whole, block| [&whole, &block[6..]].concat()))
}

/// Pillow's conversion, which takes all four channels as inverted, as Adobe writes them.
fn rgb_of_inverted_cmyk(cmyk: &[u8]) -> [u8; 3] {
    // 255 - key, where the key is stored as 255 - key.
    let light = u32::from(cmyk[3]);
    [0, 1, 2].map(|at| {
        let product = u32::from(255 - cmyk[at]) * light + 128;
        light.saturating_sub((product + (product >> 8)) >> 8) as u8
    })
}

/// Number of coefficients of a component, including the padding of its last blocks.
fn coefficients(component: &CompInfo) -> u64 {
    let whole = |blocks: u32, factor: i32| u64::from(blocks) + u64::from(factor.unsigned_abs());
    let across = whole(component.width_in_blocks, component.h_samp_factor);
    across * whole(component.height_in_blocks, component.v_samp_factor) * 64
}

/// Number of scans up to the end marker.
fn scans(bytes: &[u8]) -> usize {
    let mut at = 2;
    let mut count = 0;
    while let Some(gap) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == 0xff)) {
        at += gap + 1;
        match bytes.get(at) {
            None | Some(0xd9) => break,
            // Byte values that are no marker, and markers without a segment.
            Some(0xff | 0 | 1 | 0xd0..=0xd7) => continue,
            Some(marker) => count += usize::from(*marker == 0xda),
        }
        // Segments are skipped whole, because they may hold anything, for example a thumbnail with scans of its own.
        let Some(&[high, low]) = bytes.get(at + 1..at + 3) else { break };
        at += 1 + usize::from(u16::from_be_bytes([high, low]));
    }
    count
}

/// A source for files that must be complete. libjpeg's own sources invent an end marker at the end of the data, and
/// grey pixels.
struct Whole<'a> {
    rest: &'a [u8],
    /// Set once a read beyond the end of the data is attempted.
    has_ended: &'a Cell<bool>,
}

impl Read for Whole<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.rest.read(into)
    }
}

impl BufRead for Whole<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.rest.is_empty() {
            self.has_ended.set(true);
            // Not `UnexpectedEof`, because `mozjpeg` treats that as a regular end.
            return Err(io::Error::other("cut short"));
        }
        Ok(self.rest)
    }

    fn consume(&mut self, len: usize) {
        self.rest.consume(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn decode(bytes: &[u8], memory_bytes: u64) -> Result<RgbImage, PictureError> {
        let limits = PictureLimits { memory_bytes, ..PictureLimits::default() };
        Ok(super::decode(bytes, &limits)?.0.into_rgb8())
    }

    const PLENTY: u64 = 1 << 30;

    fn fixture(name: &str) -> Vec<u8> {
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/families/jpeg").join(name)).unwrap()
    }

    /// Files of each kind and the pixels that Pillow decodes, from `tests/fixtures/families/pictures.py`.
    fn files() -> Vec<(String, Vec<u8>, Vec<u8>)> {
        let kinds = ["420", "420_progressive", "422_restarts", "444", "grey", "narrow", "rgb"];
        let read = |name: &str| (name.to_owned(), fixture(&format!("{name}.jpg")), fixture(&format!("{name}.rgb")));
        kinds.map(read).into()
    }

    #[test]
    fn every_byte_is_libjpegs() {
        for (name, jpeg, expected) in files() {
            assert!(decode(&jpeg, PLENTY).unwrap().into_raw() == expected, "{name}");
        }
    }

    #[test]
    fn what_is_cut_short_or_too_large_is_refused() {
        for (_, jpeg, _) in files() {
            for len in [0, 1, 2, 30, jpeg.len() / 2, jpeg.len() * 3 / 4] {
                assert!(matches!(decode(&jpeg[..len], PLENTY), Err(PictureError::Broken(_))));
            }
            assert!(matches!(decode(&jpeg, 500), Err(PictureError::Memory { limit: 500 })));
        }
    }

    #[test]
    fn a_flood_of_scans_is_refused() {
        let jpeg = fixture("444.jpg");
        let scan = jpeg.windows(2).rposition(|pair| pair == [0xff, 0xda]).unwrap();
        let (head, tail) = (&jpeg[..scan], &jpeg[scan..jpeg.len() - 2]);
        let repeated = |times: usize| [head, &tail.repeat(times), &[0xff, 0xd9]].concat();
        assert_eq!(scans(&repeated(SCANS_MAX)), SCANS_MAX);
        assert!(decode(&repeated(SCANS_MAX + 1), PLENTY).is_err());
    }

    #[test]
    fn no_damage_unwinds_out_of_it() {
        for (_, jpeg, _) in files() {
            for at in 0..jpeg.len() {
                for value in [0, 1, 0x7f, 0xff] {
                    let mut damaged = jpeg.clone();
                    damaged[at] = value;
                    let _ = decode(&damaged, 1 << 20);
                }
            }
        }
    }
}
