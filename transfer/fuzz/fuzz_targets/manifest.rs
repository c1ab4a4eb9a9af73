//! Fuzz target for manifests: arbitrary bytes, and good manifests with some fields changed.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| secateur_transfer_fuzz::manifest::check(bytes));
