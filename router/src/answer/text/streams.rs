//! Any stream of tokens: what a client gets of it, with stop texts and with log probabilities.

use proptest::prelude::*;
use secateur_proto::v1::TokenLogprob;

use super::*;
use crate::prompt::streams::{KINDS, TEXTS, streams, tokens, tokens_of};

const UNREADABLE: char = char::REPLACEMENT_CHARACTER;

/// An answer as a client gets it.
#[derive(Debug, Default)]
struct Answered {
    text: String,
    /// Tokens of the log probabilities and their bytes.
    entries: Vec<(String, Vec<u8>)>,
    stop: Option<String>,
    /// Text, and bytes of the entries, after each piece.
    lengths: Vec<(usize, usize)>,
}

impl Answered {
    fn add(&mut self, piece: Piece) {
        self.text.push_str(&piece.text);
        for entry in piece.logprobs.into_iter().flatten() {
            let entry = serde_json::to_value(&entry).unwrap();
            let bytes = entry["bytes"].as_array().unwrap().iter().map(|byte| byte.as_u64().unwrap() as u8).collect();
            self.entries.push((entry["token"].as_str().unwrap().to_owned(), bytes));
        }
        self.stop = piece.stop_text;
        self.lengths.push((self.text.len(), self.bytes().len()));
    }

    fn bytes(&self) -> Vec<u8> {
        self.entries.iter().flat_map(|(_, bytes)| bytes.clone()).collect()
    }
}

fn answered(model: &Arc<ServedModel>, before: &[u32], tokens: &[u32], stop: &StopConditions) -> Answered {
    let mut answer = AnswerText::new(model.clone(), before, stop, Some(Style::default()));
    let mut answered = Answered::default();
    for id in tokens {
        let mut piece = answer.piece();
        let is_stopped = answer.push(&mut piece, &Token { id: *id, logprob: Some(TokenLogprob::default()) });
        answered.add(piece);
        if is_stopped {
            return answered;
        }
    }
    let mut piece = answer.piece();
    answer.end(&mut piece);
    answered.add(piece);
    answered
}

fn alone(model: &Arc<ServedModel>, tokens: &[u32]) -> Answered {
    answered(model, &[], tokens, &StopConditions::default())
}

/// The text after each token, and after the end.
fn texts(model: &Arc<ServedModel>, tokens: &[u32]) -> Vec<String> {
    let mut detokenizer = Detokenizer::after(model.clone(), &[]);
    let mut text = String::new();
    let mut texts = Vec::new();
    for token in tokens {
        text.push_str(&detokenizer.push(*token));
        texts.push(text.clone());
    }
    text.push_str(&detokenizer.flush());
    texts.push(text);
    texts
}

/// Where an answer with these stop texts ends, and the one that ends it: the first one that is complete, of those that
/// end behind the text of the first `min_tokens` tokens.
fn cut<'a>(texts: &[String], stop: &'a StopConditions) -> Option<(usize, &'a str)> {
    let whole = texts.last()?;
    let tokens = texts.len() - 1;
    let passed = match (stop.min_tokens as usize).min(tokens) {
        0 => 0,
        // An answer that is too short ends without looking for stop texts in what was held back.
        min if min == tokens => whole.len(),
        min => texts[min - 1].len(),
    };
    let ends = |text: &'a String| {
        let all = whole.char_indices().filter(|(at, _)| whole[*at..].starts_with(text.as_str()));
        all.map(|(at, _)| (at + text.len(), at, text.as_str())).find(|(end, ..)| *end > passed)
    };
    stop.texts.iter().filter_map(ends).min().map(|(_, start, text)| (start, text))
}

#[test]
fn the_bytes_of_the_entries_are_the_text() {
    for model in KINDS.all() {
        for case in TEXTS {
            let answered = alone(model, &tokens(model, case));
            assert_eq!(answered.text, case);
            assert_eq!(answered.bytes(), case.as_bytes(), "{case} {}", model.root);
        }
    }
}

#[test]
fn a_space_that_the_tokenizer_strips_is_not_in_the_entries() {
    let model = &KINDS.fallback;
    let hello = tokens(model, "hello");
    let first = alone(model, &hello);
    assert_eq!(
        (first.text.as_str(), first.entries[0].0.as_str(), first.bytes()),
        ("hello", "hello", b"hello".to_vec())
    );
    // Behind special tokens an answer still begins, behind words it goes on.
    assert_eq!(alone(model, &[vec![1, 1], hello.clone()].concat()).bytes(), b"hello");
    assert_eq!(answered(model, &[1], &hello, &StopConditions::default()).text, "hello");
    let behind = answered(model, &tokens(model, "world"), &hello, &StopConditions::default());
    assert_eq!((behind.text.as_str(), behind.bytes()), (" hello", b" hello".to_vec()));
}

#[test]
fn special_tokens_have_a_name_and_no_bytes() {
    for model in KINDS.all() {
        let answered = alone(model, &[vec![1], tokens(model, "hello"), vec![1]].concat());
        assert_eq!((answered.text.as_str(), answered.bytes()), ("hello", b"hello".to_vec()));
        let (first, last) = (answered.entries.first().unwrap(), answered.entries.last().unwrap());
        assert!(first.0.starts_with('<') && last.0 == first.0, "{first:?}");
    }
}

#[test]
fn stop_texts_of_several_bytes_are_found_between_tokens() {
    for model in KINDS.all() {
        for (text, stop, shown) in [
            ("안녕하세요 세계", "하세", "안녕"),
            ("👩\u{200d}👩\u{200d}👧 a", "\u{200d}👧", "👩\u{200d}👩"),
            ("🇰🇷🇳🇴", "🇳", "🇰🇷"),
            ("e\u{301}a", "\u{301}", "e"),
            ("\u{5e9}\u{5b8}\u{5c1}\u{5dc}", "\u{5b8}", "\u{5e9}"),
            ("a\0b", "\0", "a"),
        ] {
            let stop = StopConditions { texts: vec![stop.to_owned()], ..StopConditions::default() };
            let answered = answered(model, &[], &tokens(model, text), &stop);
            assert_eq!((answered.text.as_str(), answered.stop.is_some()), (shown, true), "{text} {}", model.root);
            assert!(answered.bytes().starts_with(shown.as_bytes()), "{text} {}", model.root);
        }
    }
}

proptest! {
    #[test]
    fn entries_are_complete_and_their_bytes_are_the_text(stream in streams()) {
        for model in KINDS.all() {
            let tokens = tokens_of(model, &stream);
            let answered = alone(model, &tokens);
            let texts = texts(model, &tokens);
            prop_assert_eq!(Some(&answered.text), texts.last());
            prop_assert_eq!(answered.entries.len(), tokens.len());
            let bytes = answered.bytes();
            if !answered.text.contains(UNREADABLE) {
                prop_assert_eq!(std::str::from_utf8(&bytes), Ok(answered.text.as_str()));
                // An entry comes with the end of its text, never before.
                prop_assert!(answered.lengths.iter().all(|(text, bytes)| bytes <= text), "{:?}", answered.lengths);
            } else if !Arc::ptr_eq(model, &KINDS.fallback) {
                prop_assert_eq!(String::from_utf8_lossy(&bytes), answered.text.as_str());
            }
        }
    }

    #[test]
    fn stop_texts_end_the_answer_where_they_begin(
        stream in streams(),
        places in prop::collection::vec((any::<prop::sample::Index>(), 1usize..6), 0..4),
        min_tokens in prop_oneof![2 => Just(0u32), 1 => 0u32..40],
    ) {
        for model in KINDS.all() {
            let tokens = tokens_of(model, &stream);
            let texts = texts(model, &tokens);
            let whole: Vec<char> = texts.last().unwrap().chars().collect();
            // Parts of the text, so that they are found, and often overlap.
            let part = |(at, length): &(prop::sample::Index, usize)| -> String {
                whole.iter().skip(at.index(whole.len() + 1)).take(*length).collect()
            };
            let stops: Vec<String> = places.iter().map(part).filter(|text| !text.is_empty()).collect();
            let stop = StopConditions { texts: stops, min_tokens, ..StopConditions::default() };
            let answered = answered(model, &[], &tokens, &stop);
            let Some((end, text)) = cut(&texts, &stop) else {
                prop_assert_eq!(&answered.text, texts.last().unwrap());
                continue;
            };
            let shown = &texts.last().unwrap()[..end];
            prop_assert_eq!((answered.text.as_str(), answered.stop.as_deref()), (shown, Some(text)));
            if !shown.contains(UNREADABLE) {
                let bytes = answered.bytes();
                prop_assert!(bytes.starts_with(shown.as_bytes()));
                let last = answered.entries.iter().rev().find(|(_, bytes)| !bytes.is_empty()).map_or(0, |(_, last)| last.len());
                prop_assert!(bytes.is_empty() || bytes.len() - last < shown.len(), "tokens behind the stop text");
            }
        }
    }
}
