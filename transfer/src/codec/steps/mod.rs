//! Values as whole numbers of steps, entropy coded.
//!
//! ```text
//! grain.rs        how fine: the one number that a policy chooses
//! table.rs        steps of a checkpoint's channels at grain 0
//! quantize.rs     values to codes and back
//! model.rs        where a channel's codes lie and how far they spread, known to both sides
//! low_bits.rs     what channels that spread far leave beside their symbols
//! rans.rs         codes to bits: interleaved range coder; simd.rs: its loops by instruction set
//! frequencies.rs  probabilities by spread class; made by frequencies.py
//! instructions.rs loops compiled for several instruction sets
//! coder.rs        one part
//! ```
//!
//! All channels of a key head that turn by one rotary frequency have one step, in proportion to the inverse of how strongly
//! queries look at them, and all channels of a value head one: noise is spread where it does least, and channels that vary
//! more take more bits (reverse water-filling). A code depends on its value and its channel's step alone, so what a position
//! becomes does not depend on what else is shipped.

mod coder;
mod frequencies;
mod grain;
mod instructions;
mod low_bits;
mod model;
mod quantize;
mod rans;
mod simd;
mod table;

pub use coder::{Coder, LayerSteps};
pub use grain::Grain;
pub use model::LayerModels;
pub use table::{KvSteps, Notch};
