//! Scores of a prompt's tokens are the log-softmax of transformers' logits (`tests/fixtures/families/make.py`), and depend
//! on nothing else that is computed with them.

use secateur_model::{BlockTable, Feed, Input, KvPool, Model, Score, Segment, Wanted, Workspace};

use crate::common::distance;
use crate::families_fixture::{Family, TEXT};

const TOP: usize = 5;

fn table(pool: &KvPool, positions: usize) -> BlockTable {
    let mut table = BlockTable::new(pool);
    table.grow(pool.lease(table.missing(positions)).unwrap());
    table
}

/// Scores of all tokens but the first, and the final state of every row, computed `rows` rows at a time beside a prompt
/// that is not scored where there is one.
fn scored(model: &Model, tokens: &[u32], rows: usize, beside: Option<&[u32]>) -> (Vec<Score>, Vec<f32>) {
    let pool = model.kv_pool(16 << 20).unwrap();
    let prompt = model.prompt(&[Segment::Text(tokens)]).unwrap();
    let mut own = table(&pool, tokens.len());
    let mut space = Workspace::default();
    let (mut scores, mut states) = (Vec::new(), Vec::new());
    while own.len() < tokens.len() {
        let (start, end) = (own.len(), (own.len() + rows).min(tokens.len()));
        let other = beside.map(|tokens| (model.prompt(&[Segment::Text(tokens)]).unwrap(), table(&pool, tokens.len())));
        let (other, mut others) = other.unzip();
        let mut feeds: Vec<Feed<'_>> = Vec::new();
        if let (Some(prompt), Some(table)) = (&other, &mut others) {
            feeds.push(Feed { input: Input::Prompt(prompt, 0..prompt.len()), table, wanted: Wanted::Last });
        }
        let before = feeds.len();
        let wanted = if end == tokens.len() { Wanted::StatesAndLast } else { Wanted::States };
        feeds.push(Feed { input: Input::Prompt(&prompt, start..end), table: &mut own, wanted });
        model.forward(&pool, &mut feeds, &mut space, &mut |_| {}).unwrap();
        let logits = before + usize::from(end == tokens.len());
        assert_eq!(space.logits().len(), logits * model.info().vocab, "no others are projected");
        let next: Vec<(usize, u32)> =
            (start + 1..tokens.len().min(end + 1)).map(|at| (before + at - 1 - start, tokens[at])).collect();
        scores.extend(model.score(space.states(), &next, TOP).unwrap());
        states.extend_from_slice(&space.states()[before * model.info().hidden..]);
    }
    (scores, states)
}

/// Natural logarithms of the probabilities that logits give.
fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - highest).exp()).sum();
    logits.iter().map(|logit| f64::from(logit - highest) - sum.ln()).collect()
}

#[test]
fn scores_are_the_references() {
    for name in TEXT {
        let family = Family::open(name);
        let (model, prompt) = (family.load(), family.expected.tokens("prompt"));
        let logits = family.expected.floats("logits");
        let (scores, _) = scored(&model, &prompt, usize::MAX / 2, None);
        assert_eq!(scores.len(), prompt.len() - 1);
        for ((score, row), &token) in scores.iter().zip(logits.chunks(model.info().vocab)).zip(&prompt[1..]) {
            let expected = log_softmax(row);
            let off = f64::from(score.logprob.logprob) - expected[token as usize];
            assert!(off.abs() < 1e-3, "{name}: {off}");
            assert_eq!(score.logprob.top.len(), TOP);
            for &(id, logprob) in &score.logprob.top {
                let off = f64::from(logprob) - expected[id as usize];
                assert!(off.abs() < 1e-3, "{name}: {off}");
            }
            let listed = score.logprob.top.iter().position(|(id, _)| *id == token);
            assert_eq!(listed.map(|at| at as u32 + 1), Some(score.rank).filter(|rank| *rank <= TOP as u32), "{name}");
        }
    }
}

#[test]
fn chunks_and_other_prompts_change_no_score_and_no_state() {
    let family = Family::open("qwen3");
    let (model, prompt) = (family.load(), family.expected.tokens("prompt"));
    let whole = scored(&model, &prompt, usize::MAX / 2, None);
    for rows in [1, 3, 16] {
        for beside in [None, Some(&prompt[..2])] {
            assert_eq!(scored(&model, &prompt, rows, beside), whole, "{rows} rows at a time");
        }
    }
    // A scored token has the bits of one that was drawn: both are read off the same logits.
    let all = model.logits(&[Segment::Text(&prompt)]).unwrap();
    let hidden = model.info().hidden;
    let mut last = Workspace::default();
    let (pool, rows) = (model.kv_pool(16 << 20).unwrap(), model.prompt(&[Segment::Text(&prompt)]).unwrap());
    let mut own = table(&pool, prompt.len());
    let mut feeds = [Feed { input: Input::Prompt(&rows, 0..prompt.len()), table: &mut own, wanted: Wanted::Last }];
    model.forward(&pool, &mut feeds, &mut last, &mut |_| {}).unwrap();
    assert_eq!(last.states(), &whole.1[whole.1.len() - hidden..], "the last row's state is the same alone");
    assert_eq!(distance(last.logits(), &all[all.len() - model.info().vocab..]), 0.0);
}

#[test]
fn what_is_outside_is_refused() {
    let model = Family::open("llama2").load();
    let states = vec![0.5; 2 * model.info().hidden];
    assert!(model.score(&states, &[(2, 1)], 1).is_err(), "no such row");
    assert!(model.score(&states, &[(0, model.info().vocab as u32)], 1).is_err(), "no such token");
    assert_eq!(model.score(&states, &[], 1).unwrap(), []);
    let broken = vec![f32::NAN; model.info().hidden];
    assert!(model.score(&broken, &[(0, 1)], 1).is_err(), "no distribution");
}
