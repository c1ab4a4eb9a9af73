//! The steps by which image processors prepare a picture's pixels.

use crate::checkpoint::vision::processor::Scale;
use crate::vision::Filter;

/// The steps of CLIP's processor, in order; for a LLaVA-NeXT, those for the picture as a whole.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClipProcessor {
    pub resize: Option<Resize>,
    /// Height and width in pixels.
    pub center_crop: Option<(usize, usize)>,
    pub scale: Scale,
}

/// Target size and filter of a resize.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Resize {
    pub target: Target,
    pub filter: Filter,
}

/// The size a picture is resized to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The shorter side gets this length, the other keeps the aspect ratio.
    ShortestEdge(usize),
    /// Both sides get the given lengths, whatever the picture's shape.
    Exact { height: usize, width: usize },
}

/// The steps of Qwen2.5-VL's processor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct QwenProcessor {
    pub bounds: PixelBounds,
    pub filter: Filter,
    pub scale: Scale,
}

/// Bounds on the pixels, height times width, that a picture is resized to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PixelBounds {
    pub min: usize,
    pub max: usize,
}

impl Default for PixelBounds {
    fn default() -> Self {
        PixelBounds { min: 56 * 56, max: 28 * 28 * 1280 }
    }
}
