//! Answers that are held to a grammar, against the plain rule: the whole mask first, and then the draw.

use secateur_grammar::{Grammar, Vocabulary};
use serde_json::{Map, Value, json};

use super::*;

fn json_grammar() -> (Constraint, usize) {
    let pieces = ["[", "]", "\"a\"", "\"b", "c\"", ",", "true", "x", " "];
    let tokens: Map<String, Value> =
        pieces.iter().enumerate().map(|(id, piece)| ((*piece).to_owned(), id.into())).collect();
    let tokenizer = json!({
        "decoder": null, "model": {"vocab": tokens},
        "added_tokens": [{"id": pieces.len(), "content": "<end>", "special": true}],
    });
    let end = pieces.len() as u32;
    let vocabulary = Vocabulary::of_tokenizer(&tokenizer, Some(end)).unwrap();
    let schema = r#"{"type": "array", "items": {"type": ["string", "boolean"]}, "minItems": 40}"#;
    let grammar = Grammar::JsonSchema(schema.to_owned());
    (vocabulary.compile(&grammar, &[]).unwrap(), pieces.len() + 1)
}

/// Random draws.
fn drawn_warmly(seed: u64) -> Sampling {
    Sampling { temperature: 1.0, seed, ..Sampling::default() }
}

/// An answer by the plain rule: the whole mask, then the draw.
fn masked(mut constraint: Constraint, sampling: &Sampling, rows: &[Vec<f32>]) -> Vec<u32> {
    let drawn = rows.iter().enumerate().map(|(index, row)| {
        let mut row = row.clone();
        constraint.apply(&mut row).unwrap();
        let mut free = Sampler::new(sampling.clone(), Vec::new(), &[], &vec![0; index]);
        let token = free.draw(&mut row).unwrap().token;
        constraint.accept(token).unwrap();
        token
    });
    drawn.collect()
}

#[test]
fn a_held_answer_is_that_of_the_masks_however_it_is_prepared() {
    let (constraint, vocab) = json_grammar();
    let mut state = 5u64;
    let mut logit = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f32 / (1u64 << 28) as f32
    };
    let rows: Vec<Vec<f32>> = (0..60).map(|_| (0..vocab).map(|_| logit()).collect()).collect();
    for sampling in [Sampling::default(), drawn_warmly(3)] {
        let expected = masked(constraint.clone(), &sampling, &rows);
        for prepares in [false, true] {
            let held = Some(constraint.clone());
            let mut sampler = Sampler::constrained(sampling.clone(), Vec::new(), &[], &[], held);
            let drawn = rows.iter().map(|row| {
                if prepares && sampler.has_to_prepare() {
                    sampler.prepare();
                }
                sampler.draw(&mut row.clone()).unwrap().token
            });
            assert_eq!(drawn.collect::<Vec<_>>(), expected, "{sampling:?}");
        }
    }
    let greedy = Sampler::constrained(Sampling::default(), Vec::new(), &[], &[], Some(constraint.clone()));
    assert!(!greedy.has_to_prepare());
    let forced = Sampling { forced: vec![0], ..drawn_warmly(1) };
    assert!(!Sampler::constrained(forced, Vec::new(), &[], &[], Some(constraint)).has_to_prepare());
}
