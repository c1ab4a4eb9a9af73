//! Why a picture was not fetched, in words for the client. They tell nothing about the network behind the router: a
//! name without addresses, with private ones, and a host that does not take the connection read the same.

use secateur_proto::{ErrorCode, ServiceError};

/// Why a picture was not fetched; reads on from the name of the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The text is no URL.
    #[error("is not a valid URL")]
    Malformed,
    /// The URL is longer than a URL may be, in bytes.
    #[error("must be a URL of at most {0} bytes")]
    TooLong(usize),
    /// The URL carries a user name or a password.
    #[error("must not carry a user name or a password")]
    Credentials,
    /// The allow-list does not admit the URL's host at its port.
    #[error("names a host or a port that pictures are not fetched from here")]
    NotListed,
    /// There is no connection to a host that may be reached.
    #[error("could not be fetched from its host")]
    Unreachable,
    /// The answer or its body did not come in time, in seconds.
    #[error("did not arrive within {0} seconds")]
    Slow(u64),
    /// The answer has another status than 200.
    #[error("was answered with status {0}")]
    Status(u16),
    /// There are more redirects than are followed.
    #[error("is redirected more than {0} times")]
    Redirects(usize),
    /// A redirect leads where pictures are not fetched from.
    #[error("is redirected to where pictures are not fetched from here")]
    Redirected,
    /// The picture is larger than a picture may be, in bytes.
    #[error("is larger than {0} bytes")]
    TooLarge(usize),
    /// The first bytes are those of no known picture format.
    #[error("is not a PNG, JPEG, WebP or GIF file")]
    NotAPicture,
    /// The body ended before its announced end.
    #[error("ended before it was whole")]
    CutShort,
    /// The request has come to its deadline.
    #[error("was not fetched before the request's time ended")]
    Late,
    /// The request may not hold so much memory.
    #[error(transparent)]
    Room(ServiceError),
}

impl Failure {
    /// The answer to the client whose field is `param`.
    pub fn at(self, param: &str) -> ServiceError {
        let code = match self {
            Failure::Room(error) => return error,
            Failure::Late => ErrorCode::Timeout,
            _ => ErrorCode::InvalidImage,
        };
        ServiceError::new(code, format!("{param} {self}")).with_param(param)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_field_and_is_the_clients_error() {
        let error = Failure::Status(404).at("messages[0].content[1].image_url.url");
        assert_eq!(error.code, ErrorCode::InvalidImage);
        assert_eq!(error.message, "messages[0].content[1].image_url.url was answered with status 404");
        assert_eq!(error.param.as_deref(), Some("messages[0].content[1].image_url.url"));
        assert_eq!(Failure::Late.at("x").code, ErrorCode::Timeout);
        let full = ServiceError::new(ErrorCode::Overloaded, "full");
        assert_eq!(Failure::Room(full.clone()).at("x"), full);
    }
}
