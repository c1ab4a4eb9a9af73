//! A client of a router, or of any server with OpenAI's API: what `chat`, `bench`, `eval` and `up` share.
//!
//! ```text
//! address.rs     a server's address, as a flag
//! connection.rs  requests to one server
//! data_uri.rs    a picture inside a request
//! event.rs       one event of a streamed answer, and what the server counted
//! extension.rs   the field `secateur` of a request
//! refusal.rs     a server's error
//! sse.rs         parser of server-sent events
//! timeline.rs    arrival times of an answer's pieces, and the figures that follow
//! visual.rs      the visual pruning to ask for, as a flag
//! ```

pub mod address;
pub mod connection;
pub mod data_uri;
pub mod event;
pub mod extension;
pub mod refusal;
pub mod sse;
pub mod timeline;
pub mod visual;
