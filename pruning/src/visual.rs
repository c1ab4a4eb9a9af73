//! The visual method and keep rate that a request asks for.

use std::{fmt, str::FromStr};

/// A visual-token selection method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VisualMethod {
    /// Every visual token is kept.
    None,
    /// Text alignment, then diversity: [`crate::trimtokenator`].
    TrimTokenator,
    /// TrimTokenator over several pictures under one budget: [`crate::trimtokenator_lc`].
    TrimTokenatorLc,
    /// Facility location over picture and text, our own composition: [`crate::coverage`].
    Coverage,
    /// Baseline: CDPruner, [`crate::conditional_dpp`].
    ConditionalDpp,
    /// Baseline: max-min distance, [`crate::farthest_point`].
    FarthestPoint,
    /// Baseline: uniform random selection, [`crate::random`].
    Random,
    /// Baseline: the first tokens of every crop.
    KeepFirst,
    /// Baseline: the picture is scaled down before the tower, so that it has the requested share of its tokens.
    Downsample,
    /// Patches whose pixels repeat a neighbour's are not given to the tower (PixelPrune's lossless case).
    Distinct,
}

/// The view of a picture that the vision tower gets. All views but the whole picture act before the tower, and save its
/// time too.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum PictureView {
    /// The whole picture, as the checkpoint's image processor prepares it.
    #[default]
    Whole,
    /// A smaller copy, with about this share of the whole picture's tokens, (0, 1].
    Smaller(f64),
    /// Only tokens with at least one pixel that differs from the token on the left and at least one from the token
    /// above.
    Distinct,
}

impl VisualMethod {
    /// Every method, in the order of the documentation.
    pub const ALL: [VisualMethod; 10] = [
        VisualMethod::None,
        VisualMethod::TrimTokenator,
        VisualMethod::TrimTokenatorLc,
        VisualMethod::Coverage,
        VisualMethod::ConditionalDpp,
        VisualMethod::FarthestPoint,
        VisualMethod::Random,
        VisualMethod::KeepFirst,
        VisualMethod::Downsample,
        VisualMethod::Distinct,
    ];

    /// The name on the command line, in JSON and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            VisualMethod::None => "none",
            VisualMethod::TrimTokenator => "trimtokenator",
            VisualMethod::TrimTokenatorLc => "trimtokenator-lc",
            VisualMethod::Coverage => "coverage",
            VisualMethod::ConditionalDpp => "conditional-dpp",
            VisualMethod::FarthestPoint => "farthest-point",
            VisualMethod::Random => "random",
            VisualMethod::KeepFirst => "keep-first",
            VisualMethod::Downsample => "downsample",
            VisualMethod::Distinct => "distinct",
        }
    }
}

impl fmt::Display for VisualMethod {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl FromStr for VisualMethod {
    type Err = VisualPolicyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|method| method.as_str() == text)
            .ok_or_else(|| VisualPolicyError::UnknownMethod(text.to_owned()))
    }
}

/// A method and the share of visual tokens it keeps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VisualPolicy {
    method: VisualMethod,
    keep: f64,
}

/// The reason why a visual policy is invalid.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum VisualPolicyError {
    /// The method does not exist.
    #[error("unknown visual method `{0}`; there are: {known}", known = VisualMethod::ALL.map(VisualMethod::as_str).join(", "))]
    UnknownMethod(String),
    /// The rate is not a share.
    #[error("keep must be above 0 and at most 1, not {0}")]
    KeepOutOfRange(f64),
}

impl VisualPolicy {
    /// The paper's headline rate: 64 of 576 tokens, 88.9% removed.
    pub const PUBLISHED_KEEP: f64 = 1.0 / 9.0;

    /// The published method for one picture at its rate.
    pub const PUBLISHED: VisualPolicy =
        VisualPolicy { method: VisualMethod::TrimTokenator, keep: Self::PUBLISHED_KEEP };

    /// The published method for several pictures at its rate: 80% removed.
    pub const PUBLISHED_SEVERAL: VisualPolicy = VisualPolicy { method: VisualMethod::TrimTokenatorLc, keep: 0.2 };

    /// Keeps everything.
    pub const KEEP_ALL: VisualPolicy = VisualPolicy { method: VisualMethod::None, keep: 1.0 };

    /// A policy with `keep` in (0, 1]. `none` keeps everything and `distinct` everything that differs, whatever the
    /// rate.
    pub fn new(method: VisualMethod, keep: f64) -> Result<Self, VisualPolicyError> {
        if !(keep > 0.0 && keep <= 1.0) {
            return Err(VisualPolicyError::KeepOutOfRange(keep));
        }
        let keep = if matches!(method, VisualMethod::None | VisualMethod::Distinct) { 1.0 } else { keep };
        Ok(Self { method, keep })
    }

    /// The method.
    pub fn method(&self) -> VisualMethod {
        self.method
    }

    /// Share of visual tokens kept, (0, 1].
    pub fn keep(&self) -> f64 {
        self.keep
    }

    /// The view of a picture that the tower gets under this policy.
    pub fn view(&self) -> PictureView {
        match self.method {
            VisualMethod::Downsample if self.keep < 1.0 => PictureView::Smaller(self.keep),
            VisualMethod::Distinct => PictureView::Distinct,
            _ => PictureView::Whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for method in VisualMethod::ALL {
            assert_eq!(method.as_str().parse::<VisualMethod>(), Ok(method));
        }
        let error = "Coverage".parse::<VisualMethod>().unwrap_err().to_string();
        assert!(VisualMethod::ALL.iter().all(|method| error.contains(method.as_str())), "{error}");
    }

    #[test]
    fn rates_outside_a_share_are_refused() {
        for keep in [0.0, -0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(VisualPolicy::new(VisualMethod::TrimTokenator, keep).is_err(), "{keep}");
        }
        assert_eq!(VisualPolicy::new(VisualMethod::None, 0.1), Ok(VisualPolicy::KEEP_ALL));
    }

    #[test]
    fn two_methods_change_what_the_tower_is_shown() {
        let view = |method, keep| VisualPolicy::new(method, keep).unwrap().view();
        assert_eq!(view(VisualMethod::Downsample, 0.25), PictureView::Smaller(0.25));
        assert_eq!(view(VisualMethod::Downsample, 1.0), PictureView::Whole);
        assert_eq!(view(VisualMethod::Distinct, 0.25), PictureView::Distinct);
        assert_eq!(view(VisualMethod::Coverage, 0.25), PictureView::Whole);
    }
}
