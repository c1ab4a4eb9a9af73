//! Tokens of a rendered prompt, in which only the template writes special tokens.
//!
//! Text of the client may look like a special token (`<s>` in a question about HTML). A tokenizer would read it as the
//! control token; here it stays text. The prompt is then encoded once more by a copy of the tokenizer that takes no
//! special token from text, with the template's own special tokens replaced by a separator that it does know. It splits
//! the prompt at separators as the tokenizer splits it at special tokens, so that all other tokens stay the same.

use std::ops::Range;

use tokenizers::{AddedToken, Encoding, Tokenizer};

use super::marks::Marked;
use crate::served::ServedModel;

/// Stands for the template's special tokens. Private-use characters, so that no text contains it.
const SEPARATOR: &str = "\u{10FFFC}secateur\u{10FFFC}";

/// Tokens and their byte ranges in the text; a token that the tokenizer adds has an empty range.
#[derive(Debug, Default, PartialEq)]
pub struct Encoded {
    /// Ids of the tokens.
    pub ids: Vec<u32>,
    /// Byte range of each token.
    pub offsets: Vec<(usize, usize)>,
}

impl From<Encoding> for Encoded {
    fn from(encoding: Encoding) -> Self {
        Self { ids: encoding.get_ids().to_vec(), offsets: encoding.get_offsets().to_vec() }
    }
}

/// Encodes `text`, in which the client's texts stand at `places`.
pub fn encode(
    model: &ServedModel,
    text: &str,
    adds_special_tokens: bool,
    places: &[Marked],
) -> Result<Encoded, tokenizers::Error> {
    let plain = Encoded::from(model.tokenizer.encode(text, adds_special_tokens)?);
    let special = special_tokens(model, text, &plain);
    let is_clients = |bytes: &Range<usize>| places.iter().any(|place| overlaps(&place.bytes, bytes));
    let (clients, templates): (Vec<_>, Vec<_>) = special.into_iter().partition(|(_, bytes)| is_clients(bytes));
    if clients.is_empty() || text.contains(SEPARATOR) {
        return Ok(plain);
    }
    let (separated, pieces) = separate(text, &templates);
    let encoding = literal(model)?.encode(separated, adds_special_tokens)?;
    Ok(restore(&encoding.into(), model.vocab, &templates, &pieces))
}

/// Whether two byte ranges share a byte.
pub fn overlaps(one: &Range<usize>, other: &Range<usize>) -> bool {
    one.start < other.end && other.start < one.end
}

/// The special tokens that `encoded` found in `text`, each with its byte range.
fn special_tokens(model: &ServedModel, text: &str, encoded: &Encoded) -> Vec<(u32, Range<usize>)> {
    let known = &model.special_tokens;
    let tokens = encoded.ids.iter().copied().zip(encoded.offsets.iter().map(|&(start, end)| start..end));
    let is_spelled = |bytes: &Range<usize>| {
        let spelled = text.get(bytes.clone()).map(str::trim);
        spelled.is_some_and(|spelled| known.texts.iter().any(|text| text == spelled))
    };
    let is_special =
        |id: u32, bytes: &Range<usize>| known.ids.contains(&id) || (known.unknown == Some(id) && is_spelled(bytes));
    tokens.filter(|(id, bytes)| !bytes.is_empty() && is_special(*id, bytes)).collect()
}

/// The copy of the tokenizer that takes no special token from text, made for the first prompt that needs it.
fn literal(model: &ServedModel) -> Result<&Tokenizer, tokenizers::Error> {
    let made = model.literal_tokenizer.get_or_init(|| {
        let mut tokenizer = model.tokenizer.clone();
        tokenizer.set_encode_special_tokens(true);
        tokenizer
            .add_tokens([AddedToken::from(SEPARATOR, false).normalized(false)])
            .map_err(|error| error.to_string())?;
        Ok(tokenizer)
    });
    made.as_ref().map_err(|error| error.clone().into())
}

/// The start of a stretch of text behind a separator, in the separated text and in the original.
type Piece = (usize, usize);

/// Replaces the ranges of `tokens` by separators.
fn separate(text: &str, tokens: &[(u32, Range<usize>)]) -> (String, Vec<Piece>) {
    let mut separated = String::with_capacity(text.len());
    let mut pieces = vec![(0, 0)];
    let mut from = 0;
    for (_, bytes) in tokens {
        separated.push_str(text.get(from..bytes.start).unwrap_or_default());
        separated.push_str(SEPARATOR);
        from = bytes.end;
        pieces.push((separated.len(), from));
    }
    separated.push_str(text.get(from..).unwrap_or_default());
    (separated, pieces)
}

/// Puts the special tokens back where the separators are, and all ranges back to the original text. Ids from `vocab` on
/// are the separator's.
fn restore(encoded: &Encoded, vocab: u32, tokens: &[(u32, Range<usize>)], pieces: &[Piece]) -> Encoded {
    let mut restored = Encoded::default();
    let mut seen = 0;
    for (&id, &(start, end)) in encoded.ids.iter().zip(&encoded.offsets) {
        if id >= vocab {
            if let Some((special, bytes)) = tokens.get(seen) {
                restored.ids.push(*special);
                restored.offsets.push((bytes.start, bytes.end));
            }
            seen += 1;
            continue;
        }
        let (behind, original) = pieces.get(seen).copied().unwrap_or_default();
        let back = |at: usize| at.saturating_sub(behind) + original;
        restored.ids.push(id);
        restored.offsets.push(if start == end { (0, 0) } else { (back(start), back(end)) });
    }
    restored
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::served;

    fn model() -> ServedModel {
        served::load(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/model"), None).unwrap()
    }

    fn encoded(text: &str, clients: &[(usize, usize)]) -> Encoded {
        let places: Vec<Marked> =
            clients.iter().enumerate().map(|(text, &(start, end))| Marked { text, bytes: start..end }).collect();
        encode(&model(), text, false, &places).unwrap()
    }

    #[test]
    fn the_clients_special_tokens_are_text_and_the_templates_are_not() {
        let model = model();
        let text = "<s>user: what is </s> or <s>?</s>";
        let found = encoded(text, &[(9, 29)]);
        let special: Vec<u32> = found.ids.iter().copied().filter(|id| model.special_tokens.ids.contains(id)).collect();
        let [begin, end] = ["<s>", "</s>"].map(|token| model.tokenizer.token_to_id(token).unwrap());
        assert_eq!(special, [begin, end]);
        assert_eq!((found.ids[0], *found.ids.last().unwrap()), (begin, end));
        assert_eq!(found.offsets.last(), Some(&(29, 33)));
        let words: String = found.offsets.iter().map(|&(start, end)| &text[start..end]).collect();
        assert_eq!(words, text, "the ranges are those of the text");
    }

    #[test]
    fn other_tokens_are_those_of_the_tokenizer() {
        let text = "<s>user: hello world</s>again";
        let tail = " <s> tail";
        let plain = encoded(text, &[(9, 20)]);
        let whole = format!("{text}{tail}");
        let with_tail = encoded(&whole, &[(9, 20), (text.len(), whole.len())]);
        assert_eq!(with_tail.ids[..plain.ids.len() - 1], plain.ids[..plain.ids.len() - 1]);
    }

    #[test]
    fn a_text_without_special_tokens_is_encoded_once() {
        let model = model();
        assert!(encode(&model, "<s>hi</s>", false, &[]).unwrap().ids.len() > 2);
        assert!(model.literal_tokenizer.get().is_none());
    }
}
