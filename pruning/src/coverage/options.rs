//! The parameters of coverage, with the condition for its bypass. Formulas and the mark \[R\] are explained in the
//! documentation of [`super`].

/// Parameters of coverage. The defaults are those of the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CoverageOptions {
    /// `lambda`: the weight of covering the whole text relative to covering the whole picture. Default 0.1.
    pub text_weight: f32,
    /// `tau_v`, at least 0.001, for a softmax over each token's row of cosines; `None` for `max(0, cosine)`. Default
    /// `None`.
    pub vision_temperature: Option<f32>,
    /// `tau_t`, at least 0.001, the softmax temperature over a text token's row. Default 0.02.
    pub text_temperature: f32,
    /// `q`: share of the text tokens that pass the entropy filter. Default 0.5.
    pub text_keep: f64,
    /// Condition for keeping more than the keep rate; `None` never keeps more.
    pub bypass: Option<Bypass>,
}

impl Default for CoverageOptions {
    fn default() -> Self {
        Self {
            text_weight: 0.1,
            vision_temperature: None,
            text_temperature: 0.02,
            text_keep: 0.5,
            bypass: Some(Bypass::default()),
        }
    }
}

/// \[R\] If a picture's tokens are too unlike each other for a few to represent all, more of them are kept.
///
/// The measure is the coverage that the kept tokens reach, in raw cosines, scaled from 0 (no more than the mean
/// similarity of any two tokens of the picture) to 1 (all tokens kept): `(mean_i max_{s in S} cos(i, s) - c) / (1 -
/// c)`, `S` the kept tokens, `c` the mean pairwise cosine (both within groups). A picture below `coverage` keeps up to twice its budget,
/// then, if that is not enough, up to `most` times; the greedy continues from its current state.
///
/// The default of 0.4 is from synthetic pictures of 576 tokens, 64 kept, in 128 to 4,096 dimensions. Independent
/// Gaussian tokens reach 0.14 to 0.31 (0.34 around a common mean); 33 clusters 0.56 or more while the noise is no
/// stronger than the centres, 0.29 to 0.35 at twice that; 150 clusters 0.38 to 0.59; 20 latent dimensions 0.60.
///
/// Tokens drawn at random in many dimensions really are evenly informative; a benchmark of the method on random weights
/// has to turn the bypass off to see the budget it asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bypass {
    /// Coverage to reach, 0 to 1.
    pub coverage: f64,
    /// Largest number of kept tokens, as a multiple of the budget.
    pub most: f64,
}

impl Default for Bypass {
    fn default() -> Self {
        Self { coverage: 0.4, most: 3.0 }
    }
}
