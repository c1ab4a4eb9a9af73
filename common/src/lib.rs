//! What every program shares. A closed list: configuration layering, ids, telemetry, shutdown, announcing the address a
//! program listens on. No tensor, no HTTP, no domain noun: what belongs to one room stays in that room.

pub mod announce;
pub mod config;
pub mod ids;
pub mod shutdown;
pub mod telemetry;
