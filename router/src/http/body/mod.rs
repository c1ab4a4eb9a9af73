//! A request's JSON body: received within bounds, and then parsed away from the async threads.

mod encoding;
mod pace;
mod read;

use axum::{
    extract::Request,
    http::{HeaderMap, header},
};
use secateur_proto::{ErrorCode, ServiceError};
use serde_json::Value;
use tokio::time::Instant;

use self::encoding::Coding;
use super::visit::Visit;
use crate::{admission::Held, app::App};

pub use encoding::ACCEPTED as ENCODINGS;

/// Bytes of a JSON object: one node of a B-tree with room for eleven fields.
const OBJECT_BYTES: usize = 11 * (size_of::<String>() + size_of::<Value>()) + 32;

/// A body as it was sent.
pub struct Raw {
    bytes: Vec<u8>,
    codings: Vec<Coding>,
    bytes_max: usize,
}

/// Receives the body, and registers its memory. A request whose headers rule it out is refused before anything is read.
pub async fn receive(app: &App, request: Request, deadline: Instant) -> Result<(Raw, Held), ServiceError> {
    let (parts, body) = request.into_parts();
    check_content_type(&parts.headers)?;
    let codings = encoding::codings(&parts.headers)?;
    let (bytes_max, timeout) = (app.body_bytes_max, app.request_timeout);
    let peer = Visit::peer(&parts.extensions);
    let held = app.admission.holder(peer);
    let bounds = read::Bounds { bytes_max, deadline, timeout };
    let bytes = read::read(body, bounds, &app.admission, peer, &held).await?;
    Ok((Raw { bytes, codings, bytes_max }, held))
}

impl Raw {
    /// Parses the body as JSON. Takes time in proportion to the body, so do not call it on an async task. Afterwards
    /// `held` counts the memory that processing the JSON takes.
    pub fn json(self, held: &Held) -> Result<Value, ServiceError> {
        let bytes = encoding::undo(self.bytes, &self.codings, self.bytes_max, held)?;
        held.resize(weight(&bytes))?;
        serde_json::from_slice(&bytes).map_err(|error| {
            ServiceError::new(ErrorCode::InvalidRequest, format!("the body is not valid JSON: {error}"))
        })
    }
}

/// Estimated bytes of memory for a body, its JSON and the data made from it: two copies of every text, a value for each
/// character that can stand before one, in a list with room for as many again, and a B-tree node for each object's
/// fields. A body of short values takes a hundred times its own size.
fn weight(bytes: &[u8]) -> usize {
    let values: usize = bytes.iter().map(|byte| usize::from(matches!(byte, b',' | b':' | b'['))).sum();
    let objects: usize = bytes.iter().map(|byte| usize::from(*byte == b'{')).sum();
    bytes.len() * 3 + values * 2 * size_of::<Value>() + objects * OBJECT_BYTES
}

fn check_content_type(headers: &HeaderMap) -> Result<(), ServiceError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    let message = "the body must be JSON; send the header content-type: application/json";
    Err(ServiceError::new(ErrorCode::UnsupportedMediaType, message))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use axum::http::HeaderValue;

    use super::*;
    use crate::admission::Admission;

    #[test]
    fn the_type_is_json_or_not_said() {
        let is_json = |content_type: &'static str| {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
            check_content_type(&headers).is_ok()
        };
        assert!(is_json("application/json; charset=utf-8") && is_json("application/vnd.api+json"));
        assert!(!is_json("text/plain") && !is_json(""));
        assert!(check_content_type(&HeaderMap::new()).is_ok());
    }

    #[test]
    fn json_is_weighed_by_its_values() {
        let admission = Admission::new(1, 1, 64 << 20);
        let held = admission.holder(IpAddr::from(Ipv4Addr::LOCALHOST).into());
        let code = |text: Vec<u8>| {
            let raw = Raw { bytes: text, codings: Vec::new(), bytes_max: usize::MAX };
            raw.json(&held).err().map(|error| error.code)
        };
        assert_eq!(code(b"{}".to_vec()), None);
        assert_eq!(code(b"{".to_vec()), Some(ErrorCode::InvalidRequest));
        assert_eq!(code(Vec::new()), Some(ErrorCode::InvalidRequest));
        let text = format!("\"{}\"", "x".repeat(4 << 20));
        assert_eq!(code(text.into_bytes()), None);
        let values = format!("[{}1]", "1,".repeat(2 << 20));
        assert_eq!(code(values.into_bytes()), Some(ErrorCode::PayloadTooLarge));
    }
}
