//! Where a model runs: chosen at run time, and refused clearly where the build or the machine lacks it.

use std::fmt;

use candle_core::Device;

use crate::error::{ModelError, Result};
use crate::float::FloatType;

/// A kind of processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceKind {
    /// The host's processor.
    #[default]
    Cpu,
    /// The NVIDIA GPU of this ordinal. Needs the crate feature `cuda`.
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

/// Opens the device.
pub(crate) fn open(kind: DeviceKind) -> Result<Device> {
    match kind {
        DeviceKind::Cpu => Ok(Device::Cpu),
        DeviceKind::Cuda(ordinal) => open_cuda(ordinal),
    }
}

#[cfg(feature = "cuda")]
fn open_cuda(ordinal: usize) -> Result<Device> {
    Device::new_cuda(ordinal).map_err(|error| ModelError::Device {
        device: DeviceKind::Cuda(ordinal).to_string(),
        problem: error.to_string(),
    })
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(ordinal: usize) -> Result<Device> {
    Err(ModelError::Device {
        device: DeviceKind::Cuda(ordinal).to_string(),
        problem: "this build has no CUDA support; build with `--features cuda`".to_owned(),
    })
}

/// The format to compute in: the one asked for, else f32 on a CPU and the checkpoint's own on a GPU.
pub(crate) fn compute_type(kind: DeviceKind, asked: Option<FloatType>, stored: Option<FloatType>) -> Result<FloatType> {
    match (kind, asked) {
        (DeviceKind::Cpu, None) => Ok(FloatType::F32),
        // candle's CPU matrix product has f16 and f32 kernels only.
        (DeviceKind::Cpu, Some(FloatType::Bf16)) => Err(ModelError::Device {
            device: kind.to_string(),
            problem: "bf16 arithmetic is not available on a CPU; use f32".to_owned(),
        }),
        (_, Some(asked)) => Ok(asked),
        (DeviceKind::Cuda(_), None) => Ok(stored.unwrap_or(FloatType::F32)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_computes_in_f32_whatever_the_checkpoint_stores() {
        let chosen = compute_type(DeviceKind::Cpu, None, Some(FloatType::Bf16)).unwrap();
        assert_eq!(chosen, FloatType::F32);
    }

    #[test]
    fn bf16_on_a_cpu_is_refused_before_any_weight_is_read() {
        let error = compute_type(DeviceKind::Cpu, Some(FloatType::Bf16), None).unwrap_err();
        assert!(matches!(error, ModelError::Device { .. }));
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_gpu_is_refused_by_a_build_without_cuda_and_the_error_says_what_to_do() {
        let error = open(DeviceKind::Cuda(0)).unwrap_err().to_string();
        assert!(error.contains("cuda:0") && error.contains("--features cuda"), "{error}");
    }
}
