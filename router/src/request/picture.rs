//! An encoded picture of a request.

use bytes::Bytes;

/// An encoded picture and the field it came from.
#[derive(Debug, PartialEq, Eq)]
pub struct Picture {
    /// The encoded picture: PNG, JPEG, WebP or GIF by its first bytes. The prefill node decodes its pixels.
    pub bytes: Bytes,
    /// The field that the picture came from, such as `messages[0].content[1].image_url.url`.
    pub param: String,
}
