//! The visual pruning that a request asks for, and how it is resolved.

use secateur_proto::v1;
use secateur_pruning::{VisualMethod, VisualPolicy};
use secateur_transfer::visual;

/// The visual pruning that the client asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct VisualChoice {
    /// Pruning method; `None` means `auto`.
    pub method: Option<VisualMethod>,
    /// Share of visual tokens to keep, (0, 1]; `None` means the recommended share.
    pub keep: Option<f64>,
    /// Whether all pictures are sent with `"detail": "low"`, and nothing else is asked for: then the recommended share
    /// is held to [`LOW_DETAIL_KEEP`].
    pub is_low_detail: bool,
}

/// Most of the visual tokens that are kept where the client asks for low detail.
pub const LOW_DETAIL_KEEP: f64 = 0.25;

impl VisualChoice {
    /// The choice of a client that asks for low detail.
    pub const LOW_DETAIL: VisualChoice = VisualChoice { method: None, keep: None, is_low_detail: true };

    /// The policy in force, given the checkpoint's recommendations for one and for several pictures, and the number of
    /// pictures.
    pub fn resolve(&self, recommended: Recommended<'_>, pictures: usize) -> VisualPolicy {
        let (recommended, published) = match pictures {
            0 | 1 => (recommended.one, VisualPolicy::PUBLISHED),
            _ => (recommended.several, VisualPolicy::PUBLISHED_SEVERAL),
        };
        let recommended = recommended.and_then(|policy| visual::policy_from_proto(policy).ok());
        let recommended = recommended.unwrap_or(VisualPolicy::KEEP_ALL);
        if self.is_low_detail {
            return low_detail(recommended);
        }
        let method = self.method.unwrap_or(match (recommended.method(), self.keep) {
            // A share without a method, on a checkpoint without a recommendation, gets the method that loses least.
            (VisualMethod::None, Some(_)) => VisualMethod::Coverage,
            (recommended, _) => recommended,
        });
        let measured = if recommended.method() == method { recommended.keep() } else { published.keep() };
        let keep = self.keep.unwrap_or(measured);
        // Both sources of a share have been checked, so it is in range here.
        VisualPolicy::new(method, keep).unwrap_or(VisualPolicy::KEEP_ALL)
    }
}

/// The recommended method at a small share. Where it keeps what it keeps whatever the share, or there is none, it is the
/// method that loses least.
fn low_detail(recommended: VisualPolicy) -> VisualPolicy {
    let (method, keep) = match recommended.method() {
        VisualMethod::None | VisualMethod::Distinct => (VisualMethod::Coverage, LOW_DETAIL_KEEP),
        method => (method, recommended.keep().min(LOW_DETAIL_KEEP)),
    };
    VisualPolicy::new(method, keep).unwrap_or(recommended)
}

/// The visual policies that a checkpoint recommends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recommended<'a> {
    /// Policy for a request with one picture.
    pub one: Option<&'a v1::VisualPolicy>,
    /// Policy for a request with several pictures.
    pub several: Option<&'a v1::VisualPolicy>,
}
