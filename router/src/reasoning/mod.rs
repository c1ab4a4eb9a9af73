//! What a model thinks before it answers: the marks around it, and reading it out of the answer's text while it grows.

mod marks;
mod reader;

pub use marks::Marks;
pub use reader::ReasoningReader;
