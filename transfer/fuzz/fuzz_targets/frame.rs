//! Fuzz target for the frames of a shipment and its closing frame, honest and altered ones.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| secateur_transfer_fuzz::shipment::check(bytes));
