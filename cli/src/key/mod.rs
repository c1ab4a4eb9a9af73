//! API keys of a router.
//!
//! ```text
//! environment.rs  the key that this machine's commands send
//! new.rs          `secateur key new`: a key, and its lines for a file of keys
//! ```

mod environment;
mod new;

pub use environment::{first, of_environment};
pub use new::{KeyArguments, run};
