//! Replies, whatever API they are written for: the content of an answer, and the trait of an API's format.
//!
//! ```text
//! content.rs    the content of one choice, gathered from its pieces
//! format.rs     what an API's format has to write, whole and streamed
//! ```

mod content;
mod format;

pub use content::{Before, Call, Content};
pub use format::{Format, ReplyId, body, event};
