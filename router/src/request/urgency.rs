//! How soon an answer is wanted.

use std::time::Duration;

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A person, or a program that goes on with the answer.
    #[default]
    Interactive,
    /// Nobody at this moment.
    Batch,
}

impl Class {
    /// The class's name in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Interactive => "interactive",
            Class::Batch => "batch",
        }
    }

    /// The class with this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Class::Interactive, Class::Batch].into_iter().find(|class| class.as_str() == name)
    }
}

/// How soon the client wants its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Urgency {
    /// Class that the client asks for.
    pub class: Class,
    /// Wish within the class; lower is sooner.
    pub priority: i64,
    /// Time after which the answer is of no use to the client.
    pub timeout: Option<Duration>,
}
