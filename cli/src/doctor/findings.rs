//! The results of a whole examination, which the report prints.

use serde::Serialize;

use super::{check::Check, shipment::Shipment};

/// Results of all checks.
#[derive(Debug, Default)]
pub struct Findings {
    /// Checks in the order in which they were made.
    pub checks: Vec<Check>,
    /// Measurements of the link, if it could be measured.
    pub link: Option<LinkFound>,
}

/// Measurements of a link, and the time that a prompt's shipment would take on it.
#[derive(Clone, Debug, Serialize)]
pub struct LinkFound {
    pub from: String,
    pub to: String,
    pub round_trip_ms: f64,
    pub mbit_s: f64,
    /// Number of bytes sent for the measurement.
    pub bytes: u64,
    pub seconds: f64,
    pub model: String,
    /// Number of tokens of the prompt that would be shipped, kept visual ones included.
    pub positions: u32,
    pub visual_positions: u32,
    pub kv_bytes_per_token: u64,
    pub shipments: Vec<Shipment>,
    /// Prefill time of that prompt; `None` if no prefill rate was given.
    pub prefill_seconds: Option<f64>,
}
