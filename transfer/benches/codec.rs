//! Benchmark of coding and decoding KV on one core: `cargo bench -p secateur-transfer --bench codec`.
//!
//! Parts have 128 positions of 1,024 channels in bf16. K lies around varied centres with spreads over two octaves, V
//! around zero. Rates count uncoded KV (bf16): the median of the rounds, with the slowest and the fastest.
#![allow(clippy::print_stdout)]

use std::time::Instant;

use half::bf16;
use secateur_transfer::{
    Codec, DType,
    codec::{KvSteps, LayerCoding, Layout, Packing, PartDecoder, PartEncoder, Plane, steps::Notch},
};

const HEADS: (usize, usize) = (8, 128);
const WIDTH: usize = HEADS.0 * HEADS.1;
const POSITIONS: usize = 128;
const ROUNDS: usize = 9;
/// Number of parts in one round.
const PARTS: usize = 64;

fn plane(seed: u64, of: impl Fn(usize) -> (f32, f32)) -> Vec<u8> {
    let mut state = seed;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let mut bytes = Vec::with_capacity(POSITIONS * WIDTH * 2);
    for _ in 0..POSITIONS {
        for channel in 0..WIDTH {
            let (center, spread) = of(channel);
            let normal = (0..12).map(|_| uniform()).sum::<f32>();
            bytes.extend_from_slice(&bf16::from_f32(center + spread * normal).to_le_bytes());
        }
    }
    bytes
}

fn report(name: &str, mut rates: Vec<f64>) {
    rates.sort_by(f64::total_cmp);
    println!("{name:<28} {:.2} GiB/s ({:.2} to {:.2})", rates[ROUNDS / 2], rates[0], rates[ROUNDS - 1]);
}

fn main() {
    let spread = |channel: usize| 0.5 * ((channel % 9) as f32 / 4.0).exp2();
    let k = plane(1, |channel| ((channel % 7) as f32 - 3.0, spread(channel)));
    let v = plane(2, |_| (0.0, 0.3));
    let layout = Layout { width: WIDTH, dtype: DType::Bf16 };
    let steps = KvSteps::new(1, HEADS, |_, _, _| Notch::nearest(4.0), |_, _| Notch::nearest(1.2));
    let gib = (PARTS * (k.len() + v.len())) as f64 / (1u64 << 30) as f64;
    let codecs = [3.0, 4.5, 6.0].map(|bits| (Codec::of_bits(bits), Packing::Never));
    for (codec, packing) in codecs.into_iter().chain([(Some(Codec::Native), Packing::WhereSmaller)]) {
        let Some(codec) = codec else { continue };
        let grain = match codec {
            Codec::Native => None,
            Codec::Steps(grain) => Some(grain),
        };
        let mut encoder = PartEncoder::new(layout, DType::Bf16, packing);
        let mut decoder = PartDecoder::new(layout, DType::Bf16);
        let (mut coded, mut ends, mut coding, mut reading) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let mut layer = LayerCoding::new(&steps, 0, HEADS, grain);
            let mut reader = LayerCoding::new(&steps, 0, HEADS, grain);
            coded.clear();
            ends.clear();
            let started = Instant::now();
            for _ in 0..PARTS {
                let copy = |plane, into: &mut Vec<u8>| into.extend_from_slice(if plane == Plane::K { &k } else { &v });
                encoder.encode(codec, &mut layer, copy, &mut coded);
                ends.push(coded.len());
            }
            coding.push(gib / started.elapsed().as_secs_f64());
            let started = Instant::now();
            let mut start = 0;
            for &end in &ends {
                let read = decoder.decode(codec, &mut reader, POSITIONS, &coded[start..end]);
                assert!(read.is_ok_and(|(_, used)| start + used == end));
                start = end;
            }
            reading.push(gib / started.elapsed().as_secs_f64());
        }
        let bits = (coded.len() * 8) as f64 / (PARTS * 2 * POSITIONS * WIDTH) as f64;
        let name = codec.bits().map_or("lossless".to_owned(), |grain| format!("grain {grain}"));
        println!("{name}: {bits:.2} bits a value");
        report("  coding", coding);
        report("  reading", reading);
    }
}
