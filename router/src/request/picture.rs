//! Pictures of a request: as they were sent, by value or by URL, and with their bytes.

use std::collections::HashMap;

use bytes::Bytes;
use secateur_proto::{ErrorCode, ServiceError};

/// What is said of a URL where URLs are not fetched.
const NOT_FETCHED: &str = "pictures must be sent as data URIs (data:image/png;base64,...); URLs are not fetched";

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
    ServiceError::new(ErrorCode::InvalidImage, NOT_FETCHED).with_param(param)
}

/// Whether the bytes begin like a known image format; the declared media type is often wrong.
pub fn is_known_format(bytes: &[u8]) -> bool {
    let is_png = bytes.starts_with(b"\x89PNG\r\n\x1a\n");
    let is_jpeg = bytes.starts_with(b"\xff\xd8\xff");
    let is_webp = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP");
    let is_gif = bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a");
    is_png || is_jpeg || is_webp || is_gif
}
