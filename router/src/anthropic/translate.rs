//! A body of Anthropic's API as a body of OpenAI's chat API that asks for the same.

use secateur_proto::ServiceError;
use serde_json::{Map, Value, json};

use super::{
    tools::{self, Tools},
    turns, unsupported,
};
use crate::{
    openai::{
        chat::REASONING_EFFORT,
        fields::{self, Fields},
    },
    request::Origins,
};

/// Parameters that are the same in both APIs, and those that all requests to this server have.
const SAME: [&str; 9] =
    ["model", "max_tokens", "temperature", "top_p", "top_k", "stream", "secateur", "timeout", "priority"];
/// OpenAI's field by which the answer goes on where the last message ends.
pub const CONTINUES: &str = "continue_final_message";
/// The variable by which chat templates switch thinking.
const THINKING: &str = "enable_thinking";
/// The effort that means the same as none: in Anthropic's API it is what a request without one gets.
const EFFORT_DEFAULT: &str = "high";

/// A translated body.
#[derive(Debug)]
pub struct Translated {
    /// The body of OpenAI's chat API.
    pub body: Value,
    /// Where its fields come from.
    pub origins: Origins,
    /// Names of the tools whose input is to be streamed while it is written.
    pub eager: Vec<String>,
}

/// Translates a body. What both APIs have is validated as OpenAI's, so that an error here is about what only
/// Anthropic's has.
pub fn translate(body: &Value) -> Result<Translated, ServiceError> {
    let fields = Fields::of(body, "")?;
    unsupported::refuse(&fields)?;
    fields.number_where("temperature", "between 0 and 1", |value| (0.0..=1.0).contains(&value))?;
    let mut origins = Origins::default();
    let mut body = Map::new();
    for name in SAME {
        if let Some(value) = fields.get(name) {
            body.insert(name.to_owned(), value.clone());
        }
    }
    conversation(&fields, &mut body, &mut origins)?;
    if fields.list("stop_sequences")?.is_some() {
        rename(&fields, "stop_sequences", "stop", &mut body, &mut origins);
    }
    let Tools { fields: named, eager } = tools::parse(&fields, &mut origins)?;
    body.extend(named);
    thinking(&fields, &mut body, &mut origins)?;
    if let Some(effort) = effort(&fields)? {
        body.insert(REASONING_EFFORT.to_owned(), effort.into());
    }
    if let Some((format, path)) = output_format(&fields)? {
        body.insert("response_format".to_owned(), format);
        origins.record("response_format", path.clone());
        origins.record("response_format.json_schema", path);
    }
    Ok(Translated { body: body.into(), origins, eager })
}

fn conversation(fields: &Fields, body: &mut Map<String, Value>, origins: &mut Origins) -> Result<(), ServiceError> {
    let turns = turns::parse(fields)?;
    let is_begun = turns.is_begun();
    let turns = turns.into_turns();
    if let (true, Some(last)) = (is_begun, turns.last()) {
        for (name, value) in [(CONTINUES, true), ("add_generation_prompt", false)] {
            body.insert(name.to_owned(), value.into());
            origins.record(name, format!("{}.content", last.path()));
        }
    }
    let numbered = turns.into_iter().enumerate();
    let messages: Vec<Value> = numbered.map(|(index, turn)| turn.into_message(index, origins)).collect();
    body.insert("messages".to_owned(), messages.into());
    Ok(())
}

fn rename(fields: &Fields, from: &str, to: &str, body: &mut Map<String, Value>, origins: &mut Origins) {
    if let Some(value) = fields.get(from) {
        body.insert(to.to_owned(), value.clone());
        origins.record(to, from);
    }
}

/// Whether the model is to think, and whether its thoughts are shown; without `thinking` it is left to the template. The
/// budget is a target in Anthropic's API, and nothing here holds the model to it.
fn thinking(fields: &Fields, body: &mut Map<String, Value>, origins: &mut Origins) -> Result<(), ServiceError> {
    let Some(thinking) = fields.object("thinking")? else { return Ok(()) };
    thinking.integer_from("budget_tokens", 1)?;
    let thinks = match thinking.text("type")?.ok_or_else(|| thinking.invalid("type", "is required"))? {
        "enabled" | "adaptive" => true,
        "disabled" => false,
        "between_tools" => return Err(unsupported_value(&thinking, "type")),
        _ => return Err(thinking.invalid("type", "must be enabled, adaptive or disabled")),
    };
    body.insert("chat_template_kwargs".to_owned(), json!({THINKING: thinks}));
    origins.record("chat_template_kwargs", "thinking");
    origins.record(format!("chat_template_kwargs.{THINKING}"), "thinking.type");
    match thinking.text("display")? {
        None | Some("summarized") => {}
        Some("omitted") => {
            body.insert("include_reasoning".to_owned(), false.into());
        }
        Some(_) => return Err(thinking.invalid("display", "must be summarized or omitted")),
    }
    Ok(())
}

/// How much the model is to think, unless that is what it does anyway. The path is not recorded: the check whether the
/// template knows of it goes by OpenAI's name.
fn effort<'a>(fields: &Fields<'a>) -> Result<Option<&'a str>, ServiceError> {
    let Some(config) = fields.object("output_config")? else { return Ok(None) };
    Ok(config.text("effort")?.filter(|effort| *effort != EFFORT_DEFAULT))
}

/// The form that the answer must have, as OpenAI's `response_format`, and the path of the field that asks for it:
/// `output_config.format`, or its earlier name `output_format`.
fn output_format(fields: &Fields) -> Result<Option<(Value, String)>, ServiceError> {
    let mut asked = fields.object("output_format")?.map(|format| (format, "output_format".to_owned()));
    let config = fields.object("output_config")?;
    if let Some(config) = &config
        && let Some(format) = config.object("format")?
    {
        if asked.is_some() {
            return Err(config.invalid("format", "cannot be combined with output_format"));
        }
        asked = Some((format, config.path("format")));
    }
    let Some((format, path)) = asked else { return Ok(None) };
    match format.text("type")?.ok_or_else(|| format.invalid("type", "is required"))? {
        "json_schema" => {
            let schema = format.get("schema").ok_or_else(|| format.invalid("schema", "is required"))?;
            Ok(Some((json!({"type": "json_schema", "json_schema": {"schema": schema}}), path)))
        }
        _ => Err(unsupported_value(&format, "type")),
    }
}

fn unsupported_value(fields: &Fields, key: &str) -> ServiceError {
    let path = fields.path(key);
    fields::unsupported(path.clone(), format!("{path} with this value is not supported; leave it out"))
}

#[cfg(test)]
mod tests;
