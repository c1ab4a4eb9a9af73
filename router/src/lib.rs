//! Secateur's router: OpenAI's and Anthropic's HTTP APIs in, gRPC out. It never touches a tensor.
//!
//! One request, by file: [`http`]`/auth.rs` looks at its key ([`keys`]), and [`http`]`/chat.rs` reads and validates it
//! ([`openai`]), fetches its pictures where they are given by URL ([`fetch`]), tokenizes it ([`prompt`], [`template`],
//! [`served`]), checks that it fits ([`fit`]), waits for a permit ([`admission`]), places it on two nodes
//! ([`cluster`]), runs both legs ([`legs`]), and turns tokens back into text, reasoning, calls and a receipt
//! ([`answer`], [`reasoning`], [`tools`]), which are written in the format of their API ([`reply`]). What all of them
//! know of a request stands in [`request`].
//!
//! Deliberately absent: sampling (done by the nodes), pixels (decoded by prefill), and any state that outlives a
//! request, except node snapshots, counters, what is left of the limits of keys, means and digests that may be lost at
//! any time ([`cluster`]), and fetched pictures.

pub mod admission;
pub mod answer;
pub mod anthropic;
pub mod app;
pub mod cluster;
pub mod config;
pub mod dashboard;
pub mod fetch;
pub mod fit;
pub mod http;
pub mod keys;
pub mod legs;
mod listen;
pub mod lookup;
pub mod metrics;
pub mod openai;
pub mod process;
pub mod program;
pub mod prompt;
pub mod reasoning;
pub mod reply;
pub mod request;
pub mod responses;
pub mod serve;
pub mod served;
pub mod template;
pub mod tools;

pub use config::{RouterSettings, command};
pub use listen::listen;
pub use process::run_to_exit;
pub use program::{ProgramError, run};
pub use serve::{ServeError, serve};
