//! A tensor as stored in a file: as plain numbers, or as blocks of integers with common scales. Blocks are converted to
//! numbers piece by piece, so that no second copy of a tensor is needed.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Mutex;

use bytes::Bytes;
use candle_core::CpuStorage;
use candle_core::quantized::GgmlDType;
use secateur_gguf::{RowOrder, TensorType};
use secateur_kernels::{Cpu, from_f32, to_f32};

use crate::error::{ModelError, Result};
use crate::float::FloatType;

/// Numbers that a thread converts at a time. Every block size divides it.
const CONVERTED_AT_A_TIME: usize = 1 << 16;

/// A tensor's bytes and their format.
#[derive(PartialEq)]
pub(crate) struct Stored {
    pub bytes: Bytes,
    pub format: StoredFormat,
    pub shape: Vec<usize>,
    /// Mapping from rows of the bytes to rows of the tensor.
    pub rows: RowOrder,
}

/// How numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoredFormat {
    Plain(FloatType),
    /// GGUF's quantised blocks; never one of its plain types.
    Blocks(TensorType),
}

impl Stored {
    /// A tensor of plain numbers in order.
    pub fn plain(bytes: Bytes, dtype: FloatType, shape: Vec<usize>) -> Stored {
        Stored { bytes, format: StoredFormat::Plain(dtype), shape, rows: RowOrder::Same }
    }

    /// The format of the bytes if they are plain numbers in order; `None` if they have to be converted in any case.
    pub fn as_it_lies(&self) -> Option<FloatType> {
        match (self.format, self.rows) {
            (StoredFormat::Plain(dtype), RowOrder::Same) => Some(dtype),
            _ => None,
        }
    }

    /// Whether the bytes are plain numbers and all of them are 0.
    pub fn is_zero(&self) -> bool {
        let StoredFormat::Plain(dtype) = self.format else { return false };
        let size = dtype.size_bytes();
        // A number of any of these formats is 0 if all its bits but the sign are.
        let is_zero = |(at, byte): (usize, &u8)| *byte == 0 || at + 1 == size && *byte == 0x80;
        self.bytes.chunks(size).all(|number| number.iter().enumerate().all(is_zero))
    }

    /// How many numbers the tensor has.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// All numbers in f32, for small tensors.
    pub fn numbers(&self) -> Result<Vec<f32>> {
        let mut stored = vec![0.0; self.count()];
        self.read(0..stored.len(), &mut stored)?;
        if self.rows == RowOrder::Same {
            return Ok(stored);
        }
        let (rows, width) = self.rows_and_width();
        let row = |row: usize| &stored[self.rows.stored(row, rows) * width..][..width];
        Ok((0..rows).flat_map(|index| row(index).iter().copied()).collect())
    }

    /// A copy in that format, made on all threads of `cpu`.
    pub fn converted(&self, format: FloatType, cpu: &Cpu) -> Result<Bytes> {
        let mut bytes = vec![0; self.count() * format.size_bytes()];
        let (_, width) = self.rows_and_width();
        let numbers = match self.rows {
            RowOrder::Same => CONVERTED_AT_A_TIME,
            // Pieces are whole rows, because each row may come from a different place.
            RowOrder::Paired { .. } => width.max(CONVERTED_AT_A_TIME / width.max(1) * width).max(1),
        };
        let chunks = bytes.chunks_mut(numbers * format.size_bytes());
        // Each piece is taken by one thread, so its lock is never contended.
        let pieces: Vec<Mutex<&mut [u8]>> = chunks.map(Mutex::new).collect();
        let failed = Mutex::new(None);
        cpu.run(pieces.len(), &|index| {
            let Ok(mut piece) = pieces[index].lock() else { return };
            if let (Err(error), Ok(mut failed)) = (self.convert(index * numbers, format, &mut piece), failed.lock()) {
                *failed = Some(error);
            }
        });
        match failed.into_inner() {
            Ok(Some(error)) => Err(error),
            _ => Ok(bytes.into()),
        }
    }

    /// Converts the numbers from `first` on, as many as fit into `made`.
    fn convert(&self, first: usize, format: FloatType, made: &mut [u8]) -> Result<()> {
        let mut numbers = vec![0.0; made.len() / format.size_bytes()];
        match self.rows {
            RowOrder::Same => self.read(first..first + numbers.len(), &mut numbers)?,
            RowOrder::Paired { .. } => {
                let (rows, width) = self.rows_and_width();
                for (index, row) in numbers.chunks_mut(width).enumerate() {
                    let at = self.rows.stored(first / width + index, rows) * width;
                    self.read(at..at + width, row)?;
                }
            }
        }
        from_f32(format.kernel(), &numbers, made);
        Ok(())
    }

    fn rows_and_width(&self) -> (usize, usize) {
        let rows = self.shape.first().copied().unwrap_or(1);
        (rows, self.shape.iter().skip(1).product())
    }

    /// Reads a range of numbers in the order of the bytes; for blocks, the range starts and ends at block boundaries.
    fn read(&self, range: Range<usize>, into: &mut [f32]) -> Result<()> {
        match self.format {
            StoredFormat::Plain(dtype) => {
                let size = dtype.size_bytes();
                to_f32(dtype.kernel(), &self.bytes[range.start * size..range.end * size], into);
                Ok(())
            }
            StoredFormat::Blocks(kind) => {
                let at = |number: usize| number / kind.block_numbers() * kind.block_bytes();
                dequantize(kind, &self.bytes[at(range.start)..at(range.end)], into)
            }
        }
    }
}

/// Dequantises blocks. The bytes are aligned as candle needs them: files have tensors at multiples of 8, blocks have an
/// even number of bytes, and no block type needs more than an alignment of 2.
fn dequantize(kind: TensorType, bytes: &[u8], into: &mut [f32]) -> Result<()> {
    let blocks = candle_type(kind).from_data(Cow::Borrowed(bytes));
    match blocks.dequantize(into.len())? {
        CpuStorage::F32(numbers) => into.copy_from_slice(&numbers),
        _ => return Err(ModelError::Defect { what: "dequantising" }),
    }
    Ok(())
}

fn candle_type(kind: TensorType) -> GgmlDType {
    match kind {
        TensorType::F32 => GgmlDType::F32,
        TensorType::F16 => GgmlDType::F16,
        TensorType::Bf16 => GgmlDType::BF16,
        TensorType::Q4_0 => GgmlDType::Q4_0,
        TensorType::Q4_1 => GgmlDType::Q4_1,
        TensorType::Q5_0 => GgmlDType::Q5_0,
        TensorType::Q5_1 => GgmlDType::Q5_1,
        TensorType::Q8_0 => GgmlDType::Q8_0,
        TensorType::Q2K => GgmlDType::Q2K,
        TensorType::Q3K => GgmlDType::Q3K,
        TensorType::Q4K => GgmlDType::Q4K,
        TensorType::Q5K => GgmlDType::Q5K,
        TensorType::Q6K => GgmlDType::Q6K,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_crates_agree_on_every_block() {
        for kind in TensorType::ALL {
            let found = (candle_type(kind).block_size(), candle_type(kind).type_size());
            assert_eq!(found, (kind.block_numbers(), kind.block_bytes()), "{kind}");
            assert!(CONVERTED_AT_A_TIME.is_multiple_of(kind.block_numbers()) && kind.block_bytes() % 2 == 0);
        }
    }

    /// Uses more numbers than are converted at a time, on two threads: the pieces come together in order.
    #[test]
    fn pieces_are_put_together_in_order() {
        let (rows, width) = (24, 8192);
        let of = |row: usize, column: usize| (row * 7 + column % 251) as f32;
        let order = RowOrder::Paired { heads: 3 };
        let numbers = |at: &dyn Fn(usize) -> usize| -> Vec<f32> {
            (0..rows).flat_map(|row| (0..width).map(move |column| (row, column))).map(|(r, c)| of(at(r), c)).collect()
        };
        let expected = numbers(&|row| row);
        let mut places = vec![0; rows];
        (0..rows).for_each(|row| places[order.stored(row, rows)] = row);
        for (order, stored) in [(RowOrder::Same, numbers(&|row| row)), (order, numbers(&|row| places[row]))] {
            let bytes = Bytes::from(stored.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>());
            let tensor =
                Stored { bytes, format: StoredFormat::Plain(FloatType::F32), shape: vec![rows, width], rows: order };
            assert_eq!(tensor.numbers().unwrap(), expected, "{order:?}");
            let mut back = vec![0.0; rows * width];
            to_f32(FloatType::F16.kernel(), &tensor.converted(FloatType::F16, &Cpu::new(2)).unwrap(), &mut back);
            assert_eq!(back, expected, "{order:?}");
        }
    }
}
