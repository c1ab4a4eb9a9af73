//! Weight matrices: bytes in the layout of a file, or int8 made from them.

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

/// Storage of the weights.
pub(crate) enum Store {
    Plain { format: Format, data: Bytes },
    Int8(Quantized),
}

/// Reason why bytes cannot be the matrix that they were given as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MatrixError {
    /// The data does not have outputs * inputs numbers.
    Length {
        /// Bytes that the shape needs (saturating).
        expected: usize,
        /// Bytes that were given.
        found: usize,
    },
    /// The bias does not have one number per output.
    Bias {
        /// Number of outputs of the matrix.
        expected: usize,
        /// Count of numbers in the bias.
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
    /// A matrix with the weights in `data`, whose length is checked.
    pub fn new(format: Format, outputs: usize, inputs: usize, data: Bytes) -> Result<Matrix, MatrixError> {
        let expected = outputs.saturating_mul(inputs).saturating_mul(format.bytes());
        if data.len() != expected {
            return Err(MatrixError::Length { expected, found: data.len() });
        }
        Ok(Matrix { store: Store::Plain { format, data }, outputs, inputs, bias: None })
    }

    /// Converts the matrix, in parallel, to int8 with one scale per output (largest magnitude / 127). An int8 matrix
    /// stays as it is.
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

    /// Number of rows of the matrix, which are columns of the product.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Number of columns of the matrix.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Format of the weights; `None` if they are int8.
    pub fn format(&self) -> Option<Format> {
        match &self.store {
            Store::Plain { format, .. } => Some(*format),
            Store::Int8(_) => None,
        }
    }

    /// The bias that is added to the outputs, if any.
    pub fn bias(&self) -> Option<&[f32]> {
        self.bias.as_deref()
    }

    /// Bytes that a product reads from memory: weights and bias.
    pub fn bytes(&self) -> usize {
        let weights = match &self.store {
            Store::Plain { data, .. } => data.len(),
            Store::Int8(int8) => int8.bytes(),
        };
        weights + self.bias.as_ref().map_or(0, |b| b.len() * 4)
    }

    /// Writes one row as f32 (embedding lookup); `into` must have `inputs` numbers.
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
