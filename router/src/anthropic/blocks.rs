//! Reads the blocks of a message's content.

use secateur_proto::ServiceError;
use serde_json::{Value, json};

use super::{
    turn::{Call, Part, Text},
    unsupported::{is_known_block, refuse_transformations},
};
use crate::openai::fields::{Fields, unsupported};

/// Media types of pictures.
const MEDIA_TYPES: [&str; 4] = ["image/png", "image/jpeg", "image/webp", "image/gif"];
/// What a result that is an error begins with, since templates have no other place for it.
const ERROR: &str = "Error: ";

/// The blocks of `content`: those of its list, or the text that it is. `None` if there is no content.
pub fn content<'a>(fields: &Fields<'a>) -> Result<Option<Content<'a>>, ServiceError> {
    match fields.get("content") {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(Content::Text(Text { text: text.clone(), path: fields.path("content") }))),
        Some(Value::Array(values)) => {
            let block = |(index, value)| Fields::of(value, fields.path(&format!("content[{index}]")));
            Ok(Some(Content::Blocks(values.iter().enumerate().map(block).collect::<Result<_, _>>()?)))
        }
        Some(_) => Err(fields.invalid("content", "must be a string or a list of blocks")),
    }
}

/// A message's content.
pub enum Content<'a> {
    /// A string.
    Text(Text),
    /// A list of blocks.
    Blocks(Vec<Fields<'a>>),
}

/// The type of a block.
pub fn kind<'a>(block: &Fields<'a>) -> Result<&'a str, ServiceError> {
    block.text("type")?.ok_or_else(|| block.invalid("type", "is required"))
}

/// The error for a block of a type that may not stand here.
pub fn misplaced(block: &Fields, kind: &str, allowed: &str) -> ServiceError {
    if is_known_block(kind) {
        return unsupported(block.path("type"), format!("blocks of type {kind} are not supported; send {allowed}"));
    }
    block.invalid("type", format!("must be {allowed} here"))
}

/// A `text` block.
pub fn text(block: &Fields) -> Result<Text, ServiceError> {
    let text = required(block, "text")?;
    Ok(Text { text: text.to_owned(), path: block.path("text") })
}

/// A `thinking` block. Its signature is not looked at: this router's own are empty.
pub fn thinking(block: &Fields) -> Result<Text, ServiceError> {
    let text = required(block, "thinking")?;
    Ok(Text { text: text.to_owned(), path: block.path("thinking") })
}

/// An `image` block.
pub fn image(block: &Fields) -> Result<Part, ServiceError> {
    refuse_transformations(block)?;
    let source = block.object("source")?.ok_or_else(|| block.invalid("source", "is required"))?;
    let path = block.path("source");
    match kind(&source)? {
        "base64" => {
            let media_type = required(&source, "media_type")?;
            if !MEDIA_TYPES.contains(&media_type) {
                return Err(source.invalid("media_type", format!("must be one of {}", MEDIA_TYPES.join(", "))));
            }
            let data = required(&source, "data")?;
            Ok(Part::Picture { url: format!("data:{media_type};base64,{data}"), path, key: "data" })
        }
        "url" => Ok(Part::Picture { url: required(&source, "url")?.to_owned(), path, key: "url" }),
        "file" => Err(unsupported(source.path("type"), "sources of type file are not supported; send base64")),
        _ => Err(source.invalid("type", "must be base64 or url")),
    }
}

/// A `tool_use` block.
pub fn tool_use(block: &Fields) -> Result<Call, ServiceError> {
    let (id, name) = (required(block, "id")?, required(block, "name")?);
    block.object("input")?.ok_or_else(|| block.invalid("input", "is required"))?;
    let arguments = block.get("input").map(Value::to_string).unwrap_or_default();
    let function = json!({"name": name, "arguments": arguments});
    Ok(Call { value: json!({"id": id, "type": "function", "function": function}), path: block.path("input") })
}

/// A `tool_result` block: the id of its call, and its parts.
pub fn tool_result(block: &Fields) -> Result<(Text, Vec<Part>), ServiceError> {
    let id = Text { text: required(block, "tool_use_id")?.to_owned(), path: block.path("tool_use_id") };
    let mut parts = match content(block)? {
        None => Vec::new(),
        Some(Content::Text(text)) => vec![Part::Text(text)],
        Some(Content::Blocks(blocks)) => blocks.iter().map(result_part).collect::<Result<_, _>>()?,
    };
    if block.flag("is_error")?.unwrap_or(false) {
        match parts.first_mut() {
            Some(Part::Text(text)) => text.text.insert_str(0, ERROR),
            _ => parts.insert(0, Part::Text(Text { text: ERROR.to_owned(), path: block.path("is_error") })),
        }
    }
    Ok((id, parts))
}

fn result_part(block: &Fields) -> Result<Part, ServiceError> {
    match kind(block)? {
        "text" => Ok(Part::Text(text(block)?)),
        "image" => image(block),
        other => Err(misplaced(block, other, "text or image")),
    }
}

fn required<'a>(fields: &Fields<'a>, key: &str) -> Result<&'a str, ServiceError> {
    fields.text(key)?.ok_or_else(|| fields.invalid(key, "is required"))
}
