//! The bytes that a token stands for. Vocabularies spell tokens in one of two ways, and the decoder says which:
//!
//! - byte-level (GPT-2, Llama 3, Qwen): each byte is one printable character, `Ġthe` is ` the`;
//! - with byte fallback (Llama 2, Mistral, Gemma): text as it is, `▁` for a space, `<0xE2>` for a byte.

use std::collections::HashMap;

use serde_json::Value;

/// SentencePiece's mark for a space.
const SPACE_MARK: &str = "\u{2581}";

/// The way in which a vocabulary spells its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// Byte by byte; the table maps characters to bytes.
    ByteLevel(HashMap<char, u8>),
    /// As plain text.
    Text {
        /// Whether `▁` stands for a space.
        marks_spaces: bool,
        /// Whether `<0x0A>` stands for a byte.
        has_byte_tokens: bool,
    },
}

impl Spelling {
    /// The spelling of a vocabulary with this `decoder` in its `tokenizer.json`.
    pub fn of_decoder(decoder: &Value) -> Self {
        let steps: Vec<&Value> = match decoder["decoders"].as_array() {
            Some(steps) => steps.iter().collect(),
            None => vec![decoder],
        };
        let has = |kind: &str| steps.iter().any(|step| step["type"] == kind);
        if has("ByteLevel") {
            return Self::ByteLevel(byte_level_table());
        }
        let replaces_mark = |step: &&Value| step["type"] == "Replace" && step["pattern"]["String"] == SPACE_MARK;
        Self::Text {
            marks_spaces: has("Metaspace") || steps.iter().any(replaces_mark),
            has_byte_tokens: has("ByteFallback"),
        }
    }

    /// The bytes of a token of this vocabulary.
    pub fn bytes(&self, token: &str) -> Vec<u8> {
        match self {
            // Added tokens are spelled as plain text.
            Self::ByteLevel(table) => {
                let bytes: Option<Vec<u8>> = token.chars().map(|character| table.get(&character).copied()).collect();
                bytes.unwrap_or_else(|| token.as_bytes().to_vec())
            }
            Self::Text { marks_spaces, has_byte_tokens } => {
                let byte = byte_token(token).filter(|_| *has_byte_tokens);
                let text = || if *marks_spaces { token.replace(SPACE_MARK, " ") } else { token.to_owned() };
                byte.map_or_else(|| text().into_bytes(), |byte| vec![byte])
            }
        }
    }
}

/// The byte of a token such as `<0x0A>`.
fn byte_token(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>').filter(|digits| digits.len() == 2)?;
    u8::from_str_radix(digits, 16).ok()
}

/// GPT-2's table: printable bytes stand for themselves, the others for the characters from 256 on, in order.
fn byte_level_table() -> HashMap<char, u8> {
    let is_printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut others = '\u{100}'..;
    let character = |byte| if is_printable(byte) { Some(char::from(byte)) } else { others.next() };
    let characters: Vec<Option<char>> = (0..=u8::MAX).map(character).collect();
    characters.into_iter().zip(0..=u8::MAX).filter_map(|(character, byte)| Some((character?, byte))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn byte_level_tokens_are_their_bytes() {
        let spelling = Spelling::of_decoder(&json!({"type": "Sequence", "decoders": [{"type": "ByteLevel"}]}));
        assert_eq!(spelling.bytes("Ġthe"), b" the");
        assert_eq!(spelling.bytes("Ċ"), b"\n");
        assert_eq!(spelling.bytes("Ã©"), "é".as_bytes());
        assert_eq!(spelling.bytes("ð"), [0xF0], "a part of a character");
        assert_eq!(spelling.bytes("<|im_start|>"), b"<|im_start|>");
        assert_eq!(spelling.bytes("<｜end｜>"), "<｜end｜>".as_bytes(), "added, and not in the table");
    }

    #[test]
    fn every_byte_has_its_character() {
        let table = byte_level_table();
        assert_eq!(table.len(), 256);
        assert_eq!((table[&'Ġ'], table[&'Ń'], table[&'~']), (b' ', 0xAD, b'~'));
    }

    #[test]
    fn byte_fallback_tokens_are_text_or_one_byte() {
        let decoder = json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
        ]});
        let spelling = Spelling::of_decoder(&decoder);
        assert_eq!(spelling.bytes("▁thé"), " thé".as_bytes());
        assert_eq!(spelling.bytes("<0xE2>"), [0xE2]);
        assert_eq!(spelling.bytes("<0x1>"), b"<0x1>");
        let plain = Spelling::of_decoder(&Value::Null);
        assert_eq!(plain.bytes("<0xE2>"), b"<0xE2>");
    }
}
