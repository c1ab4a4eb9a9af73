//! Content of items: a string, or parts, each of which becomes a part of a chat message's content. Their order and
//! number stay, so a part's path below the content does too.

use secateur_proto::ServiceError;
use serde_json::{Value, json};

use crate::{
    openai::fields::{Fields, invalid, unsupported},
    request::Origins,
};

/// The content of the item `item` under `key` as the chat message's content at `path`. What is no list is passed on as
/// it is.
pub fn translate(item: &Fields, key: &str, path: String, origins: &mut Origins) -> Result<Value, ServiceError> {
    let own = item.path(key);
    origins.record(path.as_str(), own.as_str());
    match item.get(key) {
        Some(Value::Array(parts)) => {
            let mut part = |(index, value)| {
                let part = Fields::of(value, format!("{own}[{index}]"))?;
                part_of(&part, &format!("{path}[{index}]"), origins)
            };
            parts.iter().enumerate().map(&mut part).collect()
        }
        Some(other) => Ok(other.clone()),
        None => Ok(Value::Null),
    }
}

fn part_of(fields: &Fields, path: &str, origins: &mut Origins) -> Result<Value, ServiceError> {
    let own = |key: &str| fields.get(key).cloned().unwrap_or_default();
    match kind(fields)? {
        "input_text" | "output_text" => Ok(json!({"type": "text", "text": own("text")})),
        "refusal" => Ok(json!({"type": "refusal", "refusal": own("refusal")})),
        "input_image" if fields.get("file_id").is_some() => Err(unsupported(
            fields.path("file_id"),
            "files are not stored here; send the picture as image_url, a data URI (data:image/png;base64,...)",
        )),
        "input_image" => Ok(json!({"type": "image_url", "image_url": picture(fields, path, origins)?})),
        kind @ ("input_file" | "input_audio" | "input_video") => Err(unsupported(
            fields.path("type"),
            format!("parts of type {kind} are not supported; send input_text or input_image"),
        )),
        _ => Err(fields.invalid("type", "must be input_text, output_text, refusal or input_image")),
    }
}

/// A picture's URL, with the detail that is asked for beside it.
fn picture(fields: &Fields, path: &str, origins: &mut Origins) -> Result<Value, ServiceError> {
    let url = fields.text("image_url")?;
    let url = url.ok_or_else(|| fields.invalid("image_url", "is required"))?;
    origins.record(format!("{path}.image_url.url"), fields.path("image_url"));
    origins.record(format!("{path}.image_url.detail"), fields.path("detail"));
    // Nothing here scales a picture, so its original size is what high detail is anyway.
    let detail = fields.get("detail").map(|detail| if detail == "original" { "high".into() } else { detail.clone() });
    Ok(json!({"url": url, "detail": detail}))
}

/// The type of an item or a part.
pub fn kind<'a>(fields: &Fields<'a>) -> Result<&'a str, ServiceError> {
    fields.text("type")?.ok_or_else(|| fields.invalid("type", "is required"))
}

/// The texts of a list of parts that hold nothing else, each of type `kind`.
pub fn texts<'a>(item: &Fields<'a>, key: &str, kind: &str) -> Result<Vec<&'a str>, ServiceError> {
    let parts = item.list(key)?.unwrap_or_default();
    let text = |(index, value)| {
        let part = Fields::of(value, format!("{}[{index}]", item.path(key)))?;
        if self::kind(&part)? != kind {
            return Err(part.invalid("type", format!("must be {kind}")));
        }
        part.text("text")?.ok_or_else(|| invalid(part.path("text"), format!("{} is required", part.path("text"))))
    };
    parts.iter().enumerate().map(text).collect()
}
