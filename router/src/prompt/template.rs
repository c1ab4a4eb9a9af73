//! The chat template: messages in, the prompt's text out.

use std::cell::Cell;

use minijinja::{Environment, Error, Value, context};
use secateur_proto::{ErrorCode, ServiceError};

use super::{
    content_format::{self, ContentFormat},
    jinja::{self, TEMPLATE},
};
use crate::openai::{Message, Part};

/// The template does not compile.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct TemplateError(#[from] Error);

/// Tokens that templates know by name; empty where the tokenizer has none.
#[derive(Clone, Debug, Default)]
pub struct NamedTokens {
    /// Begins a sequence.
    pub bos: String,
    /// Ends a sequence.
    pub eos: String,
    /// Unknown.
    pub unk: String,
    /// Padding.
    pub pad: String,
    /// Stands for one picture; none: the model takes none.
    pub image: Option<String>,
}

/// A compiled chat template.
pub struct ChatTemplate {
    environment: Environment<'static>,
    format: ContentFormat,
    tokens: NamedTokens,
}

impl ChatTemplate {
    /// Compiles `source` and finds out how it takes content.
    pub fn new(source: String, tokens: NamedTokens) -> Result<Self, TemplateError> {
        let environment = jinja::environment(source)?;
        let format = content_format::detect(&environment);
        Ok(Self { environment, format, tokens })
    }

    /// The text that begins a sequence; empty: none.
    pub fn bos(&self) -> &str {
        &self.tokens.bos
    }

    /// Renders the conversation with the assistant's turn opened. `text_of` gives the words of the n-th text of the
    /// request, so that the same conversation can also be rendered with its texts marked.
    pub fn render(
        &self,
        messages: &[Message],
        text_of: impl Fn(usize, &str) -> String,
    ) -> Result<String, ServiceError> {
        let texts = Cell::new(0);
        let next_text = |text: &str| text_of(texts.replace(texts.get() + 1), text);
        let messages: Vec<Value> = messages.iter().map(|message| self.message(message, &next_text)).collect();
        let template = self.environment.get_template(TEMPLATE).map_err(refused)?;
        template
            .render(context! {
                messages => messages,
                add_generation_prompt => true,
                bos_token => self.tokens.bos.as_str(),
                eos_token => self.tokens.eos.as_str(),
                unk_token => self.tokens.unk.as_str(),
                pad_token => self.tokens.pad.as_str(),
                tools => Value::from(()),
                documents => Value::from(()),
            })
            .map_err(refused)
    }

    fn message(&self, message: &Message, next_text: &impl Fn(&str) -> String) -> Value {
        let content = match self.format {
            ContentFormat::Parts => Value::from_iter(message.parts.iter().map(|part| part_value(part, next_text))),
            ContentFormat::Text => Value::from(self.joined(message, next_text)),
        };
        Value::from_pairs([("role", Value::from(message.role.as_str())), ("content", content)])
    }

    /// Pictures first, each on its line, then the texts: how vLLM fills templates that know only strings.
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

fn part_value(part: &Part, next_text: &impl Fn(&str) -> String) -> Value {
    match part {
        Part::Text { text, .. } => {
            Value::from_pairs([("type", Value::from("text")), ("text", Value::from(next_text(text)))])
        }
        Part::Picture => Value::from_pairs([("type", Value::from("image"))]),
    }
}

/// A template may refuse a conversation (roles that must alternate, for example); that is the client's to mend.
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
mod tests {
    use super::*;

    fn text(text: &str) -> Part {
        Part::Text { text: text.into(), param: String::new() }
    }

    fn rendered(source: &str, messages: &[Message]) -> Result<String, ServiceError> {
        let tokens = NamedTokens { bos: "<s>".into(), image: Some("<image>".into()), ..Default::default() };
        ChatTemplate::new(source.into(), tokens).unwrap().render(messages, |_, text| text.to_owned())
    }

    #[test]
    fn string_templates_get_pictures_then_texts() {
        let source = "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}";
        let message = Message { role: "user".into(), parts: vec![text("a"), Part::Picture, text("b")] };
        assert_eq!(rendered(source, &[message]).unwrap(), "<s>user: <image>\na\nb\n");
    }

    #[test]
    fn a_conversation_that_the_template_raises_about_is_the_clients_error() {
        let source = "{{ raise_exception('Only user turns') }}";
        let error = rendered(source, &[Message { role: "user".into(), parts: vec![text("a")] }]).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidRequest);
        assert!(error.message.contains("Only user turns"));
    }
}
