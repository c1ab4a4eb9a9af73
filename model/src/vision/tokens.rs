//! Visual tokens, and rows of numbers for those who choose among them.

use candle_core::{DType, Tensor};

use crate::error::{ModelError, Result};

/// Visual tokens of one picture, ready to stand in a prompt. They stay on the device; clones share them.
#[derive(Clone, Debug)]
pub struct VisualTokens {
    /// [tokens, hidden]
    rows: Tensor,
}

/// Rows of f32 on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// All rows, one after another.
    pub data: Vec<f32>,
    /// Numbers in a row.
    pub width: usize,
}

impl VisualTokens {
    pub(crate) fn new(rows: Tensor) -> VisualTokens {
        VisualTokens { rows }
    }

    pub(crate) fn tensor(&self) -> &Tensor {
        &self.rows
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.dims()[0]
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of them on the host, [tokens, hidden].
    pub fn rows(&self) -> Result<Rows, ModelError> {
        Rows::from_tensor(&self.rows)
    }

    /// Only the tokens at these indices, in this order.
    pub fn keep(&self, indices: &[usize]) -> Result<VisualTokens, ModelError> {
        let len = self.len();
        if let Some(&index) = indices.iter().find(|&&index| index >= len) {
            return Err(ModelError::OutOfRange { what: "visual token", index, len });
        }
        let ids: Vec<u32> = indices.iter().map(|&index| index as u32).collect();
        let ids = Tensor::from_vec(ids, indices.len(), self.rows.device())?;
        Ok(VisualTokens { rows: self.rows.index_select(&ids, 0)? })
    }
}

impl Rows {
    /// x: [rows, width]
    pub(crate) fn from_tensor(x: &Tensor) -> Result<Rows> {
        let (_, width) = x.dims2()?;
        Ok(Rows { data: x.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?, width })
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.data.len().checked_div(self.width).unwrap_or(0)
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One row. Panics if there are not so many.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.data[index * self.width..][..self.width]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn tokens() -> VisualTokens {
        VisualTokens::new(Tensor::new(&[[1.0f32, 2.0], [3.0, 4.0], [5.0, 6.0]], &Device::Cpu).unwrap())
    }

    #[test]
    fn kept_tokens_come_in_the_order_asked_for() {
        let rows = tokens().keep(&[2, 0]).unwrap().rows().unwrap();
        assert_eq!((rows.len(), rows.row(0), rows.row(1)), (2, &[5.0, 6.0][..], &[1.0, 2.0][..]));
    }

    #[test]
    fn none_may_be_kept_but_none_invented() {
        assert!(tokens().keep(&[]).unwrap().is_empty());
        assert!(matches!(tokens().keep(&[3]), Err(ModelError::OutOfRange { index: 3, len: 3, .. })));
    }
}
