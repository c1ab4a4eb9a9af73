//! A request's body: its JSON to be read field by field, and a copy, with keys in the client's order, of the values
//! that a chat template may print.

use std::{fmt, ops::Deref};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::Value;

use super::json::Json;

/// Message keys that the router reads itself; all other keys reach the template unchanged.
const READ_BY_NAME: [&str; 2] = ["role", "content"];

/// A parsed body.
#[derive(Debug)]
pub struct Body {
    value: Value,
    ordered: Ordered,
}

/// Values that a template may print, with keys in the client's order.
#[derive(Debug, Default, Deserialize)]
struct Ordered {
    #[serde(default)]
    messages: Vec<MessageFields>,
    chat_template_kwargs: Option<Json>,
}

#[derive(Debug, Default)]
struct MessageFields {
    others: Vec<(String, Json)>,
    places: KeyPositions,
}

/// Positions of `role` and `content` among a message's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPositions {
    /// Keys before the role.
    pub role: usize,
    /// Keys before the content.
    pub content: usize,
}

impl Default for KeyPositions {
    fn default() -> Self {
        Self { role: 0, content: 1 }
    }
}

impl Body {
    /// Parses `bytes`. They are parsed a second time only if a message has further fields or there are
    /// `chat_template_kwargs`.
    pub fn from_slice(bytes: &[u8]) -> serde_json::Result<Self> {
        let value: Value = serde_json::from_slice(bytes)?;
        if !has_fields(&value) {
            return Ok(Self { value, ordered: Ordered::default() });
        }
        match serde_json::from_slice(bytes) {
            Ok(ordered) => Ok(Self { value, ordered }),
            // The body has another shape, or a key occurs twice. If that is an error, reading the fields reports it.
            Err(_) => Ok(Self::from(value)),
        }
    }

    /// Fields of the message at `index` besides role and content, without those that are null.
    pub fn message_fields(&self, index: usize) -> &[(String, Json)] {
        self.ordered.messages.get(index).map_or(&[], |message| &message.others)
    }

    /// Positions of `role` and `content` among the keys of the message at `index`.
    pub fn message_places(&self, index: usize) -> KeyPositions {
        self.ordered.messages.get(index).map(|message| message.places).unwrap_or_default()
    }

    /// The value of `chat_template_kwargs`.
    pub fn template_kwargs(&self) -> Option<&Json> {
        self.ordered.chat_template_kwargs.as_ref()
    }
}

impl From<Value> for Body {
    /// Converts a value that was never text; the order of keys is that of `value`.
    fn from(value: Value) -> Self {
        let fields = |message: &Value| MessageFields {
            others: match Json::from(message) {
                Json::Object(entries) => entries.into_iter().filter(|(key, value)| is_field(key, value)).collect(),
                _ => Vec::new(),
            },
            places: KeyPositions::default(),
        };
        let messages = value["messages"].as_array().map(|messages| messages.iter().map(fields).collect());
        let kwargs = value.get("chat_template_kwargs").map(Json::from);
        Self { ordered: Ordered { messages: messages.unwrap_or_default(), chat_template_kwargs: kwargs }, value }
    }
}

impl Deref for Body {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.value
    }
}

fn has_fields(value: &Value) -> bool {
    let has_more = |message: &Value| {
        message.as_object().is_some_and(|fields| fields.keys().any(|key| !READ_BY_NAME.contains(&key.as_str())))
    };
    !value["chat_template_kwargs"].is_null() || value["messages"].as_array().is_some_and(|all| all.iter().any(has_more))
}

fn is_field(key: &str, value: &Json) -> bool {
    !READ_BY_NAME.contains(&key) && *value != Json::Null
}

impl<'de> Deserialize<'de> for MessageFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsReader)
    }
}

struct FieldsReader;

impl<'de> Visitor<'de> for FieldsReader {
    type Value = MessageFields;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<MessageFields, A::Error> {
        let mut fields: Vec<(String, Json)> = Vec::new();
        while let Some(key) = entries.next_key::<String>()? {
            // Content may be megabytes of pictures, so only the positions of role and content are kept.
            let is_read_by_name = READ_BY_NAME.contains(&key.as_str());
            let value = if is_read_by_name {
                entries.next_value::<IgnoredAny>().map(|_| Json::Null)?
            } else {
                entries.next_value::<Json>()?
            };
            fields.retain(|(name, _)| *name != key);
            if is_read_by_name || value != Json::Null {
                fields.push((key, value));
            }
        }
        let place = |key: &str, otherwise: usize| fields.iter().position(|(name, _)| name == key).unwrap_or(otherwise);
        let places = KeyPositions { role: place("role", 0), content: place("content", 1) };
        fields.retain(|(key, value)| is_field(key, value));
        Ok(MessageFields { others: fields, places })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_keep_the_clients_order() {
        let text = r#"{"messages": [{"role": "user", "z": {"b": 1, "a": 2}, "content": "hi", "a": 1, "none": null}],
            "chat_template_kwargs": {"y": 1, "x": 2}}"#;
        let body = Body::from_slice(text.as_bytes()).unwrap();
        let fields = body.message_fields(0);
        assert_eq!(fields.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["z", "a"]);
        assert_eq!(fields[0].1, serde_json::from_str::<Json>(r#"{"b": 1, "a": 2}"#).unwrap());
        assert_eq!(body.template_kwargs(), Some(&serde_json::from_str::<Json>(r#"{"y": 1, "x": 2}"#).unwrap()));
        assert_eq!(
            (body.message_places(0), body.message_places(1)),
            (KeyPositions { role: 0, content: 2 }, KeyPositions::default())
        );
        assert!(body.message_fields(1).is_empty());
        assert_eq!(body["messages"][0]["content"], "hi");
    }

    #[test]
    fn odd_shapes_are_left_to_those_who_read_the_fields() {
        for text in [r#"{"messages": [1, {"x": 1}]}"#, r#"{"messages": {"x": 1}}"#, "[]", "null"] {
            assert!(Body::from_slice(text.as_bytes()).unwrap().message_fields(0).is_empty(), "{text}");
        }
        let body = Body::from(json!({"messages": [{"role": "user", "name": "x", "n": null}]}));
        assert_eq!(body.message_fields(0), [("name".to_owned(), Json::Text("x".into()))]);
    }
}
