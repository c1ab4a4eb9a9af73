//! Position embeddings for a grid of another size.

use candle_core::Tensor;

/// The embeddings of the class token and of `from * from` patches, interpolated to `to * to` patches as transformers'
/// `interpolate_pos_encoding` does: bicubic (a = -0.75), pixel centres aligned, borders repeated. positions: [1 + from
/// * from, hidden] -> [1 + to * to, hidden]
pub(crate) fn interpolated(positions: &Tensor, from: usize, to: usize) -> candle_core::Result<Tensor> {
    if from == to {
        return Ok(positions.clone());
    }
    let (_, hidden) = positions.dims2()?;
    let rows = positions.to_dtype(candle_core::DType::F32)?.to_vec2::<f32>()?;
    let taps: Vec<[(usize, f32); 4]> = (0..to).map(|at| taps(at, from, to)).collect();
    let mut numbers = rows[0].clone();
    for down in &taps {
        for across in &taps {
            let mut sum = vec![0.0; hidden];
            for (row, by_row) in down {
                for (column, by_column) in across {
                    let weight = by_row * by_column;
                    let source = &rows[1 + row * from + column];
                    sum.iter_mut().zip(source).for_each(|(sum, number)| *sum += weight * number);
                }
            }
            numbers.extend(sum);
        }
    }
    Tensor::from_vec(numbers, (1 + to * to, hidden), positions.device())?.to_dtype(positions.dtype())
}

/// The four old positions that one new position is interpolated from, and their weights.
fn taps(at: usize, from: usize, to: usize) -> [(usize, f32); 4] {
    let centre = (at as f32 + 0.5) * from as f32 / to as f32 - 0.5;
    let (first, part) = (centre.floor(), centre - centre.floor());
    let clamped = |offset: f32| (first + offset).clamp(0.0, (from - 1) as f32) as usize;
    [-1.0, 0.0, 1.0, 2.0].map(|offset| (clamped(offset), cubic((part - offset).abs())))
}

fn cubic(x: f32) -> f32 {
    const A: f32 = -0.75;
    if x <= 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares with `torch.nn.functional.interpolate(..., mode="bicubic", align_corners=False)` on `arange(16)` as 4 x
    /// 4.
    #[test]
    fn a_smaller_grid_is_torchs() {
        let numbers: Vec<f32> = std::iter::once(-1.0).chain((0..16).map(|at| at as f32)).collect();
        let positions = Tensor::from_vec(numbers, (17, 1), &candle_core::Device::Cpu).unwrap();
        let two: Vec<f32> = interpolated(&positions, 4, 2).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        for (found, expected) in two.iter().zip([-1.0, 2.03125, 4.21875, 10.78125, 12.96875]) {
            assert!((found - expected).abs() < 1e-5, "{two:?}");
        }
        let same = interpolated(&positions, 4, 4).unwrap();
        assert_eq!(same.dims(), [17, 1]);
    }
}
