//! `instructions` and `input`: the items of a conversation, as the messages that they mean.
//!
//! Items are finer than messages. What a model thought, said and called in one turn are items of their own, and make one
//! message of an assistant here, as chat templates take it.

use secateur_proto::ServiceError;
use serde_json::{Map, Value, json};

use super::parts;
use crate::{
    openai::fields::{Fields, unsupported},
    request::Origins,
};

const ASSISTANT: &str = "assistant";
const ROLES: [&str; 4] = ["user", ASSISTANT, "system", "developer"];
/// Most characters of an unknown type that an error quotes.
const KIND_CHARS_MAX: usize = 40;
/// What stands between the texts of several items of reasoning, or of several parts of one.
const BETWEEN_THOUGHTS: &str = "\n\n";

/// The messages of a conversation, as far as it has been read.
struct Conversation<'a> {
    messages: Vec<Map<String, Value>>,
    /// Reasoning that belongs to the assistant's next message, and the item that it began with.
    thought: Option<(String, String)>,
    origins: &'a mut Origins,
}

/// Translates `instructions` and `input`, and records where each message came from.
pub fn translate(fields: &Fields, origins: &mut Origins) -> Result<Value, ServiceError> {
    let mut conversation = Conversation { messages: Vec::new(), thought: None, origins };
    if let Some(instructions) = fields.text("instructions")? {
        conversation.words("system", instructions, "instructions");
    }
    match fields.get("input") {
        Some(Value::String(text)) => conversation.words("user", text, "input"),
        Some(Value::Array(items)) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                let path = format!("input[{index}]");
                conversation.item(&Fields::of(item, path.as_str())?, &path)?;
            }
            conversation.settle();
        }
        Some(Value::Array(_)) => return Err(fields.invalid("input", "must not be empty")),
        Some(_) => return Err(fields.invalid("input", "must be a string or a list of items")),
        None => return Err(fields.invalid("input", "is required")),
    }
    conversation.origins.record("messages", "input");
    Ok(conversation.messages.into_iter().map(Value::Object).collect())
}

impl Conversation<'_> {
    fn item(&mut self, item: &Fields, path: &str) -> Result<(), ServiceError> {
        let kind = match item.text("type")? {
            Some(kind) => kind,
            None if item.get("role").is_some() => "message",
            None => return Err(item.invalid("type", "is required")),
        };
        match kind {
            "message" => self.message(item, path),
            "function_call" => self.call(item, path),
            "function_call_output" => self.result(item, path),
            "reasoning" => self.reasoning(item, path),
            "item_reference" => Err(unsupported(
                item.path("type"),
                "item_reference is not supported: this server keeps no state between requests; send the item itself",
            )),
            other => {
                let kind: String = other.chars().take(KIND_CHARS_MAX).collect();
                let known = "message, function_call, function_call_output and reasoning";
                Err(unsupported(item.path("type"), format!("items of type {kind} are not supported; {known} are")))
            }
        }
    }

    fn message(&mut self, item: &Fields, path: &str) -> Result<(), ServiceError> {
        let role = item.text("role")?.ok_or_else(|| item.invalid("role", "is required"))?;
        if !ROLES.contains(&role) {
            return Err(item.invalid("role", format!("must be one of {}", ROLES.join(", "))));
        }
        if role != ASSISTANT {
            self.settle();
        }
        let is_late = role == ASSISTANT && self.called().is_some();
        let at = self.messages.len() - usize::from(is_late);
        let content = parts::translate(item, "content", format!("messages[{at}].content"), self.origins)?;
        if let Some(last) = self.called().filter(|_| is_late) {
            last.insert("content".to_owned(), content);
            return Ok(());
        }
        self.push([("role", role.into()), ("content", content)], path);
        Ok(())
    }

    /// The last message, if it only calls: what the model says then is of the same turn.
    fn called(&mut self) -> Option<&mut Map<String, Value>> {
        let is_free = self.thought.is_none();
        let last = self.messages.last_mut().filter(|last| is_free && last.contains_key("tool_calls"))?;
        last.get("content").is_some_and(Value::is_null).then_some(last)
    }

    /// Adds a call to the assistant's message before it, or to a new one.
    fn call(&mut self, item: &Fields, path: &str) -> Result<(), ServiceError> {
        let text = |key| item.text(key)?.ok_or_else(|| item.invalid(key, "is required"));
        let (id, name, arguments) = (text("call_id")?, text("name")?, text("arguments")?);
        let call = json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
        if self.thought.is_some() || !self.messages.last().is_some_and(is_assistants) {
            self.push([("role", ASSISTANT.into()), ("content", Value::Null)], path);
        }
        let at = self.messages.len().saturating_sub(1);
        let Some(last) = self.messages.last_mut() else { return Ok(()) };
        match last.get_mut("tool_calls") {
            Some(Value::Array(calls)) => calls.push(call),
            _ => {
                last.insert("tool_calls".to_owned(), json!([call]));
                self.origins.record(format!("messages[{at}].tool_calls"), path);
            }
        }
        Ok(())
    }

    fn result(&mut self, item: &Fields, path: &str) -> Result<(), ServiceError> {
        let id = item.text("call_id")?.ok_or_else(|| item.invalid("call_id", "is required"))?;
        item.get("output").ok_or_else(|| item.invalid("output", "is required"))?;
        self.settle();
        let at = self.messages.len();
        let content = parts::translate(item, "output", format!("messages[{at}].content"), self.origins)?;
        self.origins.record(format!("messages[{at}].tool_call_id"), item.path("call_id"));
        self.push([("role", "tool".into()), ("tool_call_id", id.into()), ("content", content)], path);
        Ok(())
    }

    /// Keeps what the model thought for the message that it led to: its own words, or else their summary.
    fn reasoning(&mut self, item: &Fields, path: &str) -> Result<(), ServiceError> {
        let words = parts::texts(item, "content", "reasoning_text")?;
        let summary = parts::texts(item, "summary", "summary_text")?;
        let words = if words.is_empty() { summary } else { words }.join(BETWEEN_THOUGHTS);
        if words.is_empty() {
            return match item.get("encrypted_content") {
                Some(_) => Err(unsupported(
                    item.path("encrypted_content"),
                    "encrypted reasoning cannot be read here; send its content, or leave the item out",
                )),
                None => Ok(()),
            };
        }
        match &mut self.thought {
            Some((thought, _)) => {
                thought.push_str(BETWEEN_THOUGHTS);
                thought.push_str(&words);
            }
            None => self.thought = Some((words, path.to_owned())),
        }
        Ok(())
    }

    /// Ends the assistant's turn: reasoning that led to nothing, as in an answer that was cut off, is a message.
    fn settle(&mut self) {
        if let Some((_, path)) = &self.thought {
            let path = path.clone();
            self.push([("role", ASSISTANT.into()), ("content", "".into())], &path);
        }
    }

    fn words(&mut self, role: &str, text: &str, path: &str) {
        self.origins.record(format!("messages[{}].content", self.messages.len()), path);
        self.push([("role", role.into()), ("content", text.into())], path);
    }

    /// Adds a message, with the reasoning that is kept if it is an assistant's.
    fn push<const N: usize>(&mut self, entries: [(&str, Value); N], path: &str) {
        let mut message: Map<String, Value> = entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let at = self.messages.len();
        self.origins.record(format!("messages[{at}]"), path);
        if is_assistants(&message)
            && let Some((thought, path)) = self.thought.take()
        {
            message.insert("reasoning_content".to_owned(), thought.into());
            self.origins.record(format!("messages[{at}].reasoning_content"), path);
        }
        self.messages.push(message);
    }
}

fn is_assistants(message: &Map<String, Value>) -> bool {
    message.get("role").is_some_and(|role| role == ASSISTANT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: Value) -> Result<(Value, Origins), ServiceError> {
        let mut origins = Origins::default();
        let messages = translate(&Fields::of(&body, "").unwrap(), &mut origins)?;
        Ok((messages, origins))
    }

    fn messages(input: Value) -> Value {
        read(json!({"input": input})).unwrap().0
    }

    fn call(id: &str) -> Value {
        json!({"type": "function_call", "id": "fc_1", "call_id": id, "name": "f", "arguments": "{}", "status": "completed"})
    }

    fn called(id: &str) -> Value {
        json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}})
    }

    fn thought(text: &str) -> Value {
        json!({"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": text}]})
    }

    #[test]
    fn strings_and_messages() {
        let body = json!({"instructions": "Be brief.", "input": "hi"});
        let expected = json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]);
        assert_eq!(read(body).unwrap().0, expected);
        let said = json!({"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [
            {"type": "output_text", "text": "yes", "annotations": [], "logprobs": []}, {"type": "refusal", "refusal": "no"}]});
        let shown = json!({"role": "user", "content": [
            {"type": "input_text", "text": "see"}, {"type": "input_image", "image_url": "data:,", "detail": "low"}]});
        assert_eq!(
            messages(json!([{"role": "developer", "content": "d"}, shown, said])),
            json!([
                {"role": "developer", "content": "d"},
                {"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "data:,", "detail": "low"}}]},
                {"role": "assistant", "content": [{"type": "text", "text": "yes"}, {"type": "refusal", "refusal": "no"}]},
            ])
        );
    }

    #[test]
    fn a_turn_of_the_model_is_one_message() {
        let said = json!({"role": "assistant", "content": "Let me see."});
        let result = json!({"type": "function_call_output", "call_id": "1", "output": "rain"});
        let calls = json!([called("1"), called("2")]);
        let tool = json!({"role": "tool", "tool_call_id": "1", "content": "rain"});
        let turn =
            json!({"role": "assistant", "content": "Let me see.", "reasoning_content": "a\n\nb", "tool_calls": calls});
        assert_eq!(
            messages(json!([thought("a"), thought("b"), said, call("1"), call("2"), result, said])),
            json!([turn, tool, said])
        );
        let silent =
            json!({"role": "assistant", "content": null, "reasoning_content": "a", "tool_calls": [called("1")]});
        assert_eq!(messages(json!([said, thought("a"), call("1"), result])), json!([said, silent, tool]));
        let late = json!({"role": "assistant", "content": "Let me see.", "tool_calls": [called("1")]});
        assert_eq!(messages(json!([call("1"), said, result])), json!([late, tool]));
    }

    #[test]
    fn reasoning_is_kept_as_words_or_their_summary() {
        let summed = json!({"type": "reasoning", "summary": [{"type": "summary_text", "text": "short"}]});
        let user = json!({"role": "user", "content": "go on"});
        let alone = json!({"role": "assistant", "content": "", "reasoning_content": "short"});
        assert_eq!(messages(json!([summed, user])), json!([alone, user]));
        assert_eq!(messages(json!([summed])), json!([alone]));
        assert_eq!(messages(json!([{"type": "reasoning", "summary": []}, user])), json!([user]));
    }

    #[test]
    fn results_may_have_parts() {
        let parts = json!([{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "data:,"}]);
        let result = json!({"type": "function_call_output", "call_id": "1", "output": parts});
        let content = json!([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:,", "detail": null}}]);
        assert_eq!(messages(json!([result])), json!([{"role": "tool", "tool_call_id": "1", "content": content}]));
    }

    #[test]
    fn translated_fields_remember_the_clients() {
        let result = json!({"type": "function_call_output", "call_id": "1", "output": ["x"]});
        let image = json!({"type": "input_image", "image_url": "data:,"});
        let user = json!({"role": "user", "content": [{"type": "input_text", "text": "a"}, image]});
        let plain = json!({"type": "function_call_output", "call_id": "1", "output": "x"});
        assert_eq!(read(json!({"input": [result]})).unwrap_err().param.as_deref(), Some("input[0].output[0]"));
        let body = json!({"instructions": "i", "input": [user, thought("t"), call("1"), plain]});
        let (_, origins) = read(body).unwrap();
        for (translated, original) in [
            ("messages", "input"),
            ("messages[0].content", "instructions"),
            ("messages[1].content[0].text", "input[0].content[0].text"),
            ("messages[1].content[1].image_url.url", "input[0].content[1].image_url"),
            ("messages[1].content[1].image_url.detail", "input[0].content[1].detail"),
            ("messages[2].reasoning_content", "input[1]"),
            ("messages[2].tool_calls", "input[2]"),
            ("messages[3].content", "input[3].output"),
            ("messages[3].tool_call_id", "input[3].call_id"),
        ] {
            assert_eq!(origins.path(translated), original);
        }
        assert_eq!(read(json!({"input": "x"})).unwrap().1.path("messages[0].content"), "input");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let image = |more: Value| json!([{"role": "user", "content": [more]}]);
        for (input, param) in [
            (json!(null), "input"),
            (json!([]), "input"),
            (json!(5), "input"),
            (json!(["x"]), "input[0]"),
            (json!([{}]), "input[0].type"),
            (json!([{"type": "item_reference", "id": "msg_1"}]), "input[0].type"),
            (json!([{"type": "web_search_call", "id": "ws_1"}]), "input[0].type"),
            (json!([{"role": "tool", "content": "x"}]), "input[0].role"),
            (json!([{"type": "message", "content": "x"}]), "input[0].role"),
            (json!([{"type": "function_call", "name": "f", "arguments": "{}"}]), "input[0].call_id"),
            (json!([{"type": "function_call", "call_id": "1", "name": "f", "arguments": {}}]), "input[0].arguments"),
            (json!([{"type": "function_call_output", "call_id": "1"}]), "input[0].output"),
            (json!([{"type": "function_call_output", "output": "x"}]), "input[0].call_id"),
            (json!([{"type": "reasoning", "encrypted_content": "x"}]), "input[0].encrypted_content"),
            (json!([{"type": "reasoning", "content": [{"type": "text"}]}]), "input[0].content[0].type"),
            (image(json!({"type": "input_image", "file_id": "file_1"})), "input[0].content[0].file_id"),
            (image(json!({"type": "input_file", "file_id": "file_1"})), "input[0].content[0].type"),
            (image(json!({"type": "text", "text": "x"})), "input[0].content[0].type"),
            (image(json!({"text": "x"})), "input[0].content[0].type"),
        ] {
            let error = read(json!({"input": input.clone()})).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param), "{input}");
        }
        assert_eq!(
            read(json!({"input": "x", "instructions": ["x"]})).unwrap_err().param.as_deref(),
            Some("instructions")
        );
    }
}
