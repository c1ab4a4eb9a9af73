//! From picture bytes to visual tokens: decode, preprocess, run the tower, project.

mod activation;
mod attend;
#[cfg(test)]
mod damaged;
mod encoder;
mod exif;
mod gif;
mod jpeg;
mod limits;
mod llava;
mod picture;
mod png;
mod processor;
mod qwen;
mod resample;
mod tokens;
mod webp;

pub(crate) use activation::Activation;
pub(crate) use encoder::VisionEncoder;
pub use limits::{PictureError, PictureLimits};
pub use picture::Picture;
pub(crate) use resample::Filter;
pub use tokens::{Rows, VisualTokens};
