//! Grammars of requests, compiled against the checkpoint's tokens.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use secateur_gguf::Gguf;
use secateur_grammar::{Constraint, Grammar, GrammarError, Vocabulary};
use secateur_proto::{ErrorCode, ServiceError, v1};
use serde_json::Value;

use crate::tokenizer::TOKENIZER_FILE;

/// The vocabulary of one checkpoint, read when the first request with a grammar arrives.
#[derive(Debug)]
pub struct Grammars {
    checkpoint: PathBuf,
    /// The token by which the model ends an answer.
    end: Option<u32>,
    vocabulary: OnceLock<Result<Vocabulary, GrammarError>>,
}

impl Grammars {
    /// Grammars for the checkpoint at that path.
    pub fn new(checkpoint: &Path, end: Option<u32>) -> Grammars {
        Grammars { checkpoint: checkpoint.to_owned(), end, vocabulary: OnceLock::new() }
    }

    /// The state of a request's grammar in front of its answer's first token; `None` without a grammar. Compiling takes
    /// milliseconds, so it runs on a blocking thread.
    pub async fn constraint(
        self: &Arc<Self>,
        grammar: Option<&Grammar>,
        stops: &[u32],
    ) -> Result<Option<Constraint>, ServiceError> {
        let Some(grammar) = grammar.cloned() else { return Ok(None) };
        let (grammars, stops) = (self.clone(), stops.to_vec());
        let compiled = tokio::task::spawn_blocking(move || grammars.compile(&grammar, &stops)).await;
        let compiled = compiled.unwrap_or_else(|_| Err(GrammarError::Grammar("it cannot be compiled".to_owned())));
        compiled.map(Some).map_err(|error| {
            ServiceError::new(ErrorCode::InvalidRequest, format!("the grammar cannot be used: {error}"))
                .with_param("grammar")
        })
    }

    fn compile(&self, grammar: &Grammar, stops: &[u32]) -> Result<Constraint, GrammarError> {
        let vocabulary = self.vocabulary.get_or_init(|| Vocabulary::of_tokenizer(&self.tokenizer()?, self.end));
        vocabulary.as_ref().map_err(Clone::clone)?.compile(grammar, stops)
    }

    /// The checkpoint's tokenizer.json, or what a GGUF file says in its place.
    fn tokenizer(&self) -> Result<Value, GrammarError> {
        let failed = |error: &dyn std::fmt::Display| {
            // The text may name files of this machine, so it stays in the log.
            tracing::error!(%error, "the tokenizer cannot be read");
            GrammarError::Tokenizer("it cannot be read".to_owned())
        };
        if let Some(file) = secateur_gguf::find(&self.checkpoint).map_err(|error| failed(&error))? {
            return Gguf::open(&file).and_then(|gguf| gguf.tokenizer()).map_err(|error| failed(&error));
        }
        let bytes = std::fs::read(self.checkpoint.join(TOKENIZER_FILE)).map_err(|error| failed(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| failed(&error))
    }
}

/// The grammar that a message asks for, if any.
pub fn of_message(message: Option<v1::Grammar>) -> Option<Grammar> {
    use v1::grammar::Kind;
    Some(match message?.kind? {
        Kind::JsonSchema(schema) => Grammar::JsonSchema(schema),
        Kind::Regex(regex) => Grammar::Regex(regex),
        Kind::Lark(lark) => Grammar::Lark(lark),
    })
}
