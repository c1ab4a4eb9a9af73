//! The extent of a shipment.

/// Positions that a shipment covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Number of positions that the prompt fills.
    pub prompt: u32,
    /// Number of positions of the prompt and of the answer's tokens that exist already (a replay).
    pub positions: u32,
}
