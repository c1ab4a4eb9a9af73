//! Fuzz target for parts of `native` spans: arbitrary bytes are read, arbitrary values coded and read back.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| secateur_transfer_fuzz::part::check(true, bytes));
