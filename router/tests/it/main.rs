//! A real router over real sockets, in front of scripted nodes. One program for all of it: each would be linked anew.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod answers;
mod choices;
mod discovery;
mod embeddings;
mod encodings;
mod failures;
mod fetch;
mod live_page;
mod logprobs;
mod pages;
mod pauses;
mod placement;
mod refusals;
mod replays;
mod room;
mod scores;
mod senders;
mod support;
mod tools;
mod unread;
mod wording;
mod words;
