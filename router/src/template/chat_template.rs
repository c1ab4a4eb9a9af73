//! The chat template: renders messages to the prompt's text.

use std::{borrow::Cow, cell::Cell};

use minijinja::{Environment, Error, Value};
use secateur_proto::{ErrorCode, ServiceError};
use serde_json::Value as Json;

use super::{
    jinja::{self, Clock, TEMPLATE},
    takes::Takes,
};
use crate::request::{ChatJob, Field, Form, Message, Opening, Part};
use crate::{reasoning::Marks, tools::Dialect};

/// Keys under which clients send a message's reasoning. Most templates read the first.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// The template does not compile.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct TemplateError(#[from] Error);

/// Tokens that templates know by name.
#[derive(Clone, Debug, Default)]
pub struct NamedTokens {
    /// Names (`bos_token`) and texts (`<s>`). A name that is not here is undefined in the template.
    pub named: Vec<(String, String)>,
    /// Token that stands for one picture; `None` if the model takes no pictures.
    pub image: Option<String>,
}

/// A compiled chat template.
pub struct ChatTemplate {
    environment: Environment<'static>,
    takes: Takes,
    tokens: NamedTokens,
    tools: Option<Dialect>,
    reasoning: Option<Marks>,
}

/// The input of one rendering.
#[derive(Debug)]
pub struct Conversation<'a> {
    /// The messages, with arguments of tool calls in the form that the template takes.
    pub messages: Cow<'a, [Message]>,
    /// Further variables of the template.
    pub kwargs: &'a [Field],
    /// Whether the template opens the assistant's turn.
    pub opens_answer: bool,
}

impl ChatTemplate {
    /// Compiles `source` and finds the forms of content that it takes.
    pub fn new(source: &str, tokens: NamedTokens) -> Result<Self, TemplateError> {
        Self::with_clock(source, tokens, Clock::Local)
    }

    /// Like [`ChatTemplate::new`], with another clock than the system's.
    pub fn with_clock(source: &str, tokens: NamedTokens, clock: Clock) -> Result<Self, TemplateError> {
        let environment = jinja::environment(source, clock)?;
        let takes = Takes::probe(&|messages| rendered(&environment, &tokens, messages, (Vec::new(), true)).ok());
        tracing::debug!(?takes, "chat template");
        Ok(Self {
            environment,
            takes,
            tokens,
            tools: Dialect::of_template(source),
            reasoning: Marks::of_template(source),
        })
    }

    /// Whether the template reads a variable of this name.
    pub fn reads(&self, variable: &str) -> bool {
        let template = self.environment.get_template(TEMPLATE);
        template.is_ok_and(|template| template.undeclared_variables(false).contains(variable))
    }

    /// How the template has the model write calls of tools; `None` if it takes no tools.
    pub fn tools(&self) -> Option<Dialect> {
        self.tools
    }

    /// How the template has the model write its reasoning; `None` if it knows of none.
    pub fn reasoning(&self) -> Option<Marks> {
        self.reasoning
    }

    /// The text of the token that begins a sequence; empty if there is none.
    pub fn bos(&self) -> &str {
        self.tokens.named.iter().find(|(name, _)| name == "bos_token").map_or("", |(_, text)| text)
    }

    /// The conversation of `job`, arguments of tool calls in the form that the template takes.
    pub fn conversation<'a>(&self, job: &'a ChatJob) -> Conversation<'a> {
        let mut messages = Cow::Borrowed(job.messages.as_slice());
        if self.takes.argument_objects && job.messages.iter().any(|message| !message.fields.is_empty()) {
            messages.to_mut().iter_mut().flat_map(|message| &mut message.fields).for_each(parse_arguments);
        }
        Conversation { messages, kwargs: &job.template_kwargs, opens_answer: job.opening == Opening::Answer }
    }

    /// Renders the conversation. `text_of` maps the n-th text of the conversation, as
    /// `texts` counts them, to the text that is rendered, so that texts can also be marked.
    pub fn render(
        &self,
        conversation: &Conversation<'_>,
        text_of: impl Fn(usize, &str) -> String,
    ) -> Result<String, ServiceError> {
        let texts = Cell::new(0);
        let next_text = |text: &str| text_of(texts.replace(texts.get() + 1), text);
        let messages = conversation.messages.iter().map(|message| self.message(message, &next_text)).collect();
        let kwargs = conversation.kwargs.iter();
        let kwargs = kwargs.map(|field| (field.name.clone(), value(&field.value, &next_text))).collect();
        let opens_answer = conversation.opens_answer;
        rendered(&self.environment, &self.tokens, messages, (kwargs, opens_answer)).map_err(refused)
    }

    fn message(&self, message: &Message, next_text: &impl Fn(&str) -> String) -> Value {
        let content = match self.takes.form(&message.role, message.form) {
            Form::Absent => None,
            Form::Parts => Some(message.parts.iter().map(|part| part_value(part, next_text)).collect()),
            Form::Text => Some(Value::from(self.joined(message, next_text))),
        };
        let others = message.fields.iter().map(|field| (field.name.clone(), value(&field.value, next_text)));
        let mut entries: Vec<(String, Value)> = others.collect();
        let role = (message.positions.role, "role", Some(Value::from(message.role.as_str())));
        let mut named = [role, (message.positions.content, "content", content)];
        named.sort_by_key(|(position, ..)| *position);
        for (position, name, value) in named {
            // If content is `None`, nothing is inserted and the keys after it move up.
            entries.splice(
                position.min(entries.len())..position.min(entries.len()),
                value.map(|value| (name.to_owned(), value)),
            );
        }
        alias_reasoning(&mut entries);
        Value::from_pairs(entries)
    }

    /// Joins a message's parts to one string: first the pictures, each on its own line, then the texts, as vLLM does
    /// for templates that take only strings.
    fn joined(&self, message: &Message, next_text: &impl Fn(&str) -> String) -> String {
        let image = self.tokens.image.as_deref().unwrap_or_default();
        let pictures = message.parts.iter().filter(|part| **part == Part::Picture).map(|_| image.to_owned());
        let texts = message.parts.iter().filter_map(|part| match part {
            Part::Text { text, .. } => Some(next_text(text)),
            Part::Picture => None,
        });
        pictures.chain(texts).collect::<Vec<_>>().join("\n")
    }
}

fn rendered(
    environment: &Environment<'_>,
    tokens: &NamedTokens,
    messages: Vec<Value>,
    (kwargs, opens_answer): (Vec<(String, Value)>, bool),
) -> Result<String, Error> {
    let named = tokens.named.iter().map(|(name, text)| (name.clone(), Value::from(text.as_str())));
    let nothing = [("tools", Value::from(())), ("documents", Value::from(()))];
    let set = [("messages", Value::from(messages)), ("add_generation_prompt", Value::from(opens_answer))];
    let fixed = |(name, value): (&str, Value)| (name.to_owned(), value);
    let variables = named.chain(nothing.map(fixed)).chain(kwargs).chain(set.map(fixed));
    environment.get_template(TEMPLATE)?.render(Value::from_pairs(variables))
}

fn value(json: &Json, next_text: &impl Fn(&str) -> String) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(*value),
        Json::Number(number) => number
            .as_i64()
            .map(Value::from)
            .or_else(|| number.as_u64().map(Value::from))
            .unwrap_or_else(|| Value::from(number.as_f64().unwrap_or(f64::NAN))),
        Json::String(text) => Value::from(next_text(text)),
        Json::Array(items) => items.iter().map(|item| value(item, next_text)).collect::<Vec<_>>().into(),
        Json::Object(entries) => {
            Value::from_pairs(entries.iter().map(|(key, entry)| (key.clone(), value(entry, next_text))))
        }
    }
}

fn part_value(part: &Part, next_text: &impl Fn(&str) -> String) -> Value {
    match part {
        Part::Text { text, .. } => {
            Value::from_pairs([("type", Value::from("text")), ("text", Value::from(next_text(text)))])
        }
        Part::Picture => Value::from_pairs([("type", Value::from("image"))]),
    }
}

/// Copies a message's reasoning to the keys that templates read, whatever key the client used, as transformers does.
fn alias_reasoning(entries: &mut Vec<(String, Value)>) {
    let named = |name: &str| entries.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let Some(reasoning) = REASONING.iter().find_map(|name| named(name)) else { return };
    if named("thinking").is_none() {
        entries.insert(0, ("thinking".into(), reasoning.clone()));
    }
    match entries.iter_mut().find(|(key, _)| key == REASONING[0]) {
        Some((_, old)) => *old = reasoning,
        None => entries.push((REASONING[0].into(), reasoning)),
    }
}

/// Replaces the JSON text of tool calls' arguments by the parsed object; text that is not a JSON object stays.
fn parse_arguments(field: &mut Field) {
    match (field.name.as_str(), &mut field.value) {
        ("tool_calls", Json::Array(calls)) => calls.iter_mut().for_each(|call| {
            parse_arguments_of(call);
            if let Json::Object(entries) = call {
                entries.iter_mut().filter(|(key, _)| *key == "function").for_each(|(_, call)| parse_arguments_of(call));
            }
        }),
        ("function_call", call) => parse_arguments_of(call),
        _ => {}
    }
}

fn parse_arguments_of(call: &mut Json) {
    let Json::Object(entries) = call else { return };
    for (_, value) in entries.iter_mut().filter(|(key, _)| *key == "arguments") {
        let Json::String(text) = value else { continue };
        match serde_json::from_str(text) {
            Ok(object @ Json::Object(_)) => *value = object,
            _ if text.is_empty() => *value = Json::Object(Default::default()),
            _ => {}
        }
    }
}

/// The error for a template that fails. A template may refuse a conversation, for example if roles do not alternate,
/// and only the client can correct that.
fn refused(error: Error) -> ServiceError {
    let message = match jinja::raised(&error) {
        Some(raised) => format!("the model's chat template refuses these messages: {raised}"),
        None => {
            tracing::warn!(%error, "the chat template failed");
            "the model's chat template cannot render these messages".to_owned()
        }
    };
    ServiceError::new(ErrorCode::InvalidRequest, message).with_param("messages")
}

#[cfg(test)]
mod parity;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{openai::chat, request::Limits};

    const LIMITS: Limits = Limits { images_max: 4, image_bytes_max: 1_000, vocab: 300 };

    /// Renders the messages in the JSON text `messages` with the template `source`.
    fn rendered(source: &str, messages: &str) -> Result<String, ServiceError> {
        let named = vec![("bos_token".to_owned(), "<s>".to_owned())];
        let template = ChatTemplate::new(source, NamedTokens { named, image: Some("<image>".into()) }).unwrap();
        let body = serde_json::from_str(&format!("{{\"messages\": {messages}}}")).unwrap();
        let job = chat::parse(&body, &LIMITS).unwrap();
        template.render(&template.conversation(&job), |_, text| text.to_owned())
    }

    #[test]
    fn string_templates_get_pictures_then_texts() {
        let source = "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}";
        let content = r#"["a", {"type": "image_url", "image_url": "data:image/png;base64,iVBORw0KGgo="}, "b"]"#;
        let messages = format!(r#"[{{"role": "user", "content": {content}}}]"#);
        assert_eq!(rendered(source, &messages).unwrap(), "<s>user: <image>\na\nb\n");
    }

    #[test]
    fn a_conversation_that_the_template_raises_about_is_the_clients_error() {
        let source = "{{ raise_exception('Only user turns') }}";
        let error = rendered(source, r#"[{"role": "user", "content": "a"}]"#).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidRequest);
        assert!(error.message.contains("Only user turns"));
    }

    #[test]
    fn every_field_reaches_the_template_in_the_clients_order() {
        let source = "{% for m in messages %}{% for k, v in m.items() %}{{ k }}={{ v }};{% endfor %}{% endfor %}";
        let messages =
            r#"[{"role": "user", "zeta": {"b": 1, "a": [2.5, null]}, "content": "hi", "name": "ann", "n": null}]"#;
        assert_eq!(
            rendered(source, messages).unwrap(),
            "role=user;zeta={'b': 1, 'a': [2.5, None]};content=hi;name=ann;"
        );
    }

    #[test]
    fn an_assistant_without_content_is_rendered_by_templates_that_concatenate_it() {
        let source = "{% for m in messages %}{{ m.role + ':' + m.content + ';' }}{% endfor %}";
        let messages = r#"[{"role": "user", "content": "a"}, {"role": "assistant", "content": null}]"#;
        assert_eq!(rendered(source, messages).unwrap(), "user:a;assistant:;");
    }
}
