//! Values as whole numbers of steps, entropy coded.
//!
//! ```text
//! grain.rs        fineness of steps: the one number that a policy chooses
//! table.rs        steps of a checkpoint's channels at grain 0
//! quantize.rs     values to codes and back
//! model.rs        centre and spread of each channel's codes, known to both sides
//! low_bits.rs     low bits of channels with a wide spread, stored beside the symbols
//! rans/           symbols to bits: interleaved range coder, its tables, and its loops by instruction set
//! frequencies.rs  probabilities by spread class; made by frequencies.py
//! instructions.rs loops compiled for several instruction sets
//! coder.rs        one part
//! ```
//!
//! All channels of a key head that share a rotary frequency have one step, inversely proportional to the size of the
//! queries in these channels; all channels of a value head have one step. So noise goes where it matters least, and
//! channels that vary more take more bits (reverse water-filling). A code depends only on its value and its channel's
//! step, so the decoded KV of a position does not depend on what else is shipped.

mod coder;
mod frequencies;
mod grain;
mod instructions;
mod low_bits;
mod model;
mod quantize;
mod rans;
mod table;

pub use coder::{Coder, LayerSteps};
pub use grain::Grain;
pub use model::LayerModels;
pub use table::{KvSteps, Notch};
