//! Helpers shared by the tests.

use crate::{Cpu, Isa};

/// One Cpu per instruction set and thread count.
pub(crate) fn cpus() -> Vec<Cpu> {
    let isas = Isa::all_here().into_iter();
    isas.flat_map(|isa| [1, 3].map(|threads| Cpu::with_isa(threads, isa))).collect()
}

/// Repeatable numbers in -1..1.
pub(crate) fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) >> 40
    };
    (0..count).map(|_| next() as f32 / (1u64 << 23) as f32 - 1.0).collect()
}

/// Asserts that each number is close to the wanted one: |difference| <= tolerance * (1 + |wanted|).
pub(crate) fn close(found: &[f32], wanted: impl IntoIterator<Item = f64>, tolerance: f64, what: &dyn std::fmt::Debug) {
    let mut count = 0;
    for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let error = (f64::from(*found) - wanted).abs();
        assert!(error <= tolerance * (1.0 + wanted.abs()), "{what:?}: [{i}] is {found}, not {wanted}");
        count += 1;
    }
    assert_eq!(count, found.len());
}
