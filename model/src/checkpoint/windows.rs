//! Sliding windows as configured, one for each layer.

use crate::checkpoint::as_typed::Language;
use crate::checkpoint::family::{Family, SLIDING_WINDOW};
use crate::error::{ModelError, Result};

const FULL: &str = "full_attention";
const SLIDING: &str = "sliding_attention";

/// Sliding window of each layer: how many last slots a row sees, itself included; `None` if it sees all.
pub(crate) fn windows(typed: &Language, family: Family, layers: usize, at: &str) -> Result<Vec<Option<usize>>> {
    let window = match family {
        Family::Llama => None,
        Family::Mistral => typed.sliding_window.unwrap_or(Some(SLIDING_WINDOW)),
        Family::Qwen2 | Family::Qwen3 | Family::Qwen25Vl => {
            let used = typed.use_sliding_window.unwrap_or(false);
            typed.sliding_window.unwrap_or(Some(SLIDING_WINDOW)).filter(|_| used)
        }
    };
    if window == Some(0) {
        return Err(ModelError::config(format!("{at}sliding_window"), "must not be 0"));
    }
    let first_sliding = match family {
        Family::Llama | Family::Mistral => 0,
        _ => typed.max_window_layers.unwrap_or(family.defaults().max_window_layers),
    };
    let by_default: Vec<_> = (0..layers).map(|layer| window.filter(|_| layer >= first_sliding)).collect();
    match (&typed.layer_types, family) {
        // Llama ignores `layer_types`.
        (None, _) | (Some(_), Family::Llama) => Ok(by_default),
        (Some(kinds), Family::Mistral) => {
            let typed = by_kind(kinds, window, layers, at)?;
            if typed != by_default {
                let problem = "layers of several kinds are not supported in this family";
                return Err(ModelError::config(format!("{at}layer_types"), problem));
            }
            Ok(typed)
        }
        (Some(kinds), _) => by_kind(kinds, window, layers, at),
    }
}

fn by_kind(kinds: &[String], window: Option<usize>, layers: usize, at: &str) -> Result<Vec<Option<usize>>> {
    let refuse = |problem: String| ModelError::config(format!("{at}layer_types"), problem);
    if kinds.len() != layers {
        return Err(refuse(format!("{} kinds for {layers} layers", kinds.len())));
    }
    let of_kind = |kind: &String| match (kind.as_str(), window) {
        (FULL, _) => Ok(None),
        (SLIDING, Some(window)) => Ok(Some(window)),
        (SLIDING, None) => Err(refuse(format!("`{SLIDING}` without a sliding_window"))),
        (other, _) => Err(refuse(format!("`{other}` is not supported, only `{FULL}` and `{SLIDING}`"))),
    };
    kinds.iter().map(of_kind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(family: Family, json: &str) -> Result<Vec<Option<usize>>> {
        windows(&serde_json::from_str(json).unwrap(), family, 3, "")
    }

    #[test]
    fn a_window_typed_as_null_is_none_and_one_left_out_is_the_default() {
        assert_eq!(of(Family::Mistral, r#"{"sliding_window": null}"#).unwrap(), [None; 3]);
        assert_eq!(of(Family::Mistral, "{}").unwrap(), [Some(4096); 3]);
        assert_eq!(of(Family::Mistral, r#"{"sliding_window": 7}"#).unwrap(), [Some(7); 3]);
        assert_eq!(of(Family::Llama, r#"{"sliding_window": 7}"#).unwrap(), [None; 3]);
    }

    #[test]
    fn qwen_slides_only_when_told_to_and_in_its_last_layers() {
        let json =
            |used: bool| format!(r#"{{"use_sliding_window": {used}, "sliding_window": 7, "max_window_layers": 2}}"#);
        assert_eq!(of(Family::Qwen2, &json(false)).unwrap(), [None; 3]);
        assert_eq!(of(Family::Qwen3, &json(true)).unwrap(), [None, None, Some(7)]);
        let listed = r#"{"use_sliding_window": true, "sliding_window": 7,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}"#;
        assert_eq!(of(Family::Qwen2, listed).unwrap(), [Some(7), None, Some(7)]);
    }

    #[test]
    fn kinds_that_cannot_be_followed_are_refused() {
        let cases = [
            (Family::Qwen2, r#"{"layer_types": ["full_attention"]}"#, "layer_types"),
            (
                Family::Qwen2,
                r#"{"layer_types": ["full_attention", "full_attention", "linear_attention"]}"#,
                "layer_types",
            ),
            (
                Family::Qwen3,
                r#"{"layer_types": ["full_attention", "full_attention", "sliding_attention"]}"#,
                "layer_types",
            ),
            (
                Family::Mistral,
                r#"{"layer_types": ["full_attention", "full_attention", "full_attention"]}"#,
                "layer_types",
            ),
            (Family::Mistral, r#"{"sliding_window": 0}"#, "sliding_window"),
        ];
        for (family, json, expected) in cases {
            match of(family, json) {
                Err(ModelError::Config { field, .. }) => assert_eq!(field, expected, "{json}"),
                other => panic!("{json}: {other:?}"),
            }
        }
    }
}
