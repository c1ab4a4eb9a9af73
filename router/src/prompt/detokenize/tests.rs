//! Streams of tokens become the text that the whole of them is.

use proptest::prelude::*;

use super::*;
use crate::prompt::streams::{KINDS, TEXTS, byte, streams, text, tokens as text_tokens, tokens_of};

/// Most tokens in a window: those of the last text, or those before the answer, and those of a character.
const WINDOW: usize = BEFORE_TOKENS + 4;
const UNREADABLE: char = char::REPLACEMENT_CHARACTER;

/// The pieces of a stream, the flushed rest as the last one.
fn pieces(model: &Arc<ServedModel>, tokens: &[u32]) -> Vec<String> {
    pieces_after(model, &[], tokens)
}

fn pieces_after(model: &Arc<ServedModel>, before: &[u32], tokens: &[u32]) -> Vec<String> {
    let mut detokenizer = Detokenizer::after(model.clone(), before);
    let mut pieces = Vec::new();
    for token in tokens {
        pieces.push(detokenizer.push(*token));
        // Each push decodes its window twice, so this is what a token costs, whatever stands before it.
        assert!(detokenizer.tokens.len() <= WINDOW, "{} tokens are decoded for one", detokenizer.tokens.len());
    }
    pieces.push(detokenizer.flush());
    pieces
}

fn without_unreadable(text: &str) -> String {
    text.chars().filter(|character| *character != UNREADABLE).collect()
}

fn is_part(part: &str, whole: &str) -> bool {
    let mut whole = whole.chars();
    part.chars().all(|character| whole.any(|other| other == character))
}

#[test]
fn characters_come_whole_and_at_once() {
    for model in KINDS.all() {
        for case in TEXTS {
            let tokens = text_tokens(model, case);
            let pieces = pieces(model, &tokens);
            assert_eq!(pieces.concat(), case, "{}", model.root);
            let unreadable = |text: &str| text.matches(UNREADABLE).count();
            assert_eq!(pieces.iter().map(|piece| unreadable(piece)).sum::<usize>(), unreadable(case));
            assert_eq!(pieces.last().unwrap(), "", "nothing waits for the end: {case}");
        }
    }
}

/// A token that ends one character and begins the next, many times over: none of them ends with a whole character.
#[test]
fn characters_between_tokens_that_never_end_with_one_do_not_wait() {
    let model = &KINDS.across;
    let is_across = |id: &u32| {
        let bytes = model.token_bytes(*id);
        let first = bytes.iter().position(|byte| !is_continuation(*byte));
        let turned = first.filter(|first| *first > 0).map(|first| [&bytes[first..], &bytes[..first]].concat());
        turned.is_some_and(|bytes| std::str::from_utf8(&bytes).is_ok_and(|text| text.chars().count() == 1))
    };
    let across: Vec<u32> = (0..model.vocab).filter(is_across).collect();
    assert!(!across.is_empty());
    for token in across {
        let tokens = vec![token; 1_000];
        let pieces = pieces(model, &tokens);
        assert_eq!(pieces.concat(), text(model, &tokens));
        assert!(pieces[1..1_000].iter().all(|piece| piece.chars().count() == 1), "a character each");
        assert!(pieces[1..1_000].iter().all(|piece| !piece.contains(UNREADABLE)));
    }
}

#[test]
fn an_unfinished_end_is_flushed() {
    for model in KINDS.all() {
        let tokens = [byte(model, b'a'), byte(model, 0xF0), byte(model, 0x9F)];
        let pieces = pieces(model, &tokens);
        assert_eq!(pieces[..3], ["a", "", ""], "{}", model.root);
        assert!(pieces[3].chars().all(|character| character == UNREADABLE) && !pieces[3].is_empty());
    }
}

/// What no later token can complete is shown at once, and does not hide what follows.
#[test]
fn lone_bytes_neither_wait_nor_grow_the_window() {
    for model in KINDS.all() {
        for lone in [0x80, 0xFF, 0xE4, 0xC3, 0xF0] {
            let mut tokens = vec![byte(model, lone); 1_000];
            let unreadable = pieces(model, &tokens);
            assert_eq!(unreadable.concat(), text(model, &tokens));
            assert!(unreadable[1..1_000].iter().all(|piece| piece.chars().eq([UNREADABLE])), "{lone:x}");
            tokens.extend(text_tokens(model, " 안 a"));
            let all = pieces(model, &tokens).concat();
            assert_eq!(all, text(model, &tokens), "{lone:x} {}", model.root);
            assert!(all.ends_with("a"));
        }
    }
}

#[test]
fn replacement_characters_that_the_model_writes_do_not_wait() {
    for model in KINDS.all() {
        let tokens = [0xEF, 0xBF, 0xBD].map(|number| byte(model, number)).repeat(1_000);
        let pieces = pieces(model, &tokens);
        assert!(pieces[..3_000].chunks(3).all(|piece| *piece == ["", "", "\u{fffd}"]), "{}", model.root);
    }
}

#[test]
fn special_tokens_part_no_words() {
    for model in KINDS.all() {
        let (one, both) = (text_tokens(model, "hello"), text_tokens(model, "hello world"));
        let other = both.strip_prefix(one.as_slice()).unwrap().to_vec();
        for silent in [vec![1; 3], vec![1; 1_000], vec![model.vocab; 1_000]] {
            let tokens = [silent.as_slice(), &one, &silent, &other, &silent].concat();
            assert_eq!(pieces(model, &tokens).concat(), "hello world", "{}", model.root);
        }
    }
}

/// What continues a prompt is written as behind it: with its space, and whole where bytes go on in a row.
#[test]
fn an_answer_goes_on_behind_its_prompt() {
    for model in KINDS.all() {
        for (prompt, answer) in [
            ("hello", " world"),
            ("글문장한글문장한글문장", "은 한글"),
            ("👩\u{200d}👩", "\u{200d}👧👦"),
            ("a  ", " b"),
        ] {
            let (all, before) = (text_tokens(model, &format!("{prompt}{answer}")), text_tokens(model, prompt));
            // A prompt may be cut elsewhere when more follows.
            if !all.starts_with(&before) {
                continue;
            }
            for silent in [0, 30] {
                let before = [before.clone(), vec![1; silent]].concat();
                let pieces = pieces_after(model, &before, &all[before.len() - silent..]);
                assert_eq!(pieces.concat(), answer, "{}", model.root);
            }
        }
    }
}

#[test]
fn the_window_before_an_answer_begins_with_a_character() {
    for model in [&KINDS.bytes, &KINDS.fallback] {
        let before = text_tokens(model, "글문글문글문");
        let window = window(model, &before);
        assert!(window.len() >= 5 && before.ends_with(&window));
        assert_eq!(text(model, &window).matches(UNREADABLE).count(), 0);
    }
}

proptest! {
    #[test]
    fn joined_pieces_are_the_whole_text(stream in streams()) {
        for model in [&KINDS.bytes, &KINDS.across] {
            let tokens = tokens_of(model, &stream);
            prop_assert_eq!(pieces(model, &tokens).concat(), text(model, &tokens));
        }
    }

    /// A decoder with byte fallback takes a character back that it has given, if a byte behind it cannot be read. What a
    /// client has seen stays; apart from that, nothing is lost, and nothing is unreadable that could be read.
    #[test]
    fn joined_pieces_are_the_whole_text_with_byte_fallback(stream in streams()) {
        let model = &KINDS.fallback;
        let tokens = tokens_of(model, &stream);
        let (joined, whole) = (pieces(model, &tokens).concat(), text(model, &tokens));
        if whole.contains(UNREADABLE) {
            prop_assert!(is_part(&without_unreadable(&whole), &joined), "{} {}", whole, joined);
        } else {
            prop_assert_eq!(joined, whole);
        }
    }

    /// Any cut of the tokens into a prompt and its answer leaves the text as it is.
    #[test]
    fn prompt_and_answer_are_the_whole_text(stream in streams(), cut in any::<prop::sample::Index>()) {
        for model in KINDS.all() {
            let tokens = tokens_of(model, &stream);
            let whole = text(model, &tokens);
            let (before, answer) = tokens.split_at(cut.index(tokens.len() + 1));
            let start = text(model, before);
            // A prompt that ends within a character has lost it, and one without text strips the answer's space.
            let is_whole = !start.ends_with(UNREADABLE) && !whole.contains(UNREADABLE) && !start.trim().is_empty();
            if let Some(rest) = whole.strip_prefix(&start).filter(|_| is_whole) {
                prop_assert_eq!(pieces_after(model, before, answer).concat(), rest);
            }
        }
    }
}
