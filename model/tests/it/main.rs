//! Tests of the crate's public interface, with the tiny checkpoint of `tests/fixtures/tiny-llava`.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod calibrate;
mod claims;
mod common;
mod demo;
#[path = "../../../tests/fixtures/expected.rs"]
mod expected;
mod families;
mod families_fixture;
mod families_seen;
mod gguf;
mod golden;
mod merge;
mod names;
mod scores;
mod stages;
