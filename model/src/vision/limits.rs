//! Limits on pictures, and the reasons why a picture is refused.

/// Limits on a picture, checked against its header before memory is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PictureLimits {
    /// Most pixels, width times height.
    pub pixels: u64,
    /// Most memory that decoding may take, in bytes.
    pub memory_bytes: u64,
}

impl Default for PictureLimits {
    /// The default limits: 50 megapixels, more than any phone's camera gives by default, and memory for them as 16-bit
    /// RGBA.
    fn default() -> Self {
        PictureLimits { pixels: 50_000_000, memory_bytes: 512 * 1024 * 1024 }
    }
}

impl PictureLimits {
    /// Checks a picture's size before any of it is decoded.
    pub(crate) fn check_size(&self, (width, height): (u32, u32)) -> Result<(), PictureError> {
        if u64::from(width) * u64::from(height) > self.pixels {
            return Err(PictureError::TooLarge { width, height, limit: self.pixels });
        }
        if width == 0 || height == 0 {
            return Err(PictureError::Broken("it has no pixels".to_owned()));
        }
        Ok(())
    }
}

/// The reason why a picture was refused.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The picture's format is not supported.
    #[error("not a PNG, JPEG, WebP or GIF picture")]
    Format,
    /// The picture has too many pixels.
    #[error("the picture has {width} x {height} pixels, more than the limit of {limit} in all")]
    TooLarge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The limit on their product.
        limit: u64,
    },
    /// Decoding would take too much memory.
    #[error("decoding the picture would take more memory than the limit of {limit} bytes")]
    Memory {
        /// The limit.
        limit: u64,
    },
    /// The picture is too narrow for the model's vision tower.
    #[error("the picture has {width} x {height} pixels; one side may be at most {limit} times the other")]
    Ratio {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// The limit on the ratio of the sides.
        limit: usize,
    },
    /// The file is damaged or truncated.
    #[error("the picture cannot be decoded: {0}")]
    Broken(String),
}
