//! Models of every family give transformers' answers (`tests/fixtures/families/make.py`).

use secateur_model::{Model, Segment};

use crate::common::distance;
use crate::families_fixture::{Family, TEXT, VISION, segments};

/// Covers text-only prompts of all families.
#[test]
fn logits_and_answers_without_pictures_are_the_references() {
    for name in TEXT.iter().chain(&VISION) {
        let family = Family::open(name);
        let prompt = family.expected.tokens("prompt");
        check(name, &family, &family.load(), &[Segment::Text(&prompt)], "");
    }
}

#[test]
fn logits_and_answers_with_pictures_are_the_references() {
    for name in VISION {
        let family = Family::open(name);
        let model = family.load();
        for count in [1, 3] {
            let prompt = family.expected.tokens(&format!("prompt.{count}"));
            let visual = model.see(&family.pictures(count)).unwrap();
            check(name, &family, &model, &segments(&prompt, &visual), &format!(".{count}"));
        }
    }
}

fn check(name: &str, family: &Family, model: &Model, prompt: &[Segment<'_>], suffix: &str) {
    let expected = family.expected.floats(&format!("logits{suffix}"));
    let off = distance(&model.logits(prompt).unwrap(), &expected);
    assert!(off < 1e-3, "{name}{suffix}: {off}");
    let expected = family.expected.tokens(&format!("greedy{suffix}"));
    assert_eq!(model.greedy(prompt, expected.len()).unwrap(), expected, "{name}{suffix}");
}
