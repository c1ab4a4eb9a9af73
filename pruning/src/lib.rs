//! The pruning methods, one file each, as pure functions: plain slices in, kept indices out. No candle, no I/O, no
//! model code, so a method is tested against its formula and nothing else.
//!
//! - [`trimtokenator`]: visual tokens of one picture, by text alignment, then diversity (arXiv 2509.00320).
//! - [`trimtokenator_lc`]: TrimTokenator for several pictures under one budget (arXiv 2512.22748).
//! - [`coverage`]: our own composition, facility location over picture and text.
//! - [`conditional_dpp`], [`farthest_point`], [`random`]: baselines.
//! - [`pdtrim`]: blocks to drop and tokens to send, per stage, as a plan (arXiv 2509.04467).
//! - [`select()`]: one entry point for all of them.
//! - [`budget`]: the number of tokens that a keep rate leaves.
//! - [`visual`]: the method and keep rate that a request asks for.

mod argmin;
pub mod budget;
pub mod conditional_dpp;
pub mod coverage;
mod diversity;
pub mod farthest_point;
pub mod pdtrim;
pub mod picture;
mod product;
pub mod random;
mod rank_correlation;
pub mod repmax;
pub mod rows;
pub mod select;
pub mod trimtokenator;
pub mod trimtokenator_lc;
pub mod visual;

pub use coverage::CoverageOptions;
pub use picture::{PictureTokens, TilesError};
pub use rows::{Rows, RowsError};
pub use select::{SelectError, Selection, select, select_with};
pub use visual::{PictureView, VisualMethod, VisualPolicy, VisualPolicyError};
