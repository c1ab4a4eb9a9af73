//! JPEG to the bit as libjpeg-turbo decodes it, which is what Pillow calls and so what models are measured with.
//!
//! The standard leaves the rounding of the inverse transform and all of the upsampling of colour to the decoder. For
//! the most common kind of photograph other decoders differ in every fourth byte, by up to four steps; enough to turn
//! a token sooner or later. `mozjpeg` decodes with libjpeg-turbo's own code. What is not grey, YCbCr or RGB, and what
//! libjpeg refuses, is `None`, and the `image` crate has its say.

use std::io::{self, BufRead, Read};
use std::panic;

use image::RgbImage;
use mozjpeg::{ColorSpace, CompInfo, Decompress};

/// More scans than any encoder makes are an attack on the processor's time: each goes over all of the picture.
const SCANS_MAX: usize = 64;

/// The picture as it is stored, not turned upright. `None` too if that would take more than `memory_bytes`.
pub(crate) fn decode(bytes: &[u8], memory_bytes: u64) -> Option<RgbImage> {
    // An error in the C code unwinds, as there is no other way out of it; the panic hook does not hear of it.
    panic::catch_unwind(|| read(bytes, memory_bytes)).ok().flatten()
}

fn read(bytes: &[u8], memory_bytes: u64) -> Option<RgbImage> {
    let decoder = Decompress::new_reader(Whole(bytes)).ok()?;
    let known = [ColorSpace::JCS_GRAYSCALE, ColorSpace::JCS_YCbCr, ColorSpace::JCS_RGB];
    if !known.contains(&decoder.color_space()) || scans(bytes) > SCANS_MAX {
        return None;
    }
    let (width, height) = decoder.size();
    let len = width.checked_mul(height)?.checked_mul(3)?;
    // Coefficients of two bytes, which are all kept if there are several scans, and the picture itself.
    let memory = decoder.components().iter().map(coefficients).sum::<u64>() * 2 + len as u64;
    if memory > memory_bytes {
        return None;
    }
    let mut decoder = decoder.rgb().ok()?;
    let mut pixels = vec![0; len];
    decoder.read_scanlines_into(&mut pixels).ok()?;
    decoder.finish().ok()?;
    RgbImage::from_raw(width as u32, height as u32, pixels)
}

/// How many a component has, with those that fill up its last blocks.
fn coefficients(component: &CompInfo) -> u64 {
    let whole = |blocks: u32, factor: i32| u64::from(blocks) + u64::from(factor.unsigned_abs());
    let across = whole(component.width_in_blocks, component.h_samp_factor);
    across * whole(component.height_in_blocks, component.v_samp_factor) * 64
}

/// How many scans there are up to the end marker.
fn scans(bytes: &[u8]) -> usize {
    let mut at = 2;
    let mut count = 0;
    while let Some(gap) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == 0xff)) {
        at += gap + 1;
        match bytes.get(at) {
            None | Some(0xd9) => break,
            // Not markers, and markers without a segment.
            Some(0xff | 0 | 1 | 0xd0..=0xd7) => continue,
            Some(marker) => count += usize::from(*marker == 0xda),
        }
        // Other segments may hold anything, a small copy of the picture for one.
        let Some(&[high, low]) = bytes.get(at + 1..at + 3) else { break };
        at += 1 + usize::from(u16::from_be_bytes([high, low]));
    }
    count
}

/// A file that has to be whole. libjpeg's own sources make an end marker of the mere end, and what is missing grey.
struct Whole<'a>(&'a [u8]);

impl Read for Whole<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl BufRead for Whole<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        // Of this kind, because `mozjpeg` takes `UnexpectedEof` for an end as good as any.
        if self.0.is_empty() { Err(io::Error::other("cut short")) } else { Ok(self.0) }
    }

    fn consume(&mut self, len: usize) {
        self.0.consume(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const PLENTY: u64 = 1 << 30;

    fn fixture(name: &str) -> Vec<u8> {
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/families/jpeg").join(name)).unwrap()
    }

    /// Files of each kind and what Pillow makes of them, from `tests/fixtures/families/pictures.py`.
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
    fn what_is_cut_short_or_too_large_is_left_to_others() {
        for (_, jpeg, _) in files() {
            for len in [0, 1, 2, 30, jpeg.len() / 2, jpeg.len() - 2] {
                assert!(decode(&jpeg[..len], PLENTY).is_none());
            }
            assert!(decode(&jpeg, 500).is_none());
        }
    }

    #[test]
    fn cmyk_is_left_to_others() {
        let mut encoder = mozjpeg::Compress::new(ColorSpace::JCS_CMYK);
        encoder.set_size(8, 8);
        let mut encoder = encoder.start_compress(Vec::new()).unwrap();
        encoder.write_scanlines(&[100; 8 * 8 * 4]).unwrap();
        assert!(decode(&encoder.finish().unwrap(), PLENTY).is_none());
    }

    #[test]
    fn a_flood_of_scans_is_left_to_others() {
        let jpeg = fixture("444.jpg");
        let scan = jpeg.windows(2).rposition(|pair| pair == [0xff, 0xda]).unwrap();
        let (head, tail) = (&jpeg[..scan], &jpeg[scan..jpeg.len() - 2]);
        let repeated = |times: usize| [head, &tail.repeat(times), &[0xff, 0xd9]].concat();
        assert_eq!(scans(&repeated(SCANS_MAX)), SCANS_MAX);
        assert!(decode(&repeated(SCANS_MAX + 1), PLENTY).is_none());
    }

    #[test]
    fn no_damage_unwinds_out_of_it() {
        for (_, jpeg, _) in files() {
            for at in 0..jpeg.len() {
                for value in [0, 1, 0x7f, 0xff] {
                    let mut damaged = jpeg.clone();
                    damaged[at] = value;
                    decode(&damaged, 1 << 20);
                }
            }
        }
    }
}
