//! Work of another kind that a product's threads do as well.

/// Calls that the threads of an operation make before its own pieces. A long call then delays nobody: the other threads
/// take the pieces meanwhile.
#[derive(Clone, Copy)]
pub struct Beside<'a> {
    /// Number of calls.
    pub calls: usize,
    /// The work: called once with every number below `calls`, from any thread of the team.
    pub work: &'a (dyn Fn(usize) + Sync),
}

impl Beside<'_> {
    /// No work.
    pub const NOTHING: Beside<'static> = Beside { calls: 0, work: &|_| () };
}
