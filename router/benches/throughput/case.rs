//! The requests that are measured.

use bytes::Bytes;
use serde_json::json;

use super::arguments::Arguments;

/// A kind of request.
pub struct Case {
    /// `short` or `long`.
    pub prompt: &'static str,
    /// Tokens of the prompt, without the template's.
    pub prompt_tokens: usize,
    pub is_streamed: bool,
    /// Tokens of the answer.
    pub answer_tokens: usize,
    /// The body of the request.
    pub body: Bytes,
}

impl Case {
    /// Name in the table.
    pub fn name(&self) -> String {
        format!("{} {}", self.prompt, if self.is_streamed { "stream" } else { "whole" })
    }
}

const SHORT: &str = "What is the capital of France?";
/// Prose, since tokenizers split words, numbers and punctuation differently.
const PROSE: &str = "The harbour lay still in the early light, and 14 boats waited for the tide; nobody spoke, though \
    everybody knew what the pilot would say. In 1872 the channel had been deeper by two fathoms. It was narrower now, and \
    ships of any size kept to the north bank, past the salt works and the old customs house (closed since the war). ";

/// Every case; `count` gives the tokens of a text.
pub fn cases(arguments: &Arguments, count: impl Fn(&str) -> usize) -> Vec<Case> {
    let one = count(PROSE).max(1);
    let times = arguments.prompt.div_ceil(one);
    let long: String = PROSE.repeat(times);
    let short = (SHORT.to_owned(), count(SHORT), "short");
    let long_tokens = count(&long);
    let mut found = Vec::new();
    for (text, prompt_tokens, prompt) in [short, (long, long_tokens, "long")] {
        for (is_streamed, answer_tokens) in [(false, arguments.whole), (true, arguments.stream)] {
            let body = json!({
                "messages": [{"role": "user", "content": text}], "max_tokens": answer_tokens, "stream": is_streamed,
                "ignore_eos": true, "temperature": 0,
            });
            let case = Case { prompt, prompt_tokens, is_streamed, answer_tokens, body: body.to_string().into() };
            if arguments.only.as_ref().is_none_or(|word| case.name().contains(word.as_str())) {
                found.push(case);
            }
        }
    }
    found
}
