//! The bypass: pictures whose tokens are too evenly informative to drop, above all documents, keep more.

use std::ops::Range;

use super::{field::Field, groups::Group, lazy, options::Bypass, similarity};
use crate::{diversity, product::products, rows::UnitRows};

impl Bypass {
    /// Keeps more tokens of pictures that need it; returns the number of such pictures.
    pub(super) fn apply(&self, field: &mut Field, groups: &[Group<'_>], spans: &[Range<usize>]) -> usize {
        let needy = |(picture, span): &(usize, &Range<usize>)| self.extend(field, groups, *picture, span);
        spans.iter().enumerate().filter(needy).count()
    }

    fn extend(&self, field: &mut Field, groups: &[Group<'_>], picture: usize, span: &Range<usize>) -> bool {
        let budget = field.taken(span).count();
        if budget == 0 || budget == span.len() {
            return false;
        }
        let own: Vec<Measure> = groups.iter().filter(|group| group.picture == picture).map(Measure::of).collect();
        let mut kept = budget;
        for times in [2f64.min(self.most), self.most] {
            let target = (budget as f64 * times) as usize;
            if target <= kept || reached(&own, field) >= self.coverage {
                break;
            }
            kept += lazy::extend(field, span.clone(), target - kept);
        }
        kept > budget
    }
}

/// The data for measuring a group's coverage.
struct Measure {
    units: UnitRows,
    span: Range<usize>,
    mean_cosine: f64,
}

impl Measure {
    fn of(group: &Group<'_>) -> Self {
        let units = UnitRows::of(group.rows);
        let mean_cosine = 1.0 - diversity::intra(units.rows());
        Self { units, span: group.span.clone(), mean_cosine }
    }

    /// `sum_i max_{s in S} cos(i, s)`; a group without kept tokens counts with its mean cosine.
    fn covered(&self, field: &Field) -> f64 {
        let kept: Vec<usize> = field.taken(&self.span).map(|token| token - self.span.start).collect();
        if kept.is_empty() {
            return self.span.len() as f64 * self.mean_cosine;
        }
        let facilities: Vec<&[f32]> = kept.iter().map(|&at| self.units.rows().row(at)).collect();
        let facilities = UnitRows::copied(facilities.into_iter(), self.units.rows().width());
        let cosines = products(self.units.rows(), facilities.rows());
        let nearest = |row: &[f32]| row.iter().map(|&product| similarity::cosine(product)).fold(-1f32, f32::max);
        cosines.chunks_exact(kept.len()).map(|row| f64::from(nearest(row))).sum()
    }
}

/// Coverage of a picture, 0 to 1; 1 if all its tokens are alike.
fn reached(groups: &[Measure], field: &Field) -> f64 {
    let (mut reached, mut possible) = (0f64, 0f64);
    for group in groups {
        let floor = group.span.len() as f64 * group.mean_cosine;
        reached += group.covered(field) - floor;
        possible += group.span.len() as f64 - floor;
    }
    if possible > 1e-6 { reached / possible } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        coverage::{self, CoverageOptions},
        rows::Rows,
    };

    /// 96 tokens around twelve centres in 64 dimensions, with noise of the given strength, from a fixed generator.
    fn tokens(noise: f32) -> Vec<f32> {
        let mut state = 1u64;
        let mut value = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        let centres: Vec<f32> = (0..12 * 64).map(|_| value()).collect();
        (0..96 * 64).map(|at| centres[at / 64 % 12 * 64 + at % 64] + noise * value()).collect()
    }

    fn select(noise: f32, bypass: Option<Bypass>) -> (usize, usize) {
        let data = tokens(noise);
        let options = CoverageOptions { bypass, ..CoverageOptions::default() };
        let (rows, text) = (Rows::new(&data, 64).unwrap(), Rows::new(&[], 64).unwrap());
        let covered = coverage::select(&[vec![rows]], text, 0.125, &options);
        (covered.kept[0].len(), covered.bypassed)
    }

    #[test]
    fn clusters_keep_their_budget_and_noise_keeps_more() {
        assert_eq!(select(0.3, Some(Bypass::default())), (12, 0));
        assert_eq!(select(30.0, Some(Bypass { coverage: 0.9, most: 3.0 })), (36, 1));
        assert_eq!(select(30.0, None), (12, 0));
    }

    #[test]
    fn the_measure_is_one_where_all_is_kept() {
        let data = tokens(1.0);
        let groups = Group::of(&[vec![Rows::new(&data, 64).unwrap()]]);
        let mut field = Field::new(&groups, Rows::new(&[], 64).unwrap(), &CoverageOptions::default());
        let measure = |field: &Field| reached(&groups.iter().map(Measure::of).collect::<Vec<_>>(), field);
        assert_eq!(measure(&field), 0.0);
        lazy::extend(&mut field, 0..96, 96);
        assert!((measure(&field) - 1.0).abs() < 1e-6);
    }
}
