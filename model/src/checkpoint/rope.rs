//! Rotary embedding as configured: the frequency of each pair of a head, and the coordinate that rotates it.

use crate::checkpoint::as_typed::{Language, Rope};
use crate::checkpoint::family::Family;
use crate::error::{ModelError, Result};

/// How positions rotate queries and keys.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RopeConfig {
    /// A positive number.
    pub theta: f32,
    pub scaling: RopeScaling,
    /// M-RoPE: how many pairs of a head rotate by time, by height and by width, in this order.
    pub sections: Option<[usize; 3]>,
}

/// Scaling of the frequencies for a context longer than the one of the first training.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RopeScaling {
    None,
    Linear {
        factor: f32,
    },
    Llama3 {
        factor: f32,
        low_freq_factor: f32,
        high_freq_factor: f32,
        original_positions: usize,
    },
    /// Each pair's frequency divided by a number of its own, as GGUF files store it.
    Divided {
        by: Vec<f32>,
    },
}

/// Default of `mrope_section` where it is not typed.
const SECTIONS: [usize; 3] = [16, 24, 24];

impl RopeConfig {
    /// Checks what was typed for heads of `head_dim` numbers; `at` is the prefix for field names in errors.
    pub fn validate(typed: &Language, family: Family, head_dim: usize, at: &str) -> Result<RopeConfig> {
        let (name, rope) = chosen(typed);
        let field = format!("{at}{name}");
        let absent = Rope::default();
        let rope = rope.unwrap_or(&absent);
        refuse_unsupported(typed, rope, at, &field)?;
        let theta = rope.rope_theta.or(typed.rope_theta).unwrap_or(family.defaults().rope_theta) as f32;
        if !(theta.is_finite() && theta > 0.0) {
            return Err(ModelError::config(format!("{at}rope_theta"), "must be a positive number"));
        }
        let sections = match family {
            Family::Qwen25Vl => Some(sections(rope, head_dim, &field)?),
            _ => None,
        };
        let scaling = scaling(typed, rope, family, &field)?;
        if matches!(scaling, RopeScaling::Llama3 { .. }) && typed.original_max_position_embeddings.is_some() {
            let problem = "is supported only among the rotary parameters";
            return Err(ModelError::config(format!("{at}original_max_position_embeddings"), problem));
        }
        Ok(RopeConfig { theta, scaling, sections })
    }

    /// Angle that each pair rotates by from one position to the next, `head_dim / 2` numbers. Every step is rounded to
    /// f32, because the reference rounds there.
    pub fn inverse_frequencies(&self, head_dim: usize) -> Vec<f32> {
        let plain = |pair: usize| {
            let exponent = (2 * pair) as f32 / head_dim as f32;
            1.0 / f64::from(self.theta).powf(f64::from(exponent)) as f32
        };
        (0..head_dim / 2).map(|pair| self.scaling.apply(pair, plain(pair))).collect()
    }
}

impl RopeScaling {
    fn apply(&self, pair: usize, frequency: f32) -> f32 {
        match *self {
            RopeScaling::None => frequency,
            RopeScaling::Linear { factor } => frequency / factor,
            RopeScaling::Divided { ref by } => by.get(pair).map_or(frequency, |divisor| frequency / divisor),
            RopeScaling::Llama3 { factor, low_freq_factor: low, high_freq_factor: high, original_positions } => {
                let context = original_positions as f32;
                let wavelength = std::f32::consts::TAU / frequency;
                if wavelength > context / low {
                    return frequency / factor;
                }
                if wavelength < context / high {
                    return frequency;
                }
                // Between the two limits the frequency is interpolated.
                let share = (context / wavelength - low) / (high - low);
                (1.0 - share) * frequency / factor + share * frequency
            }
        }
    }
}

/// The dictionary in effect and its name. As in transformers, an empty `rope_scaling` counts as missing, and one that
/// is not empty hides all of `rope_parameters`.
fn chosen(typed: &Language) -> (&'static str, Option<&Rope>) {
    match typed.rope_scaling.as_ref().filter(|rope| **rope != Rope::default()) {
        Some(rope) => ("rope_scaling", Some(rope)),
        None => ("rope_parameters", typed.rope_parameters.as_ref()),
    }
}

fn refuse_unsupported(typed: &Language, rope: &Rope, at: &str, field: &str) -> Result<()> {
    let partial = |share: Option<f64>| share.is_some_and(|share| share != 1.0);
    if partial(typed.partial_rotary_factor) {
        return Err(ModelError::config(format!("{at}partial_rotary_factor"), "only 1.0 is supported"));
    }
    if partial(rope.partial_rotary_factor) {
        return Err(ModelError::config(format!("{field}.partial_rotary_factor"), "only 1.0 is supported"));
    }
    if let Some((key, _)) = rope.rest.iter().find(|(_, value)| value.is_object()) {
        let problem = "parameters for one kind of layer are not supported";
        return Err(ModelError::config(format!("{field}.{key}"), problem));
    }
    Ok(())
}

fn scaling(typed: &Language, rope: &Rope, family: Family, field: &str) -> Result<RopeScaling> {
    let kind = rope.rope_type.as_deref().or(rope.old_type.as_deref()).unwrap_or("default");
    let number = |key: &str, value: Option<f64>| match value {
        Some(value) if value.is_finite() && value > 0.0 => Ok(value as f32),
        _ => Err(ModelError::config(format!("{field}.{key}"), "must be a positive number")),
    };
    let factor = || number("factor", rope.factor);
    match kind {
        "default" => Ok(RopeScaling::None),
        "mrope" if family == Family::Qwen25Vl => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor: factor()? }),
        "llama3" => {
            let low_freq_factor = number("low_freq_factor", rope.low_freq_factor)?;
            let high_freq_factor = number("high_freq_factor", rope.high_freq_factor)?;
            if high_freq_factor <= low_freq_factor {
                let problem = "must be greater than low_freq_factor";
                return Err(ModelError::config(format!("{field}.high_freq_factor"), problem));
            }
            let positions = rope.original_max_position_embeddings.or(typed.max_position_embeddings);
            let original_positions = positions.unwrap_or(family.defaults().max_positions);
            Ok(RopeScaling::Llama3 { factor: factor()?, low_freq_factor, high_freq_factor, original_positions })
        }
        other => {
            let problem = format!("rotary scaling `{other}` is not supported, only `default`, `linear` and `llama3`");
            Err(ModelError::config(format!("{field}.rope_type"), problem))
        }
    }
}

fn sections(rope: &Rope, head_dim: usize, field: &str) -> Result<[usize; 3]> {
    let found = rope.mrope_section.as_deref().unwrap_or(&SECTIONS);
    match found.try_into() {
        Ok(sections) if found.iter().sum::<usize>() == head_dim / 2 => Ok(sections),
        _ => {
            let problem = format!("{found:?} are not three numbers that add up to {}", head_dim / 2);
            Err(ModelError::config(format!("{field}.mrope_section"), problem))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validate(json: &str, family: Family) -> Result<RopeConfig> {
        RopeConfig::validate(&serde_json::from_str(json).unwrap(), family, 64, "")
    }

    /// Nine of the 32 frequencies of a head of width 64.
    fn frequencies(json: &str) -> [f32; 9] {
        let all = validate(json, Family::Llama).unwrap().inverse_frequencies(64);
        assert_eq!(all.len(), 32);
        [0, 1, 8, 14, 16, 18, 20, 24, 31].map(|pair| all[pair])
    }

    fn assert_close(found: [f32; 9], expected: [f32; 9]) {
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((found / expected - 1.0).abs() < 2e-7, "{found} {expected}");
        }
    }

    /// Compares with `inv_freq` of transformers' `LlamaRotaryEmbedding`, for both spellings.
    #[test]
    fn frequencies_are_the_references() {
        let plain =
            [1.0, 0.749_894_2, 0.1, 0.017_782_794, 0.01, 0.005_623_413, 0.003_162_277_9, 0.001, 0.000_133_352_15];
        assert_close(frequencies("{}"), plain);
        let linear = [
            0.4,
            0.259_752_66,
            0.012_649_111,
            0.000_948_549_54,
            0.000_4,
            0.000_168_678_6,
            7.113_117e-5,
            1.264_911e-5,
            6.159_706_3e-7,
        ];
        let old = r#"{"rope_theta": 1000000.0, "rope_scaling": {"type": "linear", "factor": 2.5}}"#;
        assert_close(frequencies(old), linear);
        let new = r#"{"rope_parameters": {"rope_type": "linear", "factor": 2.5, "rope_theta": 1000000.0}}"#;
        assert_close(frequencies(new), linear);
        let llama3 = [
            1.0,
            0.663_601_3,
            0.037_606_03,
            0.003_211_446,
            0.000_429_556_7,
            1.946_163_9e-5,
            8.570_256e-6,
            1.661_967_4e-6,
            9.418_306e-8,
        ];
        let scaling = r#"{"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192}"#;
        assert_close(frequencies(&format!(r#"{{"rope_theta": 500000.0, "rope_scaling": {scaling}}}"#)), llama3);
    }

    #[test]
    fn an_empty_scaling_is_none_and_one_that_is_not_hides_the_parameters() {
        let theta = |json: &str| validate(json, Family::Qwen2).unwrap().theta;
        assert_eq!(theta(r#"{"rope_scaling": {}, "rope_parameters": {"rope_theta": 7.0}}"#), 7.0);
        let both = r#"{"rope_scaling": {"type": "default"}, "rope_parameters": {"rope_theta": 7.0}}"#;
        assert_eq!(theta(both), 10_000.0);
    }

    #[test]
    fn sections_are_m_ropes_only() {
        let sections = |family, json: &str| validate(json, family).unwrap().sections;
        let typed = r#"{"rope_scaling": {"type": "default", "rope_type": "default", "mrope_section": [8, 12, 12]}}"#;
        assert_eq!(sections(Family::Qwen25Vl, typed), Some([8, 12, 12]));
        assert_eq!(sections(Family::Qwen2, typed), None);
        assert_eq!(sections(Family::Qwen25Vl, &typed.replace("\"default\"", "\"mrope\"")), Some([8, 12, 12]));
    }

    #[test]
    fn what_is_not_implemented_is_refused_by_name() {
        let cases = [
            (r#"{"rope_scaling": {"type": "yarn", "factor": 4.0}}"#, "rope_scaling.rope_type"),
            (r#"{"rope_scaling": {"type": "dynamic", "factor": 2.0}}"#, "rope_scaling.rope_type"),
            (r#"{"rope_parameters": {"rope_type": "longrope"}}"#, "rope_parameters.rope_type"),
            (r#"{"rope_scaling": {"type": "mrope"}}"#, "rope_scaling.rope_type"),
            (r#"{"rope_scaling": {"type": "linear"}}"#, "rope_scaling.factor"),
            (r#"{"rope_parameters": {"rope_type": "llama3", "factor": 8.0}}"#, "rope_parameters.low_freq_factor"),
            (r#"{"partial_rotary_factor": 0.5}"#, "partial_rotary_factor"),
            (r#"{"rope_parameters": {"partial_rotary_factor": 0.5}}"#, "rope_parameters.partial_rotary_factor"),
            (r#"{"rope_parameters": {"full_attention": {"rope_theta": 1.0}}}"#, "rope_parameters.full_attention"),
            (r#"{"rope_theta": -1.0}"#, "rope_theta"),
        ];
        for (json, expected) in cases {
            match validate(json, Family::Llama) {
                Err(ModelError::Config { field, .. }) => assert_eq!(field, expected, "{json}"),
                other => panic!("{json}: {other:?}"),
            }
        }
    }
}
