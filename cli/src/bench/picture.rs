//! Pictures for prompts: with some content, small as a file, and no two alike, so that no cache of pictures helps.

use std::io::Cursor;

use anyhow::Context;
use image::{ImageFormat, Rgb, RgbImage};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use crate::client::data_uri;

const WIDTH: u32 = 448;
const HEIGHT: u32 = 336;
const SHAPES: u32 = 12;
/// Seed offset that separates the random streams of pictures from those of texts.
const SEED_OF_PICTURES: u64 = 0x9_1C70;

/// The `index`-th picture of that seed, as a data URI. One pixel is its label: a different label changes nothing for a
/// model but makes a new picture for a cache.
pub fn data_uri(seed: u64, index: u64, label: u64) -> anyhow::Result<String> {
    let mut bytes = Cursor::new(Vec::new());
    let mut picture = draw(seed, index);
    let [red, green, blue, ..] = label.to_le_bytes();
    picture.put_pixel(0, 0, Rgb([red, green, blue]));
    picture.write_to(&mut bytes, ImageFormat::Png).context("cannot write a picture for the prompt")?;
    Ok(data_uri::of("image/png", &bytes.into_inner()))
}

/// Draws rectangles of random colours on a background with a gradient from corner to corner.
fn draw(seed: u64, index: u64) -> RgbImage {
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ SEED_OF_PICTURES);
    random.set_stream(index);
    let [red, green, blue, ..] = random.next_u32().to_le_bytes();
    let mut picture = RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
        let slope = |start: u8, by: u32| start.wrapping_add((by / 4) as u8);
        Rgb([slope(red, x), slope(green, y), slope(blue, x + y)])
    });
    for _ in 0..SHAPES {
        let mut below = |limit: u32| random.next_u32() % limit;
        let (left, top, width, height) = (below(WIDTH), below(HEIGHT), 20 + below(100), 20 + below(100));
        let [red, green, blue, ..] = random.next_u32().to_le_bytes();
        for y in top..HEIGHT.min(top + height) {
            for x in left..WIDTH.min(left + width) {
                picture.put_pixel(x, y, Rgb([red, green, blue]));
            }
        }
    }
    picture
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    #[test]
    fn pictures_are_pngs_and_all_different() {
        let first = data_uri(1, 0, 0).unwrap();
        let bytes = STANDARD.decode(first.strip_prefix("data:image/png;base64,").unwrap()).unwrap();
        let picture = image::load_from_memory_with_format(&bytes, ImageFormat::Png).unwrap();
        assert_eq!((picture.width(), picture.height()), (WIDTH, HEIGHT));
        assert!(bytes.len() < 200_000, "{}", bytes.len());
        assert_eq!(data_uri(1, 0, 0).unwrap(), first);
        for (seed, index, label) in [(1, 1, 0), (2, 0, 0), (1, 0, 1)] {
            assert!(data_uri(seed, index, label).unwrap() != first);
        }
    }
}
