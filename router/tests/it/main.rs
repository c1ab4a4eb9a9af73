//! A real router over real sockets, in front of scripted nodes. One program for all of it: each would be linked anew.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod answers;
mod choices;
mod cors;
mod discovery;
mod embeddings;
mod encodings;
mod failures;
mod fetch;
mod first_token;
mod http2;
mod https;
mod keys;
mod live_page;
mod logprobs;
mod messages;
mod pages;
mod pauses;
mod placement;
mod refusals;
mod replays;
mod responses;
mod room;
mod scores;
mod senders;
mod support;
mod tools;
mod turns;
mod unread;
mod wording;
mod words;
