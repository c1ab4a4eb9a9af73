//! Reads generation_config.json: the values that the router applies, and the keys that it refuses.
//!
//! A key that changes answers and is not supported stops the start-up with an error that names it, unless its value
//! means "off": answers would otherwise differ from those that the checkpoint's authors saw. Keys that only say how to
//! compute (caches, compilation, additional outputs) are ignored, and so are those that matter only with beams, since
//! beams are refused.

use std::path::Path;

use serde_json::Value;

use super::{defaults::GenerationDefaults, documents::Documents, error::LoadError};

const COUNT: &str = "must be a whole number from 1";
const FILE: &str = "generation_config.json";

/// A test whether a value leaves answers unchanged.
type IsOff = fn(&Value) -> bool;

const NOT_BUILT: &[(&str, IsOff)] = &[
    // Which tokens may be drawn.
    ("suppress_tokens", is_empty),
    ("begin_suppress_tokens", is_empty),
    ("bad_words_ids", is_empty),
    ("force_words_ids", is_empty),
    ("constraints", is_empty),
    ("sequence_bias", is_empty),
    ("forced_bos_token_id", never),
    ("forced_eos_token_id", never),
    ("forced_decoder_ids", is_empty),
    ("token_healing", is_false),
    // Lengths.
    ("min_length", is_zero),
    ("min_new_tokens", is_zero),
    ("max_time", never),
    ("stop_strings", is_empty),
    ("exponential_decay_length_penalty", is_empty),
    // Samplers.
    ("typical_p", is_one),
    ("epsilon_cutoff", is_zero),
    ("eta_cutoff", is_zero),
    ("top_h", never),
    ("no_repeat_ngram_size", is_zero),
    ("encoder_no_repeat_ngram_size", is_zero),
    ("encoder_repetition_penalty", is_one),
    ("remove_invalid_values", is_false),
    // Ways of decoding.
    ("num_beams", is_one),
    ("num_beam_groups", is_one),
    ("diversity_penalty", is_zero),
    ("num_return_sequences", is_one),
    ("penalty_alpha", is_zero),
    ("dola_layers", is_empty),
    ("guidance_scale", is_one),
    ("watermarking_config", is_empty),
    ("prompt_lookup_num_tokens", is_zero),
    ("assistant_early_exit", is_zero),
    ("custom_generate", never),
];

/// Reads the sampling defaults of `generation_config`; `folder` is the file's folder, for error messages.
pub fn defaults(folder: &Path, generation_config: &Value) -> Result<GenerationDefaults, LoadError> {
    let refused = |key: &str, rule: &str| {
        let value = generation_config[key].to_string().chars().take(60).collect();
        LoadError::Generation { path: folder.join(FILE), key: key.to_owned(), value, rule: rule.to_owned() }
    };
    let is_on =
        |(key, is_off): &&(&str, IsOff)| !generation_config[*key].is_null() && !is_off(&generation_config[*key]);
    if let Some((key, _)) = NOT_BUILT.iter().find(is_on) {
        return Err(refused(key, "is not supported and would change answers; remove it to serve without it"));
    }
    let number = |key: &str, range: &str, accepts: fn(f64) -> bool| match &generation_config[key] {
        Value::Null => Ok(None),
        value => value.as_f64().filter(|number| accepts(*number)).map(Some).ok_or_else(|| refused(key, range)),
    };
    let flag = |key: &str| match &generation_config[key] {
        Value::Null => Ok(None),
        value => value.as_bool().map(Some).ok_or_else(|| refused(key, "must be true or false")),
    };
    // Both -1 and 0 mean off.
    let top_k = number("top_k", "must be a whole number from -1", |top_k| top_k >= -1.0 && top_k.fract() == 0.0)?;
    Ok(GenerationDefaults {
        is_greedy: flag("do_sample")? == Some(false),
        temperature: number("temperature", "must be between 0 and 2", |value| (0.0..=2.0).contains(&value))?,
        top_p: number("top_p", "must be above 0 and at most 1", |value| value > 0.0 && value <= 1.0)?,
        top_k: top_k.map(|top_k| top_k.max(0.0) as u32),
        min_p: number("min_p", "must be between 0 and 1", |value| (0.0..=1.0).contains(&value))?,
        repetition_penalty: number("repetition_penalty", "must be above 0", |value| value > 0.0)?,
        max_new_tokens: number("max_new_tokens", COUNT, is_count)?.map(|most| most as u32),
        max_length: number("max_length", COUNT, is_count)?.map(|most| most as u32),
    })
}

/// Reads the file of a checkpoint. Old checkpoints keep these keys in config.json, so without the file the unsupported
/// keys are taken from there.
pub fn read(documents: &Documents, config: &Value) -> Result<Value, LoadError> {
    match documents.json(FILE)? {
        Value::Null => {
            let old = NOT_BUILT.iter().filter_map(|(key, _)| Some(((*key).to_owned(), config.get(*key)?.clone())));
            Ok(Value::Object(old.collect()))
        }
        read => Ok(read),
    }
}

fn is_count(value: f64) -> bool {
    value >= 1.0 && value.fract() == 0.0
}

fn never(_: &Value) -> bool {
    false
}

fn is_false(value: &Value) -> bool {
    *value == Value::Bool(false)
}

fn is_zero(value: &Value) -> bool {
    value.as_f64() == Some(0.0)
}

fn is_one(value: &Value) -> bool {
    value.as_f64() == Some(1.0)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read_defaults(config: Value) -> Result<GenerationDefaults, String> {
        defaults(Path::new("/model"), &config).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_read() {
        let config = json!({
            "temperature": 0.7, "top_p": 0.8, "top_k": 20, "min_p": 0.1, "repetition_penalty": 1.05,
            "max_new_tokens": 2048, "max_length": 4096,
        });
        let defaults = read_defaults(config).unwrap();
        assert_eq!((defaults.temperature, defaults.top_p, defaults.top_k), (Some(0.7), Some(0.8), Some(20)));
        assert_eq!((defaults.min_p, defaults.repetition_penalty), (Some(0.1), Some(1.05)));
        assert_eq!((defaults.max_new_tokens, defaults.max_length), (Some(2048), Some(4096)));
        assert!(read_defaults(json!({"do_sample": false})).unwrap().is_greedy);
        assert_eq!(read_defaults(json!({"top_k": -1, "temperature": null})).unwrap().top_k, Some(0));
        assert_eq!(read_defaults(Value::Null).unwrap(), GenerationDefaults::default());
    }

    #[test]
    fn what_is_out_of_range_is_refused_by_name() {
        for (key, value) in [
            ("temperature", json!(9)),
            ("top_p", json!(0)),
            ("top_k", json!(-2)),
            ("top_k", json!("x")),
            ("min_p", json!(2)),
            ("repetition_penalty", json!(0)),
            ("max_new_tokens", json!(0)),
            ("do_sample", json!("no")),
        ] {
            let error = read_defaults(json!({key: value})).unwrap_err();
            assert!(error.contains("/model/generation_config.json") && error.contains(key), "{error}");
        }
    }

    #[test]
    fn what_would_change_answers_and_is_not_built_is_refused_by_name() {
        for (key, value) in [
            ("suppress_tokens", json!([322])),
            ("begin_suppress_tokens", json!([220, 50256])),
            ("bad_words_ids", json!([[5]])),
            ("force_words_ids", json!([[5]])),
            ("sequence_bias", json!([[[5], -10.0]])),
            ("forced_bos_token_id", json!(5)),
            ("forced_eos_token_id", json!([5])),
            ("forced_decoder_ids", json!([[1, 5]])),
            ("min_length", json!(3)),
            ("min_new_tokens", json!(3)),
            ("exponential_decay_length_penalty", json!([15, 1.6])),
            ("stop_strings", json!(["x"])),
            ("typical_p", json!(0.9)),
            ("epsilon_cutoff", json!(0.001)),
            ("eta_cutoff", json!(0.001)),
            ("top_h", json!(0.4)),
            ("no_repeat_ngram_size", json!(3)),
            ("encoder_repetition_penalty", json!(1.2)),
            ("num_beams", json!(4)),
            ("penalty_alpha", json!(0.6)),
            ("dola_layers", json!("high")),
            ("guidance_scale", json!(1.5)),
            ("watermarking_config", json!({"bias": 2.5})),
            ("prompt_lookup_num_tokens", json!(3)),
            ("token_healing", json!(true)),
        ] {
            let error = read_defaults(json!({key: value})).unwrap_err();
            assert!(error.contains(key) && error.contains("not supported"), "{error}");
        }
    }

    #[test]
    fn neutral_values_pass() {
        for (key, _) in NOT_BUILT {
            read_defaults(json!({*key: null})).unwrap();
        }
        read_defaults(json!({
            "suppress_tokens": [], "bad_words_ids": [], "min_length": 0, "min_new_tokens": 0, "typical_p": 1.0,
            "epsilon_cutoff": 0.0, "no_repeat_ngram_size": 0, "num_beams": 1, "num_beam_groups": 1, "guidance_scale": 1,
            "diversity_penalty": 0.0, "penalty_alpha": 0, "length_penalty": 1.0, "early_stopping": false,
            "use_cache": true, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": [2, 3], "transformers_version": "5",
            "_from_model_config": true, "output_attentions": false, "encoder_repetition_penalty": 1.0,
        }))
        .unwrap();
    }

    #[test]
    fn old_checkpoints_have_the_keys_in_their_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let config = json!({"bad_words_ids": [[5]], "temperature": 0.5, "hidden_size": 8});
        let read = read(&Documents::of(folder.path()).unwrap(), &config).unwrap();
        assert_eq!(read, json!({"bad_words_ids": [[5]]}));
    }
}
