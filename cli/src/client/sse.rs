//! Server-sent events, reassembled from the pieces that the network delivers.

/// Bytes of an event that is not complete yet.
#[derive(Default)]
pub struct Events {
    line: Vec<u8>,
    data: Vec<u8>,
}

impl Events {
    /// Takes bytes and calls `on_data` with the data of every event that they complete.
    pub fn push<E>(&mut self, bytes: &[u8], mut on_data: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.line.extend_from_slice(piece);
            if !piece.ends_with(b"\n") {
                break;
            }
            let line = self.line.trim_ascii_end();
            // A blank line ends an event; an event without data, such as a comment, is dropped.
            if line.is_empty() && !self.data.is_empty() {
                on_data(&std::mem::take(&mut self.data))?;
            } else if let Some(data) = line.strip_prefix(b"data:") {
                if !self.data.is_empty() {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
            }
            self.line.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn events(pieces: &[&[u8]]) -> Vec<String> {
        let mut found = Vec::new();
        let mut events = Events::default();
        for piece in pieces {
            let taken = events.push(piece, |data| {
                found.push(String::from_utf8(data.to_vec()).unwrap());
                Ok::<(), Infallible>(())
            });
            taken.unwrap();
        }
        found
    }

    #[test]
    fn events_are_found_however_they_are_cut() {
        let whole =
            b"data: {\"a\": 1}\n\n: comment\n\nevent: x\r\ndata:b\r\n\r\ndata: c\ndata: d\n\ndata: [DONE]\n\ndata: cut";
        let expected = ["{\"a\": 1}", "b", "c\nd", "[DONE]"];
        assert_eq!(events(&[whole]), expected);
        for size in 1..12 {
            assert_eq!(events(&whole.chunks(size).collect::<Vec<_>>()), expected, "{size}");
        }
    }

    #[test]
    fn an_error_stops_the_reading() {
        let mut seen = 0;
        let result = Events::default().push(b"data: 1\n\ndata: 2\n\n", |_| {
            seen += 1;
            Err("no")
        });
        assert_eq!((result, seen), (Err("no"), 1));
    }
}
