//! The parameters of a request besides its conversation and tools, as a chat request has them.

use secateur_proto::ServiceError;
use serde_json::{Map, Value, json};

use crate::{
    openai::{
        chat::REASONING_EFFORT,
        fields::{Fields, unsupported},
    },
    request::Origins,
};

/// The parameter that bounds the answer's length.
pub const MAX_OUTPUT_TOKENS: &str = "max_output_tokens";

/// Most alternatives to a token whose probabilities are reported.
const TOP_LOGPROBS_MAX: i128 = 20;
const LOGPROBS: &str = "message.output_text.logprobs";
/// Further data that a client may ask for. There is none of it here: no such tools, and nothing encrypted.
const INCLUDABLE: [&str; 7] = [
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
];

/// Parameters that a chat request has too, under the same or another name, but not in the same form; and those that
/// only the reply repeats.
const OWN: [&str; 20] = [
    "background",
    "context_management",
    "conversation",
    "include",
    "input",
    "instructions",
    MAX_OUTPUT_TOKENS,
    "max_tool_calls",
    "metadata",
    "moderation",
    "previous_response_id",
    "prompt",
    "reasoning",
    "store",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "truncation",
    "user",
];

/// The parameters of the chat request.
pub fn translate(fields: &Fields, origins: &mut Origins) -> Result<Map<String, Value>, ServiceError> {
    let same = fields.entries().filter(|(key, _)| !OWN.contains(key));
    let mut chat: Map<String, Value> = same.map(|(key, value)| (key.to_owned(), value.clone())).collect();
    if let Some(tokens) = fields.get(MAX_OUTPUT_TOKENS) {
        origins.record("max_completion_tokens", MAX_OUTPUT_TOKENS);
        chat.insert("max_completion_tokens".to_owned(), tokens.clone());
    }
    if let Some(format) = format(fields, origins)? {
        chat.insert("response_format".to_owned(), format);
    }
    if let Some(top) = logprobs(fields)? {
        chat.insert("logprobs".to_owned(), true.into());
        chat.insert("top_logprobs".to_owned(), top);
    }
    if let Some(effort) = effort(fields)? {
        chat.insert(REASONING_EFFORT.to_owned(), effort.into());
    }
    Ok(chat)
}

/// Whether the answer's log probabilities are asked for, and then the number of alternatives.
fn logprobs(fields: &Fields) -> Result<Option<Value>, ServiceError> {
    if fields.integer("top_logprobs")?.is_some_and(|top| !(0..=TOP_LOGPROBS_MAX).contains(&top)) {
        return Err(fields.out_of_range("top_logprobs", format!("between 0 and {TOP_LOGPROBS_MAX}")));
    }
    let mut is_asked = false;
    for (index, name) in fields.list("include")?.unwrap_or_default().iter().enumerate() {
        match name.as_str() {
            Some(LOGPROBS) => is_asked = true,
            Some(name) if INCLUDABLE.contains(&name) => {}
            _ => {
                let key = format!("include[{index}]");
                return Err(fields.invalid(&key, format!("must be one of {LOGPROBS}, {}", INCLUDABLE.join(", "))));
            }
        }
    }
    Ok(is_asked.then(|| fields.get("top_logprobs").cloned().unwrap_or_default()))
}

/// Reads `text`: the form of the answer. Nothing here makes a model say more or less.
fn format(fields: &Fields, origins: &mut Origins) -> Result<Option<Value>, ServiceError> {
    let Some(text) = fields.object("text")? else { return Ok(None) };
    if text.text("verbosity")?.is_some_and(|verbosity| verbosity != "medium") {
        return Err(unsupported(text.path("verbosity"), "text.verbosity other than medium is not supported"));
    }
    let Some(format) = text.object("format")? else { return Ok(None) };
    origins.record("response_format", text.path("format"));
    match format.text("type")? {
        Some(kind @ ("text" | "json_object")) => Ok(Some(json!({"type": kind}))),
        Some("json_schema") => {
            origins.record("response_format.json_schema", text.path("format"));
            let schema = format.get("schema").ok_or_else(|| format.invalid("schema", "is required"))?;
            Ok(Some(json!({"type": "json_schema", "json_schema": {"schema": schema}})))
        }
        Some(_) => {
            let message = "text.format of this type is not supported; text, json_object or json_schema is";
            Err(unsupported(format.path("type"), message))
        }
        None => Err(format.invalid("type", "is required")),
    }
}

/// Reads `reasoning`: the effort, which the chat template says to the model. Reasoning is returned as it is, so no
/// summary of it is made, whatever kind is asked for. The path is not recorded, since the check whether the template
/// knows of it goes by the chat request's name.
fn effort<'a>(fields: &Fields<'a>) -> Result<Option<&'a str>, ServiceError> {
    let Some(reasoning) = fields.object("reasoning")? else { return Ok(None) };
    reasoning.text("summary")?;
    reasoning.text("effort")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: Value) -> Result<(Value, Origins), ServiceError> {
        let mut origins = Origins::default();
        let chat = translate(&Fields::of(&body, "").unwrap(), &mut origins)?;
        Ok((Value::Object(chat), origins))
    }

    fn chat(body: Value) -> Value {
        read(body).unwrap().0
    }

    #[test]
    fn parameters_are_renamed_or_pass() {
        let schema = json!({"type": "object"});
        let format = json!({"type": "json_schema", "name": "x", "strict": true, "schema": schema});
        for (body, expected) in [
            (
                json!({"temperature": 0.5, "top_k": 3, "secateur": {}}),
                json!({"temperature": 0.5, "top_k": 3, "secateur": {}}),
            ),
            (
                json!({"stream": true, "stream_options": {"include_obfuscation": false}}),
                json!({"stream": true, "stream_options": {"include_obfuscation": false}}),
            ),
            (
                json!({"input": "x", "store": true, "user": "u", "metadata": {}, "tools": [], "truncation": "disabled"}),
                json!({}),
            ),
            (json!({"max_output_tokens": 5}), json!({"max_completion_tokens": 5})),
            (
                json!({"text": {"format": {"type": "text"}, "verbosity": "medium"}}),
                json!({"response_format": {"type": "text"}}),
            ),
            (
                json!({"text": {"format": format}}),
                json!({"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}),
            ),
            (json!({"top_logprobs": 3}), json!({})),
            (
                json!({"include": ["message.output_text.logprobs", "reasoning.encrypted_content"], "top_logprobs": 3}),
                json!({"logprobs": true, "top_logprobs": 3}),
            ),
            (json!({"include": ["message.output_text.logprobs"]}), json!({"logprobs": true, "top_logprobs": null})),
            (json!({"reasoning": {"effort": null, "summary": "auto"}}), json!({})),
            (json!({"reasoning": {"effort": "low"}}), json!({"reasoning_effort": "low"})),
        ] {
            assert_eq!(chat(body.clone()), expected, "{body}");
        }
    }

    #[test]
    fn translated_parameters_remember_the_clients() {
        let format = json!({"type": "json_schema", "schema": {}});
        let body = json!({"text": {"format": format}, "max_output_tokens": 1});
        let (_, origins) = read(body).unwrap();
        for (translated, original) in [
            ("response_format.json_schema.schema", "text.format.schema"),
            ("response_format", "text.format"),
            ("max_completion_tokens", "max_output_tokens"),
        ] {
            assert_eq!(origins.path(translated), original);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, param) in [
            (json!({"text": 5}), "text"),
            (json!({"text": {"verbosity": "low"}}), "text.verbosity"),
            (json!({"text": {"format": {}}}), "text.format.type"),
            (json!({"text": {"format": {"type": "grammar"}}}), "text.format.type"),
            (json!({"text": {"format": {"type": "json_schema"}}}), "text.format.schema"),
            (json!({"top_logprobs": 21}), "top_logprobs"),
            (json!({"include": ["everything"]}), "include[0]"),
            (json!({"include": "x"}), "include"),
            (json!({"reasoning": {"effort": 3}}), "reasoning.effort"),
        ] {
            assert_eq!(read(body.clone()).unwrap_err().param.as_deref(), Some(param), "{body}");
        }
    }
}
