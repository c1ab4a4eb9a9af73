//! The result of writing a checkpoint.

/// Facts about the written checkpoint.
#[derive(Debug, PartialEq)]
pub struct Written {
    pub parameters: u64,
    pub bytes: u64,
    pub weight_files: usize,
    pub seconds: f64,
}
