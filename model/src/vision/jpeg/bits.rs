//! The bits of a scan, and Huffman codes in them.

/// Codes of up to this length are looked up at once.
const SHORT: u32 = 9;

/// A table of Huffman codes.
#[derive(Clone)]
pub(crate) struct Huffman {
    /// For every beginning of `SHORT` bits: length and value of the code, or length 0 if it is longer.
    short: Vec<(u8, u8)>,
    /// For each length: one more than its last code, and what to add to a code to get its place in `values`.
    long: [(i32, i32); 17],
    values: Vec<u8>,
}

impl Huffman {
    /// From the number of codes of each length, 1 to 16, and their values in order.
    pub fn new(counts: &[u8; 16], values: &[u8]) -> Option<Huffman> {
        let mut table = Huffman { short: vec![(0, 0); 1 << SHORT], long: [(0, 0); 17], values: values.to_vec() };
        let (mut code, mut place) = (0i32, 0usize);
        for length in 1..=16u32 {
            let first = place as i32 - code;
            for _ in 0..counts[length as usize - 1] {
                let value = *values.get(place)?;
                if code >= 1 << length {
                    return None;
                }
                if length <= SHORT {
                    let from = (code as usize) << (SHORT - length);
                    table.short[from..from + (1 << (SHORT - length))].fill((length as u8, value));
                }
                (code, place) = (code + 1, place + 1);
            }
            table.long[length as usize] = (code, first);
            code <<= 1;
        }
        Some(table)
    }
}

/// Reads bits, most significant first, up to the next marker.
pub(crate) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The last `count` bits are still to be read; the last `padding` of them are made up.
    held: u64,
    count: u32,
    padding: u32,
}

impl<'a> Bits<'a> {
    pub fn new(bytes: &'a [u8], at: usize) -> Bits<'a> {
        Bits { bytes, at, held: 0, count: 0, padding: 0 }
    }

    /// The next `n` bits, at most 16.
    pub fn take(&mut self, n: u32) -> Option<i32> {
        if self.count < n {
            self.fill();
        }
        self.count -= n;
        let bits = (self.held >> self.count) & ((1 << n) - 1);
        // Codes that need more bits than there are belong to a damaged file.
        (self.count >= self.padding).then_some(bits as i32)
    }

    /// The value of the next code.
    pub fn value(&mut self, table: &Huffman) -> Option<u8> {
        if self.count < 16 {
            self.fill();
        }
        let next = (self.held >> (self.count - 16)) as i32 & 0xffff;
        let (length, value) = table.short[(next >> (16 - SHORT)) as usize];
        if length > 0 {
            self.take(u32::from(length))?;
            return Some(value);
        }
        for length in SHORT + 1..=16 {
            let code = next >> (16 - length);
            let (end, offset) = table.long[length as usize];
            if code < end {
                self.take(length)?;
                return table.values.get(usize::try_from(code + offset).ok()?).copied();
            }
        }
        None
    }

    /// `size` more bits as a signed number (the standard's EXTEND).
    pub fn signed(&mut self, size: u32) -> Option<i32> {
        if size == 0 {
            return Some(0);
        }
        let bits = self.take(size)?;
        Some(if bits < 1 << (size - 1) { bits - (1 << size) + 1 } else { bits })
    }

    /// Goes on behind the restart marker that has to come now.
    pub fn restart(&mut self) -> Option<()> {
        let at = self.end();
        let marker = *self.bytes.get(at + 1)?;
        (0xd0..=0xd7).contains(&marker).then(|| *self = Bits::new(self.bytes, at + 2))
    }

    /// Where the marker behind the bits is.
    pub fn end(&self) -> usize {
        let mut at = self.at;
        while at + 1 < self.bytes.len() && (self.bytes[at] != 0xff || matches!(self.bytes[at + 1], 0 | 0xff)) {
            at += 1;
        }
        at
    }

    fn fill(&mut self) {
        while self.count <= 48 {
            let byte = match (self.bytes.get(self.at), self.bytes.get(self.at + 1)) {
                (Some(0xff), Some(0)) => {
                    self.at += 2;
                    0xff
                }
                (Some(0xff), _) | (None, _) => {
                    self.padding += 8;
                    0
                }
                (Some(byte), _) => {
                    self.at += 1;
                    *byte
                }
            };
            self.held = self.held << 8 | u64::from(byte);
            self.count += 8;
        }
    }
}
