//! Frames of a shipment, honest ones and others, and what closes it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| secateur_transfer_fuzz::shipment::check(bytes));
