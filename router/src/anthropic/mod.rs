//! Anthropic's Messages API as data. A body is translated to OpenAI's chat body, which is validated where every chat
//! body is, and errors name the client's own fields all the same. No I/O here.
//!
//! ```text
//! job.rs          a validated request
//! translate.rs    the body, translated to OpenAI's
//! turns.rs        its conversation
//! turn.rs         one message of the translated conversation
//! blocks.rs       the blocks of the client's messages
//! tools.rs        its tools
//! unsupported.rs  what is refused by name
//! format.rs       the reply, whole and streamed
//! stream.rs       the blocks of a streamed reply
//! events.rs       the objects that a reply is made of
//! error_body.rs   the body of an error
//! ```

mod blocks;
pub mod error_body;
mod events;
mod format;
mod job;
mod stream;
mod tools;
mod translate;
mod turn;
mod turns;
mod unsupported;

pub use format::MessageFormat;
pub use job::MessagesJob;
