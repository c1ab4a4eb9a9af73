//! Models of the parts in which threads meet without one lock around everything: the team of the kernels ([`team`]),
//! the bell of the engines ([`bell`]) and the queue for KV blocks ([`queue`]). loom runs each model in every order of
//! its steps, up to a number of preemptions, and finds lost wake-ups, deadlocks and unordered accesses.
//!
//! Each part is a file of its crate that takes its locks, atomics and threads from `crate::sync`. There these are those
//! of the standard library; here the same file is compiled against those of loom ([`sync`]). So the crates themselves
//! need no loom and no special build, and what they depend on need not be built for it.

/// The standard library's form, on loom's threads.
macro_rules! thread_local {
    ($(#[$attribute:meta])* static $name:ident: $type:ty = const { $value:expr };) => {
        loom::thread_local! { $(#[$attribute])* static $name: $type = $value; }
    };
}

mod parts;
mod sync;

pub mod bell;
pub mod queue;
pub mod team;

/// Runs a model in every order of its steps with at most that many preemptions: switches between threads where none has
/// to wait.
fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.check(model);
}
