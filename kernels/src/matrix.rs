//! Weight matrices: bytes as they lie in a file, or int8 made from them.

use std::fmt;

use bytes::Bytes;

use crate::format::{Format, to_f32};
use crate::quantized::Quantized;
use crate::{Cpu, quantized};

/// A weight [outputs, inputs], row-major as in a safetensors file (the bytes may be a slice of a mapped file, of any
/// alignment), or int8 made from one by [`Matrix::quantize`].
pub struct Matrix {
    pub(crate) store: Store,
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
    pub(crate) bias: Option<Vec<f32>>,
}

/// Where the weights are.
pub(crate) enum Store {
    Plain { format: Format, data: Bytes },
    Int8(Quantized),
}

/// Why bytes are not the matrix they were said to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MatrixError {
    /// The data is not outputs * inputs numbers.
    Length {
        /// Bytes that the shape asks for (saturating).
        expected: usize,
        /// Bytes that there are.
        found: usize,
    },
    /// The bias has not one number per output.
    Bias {
        /// Outputs of the matrix.
        expected: usize,
        /// Numbers of the bias.
        found: usize,
    },
}

impl fmt::Display for MatrixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MatrixError::Length { expected, found } => {
                write!(f, "a matrix of {expected} bytes was given {found} bytes")
            }
            MatrixError::Bias { expected, found } => write!(f, "a bias for {expected} outputs has {found} numbers"),
        }
    }
}

impl std::error::Error for MatrixError {}

impl fmt::Debug for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.store {
            Store::Plain { format, .. } => format!("{format:?}"),
            Store::Int8(_) => "Int8".to_owned(),
        };
        write!(f, "Matrix({kind} [{}, {}])", self.outputs, self.inputs)
    }
}

impl Matrix {
    /// The matrix that `data` holds; checks the length.
    pub fn new(format: Format, outputs: usize, inputs: usize, data: Bytes) -> Result<Matrix, MatrixError> {
        let expected = outputs.saturating_mul(inputs).saturating_mul(format.bytes());
        if data.len() != expected {
            return Err(MatrixError::Length { expected, found: data.len() });
        }
        Ok(Matrix { store: Store::Plain { format, data }, outputs, inputs, bias: None })
    }

    /// int8 with one scale per output (largest magnitude / 127), made in parallel. A matrix that is int8 already stays
    /// as it is.
    pub fn quantize(self, cpu: &Cpu) -> Matrix {
        let store = match self.store {
            Store::Plain { format, data } => {
                Store::Int8(quantized::quantize(cpu, format, self.outputs, self.inputs, &data))
            }
            int8 => int8,
        };
        Matrix { store, ..self }
    }

    /// Adds a bias to every output.
    pub fn with_bias(self, bias: Vec<f32>) -> Result<Matrix, MatrixError> {
        if bias.len() != self.outputs {
            return Err(MatrixError::Bias { expected: self.outputs, found: bias.len() });
        }
        Ok(Matrix { bias: Some(bias), ..self })
    }

    /// Rows of the matrix, and columns of the product.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Columns of the matrix.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Its numbers' format; `None`: int8.
    pub fn format(&self) -> Option<Format> {
        match &self.store {
            Store::Plain { format, .. } => Some(*format),
            Store::Int8(_) => None,
        }
    }

    /// What is added to its outputs.
    pub fn bias(&self) -> Option<&[f32]> {
        self.bias.as_deref()
    }

    /// Memory that a full read moves.
    pub fn bytes(&self) -> usize {
        let weights = match &self.store {
            Store::Plain { data, .. } => data.len(),
            Store::Int8(int8) => int8.bytes(),
        };
        weights + self.bias.as_ref().map_or(0, |b| b.len() * 4)
    }

    /// One row as f32 (embedding lookup); `into` has `inputs` numbers.
    pub fn row(&self, index: usize, into: &mut [f32]) {
        assert!(index < self.outputs, "row {index} of a matrix of {} rows", self.outputs);
        assert_eq!(into.len(), self.inputs, "a row has as many numbers as the matrix has inputs");
        match &self.store {
            Store::Plain { format, data } => {
                let bytes = self.inputs * format.bytes();
                to_f32(*format, &data[index * bytes..][..bytes], into);
            }
            Store::Int8(int8) => int8.row(index, into),
        }
    }
}
