//! Speed of one stage's computation on this machine, without sockets: a prefill of 512 tokens, decode of one stream,
//! and decode of sixteen streams. Each figure is printed beside its bound: bytes of weights and KV moved per step over
//! the memory's read rate, and floating point operations over the peak of the instruction set, both measured in the
//! same run.
//!
//! ```text
//! secateur synth --preset llama-3.2-1b --dtype bf16 --out /tmp/llama-1b
//! cargo bench -p secateur-model --bench engine -- --model /tmp/llama-1b [--weights int8] [--threads 2] [--runs 5] [--json]
//! ```
//!
//! `benches/peers.py` runs this benchmark alternately with other engines.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking and prints its figures")]

use std::path::PathBuf;
use std::time::Instant;

use secateur_model::{
    BlockTable, Cpu, Feed, FloatType, Input, KvPool, LoadOptions, Model, Prompt, Segment, Wanted, WeightFormat,
    Workspace,
};

const PROMPT: usize = 512;
const CHUNK: usize = 512;
const STREAMS: usize = 16;
const STEPS: usize = 32;

struct Arguments {
    model: PathBuf,
    options: LoadOptions,
    runs: usize,
    json: bool,
}

fn arguments() -> Option<Arguments> {
    let mut found = Arguments { model: PathBuf::new(), options: LoadOptions::default(), runs: 3, json: false };
    let mut given = std::env::args().skip(1);
    while let Some(flag) = given.next() {
        let mut value = || given.next().unwrap_or_else(|| panic!("{flag} needs a value"));
        match flag.as_str() {
            "--model" => found.model = value().into(),
            "--dtype" => found.options.dtype = Some(FloatType::from_name(&value()).unwrap()),
            "--weights" => found.options.weights = WeightFormat::from_name(&value()).unwrap(),
            "--threads" => found.options.threads = Some(value().parse().unwrap()),
            "--runs" => found.runs = value().parse().unwrap(),
            "--json" => found.json = true,
            // Cargo passes this flag to every benchmark.
            "--bench" => {}
            other => panic!("unknown flag {other}"),
        }
    }
    (!found.model.as_os_str().is_empty()).then_some(found)
}

fn main() {
    let Some(arguments) = arguments() else {
        println!("engine: needs --model DIR; see the top of model/benches/engine.rs");
        return;
    };
    let started = Instant::now();
    let model = Model::load(&arguments.model, &arguments.options).unwrap();
    let load_s = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let mut bench = Bench::new(&model);
    bench.prefill();
    let first_prefill_s = started.elapsed().as_secs_f64();
    let (mut prefill, mut single, mut many, mut reads) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..arguments.runs {
        // The measurements alternate, so that other load on the machine affects all of them alike.
        reads.push(read_rate(model.cpu()));
        prefill.push(PROMPT as f64 / bench.prefill());
        single.push(bench.decode(1));
        many.push(STREAMS as f64 * bench.decode(STREAMS));
    }
    let figures = [("prefill_512", prefill), ("decode_1", single), ("decode_16", many), ("read_gb_s", reads)];
    let step_bytes = model.weight_bytes_per_step() as f64;
    let single = median(&figures[1].1);
    let moved = step_bytes * single / 1e9;
    if arguments.json {
        let rows = figures.iter().map(|(name, values)| {
            let (low, mid, high) = spread(values);
            format!("\"{name}\": {{\"min\": {low:.2}, \"median\": {mid:.2}, \"max\": {high:.2}}}")
        });
        let rows = rows.collect::<Vec<_>>().join(", ");
        println!(
            "{{{rows}, \"load_s\": {load_s:.3}, \"first_prefill_s\": {first_prefill_s:.3}, \"weight_bytes\": {step_bytes:.0}}}"
        );
        return;
    }
    println!("load {load_s:.2} s, first prefill {first_prefill_s:.2} s; min / median / max of {} runs", arguments.runs);
    for (name, values) in &figures {
        let (low, mid, high) = spread(values);
        println!(
            "{name:12} {low:9.1} {mid:9.1} {high:9.1}  {}",
            if *name == "read_gb_s" { "GB/s" } else { "tokens/s" }
        );
    }
    println!("single-stream decode moves {:.2} GB of weights a step: {moved:.1} GB/s", step_bytes / 1e9);
}

fn median(values: &[f64]) -> f64 {
    spread(values).1
}

fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1])
}

/// GB/s that the model's threads read from memory far larger than any cache.
fn read_rate(cpu: &Cpu) -> f64 {
    const BYTES: usize = 1 << 30;
    let words = vec![1u64; BYTES / 8];
    let pieces: Vec<&[u64]> = words.chunks(1 << 15).collect();
    let started = Instant::now();
    cpu.run(pieces.len(), &|piece| {
        std::hint::black_box(pieces[piece].iter().fold(0u64, |sum, word| sum.wrapping_add(*word)));
    });
    BYTES as f64 / started.elapsed().as_secs_f64() / 1e9
}

struct Bench<'a> {
    model: &'a Model,
    pool: KvPool,
    space: Workspace,
    prompt: Prompt,
}

impl<'a> Bench<'a> {
    fn new(model: &'a Model) -> Bench<'a> {
        let vocab = model.info().vocab as u32;
        let tokens: Vec<u32> = (0..PROMPT as u32).map(|at| (at * 7_919 + 17) % vocab).collect();
        let prompt = model.prompt(&[Segment::Text(&tokens)]).unwrap();
        Bench { model, pool: model.kv_pool(1 << 30).unwrap(), space: Workspace::default(), prompt }
    }

    /// Seconds that the prefill of a 512-token prompt takes.
    fn prefill(&mut self) -> f64 {
        let started = Instant::now();
        self.prefilled();
        started.elapsed().as_secs_f64()
    }

    fn prefilled(&mut self) -> BlockTable {
        let mut table = BlockTable::new(&self.pool);
        table.grow(self.pool.lease(table.missing(PROMPT + STEPS + 1)).unwrap());
        for start in (0..PROMPT).step_by(CHUNK) {
            let end = (start + CHUNK).min(PROMPT);
            let wanted = if end == PROMPT { Wanted::Last } else { Wanted::Nothing };
            let input = Input::Prompt(&self.prompt, start..end);
            let mut feeds = [Feed { input, table: &mut table, wanted }];
            let go_on = &mut |_| {};
            self.model.forward(&self.pool, &mut feeds, &mut self.space, go_on).unwrap();
        }
        table
    }

    /// Decode steps per second with `streams` streams, each behind a prompt of 512 tokens.
    fn decode(&mut self, streams: usize) -> f64 {
        let first = self.prefilled();
        let view = first.view(PROMPT);
        let mut tables = vec![first];
        for _ in 1..streams {
            let mut table = BlockTable::new(&self.pool);
            table.grow(self.pool.lease(table.missing(PROMPT + STEPS + 1)).unwrap());
            for slot in 0..self.model.kv_layers().len() {
                // SAFETY: no pass runs now.
                let (k, v) = unsafe { view.layer(slot) };
                table.write_layer(slot, 0, &k, &v).unwrap();
            }
            table.set_len(PROMPT).unwrap();
            tables.push(table);
        }
        let mut step = |at: usize| {
            let position = (PROMPT + at) as u32;
            let mut feeds: Vec<Feed<'_>> = tables
                .iter_mut()
                .map(|table| Feed { input: Input::Token { id: 11, position }, table, wanted: Wanted::Last })
                .collect();
            self.model.forward(&self.pool, &mut feeds, &mut self.space, &mut |_| {}).unwrap();
        };
        step(0);
        let started = Instant::now();
        for at in 1..=STEPS {
            step(at);
        }
        STEPS as f64 / started.elapsed().as_secs_f64()
    }
}
