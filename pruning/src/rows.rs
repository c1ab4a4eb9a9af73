//! A borrowed row-major matrix: the only tensor type of this crate.

mod unit;

use std::ops::Range;

pub(crate) use crate::product::dot;
pub(crate) use unit::UnitRows;

/// A matrix `[len, width]` of f32, row-major.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    data: &'a [f32],
    width: usize,
}

/// Error when the slice is not a whole number of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{len} values are not rows of width {width}")]
pub struct RowsError {
    /// Number of values given.
    pub len: usize,
    /// Requested width.
    pub width: usize,
}

impl<'a> Rows<'a> {
    /// Views `data` as rows of `width` values.
    pub fn new(data: &'a [f32], width: usize) -> Result<Self, RowsError> {
        if width == 0 || !data.len().is_multiple_of(width) {
            return Err(RowsError { len: data.len(), width });
        }
        Ok(Self { data, width })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.data.len() / self.width
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Number of values in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The row at `index`.
    pub fn row(&self, index: usize) -> &'a [f32] {
        &self.data[index * self.width..(index + 1) * self.width]
    }

    /// The rows of `range`, which must lie within the matrix.
    pub(crate) fn range(&self, range: &Range<usize>) -> Self {
        Self { data: &self.data[range.start * self.width..range.end * self.width], width: self.width }
    }

    /// All rows in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [f32]> + use<'a> {
        self.data.chunks_exact(self.width)
    }

    /// The mean row, summed in f64; zeros if there are no rows.
    pub fn mean(&self) -> Vec<f32> {
        let mut sum = vec![0f64; self.width];
        for row in self.iter() {
            for (total, &value) in sum.iter_mut().zip(row) {
                *total += f64::from(value);
            }
        }
        let count = self.len().max(1) as f64;
        sum.into_iter().map(|total| (total / count) as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ragged_data_is_refused() {
        assert_eq!(Rows::new(&[1.0, 2.0, 3.0], 2).unwrap_err(), RowsError { len: 3, width: 2 });
        assert!(Rows::new(&[], 0).is_err());
    }

    #[test]
    fn mean_of_rows() {
        let rows = Rows::new(&[1.0, 2.0, 3.0, 6.0], 2).unwrap();
        assert_eq!(rows.mean(), [2.0, 4.0]);
    }
}
