//! What the fuzz targets share: input taken apart ([`input`]), memory counted ([`memory`]), and what must hold of a
//! manifest ([`manifest`]), of a shipment's frames ([`shipment`]) and of a coded part ([`part`]). A property that does not
//! hold panics, which is what the fuzzer looks for.

pub mod input;
pub mod manifest;
pub mod memory;
pub mod part;
pub mod shipment;
