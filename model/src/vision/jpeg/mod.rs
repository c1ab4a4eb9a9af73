//! JPEG to the bit as libjpeg-turbo decodes it, which is what Pillow calls and so what models are measured with.
//!
//! The standard leaves the rounding of the inverse transform and all of the upsampling of colour to the decoder. For
//! the most common kind of photograph other decoders differ in every fourth byte, by up to four steps; enough to turn
//! a token sooner or later. Here are baseline, extended and progressive Huffman coding of grey, YCbCr and RGB. What is
//! not (CMYK, arithmetic coding, twelve bits) and what is damaged is `None`, and the `image` crate has its say.

mod bits;
mod block;
mod color;
mod frame;
mod idct;
mod markers;
mod scan;
mod upsample;

use image::RgbImage;

use crate::vision::jpeg::markers::Markers;

/// The picture as it is stored, not turned upright. `None` too if that would take more than `memory_bytes`.
pub(crate) fn decode(bytes: &[u8], memory_bytes: u64) -> Option<RgbImage> {
    let frame = Markers::new(bytes).read(memory_bytes)?;
    let pixels = color::pixels(&frame)?;
    RgbImage::from_raw(frame.width as u32, frame.height as u32, pixels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const PLENTY: u64 = 1 << 30;

    /// Files of each kind and what Pillow makes of them, from `tests/fixtures/families/pictures.py`.
    fn files() -> Vec<(String, Vec<u8>, Vec<u8>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/families/jpeg");
        let read = |name: &str, kind: &str| std::fs::read(folder.join(format!("{name}.{kind}"))).unwrap();
        let kinds = ["420", "420_progressive", "422_restarts", "444", "grey", "narrow", "rgb"];
        kinds.map(|name| (name.to_owned(), read(name, "jpg"), read(name, "rgb"))).into()
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
    fn no_damage_makes_it_panic() {
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
