//! Conversion of a fuzzer's bytes into the numbers that a target needs. When the bytes are used up, all numbers are 0.

use secateur_transfer::DType;

/// The fuzzer's bytes that are not used yet.
#[derive(Clone)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// Starts with all of the fuzzer's bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether no byte is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    /// The next four bytes as a little-endian number.
    pub fn number(&mut self) -> u32 {
        u32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    /// A number in `0..bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound.max(1)
    }

    /// One element of `of`.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// One of the dtypes.
    pub fn dtype(&mut self) -> DType {
        self.pick(&[DType::F32, DType::Bf16, DType::F16])
    }

    /// Up to `most` bytes.
    pub fn take(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// All bytes that are left.
    pub fn rest(&mut self) -> &'a [u8] {
        self.take(usize::MAX)
    }

    /// Exactly `count` bytes: up to 512 of the next ones, repeated.
    pub fn repeated(&mut self, count: usize) -> Vec<u8> {
        let of = self.take(count.min(512));
        if of.is_empty() { vec![0; count] } else { of.iter().copied().cycle().take(count).collect() }
    }
}
