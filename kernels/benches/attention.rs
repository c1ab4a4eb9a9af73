//! Benchmark of attention: decoding relative to the memory's speed, prefill in GFLOP/s (counting only the causal part).
//!
//! cargo bench -p secateur-kernels --bench attention -- [--quick] [--threads N] [--processor-time]
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod peak;

use secateur_kernels::{Attention, BlockAddress, Cpu, Format, KvGeometry, Run, from_f32};

/// KV blocks of several sequences, filled with numbers.
struct Kv {
    _memory: Vec<Vec<u64>>,
    sequences: Vec<Vec<BlockAddress>>,
}

impl Kv {
    fn new(geometry: KvGeometry, sequences: usize, slots: usize) -> Kv {
        let blocks = slots.div_ceil(geometry.block_tokens);
        let numbers: Vec<f32> = (0..geometry.block_bytes() / geometry.format.bytes())
            .map(|i| ((i * 7919) % 1009) as f32 / 1009.0 - 0.5)
            .collect();
        let mut bytes = vec![0; geometry.block_bytes()];
        from_f32(geometry.format, &numbers, &mut bytes);
        let mut memory = Vec::new();
        let mut make = || {
            let mut words = vec![0u64; geometry.block_bytes() / 8 + 8];
            let start = words.as_mut_ptr().cast::<u8>();
            let start = start.wrapping_add(start.align_offset(64));
            // SAFETY: the block was allocated with 64 bytes more than its size, which the alignment uses up at most.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), start, bytes.len()) };
            memory.push(words);
            start
        };
        let sequences =
            (0..sequences).map(|_| (0..blocks).map(|_| BlockAddress { k: make(), v: make() }).collect()).collect();
        Kv { _memory: memory, sequences }
    }
}

fn main() {
    let arguments = peak::Arguments::read();
    let quick = arguments.has("--quick");
    let cpu = Cpu::new(arguments.threads());
    let (read, single, pairs) = (peak::read(&cpu), peak::fma(&cpu), peak::pairs(&cpu));
    println!("{cpu:?}: read {read:.1} GB/s; f32 {single:.0}, bf16 {pairs:.0} GFLOP/s");
    let rounds = if quick { 3 } else { 8 };
    let formats: &[Format] = if quick { &[Format::Bf16] } else { &[Format::Bf16, Format::F16, Format::F32] };
    for format in formats.iter().copied() {
        for (heads, kv_heads, head_dim) in [(32, 8, 64), (32, 8, 128), (32, 32, 128)] {
            let geometry = KvGeometry { format, kv_heads, head_dim, block_tokens: 32 };
            let width = heads * head_dim;
            let scale = 1.0 / (head_dim as f32).sqrt();
            let call = |q: &[f32], runs: &[Run<'_>], out: &mut [f32]| {
                let attention = Attention { geometry, heads, scale, window: None, runs };
                // SAFETY: the blocks were made for the geometry and are full of numbers, no thread writes to them, and
                // runs have different rows.
                unsafe { cpu.attend(&attention, q, width, 0, out) };
            };
            let name = format!("{format:?} {heads}/{kv_heads} heads of {head_dim}");
            // KV of several layers in turn, so that none is in a cache when its turn comes.
            let (sequences, slots, layers) = (16, 2048, if quick { 2 } else { 4 });
            let layers: Vec<Kv> = (0..layers).map(|_| Kv::new(geometry, sequences, slots)).collect();
            let q = vec![0.1; sequences * width];
            let mut out = vec![0.0; q.len()];
            let runs: Vec<Vec<Run<'_>>> = layers
                .iter()
                .map(|kv| {
                    let runs = kv.sequences.iter().enumerate();
                    runs.map(|(row, blocks)| Run { row, rows: 1, slot: slots - 1, blocks }).collect()
                })
                .collect();
            let seconds = peak::best(rounds, layers.len(), |layer| call(&q, &runs[layer], &mut out));
            let bytes = 2.0 * (sequences * slots * geometry.token_bytes()) as f64 / seconds / 1e9;
            println!(
                "{name:28} decode {sequences} x {slots}: {:8.1} us  {bytes:5.1} GB/s ({:3.0}%)",
                seconds * 1e6,
                bytes / read * 100.0
            );
            // One partition of one sequence stays in the cache, so this measures the arithmetic alone.
            let one = [Run { row: 0, rows: 1, slot: 255, blocks: &layers[0].sequences[0] }];
            let seconds = peak::best(rounds, 64, |_| call(&q, &one, &mut out));
            let bytes = 2.0 * (256 * geometry.token_bytes()) as f64 / seconds / 1e9;
            println!("{name:28} decode 1 x 256, cached: {:8.1} us  {bytes:5.1} GB/s", seconds * 1e6);
            for (rows, start) in [(512, 0), (128, 1920), (16, 2032)] {
                let q = vec![0.1; rows * width];
                let mut out = vec![0.0; q.len()];
                let runs = [Run { row: 0, rows, slot: start, blocks: &layers[0].sequences[0] }];
                let seconds = peak::best(rounds, 4, |_| call(&q, &runs, &mut out));
                let seen: usize = (0..rows).map(|row| start + row + 1).sum();
                let flops = 4.0 * (seen * width) as f64 / seconds / 1e9;
                println!("{name:28} rows {rows:4} at {start:4}: {:8.1} us  {flops:5.1} GFLOP/s", seconds * 1e6);
            }
        }
    }
}
