//! From picture bytes to visual tokens: decode, preprocess, look, project.

mod clip;
mod clip_layer;
mod eye;
mod layer_norm;
mod picture;
mod preprocess;
mod processor;
mod projector;
mod resample;
mod tokens;

pub(crate) use eye::Eye;
pub use picture::{Picture, PictureError, PictureLimits};
pub use tokens::{Rows, VisualTokens};
