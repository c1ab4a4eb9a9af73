use std::panic::AssertUnwindSafe;

use super::*;
use crate::testing::{close, numbers};
use crate::{Format, Isa, to_f32};

const FORMATS: [Format; 3] = [Format::F32, Format::F16, Format::Bf16];

/// A sequence with its q, k and v in f32, and blocks to store them in, which are out of order and filled with NaN.
struct Sequence {
    length: usize,
    qkv: Vec<f32>,
    blocks: Vec<BlockAddress>,
    _memory: Vec<Vec<u64>>,
}

struct Model {
    geometry: KvGeometry,
    heads: usize,
    window: Option<usize>,
}

impl Model {
    fn stride(&self) -> usize {
        (self.heads + 2 * self.geometry.kv_heads) * self.geometry.head_dim
    }

    fn offsets(&self) -> (usize, usize) {
        let k = self.heads * self.geometry.head_dim;
        (k, k + self.geometry.kv_heads * self.geometry.head_dim)
    }

    fn scale(&self) -> f32 {
        1.5 / (self.geometry.head_dim as f32).sqrt()
    }

    fn sequence(&self, seed: u64, length: usize) -> Sequence {
        let count = length.div_ceil(self.geometry.block_tokens);
        let words = self.geometry.block_bytes().div_ceil(8) + 8;
        let mut memory = vec![vec![u64::MAX; words]; 2 * count];
        let mut blocks: Vec<_> = memory
            .chunks_mut(2)
            .map(|kv| {
                let [k, v] = [0, 1].map(|i| {
                    let start = kv[i].as_mut_ptr().cast::<u8>();
                    start.wrapping_add(start.align_offset(64))
                });
                BlockAddress { k, v }
            })
            .collect();
        blocks.reverse();
        let qkv = numbers(seed, length * self.stride());
        Sequence { length, qkv, blocks, _memory: memory }
    }

    /// Stores KV and computes attention in one call for the given (sequence, first slot, rows). Returns [row][heads *
    /// dim].
    fn step(&self, cpu: &Cpu, parts: &[(&Sequence, usize, usize)]) -> Vec<f32> {
        let stride = self.stride();
        let (k, v) = self.offsets();
        let mut x = Vec::new();
        let mut runs = Vec::new();
        for (sequence, slot, rows) in parts {
            runs.push(Run { row: x.len() / stride, rows: *rows, slot: *slot, blocks: &sequence.blocks });
            x.extend_from_slice(&sequence.qkv[slot * stride..(slot + rows) * stride]);
        }
        let attention = Attention {
            geometry: self.geometry,
            heads: self.heads,
            scale: self.scale(),
            window: self.window,
            runs: &runs,
        };
        let mut out = vec![f32::NAN; x.len() / stride * k];
        // SAFETY: the blocks were made for the geometry and are owned by the sequences, which no other thread uses; all
        // earlier slots were stored by earlier calls.
        unsafe {
            cpu.store_kv(self.geometry, &x, stride, k, v, &runs);
            cpu.attend(&attention, &x, stride, 0, &mut out);
        }
        out
    }

    fn reference(&self, sequence: &Sequence) -> Vec<f64> {
        let (stride, dim) = (self.stride(), self.geometry.head_dim);
        let (k, v) = self.offsets();
        let group = self.heads / self.geometry.kv_heads;
        let mut bytes = vec![0; sequence.qkv.len() * self.geometry.format.bytes()];
        from_f32(self.geometry.format, &sequence.qkv, &mut bytes);
        let mut kv = vec![0.0; sequence.qkv.len()];
        to_f32(self.geometry.format, &bytes, &mut kv);
        let mut out = Vec::new();
        for slot in 0..sequence.length {
            let first = self.window.map_or(0, |w| (slot + 1).saturating_sub(w));
            for head in 0..self.heads {
                let at = |slot: usize, offset: usize| slot * stride + offset + head / group * dim;
                let q = &sequence.qkv[slot * stride + head * dim..][..dim];
                let scores: Vec<f64> = (first..=slot)
                    .map(|s| {
                        let k = &kv[at(s, k)..][..dim];
                        q.iter().zip(k).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum::<f64>()
                            * f64::from(self.scale())
                    })
                    .collect();
                let m = scores.iter().fold(f64::NEG_INFINITY, |m, s| m.max(*s));
                let sum: f64 = scores.iter().map(|s| (s - m).exp()).sum();
                for d in 0..dim {
                    let weighted =
                        scores.iter().enumerate().map(|(i, s)| (s - m).exp() * f64::from(kv[at(first + i, v) + d]));
                    out.push(weighted.sum::<f64>() / sum);
                }
            }
        }
        out
    }
}

fn models() -> Vec<Model> {
    let mut models = Vec::new();
    for format in FORMATS {
        for (heads, kv_heads, head_dim, block_tokens, window) in [
            (4, 4, 16, 16, None),
            (8, 2, 64, 32, None),
            (3, 1, 6, 5, None),
            (7, 1, 128, 16, Some(70)),
            (2, 2, 80, 1, Some(1)),
        ] {
            let geometry = KvGeometry { format, kv_heads, head_dim, block_tokens };
            models.push(Model { geometry, heads, window });
        }
    }
    models
}

/// Tolerance of results; larger for bf16 products, which round q and the weights to bf16.
fn tolerance(isa: Isa, format: Format) -> f64 {
    if isa == Isa::Avx512Bf16 && format == Format::Bf16 { 1e-2 } else { 1e-5 }
}

#[test]
fn attention_is_attention() {
    for isa in Isa::all_here() {
        let cpu = Cpu::with_isa(2, isa);
        for model in models() {
            for length in [1, 2, 50, 300] {
                let sequence = model.sequence(length as u64, length);
                let out = model.step(&cpu, &[(&sequence, 0, length)]);
                let what = (isa, model.geometry, length);
                close(&out, model.reference(&sequence), tolerance(isa, model.geometry.format), &what);
            }
        }
    }
}

#[test]
fn chunks_and_steps_and_batches_give_the_same_bits() {
    for isa in Isa::all_here() {
        let (one, three) = (Cpu::with_isa(1, isa), Cpu::with_isa(3, isa));
        for model in models() {
            let length = 530;
            let width = model.offsets().0;
            let (a, b) = (model.sequence(1, length), model.sequence(2, length));
            let whole = model.step(&one, &[(&a, 0, length)]);
            // The same sequence in chunks, together with another sequence, on more threads.
            let mut slot = 0;
            for rows in [1, 2, 3, 250, 1, 5, 60, 100, 89, 1, 18] {
                let out = model.step(&three, &[(&b, slot, rows), (&a, slot, rows)]);
                let (from, to) = (slot * width, (slot + rows) * width);
                assert_eq!(out[rows * width..], whole[from..to], "{isa} {:?} {slot}+{rows}", model.geometry);
                slot += rows;
            }
            assert_eq!(slot, length);
        }
    }
}

#[test]
fn short_long_and_empty_runs_in_any_order_give_the_same_bits() {
    const LENGTH: usize = 300;
    let cpu = Cpu::new(3);
    for model in models() {
        let width = model.offsets().0;
        let parts = [(299, 1), (0, 0), (0, LENGTH), (10, 3), (5, 0), (7, 200), (298, 2)];
        let sequences: Vec<Sequence> = (0..).map(|seed| model.sequence(seed, LENGTH)).take(parts.len()).collect();
        let mut expected = Vec::new();
        for (sequence, (slot, rows)) in sequences.iter().zip(parts) {
            let whole = model.step(&cpu, &[(sequence, 0, LENGTH)]);
            expected.extend_from_slice(&whole[slot * width..(slot + rows) * width]);
        }
        let together: Vec<_> =
            sequences.iter().zip(parts).map(|(sequence, (slot, rows))| (sequence, slot, rows)).collect();
        assert_eq!(model.step(&cpu, &together), expected, "{:?}", model.geometry);
    }
}

#[test]
fn a_run_whose_end_wraps_is_refused() {
    let geometry = KvGeometry { format: Format::F32, kv_heads: 1, head_dim: 2, block_tokens: 4 };
    let mut memory = [[0f32; 8]; 2];
    let [k, v] = memory.each_mut().map(|plane| plane.as_mut_ptr().cast());
    let blocks = [BlockAddress { k, v }];
    let cpu = Cpu::new(1);
    let is_refused = |row: usize, slot: usize| {
        let runs = [Run { row, rows: 1, slot, blocks: &blocks }];
        let attention = Attention { geometry, heads: 1, scale: 1.0, window: None, runs: &runs };
        std::panic::catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: the block has its memory, which this thread alone uses.
            unsafe {
                cpu.store_kv(geometry, &[0.0; 4], 4, 0, 2, &runs);
                cpu.attend(&attention, &[0.0; 2], 2, 0, &mut [0.0; 2]);
            }
        }))
        .is_err()
    };
    assert!(!is_refused(0, 3) && is_refused(usize::MAX, 0) && is_refused(0, usize::MAX));
}

#[test]
fn nothing_to_do_is_fine() {
    let cpu = Cpu::new(2);
    for model in models() {
        let a = model.sequence(1, 3);
        assert!(model.step(&cpu, &[]).is_empty());
        assert!(model.step(&cpu, &[(&a, 0, 0)]).is_empty());
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 16, ..Default::default() })]

    #[test]
    fn any_geometry_is_right_and_a_cut_changes_no_bit(
        kv_heads in 1usize..4,
        group in 1usize..8,
        half in 1usize..40,
        block_tokens in 1usize..70,
        length in 1usize..330,
        window in proptest::option::of(1usize..300),
        cut in 0.0..1.0f64,
        format in 0usize..3,
    ) {
        let geometry = KvGeometry { format: FORMATS[format], kv_heads, head_dim: half * 2, block_tokens };
        let model = Model { geometry, heads: kv_heads * group, window };
        let sequence = model.sequence(length as u64, length);
        let cut = (length as f64 * cut) as usize;
        for isa in Isa::all_here() {
            let cpu = Cpu::with_isa(2, isa);
            let whole = model.step(&cpu, &[(&sequence, 0, length)]);
            close(&whole, model.reference(&sequence), tolerance(isa, geometry.format), &(isa, geometry, window));
            let mut parts = model.step(&cpu, &[(&sequence, 0, cut)]);
            parts.extend(model.step(&cpu, &[(&sequence, cut, length - cut)]));
            assert_eq!(parts, whole, "{isa} cut at {cut}");
        }
    }
}
