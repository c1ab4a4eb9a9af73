//! Pictures of a request: as they were sent, by value or by URL, and with their bytes.

use std::collections::HashMap;

use bytes::Bytes;
use secateur_proto::{ErrorCode, ServiceError};
use serde_json::Value;

use super::{
    fields::{Fields, invalid},
    generation::Limits,
    image_url,
};

/// An encoded picture and the field it came from.
#[derive(Debug, PartialEq, Eq)]
pub struct Picture {
    /// The encoded picture: PNG, JPEG, WebP or GIF by its first bytes. The prefill node decodes its pixels.
    pub bytes: Bytes,
    /// The field that the picture came from, such as `messages[0].content[1].image_url.url`.
    pub param: String,
}

/// A picture as the client sent it.
#[derive(Debug, PartialEq, Eq)]
pub struct SentPicture {
    /// The picture, or where it is.
    pub source: PictureSource,
    /// The field that the picture came from.
    pub param: String,
    /// Whether the client asks for little detail (`"detail": "low"`).
    pub is_low: bool,
}

/// Where a picture's bytes are.
#[derive(Debug, PartialEq, Eq)]
pub enum PictureSource {
    /// In the request.
    Inline(Bytes),
    /// On a web server, at this URL, which is not checked here.
    Url(String),
}

/// A picture that is to be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PictureUrl {
    /// The URL as the client wrote it.
    pub url: String,
    /// The field that names it first.
    pub param: String,
}

/// Fetched pictures, by the URL as the client wrote it.
pub type Fetched = HashMap<String, Bytes>;

impl SentPicture {
    /// The picture with its bytes. A URL that is not among `fetched` is refused.
    pub fn with_bytes(self, fetched: &Fetched) -> Result<Picture, ServiceError> {
        let bytes = match self.source {
            PictureSource::Inline(bytes) => bytes,
            PictureSource::Url(url) => fetched.get(&url).cloned().ok_or_else(|| not_fetched(&self.param))?,
        };
        Ok(Picture { bytes, param: self.param })
    }

    /// What is to be fetched, if the picture was sent by URL.
    pub fn wanted(&self) -> Option<PictureUrl> {
        match &self.source {
            PictureSource::Inline(_) => None,
            PictureSource::Url(url) => Some(PictureUrl { url: url.clone(), param: self.param.clone() }),
        }
    }
}

/// The refusal of a URL where URLs are not fetched.
pub fn not_fetched(param: &str) -> ServiceError {
    ServiceError::new(ErrorCode::InvalidImage, image_url::NOT_FETCHED).with_param(param)
}

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
