//! Finds the client's texts in the rendered prompt.
//!
//! The prompt itself is rendered from the plain texts. A second rendering wraps each text in private-use characters
//! that identify it; if removing them yields the first rendering, the texts' places are exact. The marks sit inside a
//! text's leading and trailing whitespace, so that templates may trim. Where a template changes the texts further, only
//! content is marked, and where that fails too, content is searched for in order.

use std::ops::Range;

use secateur_proto::ServiceError;

use super::texts::{ClientText, Kind};
use crate::template::{ChatTemplate, Conversation};

// First code points of the supplementary private use planes; a text's number is added to them.
const STARTS: u32 = 0xF_0000;
const ENDS: u32 = 0x10_0000;
const TEXTS_MAX: u32 = 0xFFFD;

/// The place of a client's text in the prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked {
    /// Number of the text, counted over all messages of the request.
    pub text: usize,
    /// Byte range of the text in the prompt.
    pub bytes: Range<usize>,
}

/// Finds the `texts` of `conversation` in `plain`, the prompt that `template` made of it.
pub fn locate(
    template: &ChatTemplate,
    conversation: &Conversation<'_>,
    texts: &[ClientText<'_>],
    plain: &str,
) -> Result<Vec<Marked>, ServiceError> {
    let is_markable = texts.len() < TEXTS_MAX as usize && !plain.chars().any(|character| character as u32 >= STARTS);
    if is_markable {
        // A template may compare the value of a field. Marks then change the outcome, so only content is marked.
        for marks_fields in [true, false] {
            let mark = |index: usize, text: &str| match texts.get(index).map(|text| text.kind) {
                Some(Kind::User | Kind::Content) => mark(index, text),
                Some(Kind::Field) if marks_fields => mark(index, text),
                _ => text.to_owned(),
            };
            if let Ok(marked) = template.render(conversation, mark) {
                let (unmarked, places) = unmark(&marked);
                if unmarked == plain {
                    return Ok(places);
                }
            }
            if !texts.iter().any(|text| text.kind == Kind::Field) {
                break;
            }
        }
    }
    Ok(search(texts, plain))
}

fn mark(index: usize, text: &str) -> String {
    let core = text.trim();
    let offset = u32::try_from(index).unwrap_or(TEXTS_MAX);
    match (char::from_u32(STARTS + offset), char::from_u32(ENDS + offset)) {
        (Some(start), Some(end)) if !core.is_empty() => {
            let before = &text[..text.len() - text.trim_start().len()];
            let after = &text[text.trim_end().len()..];
            format!("{before}{start}{core}{end}{after}")
        }
        _ => text.to_owned(),
    }
}

fn unmark(marked: &str) -> (String, Vec<Marked>) {
    let mut plain = String::with_capacity(marked.len());
    let mut open: Option<(u32, usize)> = None;
    let mut places = Vec::new();
    for character in marked.chars() {
        match character as u32 {
            code @ STARTS..ENDS => open = Some((code - STARTS, plain.len())),
            code if code >= ENDS => {
                if let Some((number, start)) = open.take()
                    && number == code - ENDS
                {
                    places.push(Marked { text: number as usize, bytes: start..plain.len() });
                }
            }
            _ => plain.push(character),
        }
    }
    (plain, places)
}

fn search(texts: &[ClientText<'_>], plain: &str) -> Vec<Marked> {
    let mut places = Vec::new();
    let mut from = 0;
    for (index, text) in texts.iter().enumerate() {
        let core = text.text.trim();
        if core.is_empty() || !matches!(text.kind, Kind::User | Kind::Content) {
            continue;
        }
        if let Some(found) = plain[from..].find(core) {
            let start = from + found;
            from = start + core.len();
            places.push(Marked { text: index, bytes: start..from });
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{openai::chat, prompt::texts, request::Limits, template::NamedTokens};
    use serde_json::{Value, json};

    const LIMITS: Limits = Limits { images_max: 0, image_bytes_max: 0, vocab: 300 };

    fn message(role: &str, text: &str) -> Value {
        json!({"role": role, "content": text})
    }

    fn located(source: &str, messages: &[Value]) -> Vec<(usize, String)> {
        let template = ChatTemplate::new(source, NamedTokens::default()).unwrap();
        let job = chat::parse(&json!({"messages": messages}), &LIMITS).unwrap();
        let conversation = template.conversation(&job);
        let texts = texts::of(&conversation.messages, conversation.kwargs);
        let plain = template.render(&conversation, |_, text| text.to_owned()).unwrap();
        let places = locate(&template, &conversation, &texts, &plain).unwrap();
        places.into_iter().map(|place| (place.text, plain[place.bytes].to_owned())).collect()
    }

    #[test]
    fn words_are_found_where_the_template_put_them() {
        // "user" is also the template's own word: a search would find the wrong occurrence.
        let source = "{% for m in messages %}user: {{ m.content | trim }}\n{% endfor %}";
        let messages = [message("user", " user \n"), message("user", ""), message("user", "b")];
        assert_eq!(located(source, &messages), [(0, "user".to_owned()), (2, "b".to_owned())]);
    }

    #[test]
    fn a_template_that_reorders_is_followed() {
        let source = "{{ messages[1].content }} {{ messages[0].content }}";
        let messages = [message("system", "one"), message("user", "two")];
        assert_eq!(located(source, &messages), [(1, "two".to_owned()), (0, "one".to_owned())]);
    }

    #[test]
    fn a_template_that_rewrites_words_falls_back_to_a_search() {
        let source = "{{ messages[0].content | length }} {{ messages[0].content }}";
        assert_eq!(located(source, &[message("user", "four")]), [(0, "four".to_owned())]);
        let private = "a\u{F0001}b";
        assert_eq!(located(source, &[message("user", private)]), [(0, private.to_owned())]);
    }

    #[test]
    fn fields_are_found_unless_the_template_compares_them() {
        let message = json!({"role": "user", "content": "hi", "name": "ann"});
        let printed = "{% for m in messages %}{{ m.name }}: {{ m.content }}{% endfor %}";
        assert_eq!(located(printed, std::slice::from_ref(&message)), [(1, "ann".to_owned()), (0, "hi".to_owned())]);
        let compared = "{% for m in messages %}{{ 'A' if m.name == 'ann' }}: {{ m.content }}{% endfor %}";
        assert_eq!(located(compared, &[message]), [(0, "hi".to_owned())]);
    }
}
