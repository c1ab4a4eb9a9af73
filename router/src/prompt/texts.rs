//! The client's texts, wherever they are in a conversation: in content, in other fields of messages, or in the
//! template's variables. Texts are numbered in the order in which the template receives them.

use serde_json::Value as Json;

use crate::request::{Field, Message, Part};

/// Key whose values select a branch of the template (`function`, `text`) and are not printed.
const CHOOSES: &str = "type";

/// One text of the client.
#[derive(Clone, Copy, Debug)]
pub struct ClientText<'a> {
    /// The text.
    pub text: &'a str,
    /// The field that the text came from.
    pub param: &'a str,
    /// The kind of that field.
    pub kind: Kind,
}

/// The kind of field that a text came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Content of a user's message.
    User,
    /// Content of another role's message.
    Content,
    /// Another field, whose value may be printed.
    Field,
    /// A field whose value is compared rather than printed.
    Choice,
}

/// All texts of a conversation, in the order of their numbers.
pub fn of<'a>(messages: &'a [Message], kwargs: &'a [Field]) -> Vec<ClientText<'a>> {
    let mut texts = Vec::new();
    for message in messages {
        let kind = if message.role == "user" { Kind::User } else { Kind::Content };
        for part in &message.parts {
            if let Part::Text { text, param } = part {
                texts.push(ClientText { text, param, kind });
            }
        }
        message.fields.iter().for_each(|field| of_value(&field.value, &field.name, &field.param, &mut texts));
    }
    kwargs.iter().for_each(|field| of_value(&field.value, &field.name, &field.param, &mut texts));
    texts
}

fn of_value<'a>(value: &'a Json, key: &str, param: &'a str, texts: &mut Vec<ClientText<'a>>) {
    match value {
        Json::String(text) => {
            texts.push(ClientText { text, param, kind: if key == CHOOSES { Kind::Choice } else { Kind::Field } });
        }
        Json::Array(items) => items.iter().for_each(|item| of_value(item, key, param, texts)),
        Json::Object(entries) => entries.iter().for_each(|(key, value)| of_value(value, key, param, texts)),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

/// The keys of all fields, which a template may print too, each with its field.
pub fn keys<'a>(messages: &'a [Message], kwargs: &'a [Field]) -> Vec<(&'a str, &'a str)> {
    let mut keys = Vec::new();
    for field in messages.iter().flat_map(|message| &message.fields).chain(kwargs) {
        keys.push((&*field.name, &*field.param));
        keys_of(&field.value, &field.param, &mut keys);
    }
    keys
}

fn keys_of<'a>(value: &'a Json, param: &'a str, keys: &mut Vec<(&'a str, &'a str)>) {
    match value {
        Json::Array(items) => items.iter().for_each(|item| keys_of(item, param, keys)),
        Json::Object(entries) => {
            for (key, value) in entries {
                keys.push((key, param));
                keys_of(value, param, keys);
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{openai::chat, request::Limits};
    use serde_json::json;

    #[test]
    fn every_string_has_a_number_and_a_field() {
        let body = json!({"messages": [
            {"role": "user", "content": ["a", {"type": "text", "text": "b"}], "name": "c"},
            {"role": "assistant", "tool_calls": [{"type": "d", "function": {"name": "e"}}], "content": "f"},
        ], "chat_template_kwargs": {"g": ["h", 1, null, true]}});
        let job = chat::parse(&body, &Limits { images_max: 0, image_bytes_max: 0, vocab: 300 }).unwrap();
        let texts: Vec<_> =
            of(&job.messages, &job.template_kwargs).iter().map(|text| (text.text.to_owned(), text.kind)).collect();
        let expected = [
            ("a", Kind::User),
            ("b", Kind::User),
            ("c", Kind::Field),
            ("f", Kind::Content),
            ("d", Kind::Choice),
            ("e", Kind::Field),
            ("h", Kind::Field),
        ];
        assert_eq!(texts, expected.map(|(text, kind)| (text.to_owned(), kind)));
        let keys: Vec<_> = keys(&job.messages, &job.template_kwargs).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["name", "tool_calls", "type", "function", "name", "g"]);
    }
}
