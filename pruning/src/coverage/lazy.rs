//! Lazy greedy: the same selection as plain greedy with a fraction of its gain evaluations.
//!
//! The objective is submodular: a gain never grows. So a gain of an earlier round is an upper bound, and a token whose
//! fresh gain still beats every other token's bound is the greedy choice.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    ops::Range,
};

use super::field::Field;

/// Takes up to `count` more tokens of `span`, greedily, ties to the lower index; returns the number that it took.
pub(super) fn extend(field: &mut Field, span: Range<usize>, count: usize) -> usize {
    let open = span.filter(|&token| !field.is_taken(token));
    let mut heap: BinaryHeap<Bound> =
        open.map(|token| Bound { gain: field.gain(token), token: Reverse(token), round: 0 }).collect();
    let mut round = 0;
    while round < count {
        let Some(top) = heap.pop() else { break };
        if top.round == round {
            field.take(top.token.0);
            round += 1;
        } else {
            heap.push(Bound { gain: field.gain(top.token.0), round, ..top });
        }
    }
    round
}

/// A gain as of some round, ordered by gain, then by lower token.
struct Bound {
    gain: f32,
    token: Reverse<usize>,
    round: usize,
}

impl Ord for Bound {
    fn cmp(&self, other: &Self) -> Ordering {
        self.gain.total_cmp(&other.gain).then(self.token.cmp(&other.token))
    }
}

impl PartialOrd for Bound {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Bound {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Bound {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{coverage::CoverageOptions, coverage::groups::Group, rows::Rows};
    use proptest::prelude::*;

    fn unit(row: &[f32]) -> Vec<f64> {
        let norm = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt().max(1e-8);
        row.iter().map(|x| f64::from(*x) / norm).collect()
    }

    fn cosine(a: &[f32], b: &[f32]) -> f64 {
        unit(a).iter().zip(unit(b)).map(|(x, y)| x * y).sum()
    }

    fn softmax(row: Vec<f64>, temperature: f64) -> Vec<f64> {
        let powers: Vec<f64> = row.iter().map(|x| (x / temperature).exp()).collect();
        let sum: f64 = powers.iter().sum();
        powers.into_iter().map(|x| x / sum).collect()
    }

    const LAMBDA: f32 = 0.25;

    /// `f(S)` computed directly from its definition, for one group and no text filter.
    fn objective(visual: &[Vec<f32>], text: &[Vec<f32>], chosen: &[usize], tau_v: Option<f32>) -> f64 {
        let cosines = |x: &Vec<f32>| -> Vec<f64> { visual.iter().map(|y| cosine(x, y)).collect() };
        let near = |x: &Vec<f32>| match tau_v {
            Some(temperature) => softmax(cosines(x), f64::from(temperature)),
            None => cosines(x).into_iter().map(|cosine| cosine.max(0.0)).collect(),
        };
        let vv: Vec<Vec<f64>> = visual.iter().map(near).collect();
        let tv: Vec<Vec<f64>> = text.iter().map(|t| softmax(cosines(t), 0.02)).collect();
        let reach = |rows: &[Vec<f64>], set: &[usize]| -> f64 {
            rows.iter().map(|row| set.iter().map(|&s| row[s]).fold(0.0, f64::max)).sum()
        };
        let all: Vec<usize> = (0..visual.len()).collect();
        let weight = if text.is_empty() { 0.0 } else { reach(&vv, &all) / reach(&tv, &all) };
        reach(&vv, chosen) + f64::from(LAMBDA) * weight * reach(&tv, chosen)
    }

    fn matrix(count: Range<usize>) -> impl Strategy<Value = Vec<Vec<f32>>> {
        prop::collection::vec(prop::collection::vec(-1f32..1f32, 7), count)
    }

    proptest! {
        #[test]
        fn lazy_is_greedy_and_greedy_is_the_definition(
            visual in matrix(1..24),
            text in matrix(0..5),
            share in 0f64..1.0,
            vision_temperature in prop::sample::select(vec![None, Some(0.2f32)]),
        ) {
            let count = 1 + (share * (visual.len() - 1) as f64) as usize;
            let (flat, words) = (visual.concat(), text.concat());
            let options = CoverageOptions {
                text_weight: LAMBDA,
                vision_temperature,
                text_keep: 1.0,
                ..CoverageOptions::default()
            };
            let groups = Group::of(&[vec![Rows::new(&flat, 7).unwrap()]]);
            let field = || Field::new(&groups, Rows::new(&words, 7).unwrap(), &options);
            let span = 0..visual.len();

            let (mut plain, mut order) = (field(), Vec::new());
            for _ in 0..count {
                let open = span.clone().filter(|&token| !plain.is_taken(token));
                let best = open.max_by(|&a, &b| plain.gain(a).total_cmp(&plain.gain(b)).then(b.cmp(&a))).unwrap();
                plain.take(best);
                order.push(best);
            }
            let mut lazy = field();
            prop_assert_eq!(extend(&mut lazy, span.clone(), count), count);
            prop_assert!(lazy.taken(&span).eq(plain.taken(&span)));

            for step in 0..count {
                let value = |token: usize| objective(&visual, &text, &[&order[..step], &[token]].concat(), vision_temperature);
                let best = span.clone().map(value).fold(0.0, f64::max);
                prop_assert!(value(order[step]) >= best * (1.0 - 1e-5));
            }
        }
    }
}
