//! For tests: tokenizers of three kinds, and streams of their tokens.

use std::{
    path::Path,
    sync::{Arc, LazyLock},
};

use proptest::prelude::*;

use crate::served::{self, ServedModel};

/// Texts whose characters have several bytes, or belong together.
pub const TEXTS: [&str; 16] = [
    "hello world",
    "  two  spaces  ",
    "안녕하세요 세계, 한글 문장은",
    "\u{1112}\u{1161}\u{11ab}\u{1100}\u{1173}\u{11af}",
    "👩\u{200d}👩\u{200d}👧\u{200d}👦 👨\u{200d}👩\u{200d}👧 🏳\u{fe0f}\u{200d}🌈",
    "👍🏽👍🏿 ❤\u{fe0f}\u{200d}🔥 🧑🏻\u{200d}🚀",
    "🇰🇷🇳🇴🇯🇵 🇩🇪🇫🇷🇰",
    "שָׁלוֹם עֲלֵיכֶם \u{200f}(בְּרֵאשִׁית)\u{200e}",
    "السَّلامُ عَلَيْكُم \u{202b}مَرْحَبًا\u{202c} ABC",
    "é è ñ ḗ Việt Å",
    "e\u{301} e\u{300} n\u{303} e\u{304}\u{301} Vie\u{302}\u{323}t A\u{30a}",
    "नमस्ते हिन्दी",
    "\0\0a\0 \0",
    "a\u{fffd}\u{fffd} \u{fffd}b",
    "\u{10ffff}\u{e000}\u{feff}\u{80}\u{7ff}",
    "line\nline\r\n\ttab\n\n",
];

/// The tokenizers, by kind.
pub struct Kinds {
    /// Bytes as GPT-2 has them, few merges.
    pub bytes: Arc<ServedModel>,
    /// As Llama 2 has it: tokens for bytes where the vocabulary ends, and a decoder that strips the first space.
    pub fallback: Arc<ServedModel>,
    /// Bytes as GPT-2 has them, merged across the borders of characters.
    pub across: Arc<ServedModel>,
}

/// The tokenizers, read once.
pub static KINDS: LazyLock<Kinds> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let model = |path| Arc::new(served::load(&folder.join(path), None).unwrap());
    Kinds { bytes: model("model"), fallback: model("scripts/byte-fallback"), across: model("scripts/across") }
});

impl Kinds {
    /// All of them.
    pub fn all(&self) -> [&Arc<ServedModel>; 3] {
        [&self.bytes, &self.fallback, &self.across]
    }
}

/// The tokens of `text`, without those that a tokenizer adds.
pub fn tokens(model: &ServedModel, text: &str) -> Vec<u32> {
    model.tokenizer.encode(text, false).unwrap().get_ids().to_vec()
}

/// The token of one byte.
pub fn byte(model: &ServedModel, byte: u8) -> u32 {
    (0..model.vocab).find(|id| model.token_bytes(*id) == [byte]).unwrap()
}

/// The text of all `tokens` at once, which is what their stream should become.
pub fn text(model: &ServedModel, tokens: &[u32]) -> String {
    model.tokenizer.decode(tokens, true).unwrap()
}

/// A part of a stream, before it is known whose.
#[derive(Clone, Debug)]
pub enum Part {
    /// The tokens of a text.
    Text(String),
    /// Any token, so many times.
    Token(u32, usize),
    /// Any byte, so many times.
    Byte(u8, usize),
}

/// Streams of any tokens, of texts, and of both.
pub fn streams() -> impl Strategy<Value = Vec<Part>> {
    let times = || prop_oneof![8 => Just(1usize), 1 => 2usize..200];
    let part = prop_oneof![
        3 => prop::sample::select(&TEXTS[..]).prop_map(|text| Part::Text(text.to_owned())),
        2 => "\\PC{0,12}".prop_map(Part::Text),
        4 => (any::<u32>(), times()).prop_map(|(token, times)| Part::Token(token, times)),
        1 => (any::<u8>(), times()).prop_map(|(byte, times)| Part::Byte(byte, times)),
    ];
    prop::collection::vec(part, 0..12)
}

/// The tokens of a stream for one tokenizer, special tokens and ids beyond its vocabulary among them.
pub fn tokens_of(model: &ServedModel, stream: &[Part]) -> Vec<u32> {
    let part = |part: &Part| match part {
        Part::Text(text) => tokens(model, text),
        Part::Token(token, times) => vec![token % (model.vocab + 2); *times],
        Part::Byte(number, times) => vec![byte(model, *number); *times],
    };
    stream.iter().flat_map(part).collect()
}
