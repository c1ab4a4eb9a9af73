//! What an answer must look like: JSON schemas, regular expressions and grammars, against a checkpoint's tokens.
//!
//! ```text
//! grammar.rs      what is asked for
//! bounds.rs       what is too large to be compiled
//! space.rs        white space between the parts of a JSON document
//! spelling.rs     how a vocabulary spells the bytes of a token
//! vocabulary.rs   the bytes of every token, and grammars compiled against them
//! constraint.rs   one answer's state: which tokens may follow
//! ```
//!
//! The parsing is llguidance's. A [`Constraint`] is a function of the grammar and of the answer's tokens alone: the node
//! that goes on with an answer compiles the grammar again and feeds it the tokens so far.

mod bounds;
mod constraint;
mod grammar;
mod space;
mod spelling;
mod vocabulary;

pub use constraint::Constraint;
pub use grammar::Grammar;
pub use space::with_bounded_space;
pub use spelling::Spelling;
pub use vocabulary::Vocabulary;

/// Why a grammar cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// The grammar cannot be compiled, or is larger than the limits.
    #[error("{0}")]
    Grammar(String),
    /// The tokenizer's tokens have no bytes that a grammar could be held against.
    #[error("this checkpoint's tokenizer cannot be used with grammars: {0}")]
    Tokenizer(String),
    /// An answer goes where too many texts may follow.
    #[error("the form of the answer is too complex to go on with: {0}")]
    Complex(String),
    /// An answer's tokens do not follow the grammar.
    #[error("the answer left its grammar: {0}")]
    Left(String),
}
