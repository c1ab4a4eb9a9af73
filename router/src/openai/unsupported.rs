//! Refuses known parameters that would change the output and are not supported, unless their value changes nothing.
//! Ignoring them silently would answer another question than the one asked.

use secateur_proto::ServiceError;
use serde_json::Value;

use super::fields::{Fields, unsupported};

/// A test whether a value leaves the output unchanged.
type IsNeutral = fn(&Value) -> bool;

/// Parameters that are not supported, with the test for values that mean "off". They are OpenAI's, vLLM's, SGLang's and
/// llama.cpp's. A setting that only tunes another one (`dry_base`, `mirostat_tau`, `xtc_threshold`) is not listed: it
/// has no effect while the other one is off.
const FEATURES: &[(&str, IsNeutral)] = &[
    // Tools, and outputs other than text.
    ("tools", is_empty),
    ("functions", is_empty),
    ("audio", never),
    ("web_search_options", never),
    ("reasoning", is_empty),
    ("thinking", is_disabled),
    ("enable_thinking", never),
    // Bounds on thinking.
    ("thinking_token_budget", is_unbounded),
    ("thinking_budget", is_unbounded),
    ("thinking_budget_tokens", is_unbounded),
    ("reasoning_budget", is_unbounded),
    ("thinking_forced_open", is_false),
    // Grammars.
    ("structural_tag", never),
    ("ebnf", is_empty),
    ("grammar", is_empty),
    ("grammar_lazy", is_false),
    ("stop_regex", is_empty),
    ("bad_words", is_empty),
    ("allowed_token_ids", never),
    // Samplers.
    ("logits_processors", is_empty),
    ("custom_logit_processor", is_empty),
    ("samplers", never),
    ("use_beam_search", is_false),
    ("length_penalty", is_one),
    ("typical_p", is_one),
    ("tfs_z", is_one),
    ("top_a", is_zero),
    ("top_n_sigma", is_off_at_most_zero),
    ("min_keep", is_off_at_most_one),
    ("no_repeat_ngram_size", is_zero),
    ("repeat_penalty", is_one),
    ("penalize_nl", is_false),
    ("dynatemp_range", is_zero),
    ("smoothing_factor", is_zero),
    ("dry_multiplier", is_zero),
    ("xtc_probability", is_zero),
    ("mirostat", is_zero),
    ("adaptive_target", is_off_at_most_zero),
    ("repetition_detection", never),
    ("do_sample", is_true),
    // Lengths under other names.
    ("n_predict", is_unbounded),
    ("n_indent", is_zero),
    ("t_max_predict_ms", is_off_at_most_zero),
    ("truncate_prompt_tokens", never),
    // How the prompt is built.
    ("documents", is_empty),
    ("chat_template", never),
    ("chat_template_kwargs", is_empty),
    ("continue_final_message", is_false),
    ("echo", is_false),
    ("prompt_embeds", never),
    ("mm_processor_kwargs", is_empty),
    ("media_io_kwargs", is_empty),
    ("multimodal_data", is_empty),
    ("max_dynamic_patch", never),
    ("min_dynamic_patch", never),
    ("image_max_dynamic_patch", never),
    ("video_max_dynamic_patch", never),
    ("use_audio_in_video", is_false),
    ("lora", is_empty),
    ("lora_path", is_empty),
    ("session_params", is_empty),
    ("vllm_xargs", is_empty),
    // What is returned.
    ("prompt_logprobs", never),
    ("logprob_token_ids", is_empty),
    ("n_probs", is_zero),
    ("post_sampling_probs", is_false),
    ("no_stop_trim", is_false),
    ("return_token_ids", is_false),
    ("return_tokens", is_false),
    ("return_hidden_states", is_false),
    ("response_fields", is_empty),
];

/// Parameters that are supported for some values, with the test for those values.
const CHOICES: &[(&str, IsNeutral)] = &[
    ("tool_choice", is_no_forced_tool),
    ("function_call", is_no_forced_tool),
    ("modalities", is_text_only),
    ("reasoning_effort", is_none_word),
    ("reasoning_format", is_none_word),
    ("verbosity", is_medium_word),
    ("skip_special_tokens", is_true),
    ("add_special_tokens", is_false),
    ("add_generation_prompt", is_true),
];

/// Refuses the first parameter that would change the output.
#[cfg(test)]
fn refuse(fields: &Fields) -> Result<(), ServiceError> {
    refuse_besides(fields, &[])
}

/// Refuses the first parameter that would change the output, unless it is among the `supported` ones.
pub fn refuse_besides(fields: &Fields, supported: &[&str]) -> Result<(), ServiceError> {
    let first = |table: &[(&'static str, IsNeutral)]| {
        let mut named = table.iter().filter(|(name, _)| !supported.contains(name));
        named.find(|(name, is_neutral)| fields.get(name).is_some_and(|value| !is_neutral(value))).map(|(name, _)| *name)
    };
    if let Some(name) = first(FEATURES) {
        return Err(unsupported(name, format!("{name} is not supported; leave it out")));
    }
    if let Some(name) = first(CHOICES) {
        return Err(unsupported(name, format!("{name} with this value is not supported; leave it out")));
    }
    refuse_penalty_window(fields)
}

/// Refuses llama.cpp's `repeat_last_n`, which bounds the tokens that penalties look at, unless it is -1 (all tokens, as
/// here) or no penalty is in force.
fn refuse_penalty_window(fields: &Fields) -> Result<(), ServiceError> {
    let is_off = |name: &str, neutral: IsNeutral| fields.get(name).is_none_or(neutral);
    let nothing_is_penalized = is_off("repetition_penalty", is_one)
        && is_off("frequency_penalty", is_zero)
        && is_off("presence_penalty", is_zero);
    if nothing_is_penalized || is_off("repeat_last_n", |value| value.as_i64() == Some(-1)) {
        return Ok(());
    }
    Err(unsupported("repeat_last_n", "repeat_last_n with this value is not supported; leave it out"))
}

fn never(_: &Value) -> bool {
    false
}

fn is_false(value: &Value) -> bool {
    value == &Value::Bool(false)
}

fn is_true(value: &Value) -> bool {
    value == &Value::Bool(true)
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

/// Whether the value is -1, llama.cpp's "no bound".
fn is_unbounded(value: &Value) -> bool {
    value.as_i64() == Some(-1)
}

fn is_off_at_most_zero(value: &Value) -> bool {
    value.as_f64().is_some_and(|value| value <= 0.0)
}

/// Whether a minimum number of candidates is at most 1, which has no effect since there is always one.
fn is_off_at_most_one(value: &Value) -> bool {
    value.as_f64().is_some_and(|value| value <= 1.0)
}

fn is_disabled(value: &Value) -> bool {
    value.get("type").and_then(Value::as_str) == Some("disabled")
}

/// Whether no tool is forced: without tools, "none" and "auto" both mean that no tool is called.
fn is_no_forced_tool(value: &Value) -> bool {
    matches!(value.as_str(), Some("none" | "auto"))
}

fn is_text_only(value: &Value) -> bool {
    value.as_array().is_some_and(|items| items.iter().all(|item| item.as_str() == Some("text")))
}

fn is_none_word(value: &Value) -> bool {
    value.as_str() == Some("none")
}

fn is_medium_word(value: &Value) -> bool {
    value.as_str() == Some("medium")
}

#[cfg(test)]
mod tests {
    use super::*;
    use secateur_proto::ErrorCode;
    use serde_json::json;

    #[test]
    fn neutral_values_pass() {
        let body = json!({
            "length_penalty": 1, "typical_p": 1.0, "no_repeat_ngram_size": 0, "tools": [], "tool_choice": "auto",
            "response_format": {"type": "text"}, "modalities": ["text"], "audio": null, "grammar": "", "samplers": null,
            "dry_multiplier": 0.0, "dry_base": 1.75, "dry_allowed_length": 2, "dry_sequence_breakers": ["\n"],
            "xtc_probability": 0, "xtc_threshold": 0.1, "mirostat": 0, "mirostat_tau": 5, "mirostat_eta": 0.1,
            "dynatemp_range": 0, "dynatemp_exponent": 1, "top_n_sigma": -1, "repeat_penalty": 1.0, "repeat_last_n": 64,
            "n_predict": -1, "min_keep": 0, "n_probs": 0, "logits_processors": [], "bad_words": [], "lora": [],
        });
        refuse(&Fields::of(&body, "").unwrap()).unwrap();
        let body = json!({
            "media_io_kwargs": {}, "mm_processor_kwargs": {}, "chat_template_kwargs": {}, "documents": [], "regex": "",
            "thinking": {"type": "disabled"}, "thinking_budget_tokens": -1, "do_sample": true, "cache_prompt": true,
            "spaces_between_special_tokens": true, "priority": 3, "cache_salt": "x", "parallel_tool_calls": true,
        });
        refuse(&Fields::of(&body, "").unwrap()).unwrap();
        for (name, _) in FEATURES.iter().chain(CHOICES) {
            let body = json!({*name: null});
            refuse(&Fields::of(&body, "").unwrap()).unwrap();
        }
    }

    #[test]
    fn others_are_refused_by_name() {
        for (name, value) in [
            ("prompt_logprobs", json!(1)),
            ("typical_p", json!(0.5)),
            ("stop_regex", json!("x")),
            ("tools", json!([{"type": "function"}])),
            ("length_penalty", json!("x")),
            ("return_token_ids", json!(true)),
            ("modalities", json!(["text", "audio"])),
            ("functions", json!([{}])),
            ("media_io_kwargs", json!({"image": {"rgba_background_color": [0, 0, 0]}})),
            ("mm_processor_kwargs", json!({"num_crops": 4})),
            ("documents", json!([{"text": "x"}])),
            ("chat_template", json!("{{ messages }}")),
            ("allowed_token_ids", json!([1])),
            ("allowed_token_ids", json!([])),
            ("bad_words", json!(["x"])),
            ("logits_processors", json!(["x"])),
            ("custom_logit_processor", json!("x")),
            ("thinking_token_budget", json!(10)),
            ("thinking_budget_tokens", json!(0)),
            ("reasoning_budget", json!(0)),
            ("thinking", json!({"type": "enabled", "budget_tokens": 5})),
            ("enable_thinking", json!(false)),
            ("ebnf", json!("root ::= x")),
            ("grammar", json!("root ::= x")),
            ("mirostat", json!(2)),
            ("dry_multiplier", json!(0.8)),
            ("xtc_probability", json!(0.5)),
            ("dynatemp_range", json!(0.5)),
            ("samplers", json!(["top_k"])),
            ("top_n_sigma", json!(1.0)),
            ("repeat_penalty", json!(1.1)),
            ("n_predict", json!(5)),
            ("min_keep", json!(3)),
            ("no_stop_trim", json!(true)),
            ("lora", json!([{"id": 0, "scale": 1}])),
            ("lora_path", json!("x")),
            ("repetition_detection", json!({})),
            ("continue_final_message", json!(true)),
            ("add_generation_prompt", json!(false)),
            ("reasoning_format", json!("deepseek")),
            ("do_sample", json!(false)),
        ] {
            let body = json!({name: value});
            let error = refuse(&Fields::of(&body, "").unwrap()).unwrap_err();
            assert_eq!((error.code, error.param.as_deref()), (ErrorCode::UnsupportedParameter, Some(name)));
        }
    }

    #[test]
    fn a_window_of_penalties_matters_where_there_are_any() {
        let body = json!({"repeat_last_n": 64, "frequency_penalty": 0.5});
        let error = refuse(&Fields::of(&body, "").unwrap()).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("repeat_last_n"));
        let body = json!({"repeat_last_n": -1, "frequency_penalty": 0.5});
        refuse(&Fields::of(&body, "").unwrap()).unwrap();
    }

    #[test]
    fn a_parameter_that_is_not_built_at_all_is_not_blamed_on_its_value() {
        let message = |body: Value| refuse(&Fields::of(&body, "").unwrap()).unwrap_err().message;
        assert_eq!(message(json!({"tools": [{}]})), "tools is not supported; leave it out");
        let modalities = json!({"modalities": ["audio"]});
        assert_eq!(message(modalities), "modalities with this value is not supported; leave it out");
    }
}
