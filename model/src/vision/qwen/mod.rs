//! The vision side of Qwen2.5-VL: pictures of any size, with attention in windows.

mod block;
mod distinct;
mod encoder;
mod grid;
mod layout;
mod merger;
mod patches;
mod rms_norm;
mod tower;

pub(crate) use encoder::QwenEncoder;
