//! The pruning methods, one file each, as pure functions: plain slices in, kept indices out. No candle, no I/O, no
//! model code, so a method is tested against its formula and nothing else.
//!
//! - [`trimtokenator`]: visual tokens of one picture, by text alignment, then diversity (arXiv 2509.00320).
//! - [`pdtrim`]: blocks to drop and tokens to send, per stage, as a plan (arXiv 2509.04467).
//! - [`budget`]: how many tokens a keep rate leaves.
//! - [`visual`]: which method a request asks for.

pub mod budget;
pub mod pdtrim;
pub mod repmax;
pub mod rows;
pub mod trimtokenator;
pub mod visual;

pub use rows::{Rows, RowsError};
pub use visual::{VisualMethod, VisualPolicy, VisualPolicyError};
