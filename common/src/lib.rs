//! Code that every program shares. A closed list: configuration layering, ids, telemetry, shutdown, announcing the
//! address a program listens on, the version. No tensor, no HTTP, no domain noun: code that belongs to one part of the system stays
//! in that part's crate.

pub mod announce;
pub mod config;
pub mod ids;
pub mod shutdown;
pub mod telemetry;
pub mod version;
