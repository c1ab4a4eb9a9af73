//! One entry point for every method: visual tokens in, kept indices out.

use crate::{
    VisualMethod, VisualPolicy, budget, conditional_dpp,
    coverage::{self, CoverageOptions},
    farthest_point,
    picture::PictureTokens,
    random,
    rank_correlation::spearman,
    rows::{Rows, dot},
    trimtokenator, trimtokenator_lc,
};

/// Result of a selection.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// For each picture, ascending indices into its tokens.
    pub kept: Vec<Vec<usize>>,
    /// Number of pictures of which [`coverage`] kept more than the keep rate, because they are too evenly informative.
    pub bypassed: usize,
    /// Spearman rank correlation of TrimTokenator's `alpha` with `-|x|^2` over the crops' tokens of all pictures: near
    /// 1, the text alignment only filters for small norms. `Some` if the method uses `alpha` and there is text.
    pub alignment_is_norm: Option<f32>,
}

/// The reason why nothing could be selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// The tokens do not share one embedding space.
    #[error("tokens of picture {picture} have width {width}, text tokens {text}")]
    Width {
        /// Index of the picture, from 0.
        picture: usize,
        /// Width of its tokens.
        width: usize,
        /// Width of the text tokens.
        text: usize,
    },
}

/// Applies `policy` to the pictures of one request, in their order. `text` is `[M, d]`: the language model's input
/// embeddings of the user's words, without template and system tokens; it may have no rows, but must have the width.
///
/// The number of kept tokens, where `n_t` is the length of a crop:
/// - `none`, `downsample`, `distinct`: all; the last two act before the tower, by [`VisualPolicy::view`].
/// - `trimtokenator`, `conditional-dpp`, `farthest-point`, `random`, `keep-first`: `budget::kept(n_t, keep)` of each
///   crop of each picture.
/// - `trimtokenator-lc`: for several pictures [one budget](crate::trimtokenator_lc) over all their crops' tokens; for
///   one picture the same number as `trimtokenator`.
/// - `coverage`: the same total as `trimtokenator` for one picture and as `trimtokenator-lc` for several, spent where
///   it covers most, and more if the picture is [bypassed](crate::coverage).
///
/// Structural tokens (see [`PictureTokens`]) are kept in any case.
pub fn select(policy: VisualPolicy, pictures: &[PictureTokens<'_>], text: Rows<'_>) -> Result<Selection, SelectError> {
    select_with(policy, &CoverageOptions::default(), pictures, text)
}

/// Applies a policy like [`select`], with other parameters for `coverage`.
pub fn select_with(
    policy: VisualPolicy,
    options: &CoverageOptions,
    pictures: &[PictureTokens<'_>],
    text: Rows<'_>,
) -> Result<Selection, SelectError> {
    check_widths(pictures, text)?;
    let keep = policy.keep();
    let per_crop = |crop: &dyn Fn(Crop, Rows<'_>, usize) -> Vec<usize>| each_crop(pictures, keep, crop);
    let mut bypassed = 0;
    let kept = match policy.method() {
        VisualMethod::None | VisualMethod::Downsample | VisualMethod::Distinct => {
            pictures.iter().map(|picture| (0..picture.rows().len()).collect()).collect()
        }
        VisualMethod::TrimTokenator => trimtokenator(pictures, text, keep),
        VisualMethod::TrimTokenatorLc => several(pictures, text, keep),
        VisualMethod::Coverage => {
            let covered = coverage::select(&crops(pictures), text, keep, options);
            bypassed = covered.bypassed;
            in_pictures(pictures, covered.kept)
        }
        VisualMethod::ConditionalDpp => per_crop(&|_, rows, keep| conditional_dpp::select(rows, text, keep)),
        VisualMethod::FarthestPoint => per_crop(&|_, rows, keep| farthest_point::select(rows, keep)),
        VisualMethod::Random => per_crop(&|at, rows, keep| random::select(rows.len(), keep, at.picture, at.tile)),
        VisualMethod::KeepFirst => per_crop(&|_, _, keep| (0..keep).collect()),
    };
    let aligns = matches!(policy.method(), VisualMethod::TrimTokenator | VisualMethod::TrimTokenatorLc);
    let alignment_is_norm = if aligns { alignment_is_norm(pictures, text) } else { None };
    Ok(Selection { kept, bypassed, alignment_is_norm })
}

fn check_widths(pictures: &[PictureTokens<'_>], text: Rows<'_>) -> Result<(), SelectError> {
    let widths = pictures.iter().map(|picture| picture.rows().width());
    match widths.enumerate().find(|(_, width)| *width != text.width()) {
        Some((picture, width)) => Err(SelectError::Width { picture, width, text: text.width() }),
        None => Ok(()),
    }
}

/// A crop's picture and its place in it.
#[derive(Clone, Copy)]
struct Crop {
    picture: usize,
    tile: usize,
}

/// Selects from each crop by itself, at the same keep rate.
fn each_crop(
    pictures: &[PictureTokens<'_>],
    keep: f64,
    crop: &dyn Fn(Crop, Rows<'_>, usize) -> Vec<usize>,
) -> Vec<Vec<usize>> {
    let of_picture = |(picture, tokens): (usize, &PictureTokens<'_>)| {
        let (mut before, mut positions) = (0, Vec::new());
        for (tile, rows) in tokens.crops().enumerate() {
            let kept = crop(Crop { picture, tile }, rows, budget::kept(rows.len(), keep));
            positions.extend(kept.into_iter().map(|position| before + position));
            before += rows.len();
        }
        tokens.keeping(&positions)
    };
    pictures.iter().enumerate().map(of_picture).collect()
}

fn trimtokenator(pictures: &[PictureTokens<'_>], text: Rows<'_>, keep: f64) -> Vec<Vec<usize>> {
    each_crop(pictures, keep, &|_, rows, keep| trimtokenator::select(rows, text, keep, trimtokenator::STAGE1_RATIO))
}

/// TrimTokenator-LC. Its budget is per picture, whatever the picture's crops.
fn several(pictures: &[PictureTokens<'_>], text: Rows<'_>, keep: f64) -> Vec<Vec<usize>> {
    let shown = pictures.iter().filter(|picture| picture.tiles().iter().any(|tile| !tile.is_empty())).count();
    if shown < 2 {
        return trimtokenator(pictures, text, keep);
    }
    // Crops are concatenated; only a picture with several crops is copied for that.
    let copies: Vec<Vec<f32>> = pictures.iter().map(copy_where_parted).collect();
    let rows: Vec<Rows<'_>> = pictures.iter().zip(&copies).map(|(picture, copy)| side_by_side(picture, copy)).collect();
    in_pictures(pictures, trimtokenator_lc::select(&rows, text, keep))
}

fn side_by_side<'a>(picture: &PictureTokens<'a>, copy: &'a [f32]) -> Rows<'a> {
    match picture.tiles() {
        [] => picture.rows().range(&(0..0)),
        [tile] => picture.rows().range(tile),
        // The copy is a whole number of rows by construction.
        _ => Rows::new(copy, picture.rows().width()).unwrap_or(picture.rows()),
    }
}

fn copy_where_parted(picture: &PictureTokens<'_>) -> Vec<f32> {
    if picture.tiles().len() < 2 {
        return Vec::new();
    }
    picture.crops().flat_map(|rows| rows.iter().flatten().copied().collect::<Vec<f32>>()).collect()
}

fn crops<'a>(pictures: &[PictureTokens<'a>]) -> Vec<Vec<Rows<'a>>> {
    pictures.iter().map(|picture| picture.crops().collect()).collect()
}

fn in_pictures(pictures: &[PictureTokens<'_>], positions: Vec<Vec<usize>>) -> Vec<Vec<usize>> {
    pictures.iter().zip(positions).map(|(picture, positions)| picture.keeping(&positions)).collect()
}

fn alignment_is_norm(pictures: &[PictureTokens<'_>], text: Rows<'_>) -> Option<f32> {
    if text.is_empty() {
        return None;
    }
    let crops = crops(pictures).concat();
    let alpha: Vec<f32> = crops.iter().flat_map(|rows| trimtokenator::alignment(*rows, text)).collect();
    let norms: Vec<f32> = crops.iter().flat_map(Rows::iter).map(|row| -dot(row, row)).collect();
    spearman(&alpha, &norms)
}
