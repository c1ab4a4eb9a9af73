//! The arithmetic of a transformer on a CPU, on plain slices.

mod attention;
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
#[cfg(test)]
mod testing;
mod threads;

pub use attention::{Attention, BlockAddress, KvGeometry, Run};
pub use cpu::Cpu;
pub use format::{Format, from_f32, to_f32};
pub use isa::Isa;
pub use matrix::{Matrix, MatrixError};

/// A pointer that pieces of work share; each writes its own part of what it points to.
struct SendMut<T>(*mut T);

// SAFETY: a pointer is a number; those who write through it answer for it.
unsafe impl<T> Send for SendMut<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for SendMut<T> {}

impl<T> SendMut<T> {
    /// The pointer. (A method, so that closures capture the wrapper and not its field.)
    fn get(&self) -> *mut T {
        self.0
    }
}
