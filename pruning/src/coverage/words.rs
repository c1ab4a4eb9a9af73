//! The text side: the words that say something about the picture, and how well each visual token covers them.

use super::{groups::Group, options::CoverageOptions, similarity};
use crate::{
    product::products,
    rows::{Rows, UnitRows},
};

/// Most text tokens that are read, the last ones of the text. Those that are read are the `M` of the shapes below.
const MOST: usize = 512;

/// Text similarity `sim_tv`, transposed: `[N visual tokens, words]`, so that a gain reads one row.
pub(super) struct Words {
    /// Number of text tokens that pass the entropy filter.
    pub(super) words: usize,
    /// Similarities, row-major `[N, words]`.
    pub(super) similarity: Vec<f32>,
}

/// Cosines of text and visual tokens, filled group by group so that each group's unit rows are computed once.
pub(super) struct WordsBuilder {
    units: UnitRows,
    /// Cosines of text and visual tokens, `[M, N]`.
    cosines: Vec<f32>,
    /// Number of visual tokens, `N`.
    visual: usize,
}

impl WordsBuilder {
    pub(super) fn new(text: Rows<'_>, visual: usize) -> Self {
        let units = UnitRows::of(text.range(&(text.len().saturating_sub(MOST)..text.len())));
        let cosines = vec![0f32; units.rows().len() * visual];
        Self { units, cosines, visual }
    }

    /// Adds the cosines for a group, given its unit rows.
    pub(super) fn add(&mut self, group: &Group<'_>, units: Rows<'_>) {
        let found = products(self.units.rows(), units);
        for (row, found) in self.cosines.chunks_exact_mut(self.visual.max(1)).zip(found.chunks_exact(units.len())) {
            row[group.span.clone()].iter_mut().zip(found).for_each(|(to, from)| *to = similarity::cosine(*from));
        }
    }

    /// Applies the softmax over all visual tokens, then keeps the share of words with the lowest entropy, ties to the
    /// earlier word.
    pub(super) fn finish(mut self, options: &CoverageOptions) -> Words {
        let temperature = similarity::temperature(options.text_temperature);
        let mut rows: Vec<&mut [f32]> = self.cosines.chunks_exact_mut(self.visual.max(1)).collect();
        rows.iter_mut().for_each(|row| similarity::softmax(row, temperature));
        let entropies: Vec<f64> = rows.iter().map(|row| similarity::entropy(row)).collect();
        let kept = lowest(&entropies, options.text_keep);
        let mut similarity = vec![0f32; self.visual * kept.len()];
        for (word, &row) in kept.iter().enumerate() {
            for (visual, &value) in rows[row].iter().enumerate() {
                similarity[visual * kept.len() + word] = value;
            }
        }
        Words { words: kept.len(), similarity }
    }
}

/// The `round(share M)` indices with the lowest entropy, at least one if there are any, ascending.
fn lowest(entropies: &[f64], share: f64) -> Vec<usize> {
    let count = crate::budget::kept(entropies.len(), share);
    let mut order: Vec<usize> = (0..entropies.len()).collect();
    order.sort_by(|&a, &b| entropies[a].total_cmp(&entropies[b]));
    order.truncate(count);
    order.sort_unstable();
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_that_look_everywhere_go() {
        assert_eq!(lowest(&[3.0, 1.0, 2.0, 1.0], 0.5), [1, 3]);
        assert_eq!(lowest(&[3.0, 1.0], 0.1), [1]);
        assert!(lowest(&[], 0.5).is_empty());
    }
}
