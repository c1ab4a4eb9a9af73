//! The vision side of LLaVA and LLaVA-NeXT: a CLIP tower, a projector, and for the latter a picture cut into tiles.

mod anyres;
mod clip;
mod clip_layer;
mod encoder;
mod layer_norm;
mod positions;
mod preprocess;
mod projector;

pub(crate) use encoder::LlavaEncoder;
