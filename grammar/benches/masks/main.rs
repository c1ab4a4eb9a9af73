//! The cost of holding an answer to a grammar: time of compiling it, of a mask at every state along an answer, of looking
//! one token up instead, and of accepting a token; memory of vocabulary and parser.
//!
//! ```text
//! cargo bench -p secateur-grammar --bench masks -- [--model FILE|DIR] [--rounds 9] [--only WORD] [--json]
//! ```
//!
//! `--model` names a GGUF file, or a folder with tokenizer.json [default: the demo checkpoint's]. A mask's time includes
//! writing it into the logits. Each round compiles every grammar anew, since an answer's parser has seen nothing before:
//! its automata grow while the answer does. A state's time is the median of the rounds; p50, p99 and max are over the
//! states of the answer. One thread does everything.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking and prints its figures")]

mod answers;
mod memory;
mod spread;
mod tokens;

use std::{hint::black_box, path::PathBuf, time::Instant};

use answers::{Answer, answers};
use spread::{Spread, median, of_states};
use tokens::Tokens;

struct Arguments {
    model: PathBuf,
    rounds: usize,
    only: Option<String>,
    json: bool,
}

fn arguments() -> Arguments {
    let demo = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models/demo");
    let mut found = Arguments { model: demo, rounds: 9, only: None, json: false };
    if !std::env::args().any(|argument| argument.starts_with("--")) {
        // As `cargo test` runs it: everything once.
        found.rounds = 1;
    }
    let mut given = std::env::args().skip(1);
    while let Some(flag) = given.next() {
        let mut value = || given.next().unwrap_or_else(|| panic!("{flag} needs a value"));
        match flag.as_str() {
            "--model" => found.model = value().into(),
            "--rounds" => found.rounds = value().parse::<usize>().unwrap().max(1),
            "--only" => found.only = Some(value()),
            "--json" => found.json = true,
            // Cargo passes this flag to every benchmark, and its filters.
            "--bench" => {}
            other => assert!(!other.starts_with("--"), "unknown flag {other}"),
        }
    }
    found
}

/// Times along one answer in one round, in microseconds.
struct Walk {
    compile: f64,
    masks: Vec<f64>,
    looks: Vec<f64>,
    accepts: Vec<f64>,
}

/// Calls `work` and returns its microseconds.
fn micros<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let started = Instant::now();
    let done = work();
    (started.elapsed().as_secs_f64() * 1e6, done)
}

fn walk(tokens: &Tokens, answer: &Answer, ids: &[u32]) -> Walk {
    let (compile, mut masked) = micros(|| tokens.vocabulary.compile(&answer.grammar, &[]).unwrap());
    // A parser that is only asked about the tokens that come, as a greedy answer asks.
    let mut asked = tokens.vocabulary.compile(&answer.grammar, &[]).unwrap();
    let mut logits = vec![0.0f32; tokens.count];
    let mut walk = Walk { compile, masks: Vec::new(), looks: Vec::new(), accepts: Vec::new() };
    for &id in ids {
        logits.fill(0.0);
        walk.masks.push(micros(|| masked.apply(&mut logits).unwrap()).0);
        assert_eq!(logits[id as usize], 0.0, "{}: the answer follows its grammar", answer.name);
        walk.accepts.push(micros(|| masked.accept(id).unwrap()).0);
        if asked.needs_mask() {
            asked.prepare();
        } else {
            walk.looks.push(micros(|| black_box(asked.certainly_allows(id))).0);
        }
        asked.accept(id).unwrap();
    }
    walk
}

/// Bytes of an answer's parser in front of its first token and behind its last one.
fn parser_bytes(tokens: &Tokens, answer: &Answer, ids: &[u32]) -> (usize, usize) {
    let mut logits = vec![0.0f32; tokens.count];
    let before = memory::used();
    let mut constraint = tokens.vocabulary.compile(&answer.grammar, &[]).unwrap();
    let fresh = memory::used() - before;
    for &id in ids {
        constraint.apply(&mut logits).unwrap();
        constraint.accept(id).unwrap();
    }
    (fresh, memory::used() - before)
}

/// The figures of one answer over all rounds.
struct Figures {
    name: &'static str,
    tokens: usize,
    compile: (f64, f64, f64),
    mask: Spread,
    look: Spread,
    accept: Spread,
    bytes: (usize, usize),
}

fn figures(name: &'static str, walks: &[Walk], bytes: (usize, usize)) -> Figures {
    let compiles: Vec<f64> = walks.iter().map(|walk| walk.compile).collect();
    let of = |times: fn(&Walk) -> &Vec<f64>| of_states(&walks.iter().map(times).collect::<Vec<_>>());
    Figures {
        name,
        tokens: walks[0].masks.len(),
        compile: median(&compiles),
        mask: of(|walk| &walk.masks),
        look: of(|walk| &walk.looks),
        accept: of(|walk| &walk.accepts),
        bytes,
    }
}

fn main() {
    let arguments = arguments();
    let before = memory::used();
    let (build, tokens) = micros(|| Tokens::read(&arguments.model));
    let vocabulary = memory::used() - before;
    let wanted = |answer: &Answer| arguments.only.as_ref().is_none_or(|word| answer.name.contains(word.as_str()));
    let answers: Vec<Answer> = answers().into_iter().filter(wanted).collect();
    let ids: Vec<Vec<u32>> = answers.iter().map(|answer| tokens.of(answer.text)).collect();
    let mut walks: Vec<Vec<Walk>> = answers.iter().map(|_| Vec::new()).collect();
    for round in 0..arguments.rounds {
        // The order turns, so that other load on the machine affects all of them alike.
        for at in (0..answers.len()).map(|at| (at + round) % answers.len()) {
            walks[at].push(walk(&tokens, &answers[at], &ids[at]));
        }
    }
    let all = answers.iter().zip(&ids).zip(&walks);
    let all: Vec<Figures> =
        all.map(|((answer, ids), walks)| figures(answer.name, walks, parser_bytes(&tokens, answer, ids))).collect();
    if arguments.json {
        let rows: Vec<String> = all.iter().map(json).collect();
        println!(
            "{{\"tokens\": {}, \"vocabulary_ms\": {:.1}, \"vocabulary_bytes\": {vocabulary}, \"rounds\": {}, \"answers\": [{}]}}",
            tokens.count,
            build / 1e3,
            arguments.rounds,
            rows.join(", ")
        );
        return;
    }
    println!(
        "{} tokens: read and built in {:.0} ms, {:.1} MiB; {} rounds, microseconds unless said otherwise",
        tokens.count,
        build / 1e3,
        vocabulary as f64 / (1 << 20) as f64,
        arguments.rounds
    );
    println!(
        "{:12} {:>6} {:>24}  {:>26}  {:>20}  {:>20}  {:>16}",
        "answer",
        "tokens",
        "compile, ms (min, max)",
        "mask p50, p99, max",
        "look-up p50, p99",
        "accept p50, p99",
        "parser, KiB"
    );
    for Figures { name, tokens, compile, mask, look, accept, bytes } in &all {
        let (low, mid, high) = compile;
        println!(
            "{name:12} {tokens:6} {:8.2} ({:5.2}, {:5.2})  {:8.1} {:8.1} {:8.1}  {:9.2} {:9.2}  {:9.2} {:9.2}  {:6} to {:6}",
            mid / 1e3,
            low / 1e3,
            high / 1e3,
            mask.p50,
            mask.p99,
            mask.max,
            look.p50,
            look.p99,
            accept.p50,
            accept.p99,
            bytes.0 >> 10,
            bytes.1 >> 10
        );
    }
}

fn json(figures: &Figures) -> String {
    let Figures { name, tokens, compile: (low, mid, high), mask, look, accept, bytes } = figures;
    let spread = |spread: &Spread| {
        let Spread { mean, p50, p99, max } = spread;
        format!("{{\"mean\": {mean:.3}, \"p50\": {p50:.3}, \"p99\": {p99:.3}, \"max\": {max:.3}}}")
    };
    format!(
        "{{\"name\": \"{name}\", \"tokens\": {tokens}, \"compile_us\": {{\"min\": {low:.1}, \"median\": {mid:.1}, \"max\": {high:.1}}}, \
         \"mask_us\": {}, \"look_us\": {}, \"accept_us\": {}, \"parser_bytes\": {}, \"parser_bytes_at_end\": {}}}",
        spread(mask),
        spread(look),
        spread(accept),
        bytes.0,
        bytes.1
    )
}
