//! Reads `messages`, whose content may be a string or a list of parts in every role.

use secateur_proto::{ErrorCode, ServiceError};
use serde_json::Value;

use super::{
    fields::{Fields, unsupported},
    picture,
};
use crate::request::{Field, Form, KeyPositions, Limits, Message, Part, SentPicture};

/// Keys that the router reads itself; all other keys reach the template unchanged.
const READ_BY_NAME: [&str; 2] = ["role", "content"];

const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];

/// Reads `messages` and gathers their pictures in order.
pub fn parse(fields: &Fields, limits: &Limits) -> Result<(Vec<Message>, Vec<SentPicture>), ServiceError> {
    let values = fields.list("messages")?.ok_or_else(|| fields.invalid("messages", "is required"))?;
    if values.is_empty() {
        return Err(fields.invalid("messages", "must not be empty"));
    }
    let mut pictures = Vec::new();
    let mut messages = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        let message = Fields::of(value, format!("messages[{index}]"))?;
        messages.push(parse_message(&message, limits, &mut pictures)?);
    }
    Ok((messages, pictures))
}

fn parse_message(fields: &Fields, limits: &Limits, pictures: &mut Vec<SentPicture>) -> Result<Message, ServiceError> {
    let role = fields.text("role")?.ok_or_else(|| fields.invalid("role", "is required"))?;
    if !ROLES.contains(&role) {
        return Err(fields.invalid("role", format!("must be one of {}", ROLES.join(", "))));
    }
    let (form, parts) = parse_content(fields, role, limits, pictures)?;
    let role = if role == "developer" { "system" } else { role };
    let (others, positions) = others(fields);
    Ok(Message { role: role.to_owned(), form, parts, fields: others, positions })
}

/// Fields of a message besides role and content, without those that are null, and the positions of these two.
fn others(message: &Fields) -> (Vec<Field>, KeyPositions) {
    let mut positions = KeyPositions::default();
    let mut others: Vec<Field> = Vec::new();
    for (index, name) in message.keys().filter(|name| is_seen(message, name)).enumerate() {
        match (name, message.get(name)) {
            ("role", _) => positions.role = index,
            ("content", _) => positions.content = index,
            (_, Some(value)) => {
                others.push(Field { name: name.to_owned(), value: value.clone(), param: message.path(name) });
            }
            (_, None) => {}
        }
    }
    (others, positions)
}

/// Whether a key counts among a message's: one that is null does not, unless the router reads it by name.
fn is_seen(message: &Fields, name: &str) -> bool {
    READ_BY_NAME.contains(&name) || message.get(name).is_some()
}

fn parse_content(
    fields: &Fields,
    role: &str,
    limits: &Limits,
    pictures: &mut Vec<SentPicture>,
) -> Result<(Form, Vec<Part>), ServiceError> {
    match fields.get("content") {
        // An assistant that only called a tool, or refused, has no content.
        None if role == "assistant" => Ok((Form::Absent, Vec::new())),
        None => Err(fields.invalid("content", "is required")),
        Some(Value::String(text)) => {
            Ok((Form::Text, vec![Part::Text { text: text.clone(), param: fields.path("content") }]))
        }
        Some(Value::Array(values)) => {
            let part =
                |(index, value)| parse_part(value, format!("{}[{index}]", fields.path("content")), limits, pictures);
            Ok((Form::Parts, values.iter().enumerate().map(part).collect::<Result<_, _>>()?))
        }
        Some(_) => Err(fields.invalid("content", "must be a string or a list of parts")),
    }
}

fn parse_part(
    value: &Value,
    path: String,
    limits: &Limits,
    pictures: &mut Vec<SentPicture>,
) -> Result<Part, ServiceError> {
    if let Value::String(text) = value {
        return Ok(Part::Text { text: text.clone(), param: path });
    }
    let fields = Fields::of(value, path)?;
    let kind = fields.text("type")?.ok_or_else(|| fields.invalid("type", "is required"))?;
    match kind {
        "text" => text_part(&fields, "text"),
        "refusal" => text_part(&fields, "refusal"),
        "image_url" => {
            if pictures.len() == limits.images_max {
                return Err(too_many_pictures(&fields, limits));
            }
            pictures.push(picture::parse(&fields, limits)?);
            Ok(Part::Picture)
        }
        "input_audio" | "file" | "audio_url" | "video_url" | "video" => Err(unsupported(
            fields.path("type"),
            format!("parts of type {kind} are not supported; send text or image_url"),
        )),
        _ => Err(fields.invalid("type", "must be text or image_url")),
    }
}

fn text_part(fields: &Fields, key: &str) -> Result<Part, ServiceError> {
    let text = fields.text(key)?.ok_or_else(|| fields.invalid(key, "is required"))?;
    Ok(Part::Text { text: text.to_owned(), param: fields.path(key) })
}

fn too_many_pictures(fields: &Fields, limits: &Limits) -> ServiceError {
    let message = format!("a request may carry at most {} pictures", limits.images_max);
    ServiceError::new(ErrorCode::InvalidImage, message).with_param(fields.path("image_url"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    // The eight bytes that every PNG starts with.
    const PNG: &str = "data:image/png;base64,iVBORw0KGgo=";
    const LIMITS: Limits = Limits { images_max: 1, image_bytes_max: 100, vocab: 300 };

    fn parse_json(messages: Value) -> Result<(Vec<Message>, Vec<SentPicture>), ServiceError> {
        let body = json!({"messages": messages});
        parse(&Fields::of(&body, "").unwrap(), &LIMITS)
    }

    #[test]
    fn strings_and_parts_are_read_in_every_role() {
        for role in ROLES {
            parse_json(json!([{"role": role, "content": "a"}])).unwrap();
            parse_json(json!([{"role": role, "content": [{"type": "text", "text": "a"}]}])).unwrap();
        }
        let (messages, _) = parse_json(json!([{"role": "developer", "content": "a"}])).unwrap();
        assert_eq!(messages[0].role, "system");
    }

    #[test]
    fn whatever_else_a_message_says_is_kept() {
        let call = json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}});
        let message =
            json!({"role": "assistant", "content": null, "tool_calls": [call], "name": "ann", "refusal": null});
        let (messages, _) = parse_json(json!([message])).unwrap();
        assert_eq!((messages[0].form, messages[0].parts.len()), (Form::Absent, 0));
        let fields: Vec<_> = messages[0].fields.iter().map(|field| (&*field.name, &*field.param)).collect();
        assert_eq!(fields, [("tool_calls", "messages[0].tool_calls"), ("name", "messages[0].name")]);
        assert_eq!(messages[0].fields[0].value, json!([call]));
    }

    #[test]
    fn fields_keep_the_clients_order() {
        let text = r#"[{"role": "user", "z": {"b": 1, "a": 2}, "content": "hi", "a": 1, "none": null},
            {"none": null, "content": "x", "role": "user"}]"#;
        let (messages, _) = parse_json(serde_json::from_str(text).unwrap()).unwrap();
        assert_eq!(messages[0].fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>(), ["z", "a"]);
        assert_eq!(messages[0].fields[0].value.to_string(), r#"{"b":1,"a":2}"#);
        let positions = |message: &Message| (message.positions.role, message.positions.content);
        assert_eq!((positions(&messages[0]), positions(&messages[1])), ((0, 2), (1, 0)));
    }

    #[test]
    fn pictures_come_as_object_or_string_and_remember_their_field() {
        for (url, param) in [
            (json!(PNG), "messages[0].content[1].image_url"),
            (json!({"url": PNG, "detail": null, "x": 1}), "messages[0].content[1].image_url.url"),
        ] {
            let content = json!(["look:", {"type": "image_url", "image_url": url, "extra": true}]);
            let (messages, pictures) = parse_json(json!([{"role": "user", "content": content}])).unwrap();
            assert_eq!(messages[0].parts[1], Part::Picture);
            assert_eq!(pictures[0].param, param);
        }
    }

    #[test]
    fn errors_name_the_field_and_the_limit() {
        let part = json!({"type": "image_url", "image_url": {"url": PNG}});
        let error = parse_json(json!([{"role": "user", "content": [part, part]}])).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("messages[0].content[1].image_url"));
        assert!(error.message.contains("at most 1"), "{error}");
        let file = json!({"type": "image_url", "image_url": {"url": "file:///a.png"}});
        let error = parse_json(json!([{"role": "user", "content": [file]}])).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("messages[0].content[0].image_url.url"));
        assert!(error.message.contains("data URI"), "{error}");
    }

    #[test]
    fn an_assistant_may_have_no_content_and_a_user_must() {
        assert!(parse_json(json!([{"role": "assistant", "content": null}])).is_ok());
        assert!(parse_json(json!([{"role": "user", "content": null}])).is_err());
    }
}
