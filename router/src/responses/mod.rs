//! OpenAI's Responses API as data: a request, translated into the chat request that it means, and its reply, whole or as
//! events. Nothing is kept between requests. No I/O here.
//!
//! ```text
//! request.rs    body ▸ refused.rs ▸ input.rs (parts.rs), tools.rs, options.rs ▸ chat body ▸ `openai::chat` ▸ job
//! asked.rs      what of the request its reply repeats
//! format.rs     pieces ▸ output.rs (items and their events, written by events.rs) ▸ object.rs ▸ reply
//! ```

mod asked;
mod events;
mod format;
mod input;
mod items;
mod names;
mod object;
mod options;
mod output;
mod parts;
mod refused;
mod request;
mod tools;

pub use names::Names;
pub use request::ResponsesJob;
