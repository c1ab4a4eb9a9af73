use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::testing::{close, cpus, numbers};
use crate::{Beside, Cpu, Format, Matrix, from_f32, to_f32};

/// A matrix at an odd address, and its numbers after rounding to the format.
fn matrix(seed: u64, format: Format, outputs: usize, inputs: usize) -> (Matrix, Vec<f32>) {
    let w = numbers(seed, outputs * inputs);
    let mut bytes = vec![0; 1 + w.len() * format.bytes()];
    from_f32(format, &w, &mut bytes[1..]);
    let mut exact = vec![0.0; w.len()];
    to_f32(format, &bytes[1..], &mut exact);
    (Matrix::new(format, outputs, inputs, Bytes::from(bytes).slice(1..)).unwrap(), exact)
}

fn reference(x: &[f32], w: &[f32], inputs: usize) -> Vec<f64> {
    let dot = |x: &[f32], w: &[f32]| x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum::<f64>();
    x.chunks(inputs).flat_map(|x| w.chunks(inputs).map(move |w| dot(x, w))).collect()
}

const FORMATS: [Format; 3] = [Format::F32, Format::F16, Format::Bf16];

/// x after the rounding, if any, that products with this format apply to it.
fn seen(cpu: &Cpu, format: Format, x: &[f32]) -> Vec<f32> {
    if format != Format::Bf16 || cpu.isa() != crate::Isa::Avx512Bf16 {
        return x.to_vec();
    }
    let mut bytes = vec![0; x.len() * 2];
    from_f32(Format::Bf16, x, &mut bytes);
    let mut y = vec![0.0; x.len()];
    to_f32(Format::Bf16, &bytes, &mut y);
    y
}

#[test]
fn products_are_products() {
    for cpu in cpus() {
        for format in FORMATS {
            for (rows, outputs, inputs) in [
                (0, 3, 5),
                (1, 1, 1),
                (1, 5, 31),
                (2, 7, 64),
                (5, 67, 100),
                (13, 130, 2113),
                (40, 20, 257),
                (7, 0, 5),
                (200, 9, 70),
            ] {
                let (m, w) = matrix(1, format, outputs, inputs);
                let x = numbers(2, rows * inputs);
                let mut y = vec![f32::NAN; rows * outputs];
                cpu.project(&x, rows, &[&m], &mut y, false);
                let want = reference(&seen(&cpu, format, &x), &w, inputs);
                close(&y, want, 2e-5, &(&cpu, format, rows, outputs, inputs));
            }
        }
    }
}

#[test]
fn matrices_side_by_side_with_bias_and_residual() {
    for cpu in cpus() {
        let (inputs, rows) = (300, 9);
        let x = numbers(1, rows * inputs);
        let (a, wa) = matrix(3, Format::Bf16, 70, inputs);
        let (b, wb) = matrix(4, Format::F32, 6, inputs);
        let bias = numbers(5, 6);
        let b = b.with_bias(bias.clone()).unwrap();
        let before = numbers(6, rows * 76);
        let mut y = before.clone();
        cpu.project(&x, rows, &[&a, &b], &mut y, true);
        let ya = reference(&seen(&cpu, Format::Bf16, &x), &wa, inputs);
        let yb = reference(&x, &wb, inputs);
        let want = (0..rows * 76).map(|at| {
            let (row, c) = (at / 76, at % 76);
            let product = if c < 70 { ya[row * 70 + c] } else { yb[row * 6 + c - 70] + f64::from(bias[c - 70]) };
            f64::from(before[at]) + product
        });
        close(&y, want, 2e-5, &cpu);
    }
}

#[test]
fn int8_is_near_and_alike_on_all_sets() {
    for (rows, outputs, inputs) in [(1, 3, 7), (3, 16, 256), (4, 65, 300), (11, 100, 1111)] {
        for format in FORMATS {
            let x = numbers(7, rows * inputs);
            let mut first: Option<Vec<f32>> = None;
            for cpu in cpus() {
                let (m, w) = matrix(8, format, outputs, inputs);
                let m = m.quantize(&cpu);
                let mut row = vec![0.0; inputs];
                for output in 0..outputs {
                    m.row(output, &mut row);
                    let want = w[output * inputs..][..inputs].iter().map(|w| f64::from(*w));
                    close(&row, want, 0.5 / 127.0 + 1e-6, &cpu);
                }
                let mut y = vec![f32::NAN; rows * outputs];
                cpu.project(&x, rows, &[&m], &mut y, false);
                // Each rounding error is at most half of 1/127 of the largest number; errors add up like a random walk.
                close(&y, reference(&x, &w, inputs), 0.02 * (inputs as f64).sqrt(), &(&cpu, format));
                let first = first.get_or_insert_with(|| y.clone());
                close(&y, first.iter().map(|y| f64::from(*y)), 0.02, &(&cpu, format));
            }
        }
    }
}

#[test]
fn rows_do_not_see_each_other() {
    for isa in crate::Isa::all_here() {
        let cpu = Cpu::with_isa(3, isa);
        let one = Cpu::with_isa(1, isa);
        for format in FORMATS {
            for int8 in [false, true] {
                let (rows, outputs, inputs) = (23, 150, 2500);
                let x = numbers(7, rows * inputs);
                let (mut m, _) = matrix(8, format, outputs, inputs);
                let (mut up, _) = matrix(9, format, outputs, inputs);
                if int8 {
                    m = m.quantize(&cpu);
                    up = up.quantize(&cpu);
                }
                let mut whole = vec![f32::NAN; rows * outputs];
                let mut gated = whole.clone();
                cpu.project(&x, rows, &[&m], &mut whole, false);
                cpu.gated(&x, rows, &m, &up, &mut gated);
                for (row, part) in [(0, 1), (1, 1), (2, 2), (4, 3), (7, 4), (11, 5), (16, 6), (22, 1)] {
                    let x = &x[row * inputs..][..part * inputs];
                    let mut y = vec![f32::NAN; part * outputs];
                    one.project(x, part, &[&m], &mut y, false);
                    assert_eq!(y, whole[row * outputs..][..part * outputs], "{isa} {format:?} {int8} {row}");
                    one.gated(x, part, &m, &up, &mut y);
                    assert_eq!(y, gated[row * outputs..][..part * outputs], "{isa} {format:?} {int8} {row}");
                }
            }
        }
    }
}

#[test]
fn gated_is_silu_times_up() {
    for cpu in cpus() {
        for format in FORMATS {
            for (rows, outputs, inputs) in [(0, 3, 5), (1, 5, 40), (5, 67, 100), (31, 130, 2100), (400, 33, 65)] {
                let (gate, wg) = matrix(1, format, outputs, inputs);
                let (up, wu) = matrix(2, format, outputs, inputs);
                let bias = numbers(5, outputs);
                let up = up.with_bias(bias.clone()).unwrap();
                let x: Vec<f32> = numbers(2, rows * inputs).iter().map(|x| x * 0.2).collect();
                let mut y = vec![f32::NAN; rows * outputs];
                cpu.gated(&x, rows, &gate, &up, &mut y);
                let x = seen(&cpu, format, &x);
                let (g, u) = (reference(&x, &wg, inputs), reference(&x, &wu, inputs));
                let want = g
                    .iter()
                    .zip(&u)
                    .enumerate()
                    .map(|(at, (g, u))| g / (1.0 + (-g).exp()) * (u + f64::from(bias[at % outputs])));
                close(&y, want, 4e-5, &(&cpu, format, rows));
            }
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 24, ..Default::default() })]

    #[test]
    fn any_shape_is_right_and_a_row_alone_has_the_same_bits(
        rows in 1usize..30,
        outputs in 1usize..90,
        inputs in 1usize..700,
        format in 0usize..3,
        int8: bool,
        seed: u64,
    ) {
        let format = FORMATS[format];
        for isa in crate::Isa::all_here() {
            let (cpu, one) = (Cpu::with_isa(2, isa), Cpu::with_isa(1, isa));
            let (mut m, w) = matrix(seed, format, outputs, inputs);
            if int8 {
                m = m.quantize(&cpu);
            }
            let x = numbers(seed ^ 1, rows * inputs);
            let mut y = vec![f32::NAN; rows * outputs];
            cpu.project(&x, rows, &[&m], &mut y, false);
            let tolerance = if int8 { 0.03 * (inputs as f64).sqrt() } else { 2e-5 };
            let seen = if int8 { x.clone() } else { seen(&cpu, format, &x) };
            close(&y, reference(&seen, &w, inputs), tolerance, &(isa, format, rows, outputs, inputs));
            let row = seed as usize % rows;
            let mut alone = vec![f32::NAN; outputs];
            one.project(&x[row * inputs..][..inputs], 1, &[&m], &mut alone, false);
            assert_eq!(alone, y[row * outputs..][..outputs]);
        }
    }
}

/// The number of rows is so large that its product with the number of outputs wraps to 0.
#[test]
#[should_panic(expected = "y is [rows, sum of outputs]")]
fn a_number_of_rows_that_wraps_is_refused() {
    let matrix = Matrix::new(Format::F32, 2, 2, vec![0; 16].into()).unwrap();
    Cpu::new(1).project(&[], 1 << (usize::BITS - 1), &[&matrix], &mut [], false);
}

#[test]
fn what_is_done_beside_a_product_is_done_once_and_changes_nothing() {
    for cpu in cpus() {
        // Of the three, one product is empty, one small enough for one thread, and one for all.
        for (rows, outputs, inputs) in [(2, 0, 4), (2, 7, 64), (9, 700, 300)] {
            let (m, _) = matrix(3, Format::Bf16, outputs, inputs);
            let x = numbers(4, rows * inputs);
            let mut alone = vec![0.0; rows * outputs];
            cpu.project(&x, rows, &[&m], &mut alone, false);
            for calls in [0, 1, 5] {
                let made: Vec<_> = (0..calls).map(|_| AtomicUsize::new(0)).collect();
                let work = |call: usize| {
                    made[call].fetch_add(1, Ordering::Relaxed);
                };
                let mut y = vec![f32::NAN; rows * outputs];
                cpu.project_beside(&x, rows, &[&m], &mut y, false, Beside { calls, work: &work });
                assert_eq!(y, alone);
                assert!(made.iter().all(|made| made.load(Ordering::Relaxed) == 1), "{calls} {made:?}");
            }
        }
    }
}
