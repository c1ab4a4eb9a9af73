//! Output of `secateur up`: results on standard output.
#![allow(clippy::print_stdout, reason = "printing is what this file is for")]

use std::io::{Write, stdout};

use serde_json::{Value, json};

use super::sample::{Answer, MAX_TOKENS, Question};
use crate::receipt_lines::receipt;

/// A serving cluster, and the result of its sample question.
pub struct Outcome {
    /// The answer; `None` if the router accepts no sample question.
    pub answer: Option<Answer>,
    /// The answer that the checkpoint's card expects.
    pub expected: Option<String>,
    /// The model's name.
    pub model: String,
    /// URLs of the cluster.
    pub urls: Urls,
}

/// URLs of a cluster.
pub struct Urls {
    base: String,
}

impl Urls {
    /// URLs of the router at `base`.
    pub fn new(base: &str) -> Self {
        Self { base: base.to_owned() }
    }

    fn json(&self) -> Value {
        json!({
            "api": format!("{}/v1", self.base),
            "health": format!("{}/health", self.base),
            "metrics": format!("{}/metrics", self.base),
            "cluster": format!("{}/v1/cluster", self.base),
            "page": format!("{}/", self.base),
        })
    }
}

/// Prints the question, and the start of the answer's line.
pub fn question(question: &Question) {
    println!("Q: {}", question.prompt);
    print!("A: ");
    let _ = stdout().flush();
}

/// Ends the answer's line of a question that was refused.
pub fn no_answer() {
    println!("(refused)");
}

/// Prints a piece of the answer as it arrives.
pub fn piece(text: &str) {
    print!("{text}");
    let _ = stdout().flush();
}

/// Prints one JSON document.
pub fn json(outcome: &Outcome) -> serde_json::Result<()> {
    let answer = outcome.answer.as_ref();
    let document = json!({
        "answer": answer.map(|answer| &answer.text),
        "finish_reason": answer.map(|answer| &answer.finish),
        "expected": outcome.expected,
        "model": outcome.model,
        "receipt": answer.map(|answer| &answer.receipt),
        "urls": outcome.urls.json(),
    });
    println!("{}", serde_json::to_string_pretty(&document)?);
    Ok(())
}

/// Prints the receipt and the URLs for a person.
pub fn text(outcome: &Outcome, once: bool) {
    if let Some(answer) = &outcome.answer {
        println!();
        if answer.was_cut() {
            println!("   (cut at the sample's cap of {MAX_TOKENS} tokens)");
        }
        println!();
        receipt(&answer.receipt).iter().for_each(|line| println!("{line}"));
    }
    println!("serving  {} as {}/v1 (OpenAI API), /health, /metrics", outcome.model, outcome.urls.base);
    if !once {
        println!("         {}/ shows it at work and takes questions; Ctrl-C stops the cluster", outcome.urls.base);
    }
}
