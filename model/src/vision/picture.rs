//! Untrusted pictures, decoded under limits and converted to RGB as transformers does.

use image::{DynamicImage, ImageFormat, RgbImage};
use secateur_pruning::PictureView;

use crate::vision::limits::{PictureError, PictureLimits};
use crate::vision::resample::Pixels;
use crate::vision::{exif, gif, jpeg, png, webp};

/// An RGB picture with 8 bits per channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    pixels: RgbImage,
    /// The view of the picture that the tower gets.
    view: PictureView,
}

impl Picture {
    /// Decodes a PNG, JPEG, WebP or GIF (its first frame), and rotates it upright by its EXIF data, as transformers'
    /// `load_image` does.
    pub fn decode(bytes: &[u8], limits: &PictureLimits) -> Result<Picture, PictureError> {
        let (mut decoded, exif) = match format(bytes)? {
            ImageFormat::Jpeg => jpeg::decode(bytes, limits)?,
            ImageFormat::Gif => (gif::decode(bytes, limits)?, None),
            ImageFormat::Png => png::decode(bytes, limits)?,
            _ => webp::decode(bytes, limits)?,
        };
        decoded.apply_orientation(exif::orientation(&exif.unwrap_or_default()));
        Ok(Picture { pixels: to_rgb(decoded), view: PictureView::Whole })
    }

    /// A picture from `width * height * 3` bytes, row by row; `None` if `bytes` has another length.
    pub fn from_rgb(width: u32, height: u32, bytes: Vec<u8>) -> Option<Picture> {
        let whole = bytes.len() as u64 == u64::from(width) * u64::from(height) * 3 && !bytes.is_empty();
        let pixels = whole.then(|| RgbImage::from_raw(width, height, bytes)).flatten()?;
        Some(Picture { pixels, view: PictureView::Whole })
    }

    /// The same picture with another view for the tower.
    pub fn with_view(self, view: PictureView) -> Picture {
        Picture { view, ..self }
    }

    /// The view of the picture that the tower gets.
    pub fn view(&self) -> PictureView {
        self.view
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> usize {
        self.pixels.width() as usize
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> usize {
        self.pixels.height() as usize
    }

    pub(crate) fn pixels(&self) -> Pixels<'_> {
        Pixels { bytes: self.pixels.as_raw().into(), height: self.height(), width: self.width() }
    }

    /// Pixel values, [height, width, 3].
    #[cfg(test)]
    fn bytes(&self) -> &[u8] {
        self.pixels.as_raw()
    }
}

fn format(bytes: &[u8]) -> Result<ImageFormat, PictureError> {
    match image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP | ImageFormat::Gif)) => Ok(format),
        _ => Err(PictureError::Format),
    }
}

/// Converts to RGB. Transparent pixels are composed over white, as in transformers 5 (earlier versions ignored
/// transparency).
fn to_rgb(decoded: DynamicImage) -> RgbImage {
    if !decoded.color().has_alpha() {
        return decoded.into_rgb8();
    }
    let rgba = decoded.into_rgba8();
    let (width, height) = rgba.dimensions();
    RgbImage::from_fn(width, height, |x, y| {
        let [red, green, blue, alpha] = rgba.get_pixel(x, y).0;
        image::Rgb([red, green, blue].map(|channel| over_white(channel, alpha)))
    })
}

/// Pillow's `alpha_composite` of one channel over opaque white, to the bit.
fn over_white(channel: u8, alpha: u8) -> u8 {
    let (channel, alpha) = (u32::from(channel), u32::from(alpha));
    // Seven extra bits of precision, and a division by 255 that rounds.
    let sum = (channel * alpha + 255 * (255 - alpha)) * 128 + 128 * 128;
    (((sum + (sum >> 8)) >> 8) >> 7) as u8
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    type Buffer<P, C> = image::ImageBuffer<P, Vec<C>>;

    fn png(image: DynamicImage) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    fn decode(bytes: &[u8]) -> Result<Picture, PictureError> {
        Picture::decode(bytes, &PictureLimits::default())
    }

    #[test]
    fn grey_becomes_three_equal_channels() {
        let grey = image::GrayImage::from_raw(2, 1, vec![0, 200]).unwrap();
        assert_eq!(decode(&png(grey.into())).unwrap().bytes(), [0, 0, 0, 200, 200, 200]);
    }

    #[test]
    fn transparency_lies_on_white() {
        let pixels = vec![10, 20, 30, 255, 10, 20, 30, 0, 0, 100, 255, 128];
        let rgba = image::RgbaImage::from_raw(3, 1, pixels).unwrap();
        let expected = [10, 20, 30, 255, 255, 255, 127, 177, 255];
        assert_eq!(decode(&png(rgba.into())).unwrap().bytes(), expected);
    }

    #[test]
    fn of_sixteen_bits_the_upper_eight_count() {
        let grey = Buffer::<image::Luma<u16>, u16>::from_raw(2, 1, vec![0x12ff, 0xff00]).unwrap();
        assert_eq!(decode(&png(grey.into())).unwrap().bytes(), [0x12, 0x12, 0x12, 0xff, 0xff, 0xff]);
        let rgba = Buffer::<image::Rgba<u16>, u16>::from_raw(1, 1, vec![0x0100, 0x0200, 0x03ff, 0xffff]).unwrap();
        assert_eq!(decode(&png(rgba.into())).unwrap().bytes(), [1, 2, 3]);
    }

    #[test]
    fn every_format_of_the_contract_is_read() {
        let flat = DynamicImage::from(RgbImage::from_pixel(24, 16, image::Rgb([200, 30, 90])));
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif] {
            let mut bytes = Cursor::new(Vec::new());
            flat.write_to(&mut bytes, format).unwrap();
            let picture = decode(&bytes.into_inner()).unwrap();
            assert_eq!((picture.width(), picture.height()), (24, 16));
            let off = picture.bytes().iter().zip(flat.as_bytes()).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(off < Some(4), "{format:?}: {off:?}");
        }
    }

    #[test]
    fn a_picture_taken_sideways_is_turned_upright() {
        // A JPEG, 24 wide and 16 high, whose EXIF block has orientation 6: a quarter turn to the right.
        let mut jpeg = Cursor::new(Vec::new());
        DynamicImage::from(RgbImage::new(24, 16)).write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
        let jpeg = jpeg.into_inner();
        let exif = b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        let picture = decode(&[&jpeg[..2], exif, &jpeg[2..]].concat()).unwrap();
        assert_eq!((picture.width(), picture.height()), (16, 24));
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        for bytes in [&b""[..], b"hello", b"BM000000000000000000", b"<svg/>"] {
            assert!(matches!(decode(bytes), Err(PictureError::Format)));
        }
    }

    #[test]
    fn truncated_pictures_are_refused() {
        let whole = png(RgbImage::new(40, 40).into());
        for len in [9, 30, whole.len() / 2] {
            assert!(matches!(decode(&whole[..len]), Err(PictureError::Broken(_))), "{len}");
        }
    }

    #[test]
    fn limits_are_checked_against_the_header() {
        // A PNG header that claims 60,000 x 60,000 pixels, and nothing behind it.
        let mut header = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR".to_vec();
        header.extend_from_slice(&60_000u32.to_be_bytes());
        header.extend_from_slice(&60_000u32.to_be_bytes());
        header.extend_from_slice(&[8, 2, 0, 0, 0]);
        header.extend_from_slice(&crc32(&header[12..]).to_be_bytes());
        header.extend_from_slice(b"\x00\x00\x00\x00IDAT\x35\xaf\x06\x1e");
        let error = decode(&header).unwrap_err();
        assert!(matches!(error, PictureError::TooLarge { .. } | PictureError::Memory { .. }), "{error}");
        let limits = PictureLimits { pixels: 99, ..PictureLimits::default() };
        let ten = png(RgbImage::new(10, 10).into());
        assert!(matches!(Picture::decode(&ten, &limits), Err(PictureError::TooLarge { limit: 99, .. })));
        let limits = PictureLimits { memory_bytes: 100, ..PictureLimits::default() };
        assert!(matches!(Picture::decode(&ten, &limits), Err(PictureError::Memory { .. })));
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
        })
    }
}
