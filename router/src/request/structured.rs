//! The form that an answer must have.

use secateur_grammar::Grammar;

/// A grammar that a client asks for, and the field that it stands in, for errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structured {
    /// The grammar.
    pub grammar: Grammar,
    /// Full name of the field.
    pub param: String,
}
