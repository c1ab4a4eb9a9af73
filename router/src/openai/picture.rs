//! Reads pictures of a request, by value or by URL.

use secateur_proto::{ErrorCode, ServiceError};
use serde_json::Value;

use super::{
    fields::{Fields, invalid},
    image_url,
};
use crate::request::{Limits, PictureSource, SentPicture};

/// Reads `image_url` of a part: an object with `url` and possibly other keys, or a bare string.
pub fn parse(fields: &Fields, limits: &Limits) -> Result<SentPicture, ServiceError> {
    let (url, param, is_low) = match fields.get("image_url") {
        Some(Value::String(url)) => (url.as_str(), fields.path("image_url"), false),
        Some(value @ Value::Object(_)) => {
            let object = Fields::of(value, fields.path("image_url"))?;
            let url = object.text("url")?.ok_or_else(|| object.invalid("url", "is required"))?;
            (url, object.path("url"), is_low(&object)?)
        }
        Some(_) => return Err(fields.invalid("image_url", "must be an object with a url, or a string")),
        None => return Err(invalid(fields.path("image_url"), format!("{} is required", fields.path("image_url")))),
    };
    if image_url::is_web(url) {
        return Ok(SentPicture { source: PictureSource::Url(url.to_owned()), param, is_low });
    }
    let bytes = image_url::decode(url, limits.image_bytes_max)
        .map_err(|message| ServiceError::new(ErrorCode::InvalidImage, message).with_param(param.clone()))?;
    Ok(SentPicture { source: PictureSource::Inline(bytes), param, is_low })
}

fn is_low(fields: &Fields) -> Result<bool, ServiceError> {
    match fields.text("detail")? {
        None | Some("auto" | "high") => Ok(false),
        Some("low") => Ok(true),
        Some(_) => Err(fields.out_of_range("detail", "auto, low or high")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Fetched, Picture, PictureUrl};
    use bytes::Bytes;
    use serde_json::json;

    const LIMITS: Limits = Limits { images_max: 1, image_bytes_max: 100, vocab: 300 };
    // The eight bytes that every PNG starts with.
    const PNG: &str = "data:image/png;base64,iVBORw0KGgo=";

    fn parse_json(image_url: Value) -> Result<SentPicture, ServiceError> {
        parse(&Fields::of(&json!({"image_url": image_url}), "p").unwrap(), &LIMITS)
    }

    #[test]
    fn a_url_is_kept_until_it_is_fetched() {
        let url = "HTTPS://x.test/a.png";
        let sent = parse_json(json!({"url": url})).unwrap();
        assert_eq!(sent.wanted(), Some(PictureUrl { url: url.into(), param: "p.image_url.url".into() }));
        let fetched = Fetched::from([(url.to_owned(), Bytes::from_static(b"x"))]);
        let picture = parse_json(json!(url)).unwrap().with_bytes(&fetched).unwrap();
        assert_eq!(picture, Picture { bytes: Bytes::from_static(b"x"), param: "p.image_url".into() });
        let refused = sent.with_bytes(&Fetched::new()).unwrap_err();
        assert_eq!((refused.code, refused.param.as_deref()), (ErrorCode::InvalidImage, Some("p.image_url.url")));
        assert!(refused.message.contains("data URI"), "{refused}");
    }

    #[test]
    fn a_picture_that_came_along_needs_no_fetching() {
        let sent = parse_json(json!(PNG)).unwrap();
        assert_eq!(sent.wanted(), None);
        assert_eq!(sent.with_bytes(&Fetched::new()).unwrap().bytes.len(), 8);
    }

    #[test]
    fn detail_is_low_or_makes_no_difference() {
        let is_low = |detail| parse_json(json!({"url": PNG, "detail": detail})).map(|sent| sent.is_low);
        assert!(is_low(json!("low")).unwrap());
        for detail in [json!("auto"), json!("high"), Value::Null] {
            assert!(!is_low(detail).unwrap());
        }
        for detail in [json!("medium"), json!(""), json!(1), json!({})] {
            let error = is_low(detail).unwrap_err();
            assert_eq!((error.code, error.param.as_deref()), (ErrorCode::InvalidRequest, Some("p.image_url.detail")));
        }
    }
}
