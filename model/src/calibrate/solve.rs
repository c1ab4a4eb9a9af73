//! Ridge least squares.

use nalgebra::{Cholesky, DMatrix};

/// `X^T X` and `X^T Y` of the rows added so far, in f64: a fit needs nothing else, whatever the number of rows.
pub(super) struct Normal {
    xx: DMatrix<f64>,
    xy: DMatrix<f64>,
    yy: f64,
    rows: usize,
}

impl Normal {
    pub fn new(width: usize) -> Normal {
        Normal { xx: DMatrix::zeros(width, width), xy: DMatrix::zeros(width, width), yy: 0.0, rows: 0 }
    }

    /// Adds rows of `x` and of `y`, both [rows, width], row-major.
    pub fn add(&mut self, x: &[f32], y: &[f32]) {
        let width = self.xx.nrows();
        // nalgebra is column-major, so rows of `x` and `y` become columns of these matrices.
        let columns = |data: &[f32]| {
            DMatrix::from_iterator(width, data.len() / width, data.iter().map(|&value| f64::from(value)))
        };
        let (x, y) = (columns(x), columns(y));
        self.xx.gemm(1.0, &x, &x.transpose(), 1.0);
        self.xy.gemm(1.0, &x, &y.transpose(), 1.0);
        self.yy += y.norm_squared();
        self.rows += x.ncols();
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The `B`, [width, width], that minimises `|X B - Y|^2 + ridge * mean(diag X^T X) |B|^2`; `None` if the system is
    /// not positive definite.
    pub fn fit(&self, ridge: f64) -> Option<DMatrix<f64>> {
        let width = self.xx.nrows();
        let strength = ridge * self.xx.trace() / width as f64;
        let mut left = self.xx.clone();
        (0..width).for_each(|at| left[(at, at)] += strength);
        Some(Cholesky::new(left)?.solve(&self.xy))
    }

    /// Mean squared error of a fit on the added rows, over the mean square of `Y`: 0 is perfect, 1 is no better than a
    /// zero fit.
    pub fn relative_error(&self, fit: &DMatrix<f64>) -> f64 {
        if self.yy == 0.0 {
            return 0.0;
        }
        let explained = 2.0 * self.xy.dot(fit) - (&self.xx * fit).dot(fit);
        1.0 - explained / self.yy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> (Vec<f32>, Vec<f32>) {
        let x: Vec<f32> = (0..40).map(|i| ((i * 37 % 23) as f32 - 11.0) / 7.0).collect();
        // y = x B with B = [[1, -2], [0.5, 3]].
        let y = x.chunks_exact(2).flat_map(|row| [row[0] + 0.5 * row[1], -2.0 * row[0] + 3.0 * row[1]]).collect();
        (x, y)
    }

    #[test]
    fn a_linear_map_is_found() {
        let (x, y) = data();
        let mut normal = Normal::new(2);
        normal.add(&x[..20], &y[..20]);
        normal.add(&x[20..], &y[20..]);
        let fit = normal.fit(1e-12).unwrap();
        for (found, expected) in [(fit[(0, 0)], 1.0), (fit[(0, 1)], -2.0), (fit[(1, 0)], 0.5), (fit[(1, 1)], 3.0)] {
            assert!((found - expected).abs() < 1e-5, "{fit}");
        }
        assert!(normal.relative_error(&fit) < 1e-9);
        assert_eq!(normal.rows(), 20);
    }

    #[test]
    fn more_ridge_is_nearer_to_nothing() {
        let (x, y) = data();
        let mut normal = Normal::new(2);
        normal.add(&x, &y);
        let [some, much] = [0.1, 1e6].map(|ridge| normal.fit(ridge).unwrap());
        assert!(much.norm() < 1e-3 && some.norm() > 1.0);
        assert!((normal.relative_error(&much) - 1.0).abs() < 1e-3);
    }
}
