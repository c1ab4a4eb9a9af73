//! A fuzzer's bytes as the numbers that a target needs. When they are used up, all numbers are 0.

use secateur_transfer::DType;

/// Bytes that are not used yet.
#[derive(Clone)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// All of what the fuzzer made.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    /// The next four bytes as a number.
    pub fn number(&mut self) -> u32 {
        u32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    /// One of `0..bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound.max(1)
    }

    /// One of some.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// A dtype.
    pub fn dtype(&mut self) -> DType {
        self.pick(&[DType::F32, DType::Bf16, DType::F16])
    }

    /// Up to so many bytes.
    pub fn take(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        self.take(usize::MAX)
    }

    /// As many bytes as are asked for: up to 512 of the next ones, again and again.
    pub fn repeated(&mut self, count: usize) -> Vec<u8> {
        let of = self.take(count.min(512));
        if of.is_empty() { vec![0; count] } else { of.iter().copied().cycle().take(count).collect() }
    }
}
