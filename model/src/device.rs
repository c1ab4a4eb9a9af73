//! The device to compute on, and the number format to compute in.

use std::fmt;

use crate::error::{ModelError, Result};
use crate::float::FloatType;

/// A kind of processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceKind {
    /// The host's processor.
    #[default]
    Cpu,
    /// The NVIDIA GPU of this ordinal. This version refuses it.
    Cuda(usize),
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceKind::Cpu => out.write_str("cpu"),
            DeviceKind::Cuda(ordinal) => write!(out, "cuda:{ordinal}"),
        }
    }
}

impl DeviceKind {
    /// Refuses devices that this version cannot compute on.
    pub fn check(self) -> Result<()> {
        check(self)
    }
}

/// Refuses devices that this version cannot compute on.
pub(crate) fn check(kind: DeviceKind) -> Result<()> {
    match kind {
        DeviceKind::Cpu => Ok(()),
        DeviceKind::Cuda(_) => Err(ModelError::Device {
            device: kind.to_string(),
            problem: "this version computes on the CPU only; use --device cpu".to_owned(),
        }),
    }
}

/// The format of weights and KV: the requested one, else the checkpoint's own. Activations are f32 in any case.
pub(crate) fn compute_type(asked: Option<FloatType>, stored: Option<FloatType>) -> FloatType {
    asked.or(stored).unwrap_or(FloatType::F32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checkpoints_own_format_is_the_default() {
        assert_eq!(compute_type(None, Some(FloatType::Bf16)), FloatType::Bf16);
        assert_eq!(compute_type(Some(FloatType::F32), Some(FloatType::Bf16)), FloatType::F32);
        assert_eq!(compute_type(None, None), FloatType::F32);
    }

    #[test]
    fn a_gpu_is_refused_and_the_error_says_what_to_do() {
        let error = check(DeviceKind::Cuda(0)).unwrap_err().to_string();
        assert!(error.contains("cuda:0") && error.contains("--device cpu"), "{error}");
    }
}
