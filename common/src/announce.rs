//! Announcement of a program's listening address to the process that started it: one JSON line on standard output.
//!
//! `secateur up` starts its children on port 0 and reads these lines, so ports are never guessed or raced for.

use std::{
    io::{self, Write},
    net::SocketAddr,
};

/// Writes `{"listening":"ADDR"}` and flushes.
pub fn listening(address: SocketAddr) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{{\"listening\":\"{address}\"}}")?;
    out.flush()
}

/// Parses a line written by [`listening`].
pub fn parse(line: &str) -> Option<SocketAddr> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    value.get("listening")?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_parses_back() {
        assert_eq!(parse("{\"listening\":\"127.0.0.1:4000\"}"), Some(SocketAddr::from(([127, 0, 0, 1], 4000))));
        assert_eq!(parse("hello"), None);
    }
}
