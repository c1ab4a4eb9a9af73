//! Refuses what needs state on the server, what this API calls otherwise, and known parameters that would change the
//! answer and are not supported. The rest of the parameters is checked where the chat request is.

use secateur_proto::ServiceError;
use serde_json::Value;

use crate::openai::fields::{Fields, unsupported};

const STATELESS: &str = "this server keeps no state between requests";

/// Parameters that name something which an earlier request left on the server, and what to do instead.
const STATE: [(&str, &str); 4] = [
    ("previous_response_id", "send the whole conversation as input"),
    ("conversation", "send the whole conversation as input"),
    ("prompt", "send instructions and input"),
    ("context_management", "leave it out"),
];

/// Parameters of other APIs, and where this API has them. A client that sends one expects it to be obeyed.
const ELSEWHERE: [(&str, &str); 10] = [
    ("messages", "input"),
    ("max_tokens", "max_output_tokens"),
    ("max_completion_tokens", "max_output_tokens"),
    ("response_format", "text.format"),
    ("verbosity", "text.verbosity"),
    ("reasoning_effort", "reasoning.effort"),
    ("logprobs", "include with message.output_text.logprobs"),
    ("functions", "tools"),
    ("function_call", "tool_choice"),
    ("best_of", "one request for each answer"),
];

/// Refuses the first such parameter.
pub fn check(fields: &Fields) -> Result<(), ServiceError> {
    for (name, instead) in STATE {
        if fields.get(name).is_some_and(|value| !is_empty_list(value)) {
            return Err(unsupported(name, format!("{name} is not supported: {STATELESS}; {instead}")));
        }
    }
    if fields.flag("background")?.unwrap_or(false) {
        let message = format!("background is not supported: {STATELESS}; leave it out and wait for the answer");
        return Err(unsupported("background", message));
    }
    if let Some((name, instead)) = ELSEWHERE.into_iter().find(|(name, _)| fields.get(name).is_some()) {
        return Err(unsupported(name, format!("{name} is not a parameter of this API; use {instead}")));
    }
    if fields.integer("n")?.is_some_and(|choices| choices != 1) {
        return Err(unsupported("n", "n other than 1 is not supported: a response is one answer"));
    }
    match fields.text("truncation")? {
        None | Some("disabled") => {}
        Some("auto") => {
            let message = "truncation auto is not supported: no item is dropped from the input; leave it out";
            return Err(unsupported("truncation", message));
        }
        Some(_) => return Err(fields.invalid("truncation", "must be disabled")),
    }
    match fields.get("moderation") {
        Some(_) => Err(unsupported("moderation", "moderation is not supported; leave it out")),
        None => Ok(()),
    }
}

fn is_empty_list(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use secateur_proto::ErrorCode;
    use serde_json::json;

    use super::*;

    fn checked(body: Value) -> Result<(), ServiceError> {
        check(&Fields::of(&body, "").unwrap())
    }

    #[test]
    fn what_means_nothing_passes() {
        for body in [
            json!({"previous_response_id": null, "conversation": null, "prompt": null, "background": false}),
            json!({"truncation": "disabled", "n": 1, "context_management": [], "moderation": null}),
            json!({"truncation": null, "messages": null, "store": true, "whatever": 1}),
        ] {
            checked(body).unwrap();
        }
    }

    #[test]
    fn what_needs_state_or_has_another_name_is_refused_by_name() {
        for (name, value, word) in [
            ("previous_response_id", json!("resp_1"), "keeps no state"),
            ("conversation", json!({"id": "conv_1"}), "keeps no state"),
            ("prompt", json!({"id": "pmpt_1"}), "keeps no state"),
            ("context_management", json!([{"type": "compaction"}]), "keeps no state"),
            ("background", json!(true), "keeps no state"),
            ("truncation", json!("auto"), "truncation auto"),
            ("messages", json!([]), "use input"),
            ("max_tokens", json!(5), "use max_output_tokens"),
            ("response_format", json!({"type": "text"}), "use text.format"),
            ("n", json!(2), "one answer"),
            ("moderation", json!({"model": "m"}), "moderation"),
        ] {
            let error = checked(json!({name: value})).unwrap_err();
            assert_eq!((error.code, error.param.as_deref()), (ErrorCode::UnsupportedParameter, Some(name)));
            assert!(error.message.contains(word), "{error}");
        }
        for (name, value) in [("truncation", json!("some")), ("background", json!(1)), ("n", json!("x"))] {
            let error = checked(json!({name: value})).unwrap_err();
            assert_eq!((error.code, error.param.as_deref()), (ErrorCode::InvalidRequest, Some(name)));
        }
    }
}
