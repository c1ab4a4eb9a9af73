//! A call to a node, with the names under which its request can be followed.

use tonic::{Request, metadata::MetadataValue};

use super::order::RequestIds;

/// The call with `message` for a request of these ids.
pub fn request<T>(message: T, ids: &RequestIds) -> Request<T> {
    let mut request = Request::new(message);
    for (key, value) in [("x-request-id", Some(&ids.request_id)), ("traceparent", ids.traceparent.as_ref())] {
        // Both were checked to be plain ASCII when they were taken from the client.
        if let Some(value) = value.and_then(|value| MetadataValue::try_from(value.as_str()).ok()) {
            request.metadata_mut().insert(key, value);
        }
    }
    request
}
