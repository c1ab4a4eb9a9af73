//! The inverse cosine transform of libjpeg's `jidctint.c`, in whole numbers with its roundings.

use crate::vision::jpeg::frame::Block;

/// Bits below the point in the constants, and in what the first pass leaves.
const CONST_BITS: u32 = 13;
const PASS1_BITS: u32 = 2;

/// 8 x 8 samples of a block.
pub(crate) fn samples(block: &Block, quantization: &[u16; 64]) -> [[u8; 8]; 8] {
    let mut half = [[0i32; 8]; 8]; // by column, then row
    for (column, half) in half.iter_mut().enumerate() {
        let input =
            std::array::from_fn(|row| i32::from(block[row * 8 + column]) * i32::from(quantization[row * 8 + column]));
        *half = one_way(input, CONST_BITS - PASS1_BITS);
    }
    std::array::from_fn(|row| {
        let line = one_way(std::array::from_fn(|column| half[column][row]), CONST_BITS + PASS1_BITS + 3);
        line.map(|sample| (sample + 128).clamp(0, 255) as u8)
    })
}

/// Loeffler, Ligtenberg and Moschytz: eight points with twelve multiplications.
fn one_way(x: [i32; 8], shift: u32) -> [i32; 8] {
    let times = i32::wrapping_mul;
    let even = times(x[2].wrapping_add(x[6]), 4433);
    let (low, high) = (even.wrapping_add(times(x[6], -15137)), even.wrapping_add(times(x[2], 6270)));
    let (sum, difference) = (x[0].wrapping_add(x[4]) << CONST_BITS, x[0].wrapping_sub(x[4]) << CONST_BITS);
    let evens =
        [sum.wrapping_add(high), difference.wrapping_add(low), difference.wrapping_sub(low), sum.wrapping_sub(high)];
    let [a, b, c, d] = [x[7], x[5], x[3], x[1]];
    let all = times(a.wrapping_add(c).wrapping_add(b).wrapping_add(d), 9633);
    let (ad, bc) = (times(a.wrapping_add(d), -7373), times(b.wrapping_add(c), -20995));
    let ac = times(a.wrapping_add(c), -16069).wrapping_add(all);
    let bd = times(b.wrapping_add(d), -3196).wrapping_add(all);
    let sum3 = |one: i32, two: i32, three: i32| one.wrapping_add(two).wrapping_add(three);
    let odds = [
        sum3(times(d, 12299), ad, bd),
        sum3(times(c, 25172), bc, ac),
        sum3(times(b, 16819), bc, bd),
        sum3(times(a, 2446), ad, ac),
    ];
    let rounded = |value: i32| value.wrapping_add(1 << (shift - 1)) >> shift;
    std::array::from_fn(|at| match at {
        0..4 => rounded(evens[at].wrapping_add(odds[at])),
        _ => rounded(evens[7 - at].wrapping_sub(odds[7 - at])),
    })
}
