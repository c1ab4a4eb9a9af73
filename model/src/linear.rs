//! An affine map on tensors, `y = x W^T + b`, as a custom operation of candle over Secateur's own kernels.

use std::fmt;
use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};
use secateur_kernels::{Cpu, Matrix};

use crate::checkpoint::Weights;
use crate::error::Result;

/// Weights of an affine map. Clones share them.
#[derive(Clone)]
pub(crate) struct Linear {
    matrix: Arc<Matrix>,
    cpu: Cpu,
}

impl fmt::Debug for Linear {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Linear({} -> {})", self.matrix.inputs(), self.matrix.outputs())
    }
}

impl Linear {
    /// Wraps a matrix [out, in].
    pub fn new(matrix: Matrix, cpu: &Cpu) -> Linear {
        Linear { matrix: Arc::new(matrix), cpu: cpu.clone() }
    }

    /// Loads `NAME.weight` and, if `bias` is set, `NAME.bias`.
    pub fn load(weights: &Weights, name: &str, inputs: usize, outputs: usize, bias: bool) -> Result<Linear> {
        Ok(Linear::new(weights.plain_linear(name, inputs, outputs, bias)?, weights.cpu()))
    }

    /// x: [rows, in] f32 -> [rows, out] f32
    pub fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        x.contiguous()?.apply_op1_no_bwd(&Product(self))
    }
}

struct Product<'a>(&'a Linear);

impl CustomOp1 for Product<'_> {
    fn name(&self) -> &'static str {
        "secateur-linear"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let Linear { matrix, cpu } = self.0;
        let (rows, inputs) = layout.shape().dims2()?;
        let Some((start, end)) = layout.contiguous_offsets() else { candle_core::bail!("rows must be contiguous") };
        if inputs != matrix.inputs() {
            candle_core::bail!("{inputs} inputs where the weights take {}", matrix.inputs());
        }
        let mut y = vec![0.0; rows * matrix.outputs()];
        cpu.project(&storage.as_slice::<f32>()?[start..end], rows, &[matrix], &mut y, false);
        Ok((CpuStorage::F32(y), (rows, matrix.outputs()).into()))
    }
}
