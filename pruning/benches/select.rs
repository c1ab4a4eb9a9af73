//! Time of every selection method on one thread, to be compared with the prefill time of the removed tokens.
//!
//! `cargo bench -p secateur-pruning --bench select [-- --json] [--runs 7]`
//!
//! Tokens are clusters with noise (33 centres a picture, as in the measurements of methods.md) or independent noise,
//! the worst case for every early exit; `coverage` runs without its bypass, which would rightly keep more of
//! independent noise.
#![allow(clippy::print_stdout)]

use std::time::Instant;

use secateur_pruning::{CoverageOptions, PictureTokens, Rows, VisualMethod, VisualPolicy, select_with};

const WIDTH: usize = 4096;
const CENTRES: usize = 33;
const WORDS: usize = 24;

/// Input of a measurement.
struct Case {
    name: &'static str,
    pictures: usize,
    tiles: usize,
    keep: f64,
}

const CASES: [Case; 3] = [
    Case { name: "1 x 576", pictures: 1, tiles: 1, keep: 1.0 / 9.0 },
    Case { name: "1 x 5 x 576", pictures: 1, tiles: 5, keep: 1.0 / 9.0 },
    Case { name: "8 x 576", pictures: 8, tiles: 1, keep: 0.2 },
];

/// Time of one method on one case, in milliseconds.
struct Measured {
    case: &'static str,
    data: &'static str,
    method: VisualMethod,
    kept: usize,
    median: f64,
    fastest: f64,
    slowest: f64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let runs = arguments.iter().position(|a| a == "--runs").and_then(|at| arguments.get(at + 1)?.parse().ok());
    let runs: usize = runs.unwrap_or(7).max(1);
    let mut results = Vec::new();
    for (data, noise) in [("clusters", 0.7), ("noise", 1e3)] {
        for case in &CASES {
            measure(case, data, noise, runs, &mut results);
        }
    }
    if arguments.iter().any(|argument| argument == "--json") { json(&results) } else { table(&results, runs) }
}

fn measure(case: &Case, data: &'static str, noise: f32, runs: usize, results: &mut Vec<Measured>) {
    let mut random = Lcg(7);
    let tokens: Vec<Vec<f32>> = (0..case.pictures).map(|_| clusters(&mut random, case.tiles * 576, noise)).collect();
    let words: Vec<f32> = (0..WORDS * WIDTH).map(|_| 0.05 * random.value()).collect();
    let Ok(text) = Rows::new(&words, WIDTH) else { return };
    let tiles = || (0..case.tiles).map(|tile| tile * 576..(tile + 1) * 576).collect();
    let picture = |data: &'static [f32]| PictureTokens::tiled(Rows::new(data, WIDTH).ok()?, tiles()).ok();
    let pictures: Vec<PictureTokens<'_>> = tokens.into_iter().filter_map(|tokens| picture(Vec::leak(tokens))).collect();
    let options = CoverageOptions { bypass: None, ..CoverageOptions::default() };
    for method in VisualMethod::ALL {
        let Ok(policy) = VisualPolicy::new(method, case.keep) else { continue };
        let once = || {
            let start = Instant::now();
            let kept = select_with(policy, &options, &pictures, text).map_or(0, |s| s.kept.iter().map(Vec::len).sum());
            (start.elapsed().as_secs_f64() * 1e3, kept)
        };
        let (_, kept) = once();
        let mut times: Vec<f64> = (0..runs).map(|_| once().0).collect();
        times.sort_by(f64::total_cmp);
        let (median, fastest, slowest) = (times[runs / 2], times[0], times[runs - 1]);
        results.push(Measured { case: case.name, data, method, kept, median, fastest, slowest });
    }
}

/// Tokens near one of `CENTRES` centres, with values of order one whatever the noise.
fn clusters(random: &mut Lcg, tokens: usize, noise: f32) -> Vec<f32> {
    let centres: Vec<f32> = (0..CENTRES * WIDTH).map(|_| random.value()).collect();
    let mut out = Vec::with_capacity(tokens * WIDTH);
    for token in 0..tokens {
        let centre = &centres[token % CENTRES * WIDTH..][..WIDTH];
        out.extend(centre.iter().map(|value| (value + noise * random.value()) / (1.0 + noise)));
    }
    out
}

/// Knuth's linear congruential generator, for data that is the same on every machine.
struct Lcg(u64);

impl Lcg {
    /// Draws uniformly from [-1, 1).
    fn value(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

fn table(results: &[Measured], runs: usize) {
    println!("Selection, one thread, width {WIDTH}, {WORDS} words, {runs} runs after one to warm up; milliseconds.\n");
    println!("| tokens | data | method | kept | median | fastest to slowest |");
    println!("|---|---|---|---:|---:|---:|");
    for Measured { case, data, method, kept, median, fastest, slowest } in results {
        println!("| {case} | {data} | {method} | {kept} | {median:.1} | {fastest:.1} to {slowest:.1} |");
    }
}

fn json(results: &[Measured]) {
    let line = |m: &Measured| {
        format!(
            "  {{\"tokens\": \"{}\", \"data\": \"{}\", \"method\": \"{}\", \"kept\": {}, \"width\": {WIDTH}, \
             \"median_ms\": {:.3}, \"fastest_ms\": {:.3}, \"slowest_ms\": {:.3}}}",
            m.case, m.data, m.method, m.kept, m.median, m.fastest, m.slowest
        )
    };
    println!("[\n{}\n]", results.iter().map(line).collect::<Vec<_>>().join(",\n"));
}
