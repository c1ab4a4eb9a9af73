//! The first frame of a GIF on its canvas, as Pillow shows it.

use std::io::Cursor;

use gif::{ColorOutput, DecodeOptions};
use image::{DynamicImage, RgbaImage};

use crate::vision::limits::{PictureError, PictureLimits};

/// Decodes the first frame.
pub(crate) fn decode(bytes: &[u8], limits: &PictureLimits) -> Result<DynamicImage, PictureError> {
    let broken = |_: gif::DecodingError| PictureError::Broken("its data are damaged or cut short".to_owned());
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    let mut decoder = options.read_info(Cursor::new(whole_blocks(bytes))).map_err(broken)?;
    let screen = (u32::from(decoder.width()), u32::from(decoder.height()));
    let frame = decoder.next_frame_info().map_err(broken)?;
    let frame = frame.ok_or_else(|| PictureError::Broken("it has no frame".to_owned()))?;
    let [left, top, width, height] = [frame.left, frame.top, frame.width, frame.height].map(u32::from);
    let transparent = frame.transparent;
    // A frame that extends beyond the canvas enlarges it.
    let canvas = (screen.0.max(left + width), screen.1.max(top + height));
    limits.check_size((width, height))?;
    limits.check_size(canvas)?;
    let pixels = u64::from(canvas.0) * u64::from(canvas.1);
    if pixels * 4 + u64::from(width) * u64::from(height) > limits.memory_bytes {
        return Err(PictureError::Memory { limit: limits.memory_bytes });
    }
    // Areas that the frame does not cover are transparent, or have the first colour if the GIF has no transparent one.
    let blank = transparent.unwrap_or(0);
    let mut indices = vec![blank; width as usize * height as usize];
    decoder.read_into_buffer(&mut indices).map_err(broken)?;
    let palette = decoder.palette().ok();
    let colour = |index: u8| {
        let [red, green, blue] = colour(palette, index);
        image::Rgba([red, green, blue, if Some(index) == transparent { 0 } else { 255 }])
    };
    let image = RgbaImage::from_fn(canvas.0, canvas.1, |x, y| {
        let (x, y) = (x.wrapping_sub(left), y.wrapping_sub(top));
        let is_drawn = x < width && y < height;
        colour(if is_drawn { indices[y as usize * width as usize + x as usize] } else { blank })
    });
    Ok(image.into())
}

/// The colour of a palette index: grey without a palette, and black beyond the end of a short one.
fn colour(palette: Option<&[u8]>, index: u8) -> [u8; 3] {
    let Some(palette) = palette else { return [index; 3] };
    let start = 3 * usize::from(index);
    palette.get(start..start + 3).and_then(|colour| colour.try_into().ok()).unwrap_or_default()
}

/// The file up to its last complete data block: a block that is cut short is ignored entirely.
fn whole_blocks(bytes: &[u8]) -> &[u8] {
    first_data(bytes).map_or(bytes, |start| &bytes[..end_of_blocks(bytes, start)])
}

/// Offset of the first frame's data blocks.
fn first_data(bytes: &[u8]) -> Option<usize> {
    let table = |flags: u8| if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    let mut at = 13 + table(*bytes.get(10)?);
    loop {
        match bytes.get(at)? {
            // An extension is a label, then blocks.
            0x21 => at = end_of_blocks(bytes, at + 2),
            // A frame is place and size, flags, a palette, and the width of codes.
            0x2c => return Some(at + 10 + table(*bytes.get(at + 9)?) + 1),
            _ => return None,
        }
    }
}

/// Offset after the empty block that ends the blocks at `at`, or after the last complete one.
fn end_of_blocks(bytes: &[u8], mut at: usize) -> usize {
    while let Some(&size) = bytes.get(at) {
        let end = at + 1 + usize::from(size);
        if end > bytes.len() {
            break;
        }
        at = end;
        if size == 0 {
            break;
        }
    }
    at.min(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_is_cut_short_is_left_out() {
        let blocks = [2, 7, 7, 1, 9, 0, 99];
        assert_eq!(end_of_blocks(&blocks, 0), 6);
        assert_eq!([1, 2, 3, 4, 5].map(|len| end_of_blocks(&blocks[..len], 0)), [0, 0, 3, 3, 5]);
        assert_eq!(end_of_blocks(&blocks, 9), 7);
    }

    #[test]
    fn colours_beyond_the_palette_are_black() {
        assert_eq!(colour(Some(&[1, 2, 3]), 0), [1, 2, 3]);
        assert_eq!(colour(Some(&[1, 2, 3]), 1), [0, 0, 0]);
        assert_eq!(colour(None, 9), [9, 9, 9]);
    }
}
