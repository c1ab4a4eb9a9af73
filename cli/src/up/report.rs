//! What `secateur up` prints: results on standard output, progress and errors on standard error.
#![allow(clippy::print_stdout, reason = "printing is what this file is for")]

use std::io::{Write, stderr, stdout};

use serde_json::{Value, json};

use super::sample::{Answer, Question};

/// The end of a run.
pub struct Outcome {
    /// What came back.
    pub answer: Answer,
    /// What the checkpoint's card says should come back.
    pub expected: Option<String>,
    /// Where to go on.
    pub urls: Urls,
}

/// Where the cluster is.
pub struct Urls {
    base: String,
}

impl Urls {
    /// Of the router at `base`.
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

/// A line of progress.
pub fn progress(text: &str) {
    let _ = writeln!(stderr(), "secateur: {text}");
}

/// The run failed.
pub fn failure(error: &anyhow::Error) {
    let _ = writeln!(stderr(), "error: {error:#}");
}

/// The question, and the start of the answer's line.
pub fn question(question: &Question) {
    println!("Q: {}", question.prompt);
    print!("A: ");
    let _ = stdout().flush();
}

/// A piece of the answer as it comes.
pub fn piece(text: &str) {
    print!("{text}");
    let _ = stdout().flush();
}

/// One JSON document.
pub fn json(outcome: &Outcome) -> serde_json::Result<()> {
    let document = json!({
        "answer": outcome.answer.text,
        "expected": outcome.expected,
        "model": outcome.answer.model,
        "receipt": outcome.answer.receipt,
        "urls": outcome.urls.json(),
    });
    println!("{}", serde_json::to_string_pretty(&document)?);
    Ok(())
}

/// The receipt and the URLs for a person.
pub fn text(outcome: &Outcome, once: bool) {
    let receipt = &outcome.answer.receipt;
    let (visual, transfer, timing) = (&receipt["visual"], &receipt["transfer"], &receipt["timing"]);
    let number = |value: &Value| value.as_f64().unwrap_or(0.0);
    let bytes = |value: &Value| format!("{:.1} KiB", number(value) / 1024.0);
    println!();
    println!();
    println!(
        "receipt  visual tokens {} -> {} ({}), KV shipped {} ({}), dense {}, unpruned {}: {:.2}x fewer bytes",
        visual["tokens_before"],
        visual["tokens_after"],
        visual["method"].as_str().unwrap_or("none"),
        bytes(&transfer["bytes_sent"]),
        transfer["policy"].as_str().unwrap_or("none"),
        bytes(&transfer["bytes_dense"]),
        bytes(&transfer["bytes_unpruned"]),
        number(&transfer["ratio"]),
    );
    println!(
        "         {} -> {}, first token after {:.1} ms, {:.2} ms per token",
        receipt["prefill_node"].as_str().unwrap_or("?"),
        receipt["decode_node"].as_str().unwrap_or("?"),
        number(&timing["ttft_ms"]),
        number(&timing["tpot_ms"]),
    );
    println!("serving  {} as {}/v1 (OpenAI API), /health, /metrics", outcome.answer.model, outcome.urls.base);
    if !once {
        println!("         {}/ shows it at work and takes questions; Ctrl-C stops the cluster", outcome.urls.base);
    }
}
