//! Coverage: keep the tokens that best represent all others and the words. Our composition, not a published method.
//!
//! The form is MMTok's (ICLR 2026): facility location over visual and text tokens, embeddings only, greedy with the
//! `1 - 1/e` bound. The text filter by entropy is EADP's (ECCV 2026). \[P\] marks what they publish, \[R\] is ours.
//!
//! With unit tokens `u_i` and unit text tokens `v_t`, `S` the kept set:
//! ```text
//! f(S)       = sum_i max_{s in S} sim_vv(i, s) + lambda sum_t w max_{s in S} sim_tv(t, s)
//! sim_vv(i,j) = max(0, u_i . u_j)              within its own group, else 0           [R]
//! sim_tv(t,) = softmax_j (v_t . u_j / tau_t)   over all visual tokens,           [P] tau_t = 0.02
//! w          = sum_i max_j sim_vv(i, j) / sum_t max_j sim_tv(t, j)               [R]
//! ```
//! - \[R\] `w` makes both terms shares of the value that keeping everything would reach, so `lambda` means the same for
//!   a prompt of three words and of three hundred, for any number of tokens and any temperature.
//! - \[R\] Vision-vision similarity compares tokens after the projector, the only ones available here (MMTok: before
//!   it), without MMTok's softmax over j (\[P\] tau_v = 0.2; `vision_temperature`). Measured on the demo (996 cases of
//!   its world that its suite does not have, one picture, 16 of 144 tokens): 91.0% right without it, 82.8% with it,
//!   94.2% unpruned; powers of the cosine, subtracting a common mean and weights against duplicates were no better than
//!   the plain cosine.
//! - \[R\] lambda = 0.1 (MMTok 0.5): 0, 0.1 and 0.5 are within half a point there at 16 tokens; at 29 tokens 0 loses
//!   2.5.
//! - \[P\] Text tokens are filtered: the share `q` with the lowest entropy of their row of `sim_tv` stays; the others
//!   spread over the whole picture and so carry no information. \[R\] q = 0.5, rounded, at least one. Only the last 512
//!   text tokens are read at all, which bounds time and memory; questions come last.
//! - \[R\] A group is a crop, and crops above 2,048 tokens are cut into contiguous parts of equal size, so the
//!   quadratic term stays bounded: 16 MiB a group. The text term is shared by all groups.
//! - \[R\] Budget: the sum of the crops' budgets for one picture, `round(keep N_total)` for several, each of these at
//!   least 4 tokens. The greedy first spends the floors, then runs over all tokens of all pictures at once: an
//!   informative picture or crop gets more. Ties go to the lower index.
//! - \[R\] Pictures whose tokens are too evenly informative keep more than the keep rate allows: [`Bypass`].
//!
//! O(sum n_g^2 d) for the similarities, then few gain evaluations because the greedy is lazy.

mod bypass;
mod field;
mod groups;
mod lazy;
mod options;
mod similarity;
mod words;

use std::ops::Range;

use crate::{budget, rows::Rows};
use field::Field;
use groups::Group;
pub use options::{Bypass, CoverageOptions};

/// Minimum number of tokens kept of each picture when a request has several.
pub const FLOOR: usize = 4;

/// The tokens that coverage keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Covered {
    /// For each picture, ascending positions in the concatenation of its crops.
    pub(crate) kept: Vec<Vec<usize>>,
    /// Number of pictures that kept more than their part of the budget.
    pub(crate) bypassed: usize,
}

/// Selects from `pictures`, each given by its crops `[n_t, d]`; `text` is `[M, d]` and may have no rows. All matrices
/// have the same width, which [`crate::select()`] checks.
pub(crate) fn select(pictures: &[Vec<Rows<'_>>], text: Rows<'_>, keep: f64, options: &CoverageOptions) -> Covered {
    let groups = Group::of(pictures);
    let spans = groups::spans(&groups, pictures.len());
    let mut field = Field::new(&groups, text, options);
    let several = spans.iter().filter(|span| !span.is_empty()).count() > 1;
    spend(&mut field, &spans, several, total(pictures, several, keep));
    let bypassed = match options.bypass {
        Some(bypass) => bypass.apply(&mut field, &groups, &spans),
        None => 0,
    };
    let kept = spans.iter().map(|span| field.taken(span).map(|token| token - span.start).collect());
    Covered { kept: kept.collect(), bypassed }
}

/// The budget of a request: one picture gets the sum of its crops' budgets; pictures without tokens do not count as
/// several.
fn total(pictures: &[Vec<Rows<'_>>], several: bool, keep: f64) -> usize {
    let crops = pictures.iter().flatten().map(Rows::len);
    if several { budget::kept(crops.sum(), keep) } else { crops.map(|tokens| budget::kept(tokens, keep)).sum() }
}

fn spend(field: &mut Field, spans: &[Range<usize>], several: bool, budget: usize) {
    let floor = if several { FLOOR } else { 0 };
    let spent: usize = spans.iter().map(|span| lazy::extend(field, span.clone(), floor)).sum();
    let all = 0..spans.last().map_or(0, |last| last.end);
    lazy::extend(field, all, budget.saturating_sub(spent));
}
