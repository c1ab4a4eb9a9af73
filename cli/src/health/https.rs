//! A router's health page over TLS.

use anyhow::{Context, bail};
use reqwest::Url;
use secateur_channel::{HttpsError, LinkSecurity, open_https};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::usage;

/// Most bytes of an answer that are read.
const ANSWER_MAX: u64 = 64 * 1024;

/// Status and body of the page at `url`, which begins with `https://`.
pub async fn get(url: &str, security: &LinkSecurity) -> anyhow::Result<(u16, String)> {
    let url = Url::parse(url).map_err(|error| usage::usage(format!("--url {url}: {error}")))?;
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { bail!("{url} has no host") };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let mut stream = open_https(security, bare, port).await.map_err(|error| match error {
        HttpsError::Security(error) => usage::usage(error.to_string()),
        error => error.into(),
    })?;
    let request = format!("GET {} HTTP/1.1\r\nhost: {host}:{port}\r\nconnection: close\r\n\r\n", url.path());
    stream.write_all(request.as_bytes()).await.context("the router does not answer")?;
    let mut answer = Vec::new();
    // A router that closes without a goodbye has answered nevertheless.
    let read = stream.take(ANSWER_MAX).read_to_end(&mut answer).await;
    match parsed(&String::from_utf8_lossy(&answer)) {
        Some(answer) => Ok(answer),
        None => {
            read.context("the router does not answer")?;
            bail!("what answers is no HTTP server")
        }
    }
}

fn parsed(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok()?;
    Some((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_what_is_none_is_not() {
        let answer = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(parsed(answer), Some((503, "{}".to_owned())));
        for other in ["", "HTTP/1.1 200 OK\r\n", "SSH-2.0\r\n\r\n", "HTTP/1.1 OK\r\n\r\n"] {
            assert_eq!(parsed(other), None, "{other}");
        }
    }
}
