//! Rows scaled to length one, so that an inner product is a cosine.

use super::{Rows, dot};

/// \[R\] Smallest norm to divide by, which keeps a zero row a zero row.
const NORM_EPSILON: f32 = 1e-8;

/// A matrix `[len, width]` of f32 whose rows are `x / max(|x|, 1e-8)`.
pub(crate) struct UnitRows {
    data: Vec<f32>,
    width: usize,
}

impl UnitRows {
    /// The rows at `indices`, in that order, as unit rows.
    pub(crate) fn gather(rows: Rows<'_>, indices: &[usize]) -> Self {
        let mut data = Vec::with_capacity(indices.len() * rows.width());
        for &index in indices {
            let row = rows.row(index);
            let scale = 1.0 / dot(row, row).sqrt().max(NORM_EPSILON);
            data.extend(row.iter().map(|value| value * scale));
        }
        Self { data, width: rows.width() }
    }

    /// All rows as unit rows.
    pub(crate) fn of(rows: Rows<'_>) -> Self {
        Self::gather(rows, &(0..rows.len()).collect::<Vec<_>>())
    }

    /// A copy of rows that already are unit rows, `width` values each.
    pub(crate) fn copied<'r>(rows: impl Iterator<Item = &'r [f32]>, width: usize) -> Self {
        Self { data: rows.flatten().copied().collect(), width: width.max(1) }
    }

    /// The matrix.
    pub(crate) fn rows(&self) -> Rows<'_> {
        Rows { data: &self.data, width: self.width }
    }
}
