//! Clients that write HTTP by hand: plain ones, which send all they have before they read, and slow ones.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// An answer as it came.
#[derive(Debug)]
pub struct Answer {
    pub text: String,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.text.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    pub fn has(&self, header: &str) -> bool {
        let head = self.text.split("\r\n\r\n").next().unwrap_or_default();
        head.to_ascii_lowercase().lines().any(|line| line.starts_with(&header.to_ascii_lowercase()))
    }

    /// The error code of a whole body.
    pub fn code(&self) -> Option<String> {
        let (_, body) = self.text.split_once("\r\n\r\n")?;
        let body: serde_json::Value = serde_json::from_str(body).ok()?;
        body["error"]["code"].as_str().map(str::to_owned)
    }
}

/// The head of a request with these further header lines.
pub fn head(method: &str, path: &str, lines: &[String]) -> Vec<u8> {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    format!("{method} {path} HTTP/1.1\r\nhost: x\r\n{lines}\r\n").into_bytes()
}

/// `content-length` and `content-type` of a JSON body.
pub fn json_of(bytes: usize) -> Vec<String> {
    vec!["content-type: application/json".to_owned(), format!("content-length: {bytes}")]
}

/// Sends all of `bytes` before it reads the answer to its end, as a plain client does.
pub async fn tell(address: SocketAddr, bytes: &[u8]) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(bytes).await?;
    answer(&mut stream).await
}

/// One answer, whose length is given or which ends with the connection.
pub async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Answer> {
    let mut bytes = Vec::new();
    let read = async {
        let mut piece = [0; 4096];
        while !is_whole(&bytes) {
            match stream.read(&mut piece).await? {
                0 => break,
                count => bytes.extend_from_slice(&piece[..count]),
            }
        }
        Ok(Answer { text: String::from_utf8_lossy(&bytes).into_owned() })
    };
    timeout(Duration::from_secs(60), read).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head
        .to_ascii_lowercase()
        .lines()
        .find_map(|line| line.strip_prefix("content-length:").and_then(|length| length.trim().parse::<usize>().ok()));
    length.is_some_and(|length| body.len() >= length)
}
