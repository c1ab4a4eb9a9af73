//! Reader of the format's primitives, bounded by the bytes that are left in the file.

use std::io::Read;

use crate::error::Problem;
use crate::value::Value;

/// Most bytes that metadata and tensor list may take together; the largest vocabularies need a quarter of that.
const HEADER_BYTES_MAX: u64 = 64 << 20;
/// Most entries of an array; the largest lists of merges have a tenth of that.
const ENTRIES_MAX: usize = 1 << 22;
/// Longest key or tensor name in bytes, as the format defines it.
const NAME_BYTES_MAX: u64 = 65_535;
/// Bytes read at a time, so that memory grows with the bytes that arrive and not with the length that a file claims.
const PIECE_BYTES: u64 = 1 << 20;

/// Sequential reader of a file's header.
pub(crate) struct Reader<R> {
    inner: R,
    position: u64,
    /// Bytes that may still be read.
    left: u64,
}

impl<R: Read> Reader<R> {
    /// A reader at the start of a file of `file_bytes` bytes.
    pub fn new(inner: R, file_bytes: u64) -> Reader<R> {
        Reader { inner, position: 0, left: file_bytes.min(HEADER_BYTES_MAX) }
    }

    /// Number of bytes read so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Reads the next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        self.claim(N as u64)?;
        let mut bytes = [0; N];
        self.inner.read_exact(&mut bytes).map_err(|error| self.broken(&error))?;
        self.advance(N as u64);
        Ok(bytes)
    }

    /// Reads a 32-bit integer.
    pub fn u32(&mut self) -> Result<u32, Problem> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Reads a 64-bit integer.
    pub fn u64(&mut self) -> Result<u64, Problem> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Reads a count of entries that take at least `bytes_min` bytes each; refused if they do not fit into the rest of
    /// the file.
    pub fn count(&mut self, what: &str, bytes_min: u64) -> Result<usize, Problem> {
        let count = self.u64()?;
        match count.checked_mul(bytes_min) {
            Some(bytes) if bytes <= self.left => Ok(count as usize),
            _ => Err(Problem::Damaged(format!("{count} {what} do not fit into the {} bytes that are left", self.left))),
        }
    }

    /// Reads a key or a tensor's name.
    pub fn name(&mut self) -> Result<String, Problem> {
        let length = self.u64()?;
        if length > NAME_BYTES_MAX {
            return Err(Problem::Damaged(format!("a name of {length} bytes")));
        }
        let bytes = self.bytes(length)?;
        String::from_utf8(bytes).map_err(|_| Problem::Damaged("a name that is not UTF-8".to_owned()))
    }

    /// Reads a text. Bytes that are not UTF-8 are replaced.
    pub fn text(&mut self) -> Result<String, Problem> {
        let length = self.u64()?;
        let bytes = self.bytes(length)?;
        Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// Reads a value, preceded by its type.
    pub fn value(&mut self) -> Result<Value, Problem> {
        let kind = self.u32()?;
        match kind {
            ARRAY => self.values(),
            TEXT => Ok(Value::Text(self.text()?)),
            FLAG => Ok(Value::Flag(self.flag()?)),
            F32 | F64 => Ok(Value::Float(self.float(kind)?)),
            _ => Ok(Value::Integer(self.integer(kind)?)),
        }
    }

    fn values(&mut self) -> Result<Value, Problem> {
        let kind = self.u32()?;
        let count = self.count("entries of an array", bytes_min(kind)?)?;
        if count > ENTRIES_MAX {
            return Err(Problem::Damaged(format!("an array of {count} entries, where {ENTRIES_MAX} are the limit")));
        }
        // No memory is reserved beforehand: an entry may be larger in memory than in the file.
        match kind {
            ARRAY => Err(Problem::Damaged("an array of arrays, which is not supported".to_owned())),
            TEXT => Ok(Value::Texts((0..count).map(|_| self.text()).collect::<Result<_, _>>()?)),
            FLAG => Ok(Value::Flags((0..count).map(|_| self.flag()).collect::<Result<_, _>>()?)),
            F32 | F64 => {
                let number = |_| self.float(kind).map(|number| number as f32);
                Ok(Value::Floats((0..count).map(number).collect::<Result<_, _>>()?))
            }
            _ => {
                let too_large = |_| Problem::Damaged("an integer of an array is beyond 63 bits".to_owned());
                let number = |_| self.integer(kind).and_then(|number| i64::try_from(number).map_err(too_large));
                Ok(Value::Integers((0..count).map(number).collect::<Result<_, _>>()?))
            }
        }
    }

    fn flag(&mut self) -> Result<bool, Problem> {
        match self.array::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(Problem::Damaged(format!("a truth value of {other}"))),
        }
    }

    fn float(&mut self, kind: u32) -> Result<f64, Problem> {
        match kind {
            F32 => Ok(f64::from(f32::from_le_bytes(self.array()?))),
            _ => Ok(f64::from_le_bytes(self.array()?)),
        }
    }

    fn integer(&mut self, kind: u32) -> Result<i128, Problem> {
        match kind {
            0 => Ok(i128::from(u8::from_le_bytes(self.array()?))),
            1 => Ok(i128::from(i8::from_le_bytes(self.array()?))),
            2 => Ok(i128::from(u16::from_le_bytes(self.array()?))),
            3 => Ok(i128::from(i16::from_le_bytes(self.array()?))),
            4 => Ok(i128::from(u32::from_le_bytes(self.array()?))),
            5 => Ok(i128::from(i32::from_le_bytes(self.array()?))),
            10 => Ok(i128::from(u64::from_le_bytes(self.array()?))),
            11 => Ok(i128::from(i64::from_le_bytes(self.array()?))),
            _ => Err(unknown_type(kind)),
        }
    }

    fn bytes(&mut self, length: u64) -> Result<Vec<u8>, Problem> {
        self.claim(length)?;
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < length {
            let piece = (length - bytes.len() as u64).min(PIECE_BYTES);
            let read = (&mut self.inner).take(piece).read_to_end(&mut bytes).map_err(|error| self.broken(&error))?;
            if read == 0 {
                return Err(Problem::Damaged(format!("it ends at byte {}", self.position + bytes.len() as u64)));
            }
        }
        self.advance(length);
        Ok(bytes)
    }

    fn claim(&self, bytes: u64) -> Result<(), Problem> {
        if bytes <= self.left {
            return Ok(());
        }
        let Reader { position, left, .. } = self;
        let limit = if position + left == HEADER_BYTES_MAX { "that metadata may take" } else { "that are left" };
        Err(Problem::Damaged(format!("{bytes} bytes at byte {position} are more than the {left} {limit}")))
    }

    fn advance(&mut self, bytes: u64) {
        self.position += bytes;
        self.left -= bytes;
    }

    fn broken(&self, error: &std::io::Error) -> Problem {
        Problem::Damaged(format!("reading at byte {} failed: {error}", self.position))
    }
}

const F32: u32 = 6;
const FLAG: u32 = 7;
const TEXT: u32 = 8;
const ARRAY: u32 = 9;
const F64: u32 = 12;

/// Least number of bytes that a value of a type takes in a file.
fn bytes_min(kind: u32) -> Result<u64, Problem> {
    match kind {
        0 | 1 | FLAG => Ok(1),
        2 | 3 => Ok(2),
        4 | 5 | F32 => Ok(4),
        10 | 11 | F64 | TEXT => Ok(8),
        ARRAY => Ok(12),
        _ => Err(unknown_type(kind)),
    }
}

fn unknown_type(kind: u32) -> Problem {
    Problem::Damaged(format!("a value of type {kind}, which the format does not have"))
}
