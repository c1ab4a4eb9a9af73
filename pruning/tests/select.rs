//! Properties that every method guarantees for any input.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::ops::Range;

use proptest::prelude::*;
use secateur_pruning::{
    CoverageOptions, PictureTokens, Rows, SelectError, VisualMethod, VisualPolicy, budget, select, select_with,
};

const WIDTH: usize = 6;

fn values(rows: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<f32>> {
    // Numbers of every kind, most of them ordinary.
    let value = prop_oneof![
        60 => -2f32..2f32,
        2 => Just(0f32),
        1 => Just(f32::NAN),
        1 => Just(f32::INFINITY),
        1 => Just(-1e30f32),
    ];
    prop::collection::vec(prop::collection::vec(value, WIDTH), rows).prop_map(|rows| rows.concat())
}

fn ordinary(rows: Range<usize>) -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(prop::collection::vec(-2f32..2f32, WIDTH), rows).prop_map(|rows| rows.concat())
}

fn rows(data: &[f32]) -> Rows<'_> {
    Rows::new(data, WIDTH).unwrap()
}

fn policy(method: VisualMethod, keep: f64) -> VisualPolicy {
    VisualPolicy::new(method, keep).unwrap()
}

/// Two crops with one structural token after each.
fn two_crops(tokens: usize) -> Vec<Range<usize>> {
    let half = tokens / 2;
    vec![0..half.saturating_sub(1), half..tokens.saturating_sub(1).max(half)]
}

proptest! {
    #[test]
    fn ascending_within_budget_and_the_same_every_time(
        pictures in prop::collection::vec(values(0..30), 0..4),
        text in values(0..5),
        keep in 0.01f64..=1.0,
    ) {
        let tiled = |data: &'_ Vec<f32>| two_crops(data.len() / WIDTH);
        let pictures: Vec<PictureTokens<'_>> =
            pictures.iter().map(|data| PictureTokens::tiled(rows(data), tiled(data)).unwrap()).collect();
        let options = CoverageOptions { bypass: None, ..CoverageOptions::default() };
        for method in VisualMethod::ALL {
            let found = select_with(policy(method, keep), &options, &pictures, rows(&text)).unwrap();
            prop_assert_eq!(&found, &select_with(policy(method, keep), &options, &pictures, rows(&text)).unwrap());
            prop_assert_eq!(found.kept.len(), pictures.len());
            prop_assert_eq!(found.bypassed, 0);
            for (kept, picture) in found.kept.iter().zip(&pictures) {
                prop_assert!(kept.windows(2).all(|pair| pair[0] < pair[1]));
                prop_assert!(kept.iter().all(|&index| index < picture.rows().len()));
                let structural = |index: &usize| !picture.tiles().iter().any(|tile| tile.contains(index));
                prop_assert!((0..picture.rows().len()).filter(structural).all(|index| kept.contains(&index)));
            }
            prop_assert_eq!(found.kept.iter().map(Vec::len).sum::<usize>(), promised(method, keep, &pictures));
        }
    }

    #[test]
    fn lc_of_one_picture_is_trimtokenator(data in ordinary(1..60), text in ordinary(0..6), keep in 0.01f64..=1.0) {
        let tokens = data.len() / WIDTH;
        for picture in [
            PictureTokens::whole(rows(&data)),
            PictureTokens::tiled(rows(&data), two_crops(tokens)).unwrap(),
        ] {
            let picture = [picture];
            let one = select(policy(VisualMethod::TrimTokenator, keep), &picture, rows(&text));
            prop_assert_eq!(one, select(policy(VisualMethod::TrimTokenatorLc, keep), &picture, rows(&text)));
        }
    }

    #[test]
    fn every_picture_of_several_gets_its_floor(
        pictures in prop::collection::vec(ordinary(1..40), 2..5),
        text in ordinary(0..4),
        keep in 0.01f64..0.5,
    ) {
        let pictures: Vec<PictureTokens<'_>> = pictures.iter().map(|data| PictureTokens::whole(rows(data))).collect();
        for method in [VisualMethod::TrimTokenatorLc, VisualMethod::Coverage] {
            let found = select(policy(method, keep), &pictures, rows(&text)).unwrap();
            for (kept, picture) in found.kept.iter().zip(&pictures) {
                prop_assert!(kept.len() >= picture.rows().len().min(4));
            }
        }
    }

    #[test]
    fn bypass_keeps_more_and_no_more_than_its_limit(data in ordinary(10..60), keep in 0.05f64..0.5) {
        let (tokens, picture) = (data.len() / WIDTH, [PictureTokens::whole(rows(&data))]);
        let found = select(policy(VisualMethod::Coverage, keep), &picture, rows(&[])).unwrap();
        let asked = budget::kept(tokens, keep);
        prop_assert_eq!(found.bypassed == 1, found.kept[0].len() > asked);
        prop_assert!((asked..=(3 * asked).min(tokens)).contains(&found.kept[0].len()));
    }
}

/// Number of tokens that a method keeps in all, structural ones included.
fn promised(method: VisualMethod, keep: f64, pictures: &[PictureTokens<'_>]) -> usize {
    let crops = |picture: &PictureTokens<'_>| picture.tiles().iter().map(Range::len).collect::<Vec<_>>();
    let prunable: usize = pictures.iter().flat_map(crops).sum();
    let all: usize = pictures.iter().map(|picture| picture.rows().len()).sum();
    let per_crop = || pictures.iter().flat_map(crops).map(|tokens| budget::kept(tokens, keep)).sum::<usize>();
    let floors: usize = pictures.iter().map(|picture| crops(picture).into_iter().sum::<usize>().min(4)).sum();
    let together = budget::kept(prunable, keep).max(floors);
    let shown = pictures.iter().filter(|picture| crops(picture).iter().any(|&tokens| tokens > 0)).count();
    let kept = match method {
        VisualMethod::None | VisualMethod::Downsample | VisualMethod::Distinct => prunable,
        VisualMethod::TrimTokenatorLc | VisualMethod::Coverage if shown > 1 => together,
        _ => per_crop(),
    };
    all - prunable + kept
}

#[test]
fn other_widths_are_an_error() {
    let (data, text) = ([1.0f32; 12], [1.0f32; 6]);
    let pictures =
        [PictureTokens::whole(Rows::new(&data, 6).unwrap()), PictureTokens::whole(Rows::new(&data, 4).unwrap())];
    for method in VisualMethod::ALL {
        let found = select(policy(method, 0.5), &pictures, Rows::new(&text, 6).unwrap());
        assert_eq!(found, Err(SelectError::Width { picture: 1, width: 4, text: 6 }));
    }
}

#[test]
fn what_is_known_of_the_alignment() {
    // Norms are 1 to 8 and the text is near zero, so alpha depends on the norm alone.
    let data: Vec<f32> = (1..=8).flat_map(|norm| [norm as f32, 0.0, 0.0, 0.0, 0.0, 0.0]).collect();
    let picture = [PictureTokens::whole(rows(&data))];
    let text = [0.01f32; WIDTH];
    let found = |method, text| select(policy(method, 0.5), &picture, text).unwrap().alignment_is_norm;
    assert_eq!(found(VisualMethod::TrimTokenator, rows(&text)), Some(1.0));
    assert_eq!(found(VisualMethod::TrimTokenator, rows(&[])), None);
    assert_eq!(found(VisualMethod::Coverage, rows(&text)), None);
}

/// A crop too large for one similarity matrix is covered in two parts.
#[test]
fn large_crops() {
    let data: Vec<f32> = (0..2100 * WIDTH).map(|at| ((at * at) % 101) as f32 - 50.0).collect();
    let picture = [PictureTokens::whole(rows(&data))];
    let options = CoverageOptions { bypass: None, ..CoverageOptions::default() };
    let kept = &select_with(policy(VisualMethod::Coverage, 0.02), &options, &picture, rows(&[])).unwrap().kept[0];
    assert_eq!(kept.len(), 42);
    assert!(kept[0] < 1050 && kept[41] >= 1050);
}

#[test]
fn the_first_of_every_crop() {
    let data = [0.5f32; 10 * WIDTH];
    let picture = [PictureTokens::tiled(rows(&data), vec![0..4, 5..9]).unwrap()];
    let found = select(policy(VisualMethod::KeepFirst, 0.5), &picture, rows(&[])).unwrap();
    assert_eq!(found.kept, [[0, 1, 4, 5, 6, 9]]);
}

/// The text term: of two similar clusters, the one that the words name keeps the token that they name.
#[test]
fn words_draw_the_selection() {
    let mut state = 5u64;
    let mut value = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let data: Vec<f32> = (0..64 * WIDTH).map(|_| value()).collect();
    let picture = [PictureTokens::whole(rows(&data))];
    let options = CoverageOptions { bypass: None, text_weight: 4.0, ..CoverageOptions::default() };
    for named in [7usize, 40, 63] {
        let text = &data[named * WIDTH..(named + 1) * WIDTH];
        let found = select_with(policy(VisualMethod::Coverage, 0.05), &options, &picture, rows(text)).unwrap();
        assert!(found.kept[0].contains(&named), "{named} not in {:?}", found.kept[0]);
    }
}
