//! TrimTokenator-LC (arXiv 2512.22748): visual tokens of several pictures, kept under one budget.
//!
//! \[P\] Intra stage: a budget per picture by its diversity, then greedy representatives of each picture. Inter stage:
//! a global diversity filter to a pool, then Pareto selection over diversity and text alignment; the text comes last.
//! The paper's text gives no formula for `D_inter`, the budgets, the pool or the tie-breaks; these are \[R\]:
//!
//! 1. `B = round(keep N_total)`, and not less than the sum of the floors of step 3. The paper goes up to 80% removed; a
//!    keep rate below 0.2 is accepted, beyond what it tested.
//! 2. Number of representatives, with `a = 1 - mean D_intra` and `e = 1 - D_inter`, each clamped to \[0.01, 1\]: `B1 =
//!    N_total (B / N_total)^(a / (a + e))`. Repetitive pictures are cut in the intra stage, pictures that resemble each
//!    other in the inter stage.
//! 3. Picture `k` of `m_k` tokens gets a share of `B1` proportional to `m_k D_intra(k)`, at least `min(4, m_k)`, at
//!    most `m_k`, by largest remainder.
//! 4. Representatives by [RepMax](crate::repmax), and the pool by RepMax over all of them: `min(B1, round(1.5 B))`.
//! 5. The best `B` of the pool by Pareto fronts over diversity (`1 -` mean cosine to the pool) and `alpha`; then every
//!    picture below its floor takes places from pictures above theirs.
//!
//! A single picture has no inter stage: the method is then TrimTokenator.

mod apportion;
mod floors;
mod pareto;
mod token;

use crate::{
    budget, diversity, repmax,
    rows::{Rows, UnitRows, dot},
};
use apportion::Claim;
use floors::Ranked;
use token::Token;

/// Minimum number of tokens kept of every picture, if it has as many.
pub const FLOOR: usize = 4;

/// Size of the pool as a multiple of the budget.
const POOL: f64 = 1.5;

/// Kept positions of each picture, ascending. `pictures[k]` is `[m_k, d]`, the candidates of picture `k`; `text` is
/// `[M, d]`, and may have no rows: then diversity decides alone. Meant for two pictures or more, all of one width,
/// which [`crate::select()`] ensures.
pub(crate) fn select(pictures: &[Rows<'_>], text: Rows<'_>, keep: f64) -> Vec<Vec<usize>> {
    let units: Vec<UnitRows> = pictures.iter().map(|rows| UnitRows::of(*rows)).collect();
    let units: Vec<Rows<'_>> = units.iter().map(UnitRows::rows).collect();
    let floors: Vec<usize> = units.iter().map(|rows| rows.len().min(FLOOR)).collect();
    let total = units.iter().map(|rows| rows.len()).sum();
    let budget = budget::kept(total, keep).max(floors.iter().sum());

    let intra: Vec<f64> = units.iter().map(|rows| diversity::intra(*rows)).collect();
    let spread = first_stage(total, budget, diversity::mean_of_shown(&intra, &units), diversity::inter(&units));
    let representatives = representatives(&units, &intra, &floors, spread);
    let pool = pool(&units, &representatives, spread.min((POOL * budget as f64).round() as usize));
    let ranked = rank(&pool, pictures, &units, text);
    let kept = Ranked { pool: ranked, reserve: representatives }.best(budget, &floors);
    by_picture(kept, pictures.len())
}

/// `B1`, the number of representatives that the intra stage leaves, between `budget` and `total`.
fn first_stage(total: usize, budget: usize, intra: f64, inter: f64) -> usize {
    let (a, e) = ((1.0 - intra).clamp(0.01, 1.0), (1.0 - inter).clamp(0.01, 1.0));
    let left = total as f64 * (budget as f64 / total.max(1) as f64).powf(a / (a + e));
    (left.round() as usize).clamp(budget.min(total), total)
}

/// The representatives of every picture, in the order in which RepMax takes them, picture by picture.
fn representatives(units: &[Rows<'_>], intra: &[f64], floors: &[usize], spread: usize) -> Vec<Token> {
    let claims = units.iter().zip(intra).zip(floors).map(|((rows, intra), &floor)| Claim {
        weight: rows.len() as f64 * intra,
        floor,
        cap: rows.len(),
    });
    let shares = apportion::shares(spread, &claims.collect::<Vec<_>>());
    let of_picture = |(picture, (rows, share)): (usize, (&Rows<'_>, usize))| {
        repmax::greedy(*rows, share).into_iter().map(move |position| Token { picture, position })
    };
    units.iter().zip(shares).enumerate().flat_map(of_picture).collect()
}

/// The global diversity filter; returns the pool, ordered by picture and position.
fn pool(units: &[Rows<'_>], representatives: &[Token], size: usize) -> Vec<Token> {
    let union = gather(units, representatives);
    let taken = repmax::greedy(union.rows(), size);
    let mut pool: Vec<Token> = taken.into_iter().map(|index| representatives[index]).collect();
    pool.sort_unstable();
    pool
}

/// The pool, ordered best first.
fn rank(pool: &[Token], pictures: &[Rows<'_>], units: &[Rows<'_>], text: Rows<'_>) -> Vec<Token> {
    let gathered = gather(units, pool);
    let mean = gathered.rows().mean();
    let diversity = gathered.rows().iter().map(|unit| 1.0 - dot(unit, &mean)).collect::<Vec<_>>();
    let alignment = alignment(pool, pictures, text);
    pareto::order(&diversity, &alignment).into_iter().map(|index| pool[index]).collect()
}

/// `alpha` in TrimTokenator's closed form; equal for all tokens if there is no text.
fn alignment(pool: &[Token], pictures: &[Rows<'_>], text: Rows<'_>) -> Vec<f32> {
    if text.is_empty() {
        return vec![0.0; pool.len()];
    }
    let mean_text = text.mean();
    let alpha = |token: &Token| {
        let row = pictures[token.picture].row(token.position);
        2.0 * dot(row, &mean_text) - dot(row, row)
    };
    pool.iter().map(alpha).collect()
}

fn gather(units: &[Rows<'_>], tokens: &[Token]) -> UnitRows {
    let width = units.first().map_or(1, Rows::width);
    UnitRows::copied(tokens.iter().map(|token| units[token.picture].row(token.position)), width)
}

fn by_picture(mut kept: Vec<Token>, pictures: usize) -> Vec<Vec<usize>> {
    kept.sort_unstable();
    let mut out = vec![Vec::new(); pictures];
    for token in kept {
        out[token.picture].push(token.position);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitive_pictures_are_cut_early_and_alike_pictures_late() {
        // Nothing repeats within a picture, but the pictures are identical: all the cutting happens between pictures.
        assert_eq!(first_stage(1000, 200, 1.0, 0.0), 984);
        assert_eq!(first_stage(1000, 200, 0.0, 1.0), 203);
        assert_eq!(first_stage(0, 0, 0.0, 0.0), 0);
        assert_eq!(first_stage(10, 10, 0.5, 0.5), 10);
    }
}
