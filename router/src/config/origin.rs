//! Origins of web pages, as the setting `--cors-origin` names them.

use std::str::FromStr;

use axum::http::{HeaderValue, uri::Authority};

/// Whose scripts may call the router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody's: an empty text, which an unset variable in a compose file produces.
    Nobody,
    /// Those of any page.
    Any,
    /// Those of pages of one origin, in the form in which browsers send it.
    Of(HeaderValue),
}

/// Reason why a text is no origin.
#[derive(Debug, thiserror::Error)]
#[error("{reason}; an origin is a scheme, a host and perhaps a port, such as https://app.example, or * for any")]
pub struct OriginError {
    reason: &'static str,
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let refused = |reason| Err(OriginError { reason });
        let text = text.trim().to_ascii_lowercase();
        if text.is_empty() {
            return Ok(Origin::Nobody);
        }
        if text == "*" {
            return Ok(Origin::Any);
        }
        let Some((scheme, rest)) = text.split_once("://") else { return refused("it has no scheme") };
        if !is_scheme(scheme) {
            return refused("its scheme is none");
        }
        if rest.contains(['/', '?', '#']) {
            return refused("it has a path");
        }
        // Browsers send the host alone where the port is the scheme's own.
        if let ("http", Some((_, "80"))) | ("https", Some((_, "443"))) = (scheme, rest.rsplit_once(':')) {
            return refused("it has its scheme's own port, which browsers leave out");
        }
        let is_host = rest.parse::<Authority>().is_ok_and(|authority| !authority.host().is_empty());
        if !is_host || rest.contains(['@', '*']) {
            return refused("its host is none");
        }
        HeaderValue::from_str(&text).map(Origin::Of).or_else(|_| refused("its host is none"))
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_taken_as_browsers_send_them() {
        for (text, sent) in [
            ("https://app.example", "https://app.example"),
            (" HTTP://LocalHost:3000 ", "http://localhost:3000"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
        ] {
            assert_eq!(text.parse::<Origin>().unwrap(), Origin::Of(HeaderValue::from_static(sent)));
        }
        assert_eq!("*".parse::<Origin>().unwrap(), Origin::Any);
        assert_eq!(" ".parse::<Origin>().unwrap(), Origin::Nobody);
    }

    #[test]
    fn what_no_browser_sends_is_refused_with_the_reason() {
        for (text, reason) in [
            ("app.example", "scheme"),
            ("null", "scheme"),
            ("://app.example", "scheme"),
            ("https://app.example/", "path"),
            ("https://app.example/chat", "path"),
            ("https://", "host"),
            ("https://:3000", "host"),
            ("https://*.example", "host"),
            ("https://me@app.example", "host"),
            ("https://näher.example", "host"),
            ("https://app.example:443", "port"),
            ("http://app.example:80", "port"),
        ] {
            let error = text.parse::<Origin>().unwrap_err().to_string();
            assert!(error.split(';').next().unwrap().contains(reason), "{text}: {error}");
        }
    }
}
