//! Qwen2.5-VL's image processor, validated.

use crate::checkpoint::vision::processor::{AsTyped, side, wanted};
use crate::checkpoint::vision::qwen::QwenConfig;
use crate::checkpoint::vision::steps::{PixelBounds, QwenProcessor};
use crate::error::{ModelError, Result};

impl QwenProcessor {
    pub fn validate(typed: &AsTyped, tower: &QwenConfig) -> Result<QwenProcessor> {
        typed.check_type(&["Qwen2VLImageProcessor", "Qwen2_5_VLImageProcessor"])?;
        if !wanted(typed.do_resize) {
            return Err(ModelError::config("do_resize", "pictures would come out in any shape"));
        }
        let sizes = [
            ("patch_size", typed.patch_size.unwrap_or(14), tower.patch_size),
            ("temporal_patch_size", typed.temporal_patch_size.unwrap_or(2), tower.temporal_patch_size),
            ("merge_size", typed.merge_size.unwrap_or(2), tower.merge_size),
        ];
        if let Some((field, found, expected)) = sizes.into_iter().find(|(_, found, expected)| found != expected) {
            return Err(ModelError::config(field, format!("{found}, but the vision tower has {expected}")));
        }
        Ok(QwenProcessor { bounds: bounds(typed)?, filter: typed.filter()?, scale: typed.scale() })
    }
}

/// The bounds come in two spellings; where a file has both, `min_pixels` and `max_pixels` win.
fn bounds(typed: &AsTyped) -> Result<PixelBounds> {
    let edge = |key: &str| typed.size.as_ref().map(|size| side(&size[key]));
    let default = PixelBounds::default();
    let one = |direct: Option<usize>, edge: Option<Option<usize>>, default, field: &str| match (direct, edge) {
        (Some(0), _) | (None, Some(None)) => Err(ModelError::config(field, "must be a number of pixels, not 0")),
        (Some(direct), _) => Ok(direct),
        (None, Some(Some(edge))) => Ok(edge),
        (None, None) => Ok(default),
    };
    Ok(PixelBounds {
        min: one(typed.min_pixels, edge("shortest_edge"), default.min, "size.shortest_edge")?,
        max: one(typed.max_pixels, edge("longest_edge"), default.max, "size.longest_edge")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds_of(json: &str) -> Result<PixelBounds> {
        bounds(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn both_spellings_of_the_bounds_are_read() {
        let asked = PixelBounds { min: 3136, max: 12_845_056 };
        assert_eq!(bounds_of(r#"{"min_pixels": 3136, "max_pixels": 12845056}"#).unwrap(), asked);
        let size = r#"{"shortest_edge": 3136, "longest_edge": 12845056}"#;
        assert_eq!(bounds_of(&format!(r#"{{"size": {size}}}"#)).unwrap(), asked);
        let both = format!(r#"{{"size": {size}, "max_pixels": 5000}}"#);
        assert_eq!(bounds_of(&both).unwrap(), PixelBounds { min: 3136, max: 5000 });
        assert_eq!(bounds_of("{}").unwrap(), PixelBounds { min: 3136, max: 1_003_520 });
    }

    #[test]
    fn a_size_without_its_edges_is_refused() {
        for json in [r#"{"size": {"height": 28}}"#, r#"{"min_pixels": 0}"#] {
            assert!(matches!(bounds_of(json), Err(ModelError::Config { .. })), "{json}");
        }
    }
}
