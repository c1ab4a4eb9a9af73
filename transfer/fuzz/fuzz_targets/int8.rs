//! Parts of `int8` spans: arbitrary bytes read, arbitrary values coded and read back.
#![no_main]

use secateur_transfer::Codec;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| secateur_transfer_fuzz::part::check(Codec::Int8, bytes));
