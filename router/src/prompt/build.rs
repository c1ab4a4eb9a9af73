//! Builds the prompt of a request: renders it, tokenizes it as transformers would, and checks that the client's text
//! forms no special token of the model.

use std::ops::Range;

use secateur_proto::{ErrorCode, ServiceError, v1::Span};
use tokenizers::Encoding;

use super::{
    encode::{self, Encoded, overlaps},
    marks::{self, Marked},
    opening,
    texts::{self, ClientText, Kind},
};
use crate::{
    reasoning::ReasoningReader,
    request::{ChatJob, RawPrompt, Words},
    served::ServedModel,
    template::{ChatTemplate, Conversation},
};

/// Largest factor by which a normalizer is assumed to shrink a text before it is tokenized.
const NORMALIZER_SHRINK_MAX: usize = 4;

/// The prompt as the prefill node takes it.
#[derive(Debug, PartialEq)]
pub struct Prompt {
    /// Text tokens with one image token for each picture.
    pub tokens: Vec<u32>,
    /// Token spans of the users' own words.
    pub user_spans: Vec<Span>,
    /// Reader of the answer's reasoning; `None` if the model writes none.
    pub reasoning: Option<ReasoningReader>,
}

/// Builds the prompt of `job`. Takes time in proportion to the text, so do not call it on an async task.
pub fn build(model: &ServedModel, job: &ChatJob, max_positions: u32) -> Result<Prompt, ServiceError> {
    let template = model.template.as_ref().ok_or_else(|| {
        ServiceError::new(ErrorCode::InvalidRequest, "this model has no chat template").with_param("messages")
    })?;
    let conversation = template.conversation(job);
    let texts = texts::of(&conversation.messages, conversation.kwargs);
    check_size(model, texts.iter().map(|text| text.text.len()).sum(), "messages", max_positions)?;
    check_pictures_allowed(model, job)?;

    let mut rendered = template.render(&conversation, |_, text| text.to_owned())?;
    let places = marks::locate(template, &conversation, &texts, &rendered)?;
    opening::cut(job, &mut rendered)?;
    check_words(model, &texts, &places, &conversation)?;
    let adds_special_tokens = adds_special_tokens(model, template, &rendered);
    let encoding = encode::encode(model, &rendered, adds_special_tokens, &places);
    let encoding = encoding.map_err(|error| unreadable("messages", &error))?;
    check_tokens(model, &encoding, &places, &texts)?;
    check_picture_count(model, job, &encoding)?;
    let reasoning = template.reasoning().map(|marks| ReasoningReader::new(marks, marks.is_open_at_end(&rendered)));
    let user_spans = user_spans(&encoding, &places, &texts);
    Ok(Prompt { tokens: encoding.ids, user_spans, reasoning })
}

/// Tokenizes `text` without a template. Takes time in proportion to the text, so do not call it on an async task.
pub fn tokenize(
    model: &ServedModel,
    text: &str,
    adds_special_tokens: bool,
    max_positions: u32,
) -> Result<Vec<u32>, ServiceError> {
    check_size(model, text.len(), "prompt", max_positions)?;
    Ok(encode(model, text, adds_special_tokens, "prompt")?.get_ids().to_vec())
}

/// Builds a raw prompt, without a template. Its author writes what a template would, including special tokens, but no
/// picture. Takes time in proportion to the text, so do not call it on an async task.
pub fn raw(
    model: &ServedModel,
    prompt: &RawPrompt,
    adds_special_tokens: bool,
    max_positions: u32,
) -> Result<Prompt, ServiceError> {
    let refused =
        |message: String| Err(ServiceError::new(ErrorCode::InvalidRequest, message).with_param(prompt.param.clone()));
    let tokens = match &prompt.words {
        Words::Tokens(ids) => ids.clone(),
        Words::Text(text) => {
            check_size(model, text.len(), &prompt.param, max_positions)?;
            encode(model, text, adds_special_tokens, &prompt.param)?.get_ids().to_vec()
        }
    };
    if tokens.is_empty() {
        return refused(format!("{} must not be empty: this model begins with no token of its own", prompt.param));
    }
    match &model.image_token {
        Some(image) if tokens.contains(&image.id) => {
            refused(format!("{} contains the image token; send pictures to /v1/chat/completions", prompt.param))
        }
        _ => Ok(Prompt { tokens, user_spans: Vec::new(), reasoning: None }),
    }
}

/// Refuses texts of `bytes` bytes that cannot fit, before tokenizing: clients could otherwise keep the router busy by
/// sending megabytes of text.
fn check_size(model: &ServedModel, bytes: usize, field: &str, max_positions: u32) -> Result<(), ServiceError> {
    let tokens_min = bytes / (model.token_bytes_max * NORMALIZER_SHRINK_MAX);
    if tokens_min <= max_positions as usize {
        return Ok(());
    }
    let message =
        format!("this model's maximum context length is {max_positions} tokens; {field} takes at least {tokens_min}");
    Err(ServiceError::new(ErrorCode::ContextLengthExceeded, message).with_param(field))
}

fn check_pictures_allowed(model: &ServedModel, job: &ChatJob) -> Result<(), ServiceError> {
    match job.pictures.first() {
        Some(picture) if model.image_token.is_none() => {
            Err(ServiceError::new(ErrorCode::InvalidRequest, "this model takes no pictures")
                .with_param(picture.param.clone()))
        }
        _ => Ok(()),
    }
}

/// Refuses special tokens in texts whose place in the prompt is not known: the model would take them for the template's
/// own, such as an image token without a picture, or an early end of the turn. At a known place they are text.
fn check_words(
    model: &ServedModel,
    texts: &[ClientText],
    places: &[Marked],
    conversation: &Conversation<'_>,
) -> Result<(), ServiceError> {
    let is_placed = |index: usize| places.iter().any(|place| place.text == index);
    let lost = texts.iter().enumerate().filter(|(index, _)| !is_placed(*index));
    let words = lost.map(|(_, text)| (text.text, text.param));
    for (text, param) in words.chain(texts::keys(&conversation.messages, conversation.kwargs)) {
        if let Some(token) = model.special_tokens.texts.iter().find(|token| text.contains(token.as_str())) {
            return Err(injected(param, token));
        }
    }
    Ok(())
}

/// Refuses special tokens that are left in the client's text, such as those of a model whose image token is an
/// ordinary word.
fn check_tokens(
    model: &ServedModel,
    encoding: &Encoded,
    places: &[Marked],
    texts: &[ClientText],
) -> Result<(), ServiceError> {
    for (id, &(start, end)) in encoding.ids.iter().zip(&encoding.offsets) {
        if start == end || !model.special_tokens.ids.contains(id) {
            continue;
        }
        if let Some(place) = places.iter().find(|place| overlaps(&place.bytes, &(start..end))) {
            let token = model.tokenizer.id_to_token(*id).unwrap_or_default();
            let param = texts.get(place.text).map_or("messages", |text| text.param);
            return Err(injected(param, &token));
        }
    }
    Ok(())
}

fn injected(param: &str, token: &str) -> ServiceError {
    let message = format!("{param} contains the special token {token:?}, which only the chat template may use");
    ServiceError::new(ErrorCode::InvalidRequest, message).with_param(param)
}

/// Whether the tokenizer adds its special tokens, as in transformers: a text model takes the template's output
/// unchanged; a multimodal processor adds them unless the template has already begun the sequence.
fn adds_special_tokens(model: &ServedModel, template: &ChatTemplate, rendered: &str) -> bool {
    let begins_itself = !template.bos().is_empty() && rendered.starts_with(template.bos());
    model.image_token.is_some() && !begins_itself
}

fn encode(model: &ServedModel, text: &str, adds_special_tokens: bool, field: &str) -> Result<Encoding, ServiceError> {
    model.tokenizer.encode(text, adds_special_tokens).map_err(|error| unreadable(field, &error))
}

fn unreadable(field: &str, error: &tokenizers::Error) -> ServiceError {
    tracing::warn!(%error, "tokenizing failed");
    ServiceError::new(ErrorCode::InvalidRequest, format!("{field} cannot be tokenized")).with_param(field)
}

fn check_picture_count(model: &ServedModel, job: &ChatJob, encoding: &Encoded) -> Result<(), ServiceError> {
    let Some(image) = &model.image_token else { return Ok(()) };
    let placed = encoding.ids.iter().filter(|id| **id == image.id).count();
    if placed == job.pictures.len() {
        return Ok(());
    }
    let message = format!("the model's chat template placed {placed} of {} pictures", job.pictures.len());
    Err(ServiceError::new(ErrorCode::InvalidRequest, message).with_param("messages"))
}

fn user_spans(encoding: &Encoded, places: &[Marked], texts: &[ClientText]) -> Vec<Span> {
    let users: Vec<&Range<usize>> = places
        .iter()
        .filter(|place| texts.get(place.text).is_some_and(|text| text.kind == Kind::User))
        .map(|place| &place.bytes)
        .collect();
    let mut spans: Vec<Span> = Vec::new();
    // Both lists are sorted unless a template reorders texts, so the search seldom goes past the first entry.
    for (index, &(start, end)) in encoding.offsets.iter().enumerate() {
        if start == end || !users.iter().any(|bytes| overlaps(bytes, &(start..end))) {
            continue;
        }
        let index = index as u32;
        match spans.last_mut() {
            Some(span) if span.end == index => span.end += 1,
            _ => spans.push(Span { start: index, end: index + 1 }),
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::{openai::chat, request::Limits, served};
    use serde_json::{Value, json};

    const LIMITS: Limits = Limits { images_max: 4, image_bytes_max: 1_000, vocab: 300 };
    const PNG: &str = "data:image/png;base64,iVBORw0KGgo=";

    fn model() -> ServedModel {
        served::load(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/model"), None).unwrap()
    }

    fn built(messages: Value) -> Result<Prompt, ServiceError> {
        let job = chat::parse(&json!({"messages": messages}), &LIMITS).unwrap();
        build(&model(), &job, 512)
    }

    #[test]
    fn a_picture_becomes_one_token_and_the_users_words_are_spanned() {
        let content = json!([
            {"type": "image_url", "image_url": PNG},
            {"type": "text", "text": "What is it?"},
        ]);
        let prompt =
            built(json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}])).unwrap();
        let model = model();
        let image = model.image_token.as_ref().unwrap().id;
        assert_eq!(prompt.tokens.iter().filter(|id| **id == image).count(), 1);
        assert_eq!(prompt.tokens[0], 0, "the sequence begins with <s>");
        assert_eq!(prompt.tokens.iter().filter(|id| **id == 0).count(), 1);
        let words: Vec<String> = prompt
            .user_spans
            .iter()
            .map(|span| model.tokenizer.decode(&prompt.tokens[span.start as usize..span.end as usize], false).unwrap())
            .collect();
        assert_eq!(words, ["What is it?"]);
    }

    #[test]
    fn special_tokens_in_words_are_text() {
        let model = model();
        let special = |tokens: &[u32]| tokens.iter().filter(|id| model.special_tokens.ids.contains(id)).count();
        let plain = built(json!([{"role": "user", "content": "what is it?"}])).unwrap();
        let parts = json!([{"type": "text", "text": "a <ima"}, {"type": "text", "text": "ge> b"}]);
        for content in [json!("an <image> here"), json!("</s>"), json!("x<s>y"), parts] {
            let prompt = built(json!([{"role": "user", "content": content}])).unwrap();
            assert_eq!(special(&prompt.tokens), special(&plain.tokens), "{content}");
            let spans = prompt.user_spans.iter().map(|span| &prompt.tokens[span.start as usize..span.end as usize]);
            let words: String = spans.map(|tokens| model.tokenizer.decode(tokens, false).unwrap()).collect();
            let said = content.as_str().unwrap_or("a <image> b");
            assert_eq!(words.replace('\n', ""), said.replace('\n', ""));
        }
    }

    #[test]
    fn special_tokens_where_the_place_is_not_known_are_refused() {
        let call = json!({"type": "function", "function": {"name": "f", "arguments": "{\"a\": \"\\u003c/s>\"}"}});
        for (field, value) in [("name", json!("</s>")), ("tool_calls", json!([call])), ("mood", json!({"<image>": 1}))]
        {
            let error = built(json!([{"role": "user", "content": "hi", field: value}])).err();
            // The fixture's template does not print arguments, so they stay as the client sent them.
            let is_refused = field != "tool_calls";
            assert_eq!(error.map(|error| error.param), is_refused.then(|| Some(format!("messages[0].{field}"))));
        }
    }

    #[test]
    fn long_texts_are_refused_before_they_are_tokenized() {
        let error = built(json!([{"role": "user", "content": "x".repeat(1_000_000)}])).unwrap_err();
        assert_eq!(error.code, ErrorCode::ContextLengthExceeded);
        assert!(error.message.contains("maximum context length is 512"));
    }

    #[test]
    fn odd_characters_survive() {
        built(json!([{"role": "user", "content": "nul \u{0} \u{FFFF} \u{10FFFF} 👩‍👩‍👧 \u{202E}"}])).unwrap();
    }
}
