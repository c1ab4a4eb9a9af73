//! State of the objective: the taken tokens, how well everything is covered, and the gain of one more token.

use std::ops::Range;

use super::{
    groups::Group,
    options::CoverageOptions,
    similarity,
    words::{Words, WordsBuilder},
};
use crate::{
    product::gram,
    rows::{Rows, UnitRows},
};

/// Number of partial sums, so that the compiler can use vector registers.
const LANES: usize = 16;

/// Facility location over all groups and words. Token indices run over the whole request.
pub(super) struct Field {
    group_of: Vec<usize>,
    groups: Vec<Covering>,
    words: Covering,
    /// Weight of the word term, `lambda w`.
    word_weight: f32,
    taken: Vec<bool>,
}

/// How well each item is covered; `similarity` is `[facilities, covered.len()]`.
struct Covering {
    start: usize,
    similarity: Vec<f32>,
    covered: Vec<f32>,
}

impl Field {
    pub(super) fn new(groups: &[Group<'_>], text: Rows<'_>, options: &CoverageOptions) -> Self {
        let tokens = groups.last().map_or(0, |group| group.span.end);
        let mut words = WordsBuilder::new(text, tokens);
        let mut coverings = Vec::with_capacity(groups.len());
        for group in groups {
            let units = UnitRows::of(group.rows);
            words.add(group, units.rows());
            let similarity = similarity::vision(gram(units.rows()), group.rows.len(), options.vision_temperature);
            coverings.push(Covering::new(group.span.start, similarity, group.rows.len()));
        }
        let Words { words, similarity } = words.finish(options);
        let words = Covering::new(0, similarity, words);
        let (all_seen, all_read) = (coverings.iter().map(Covering::best).sum::<f64>(), words.best());
        let weight = if all_read > 0.0 { f64::from(options.text_weight) * all_seen / all_read } else { 0.0 };
        Self {
            group_of: groups.iter().enumerate().flat_map(|(at, group)| group.span.clone().map(move |_| at)).collect(),
            groups: coverings,
            words,
            word_weight: if weight.is_finite() { weight.max(0.0) as f32 } else { 0.0 },
            taken: vec![false; tokens],
        }
    }

    /// The amount that taking `token` would add to `f`. It never grows as more tokens are taken, not even by rounding,
    /// which lazy greedy relies on.
    pub(super) fn gain(&self, token: usize) -> f32 {
        self.groups[self.group_of[token]].gain(token) + self.word_weight * self.words.gain(token)
    }

    pub(super) fn take(&mut self, token: usize) {
        self.taken[token] = true;
        self.groups[self.group_of[token]].take(token);
        self.words.take(token);
    }

    pub(super) fn is_taken(&self, token: usize) -> bool {
        self.taken[token]
    }

    /// The taken tokens of a span, ascending.
    pub(super) fn taken(&self, span: &Range<usize>) -> impl Iterator<Item = usize> {
        span.clone().filter(|&token| self.taken[token])
    }
}

impl Covering {
    fn new(start: usize, similarity: Vec<f32>, covered: usize) -> Self {
        Self { start, similarity, covered: vec![0f32; covered] }
    }

    fn row(&self, token: usize) -> &[f32] {
        let at = token - self.start;
        &self.similarity[at * self.covered.len()..(at + 1) * self.covered.len()]
    }

    fn gain(&self, token: usize) -> f32 {
        let (row, row_tail) = self.row(token).as_chunks::<LANES>();
        let (covered, covered_tail) = self.covered.as_chunks::<LANES>();
        let mut sums = [0f32; LANES];
        for (row, covered) in row.iter().zip(covered) {
            for lane in 0..LANES {
                sums[lane] += (row[lane] - covered[lane]).max(0.0);
            }
        }
        let tail: f32 = row_tail.iter().zip(covered_tail).map(|(new, old)| (new - old).max(0.0)).sum();
        sums.iter().sum::<f32>() + tail
    }

    fn take(&mut self, token: usize) {
        let at = (token - self.start) * self.covered.len();
        let row = &self.similarity[at..at + self.covered.len()];
        self.covered.iter_mut().zip(row).for_each(|(covered, new)| *covered = covered.max(*new));
    }

    /// The value that taking every token would reach.
    fn best(&self) -> f64 {
        let mut best = vec![0f32; self.covered.len()];
        if !best.is_empty() {
            for row in self.similarity.chunks_exact(best.len()) {
                best.iter_mut().zip(row).for_each(|(best, value)| *best = best.max(*value));
            }
        }
        best.into_iter().map(f64::from).sum()
    }
}
