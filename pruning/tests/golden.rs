//! Compares index lists with `golden/make.py`, which computes them naively in f64 from the equations.

use secateur_pruning::{
    CoverageOptions, PictureTokens, Rows, VisualMethod, VisualPolicy, coverage::Bypass, select_with,
};

#[derive(serde::Deserialize)]
struct Case {
    seed: u64,
    method: String,
    tokens: Vec<usize>,
    centres: usize,
    noise: f64,
    words: usize,
    width: usize,
    keep: f64,
    #[serde(default)]
    vision_temperature: Option<f32>,
    #[serde(default)]
    bypass: Option<Limits>,
    kept: Vec<Vec<usize>>,
    bypassed: usize,
}

#[derive(serde::Deserialize)]
struct Limits {
    coverage: f64,
    most: f64,
}

struct Lcg(u64);

impl Lcg {
    fn matrix(&mut self, rows: usize, width: usize) -> Vec<f64> {
        let mut value = || {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 40) as f64 / f64::from(1 << 23) - 1.0
        };
        (0..rows * width).map(|_| value()).collect()
    }
}

/// The tokens of every picture, and the text.
fn inputs(case: &Case) -> (Vec<Vec<f32>>, Vec<f32>) {
    let (mut lcg, width) = (Lcg(case.seed), case.width);
    let (mut pictures, mut centres) = (Vec::new(), Vec::new());
    for &tokens in &case.tokens {
        let centre = lcg.matrix(case.centres, width);
        let draws = lcg.matrix(tokens, width);
        let value = |at: usize| centre[at / width % case.centres * width + at % width] + case.noise * draws[at];
        pictures.push((0..tokens * width).map(|at| value(at) as f32).collect());
        centres.push(centre);
    }
    let draws = lcg.matrix(case.words, width);
    let text = (0..case.words * width).map(|at| {
        let (word, column) = (at / width, at % width);
        let centre = centres[word % centres.len()][word % case.centres * width + column];
        (0.25 * centre + 0.125 * (1 + word % 3) as f64 * draws[at]) as f32
    });
    (pictures, text.collect())
}

#[test]
fn index_lists_are_those_of_the_equations() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("golden/cases.json")).unwrap();
    assert!(cases.len() >= 25);
    for case in cases {
        let (pictures, text) = inputs(&case);
        let pictures: Vec<PictureTokens<'_>> =
            pictures.iter().map(|data| PictureTokens::whole(Rows::new(data, case.width).unwrap())).collect();
        let options = CoverageOptions {
            text_weight: 0.5,
            vision_temperature: case.vision_temperature,
            bypass: case.bypass.as_ref().map(|limits| Bypass { coverage: limits.coverage, most: limits.most }),
            ..CoverageOptions::default()
        };
        let policy = VisualPolicy::new(case.method.parse::<VisualMethod>().unwrap(), case.keep).unwrap();
        let found = select_with(policy, &options, &pictures, Rows::new(&text, case.width).unwrap()).unwrap();
        let name = format!("{} of {:?}, seed {}", case.method, case.tokens, case.seed);
        assert_eq!(found.kept, case.kept, "{name}");
        assert_eq!(found.bypassed, case.bypassed, "{name}");
    }
}
