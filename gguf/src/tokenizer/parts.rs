//! The parts of `tokenizer.json` that depend on the kind of vocabulary.

use serde_json::Value as Json;

/// Parts of `tokenizer.json` in which the two kinds of vocabulary differ.
pub(super) struct Parts {
    pub(super) pre_tokenizer: Json,
    pub(super) decoder: Json,
    pub(super) model: Json,
    /// Default of whether a sequence begins with the begin-of-sequence token.
    pub(super) adds_bos: bool,
}
