//! Tensor names. The same weights are stored under several prefixes; the rest of the crate uses one unified name.
//!
//! | part | hub files of llava-hf | hub files of Qwen2.5-VL | transformers 5 in memory | here |
//! |---|---|---|---|---|
//! | blocks | `language_model.model.layers.` | `model.layers.` | `model.language_model.layers.` | `language.layers.` |
//! | head | `language_model.lm_head.` | `lm_head.` | `lm_head.` | `lm_head.` |
//! | tower | `vision_tower.vision_model.` | `visual.` | `model.vision_tower.`, `model.visual.` | `vision.` |
//! | projector | `multi_modal_projector.` | | `model.multi_modal_projector.` | `projector.` |
//! | end of a line | `image_newline` | | `model.image_newline` | `image_newline` |
//!
//! Text-only models are stored like the language part of Qwen2.5-VL.

/// Prefix in the file and unified prefix. The first match counts, so longer prefixes come before their own prefixes.
const PREFIXES: [(&str, &str); 15] = [
    ("language_model.model.", "language."),
    ("language_model.lm_head.", "lm_head."),
    ("model.language_model.", "language."),
    ("model.vision_tower.vision_model.", "vision."),
    ("model.vision_tower.", "vision."),
    ("model.visual.", "vision."),
    ("model.multi_modal_projector.", "projector."),
    ("model.image_newline", "image_newline"),
    ("vision_tower.vision_model.", "vision."),
    ("vision_tower.", "vision."),
    ("visual.", "vision."),
    ("multi_modal_projector.", "projector."),
    ("image_newline", "image_newline"),
    ("lm_head.", "lm_head."),
    ("model.", "language."),
];

/// The unified name of a stored tensor; `None` if it matches no known scheme.
pub(crate) fn unified(stored: &str) -> Option<String> {
    PREFIXES.iter().find_map(|(from, to)| Some(format!("{to}{}", stored.strip_prefix(from)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_schemes_meet_in_one_name() {
        let same = [
            "language_model.model.layers.0.mlp.up_proj.weight",
            "model.language_model.layers.0.mlp.up_proj.weight",
            "model.layers.0.mlp.up_proj.weight",
        ];
        for stored in same {
            assert_eq!(unified(stored).unwrap(), "language.layers.0.mlp.up_proj.weight");
        }
        for stored in ["language_model.lm_head.weight", "lm_head.weight"] {
            assert_eq!(unified(stored).unwrap(), "lm_head.weight");
        }
        for stored in ["vision_tower.vision_model.pre_layrnorm.bias", "model.vision_tower.pre_layrnorm.bias"] {
            assert_eq!(unified(stored).unwrap(), "vision.pre_layrnorm.bias");
        }
        for stored in ["visual.merger.ln_q.weight", "model.visual.merger.ln_q.weight"] {
            assert_eq!(unified(stored).unwrap(), "vision.merger.ln_q.weight");
        }
        for stored in ["image_newline", "model.image_newline"] {
            assert_eq!(unified(stored).unwrap(), "image_newline");
        }
        assert_eq!(unified("multi_modal_projector.linear_1.bias").unwrap(), "projector.linear_1.bias");
    }

    #[test]
    fn an_unknown_scheme_is_no_name() {
        assert_eq!(unified("transformer.h.0.attn.c_attn.weight"), None);
    }
}
