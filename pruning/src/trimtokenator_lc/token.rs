//! A token of one of several pictures.

/// A token of the request: `position` is its index among the candidates of its picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Token {
    pub(super) picture: usize,
    pub(super) position: usize,
}
