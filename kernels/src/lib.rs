//! The arithmetic of a transformer on a CPU, on plain slices.
//!
//! Every operation runs on a [`Cpu`]: a team of threads with an [`Isa`]. Activations are f32, [rows, width], row-major.
//! Weights ([`Matrix`], [outputs, inputs]) are laid out as in a safetensors file, in f32, f16 or bf16 at any address,
//! or are int8 made from such weights. KV is stored in blocks, [block_tokens, kv_heads, head_dim] each for K and V, in
//! f32, f16 or bf16.
//!
//! # The order of sums
//!
//! An output depends bit for bit only on its own row of x and its own weights (in attention: on its q and the slots
//! that it sees), not on the other rows of the call, nor on the number of threads. For one instruction set:
//!
//! * **Weights as stored.** Inputs are taken in blocks of 2048. In a block there is one vector of sums per output, to
//!   which steps of one vector of inputs are added in order; then halves of the vector are added to halves until one
//!   number is left. That number (plus the bias, in the first block) is added to the previous value of y. bf16 weights
//!   on [`Isa::Avx512Bf16`] are multiplied with x rounded to bf16, two inputs per lane and step; else weights are
//!   widened to f32, which is exact, in registers or in a copy.
//! * **int8 weights.** x is quantised per row and group of 256 inputs. A group's sum is exact; multiplied by the
//!   group's scale it is added to the output's f32, group after group; then come the output's scale, the bias, and the
//!   previous value of y.
//! * **Attention.** Slots are taken in partitions of 256, counted from slot 0. Scores add up entry after entry (or pair
//!   after pair). In a partition the largest score is found, weights are 2^(score - largest), their sum is taken lane
//!   by lane and then by halves, and values are added slot after slot (or pair after pair). Partitions are merged in
//!   order. For bf16 KV on [`Isa::Avx512Bf16`], q and the weights are rounded to bf16. Values that a row does not see
//!   have a weight of 0, so that KV must be finite.
//! * **Norms** add squares lane by lane, then by halves.

mod attention;
mod beside;
mod cpu;
mod format;
mod isa;
mod matrix;
mod norm;
mod product;
mod quantized;
mod rope;
mod scratch;
mod simd;
mod sync;
#[cfg(test)]
mod testing;
mod threads;

pub use attention::{Attention, BlockAddress, KvGeometry, Run};
pub use beside::Beside;
pub use cpu::Cpu;
pub use format::{Format, from_f32, to_f32};
pub use isa::Isa;
pub use matrix::{Matrix, MatrixError};

/// A pointer that pieces of work on several threads share. Each piece writes its own part of the memory.
struct SendMut<T>(*mut T);

// SAFETY: sending the pointer itself does nothing; every use of it is in an unsafe block with its own reason.
unsafe impl<T> Send for SendMut<T> {}
// SAFETY: sharing only allows copying the pointer; every use of it is in an unsafe block with its own reason.
unsafe impl<T> Sync for SendMut<T> {}

impl<T> SendMut<T> {
    /// The pointer. This is a method so that closures capture the wrapper and not its field.
    fn get(&self) -> *mut T {
        self.0
    }
}
