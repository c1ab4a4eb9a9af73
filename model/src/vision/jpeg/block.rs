//! The coefficients that a scan brings to a block: the standard's five procedures.

use crate::vision::jpeg::bits::{Bits, Huffman};
use crate::vision::jpeg::frame::Block;
use crate::vision::jpeg::scan::Scan;

/// For each place in the file's order, its place in a block.
pub(crate) const ZIGZAG: [usize; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// Tables for the first coefficient and for the others.
type Pair<'a> = (Option<&'a Huffman>, Option<&'a Huffman>);

/// What one block hands on to the next, up to a restart.
pub(crate) struct Decoder {
    progressive: bool,
    band: (usize, usize),
    refines: bool,
    low: u8,
    /// The last first coefficient, for each part of the scan.
    previous: [i32; 4],
    /// Blocks without further new coefficients.
    empty: u32,
}

impl Decoder {
    pub fn new(scan: &Scan, progressive: bool) -> Decoder {
        let (before, low) = scan.precision;
        Decoder { progressive, band: scan.band, refines: before > 0, low, previous: [0; 4], empty: 0 }
    }

    pub fn block(&mut self, bits: &mut Bits<'_>, part: usize, (dc, ac): Pair<'_>, block: &mut Block) -> Option<()> {
        match (self.progressive, self.band.0, self.refines) {
            (false, ..) => {
                self.first(bits, part, dc?, block)?;
                self.others(bits, ac?, block)
            }
            (true, 0, false) => self.first(bits, part, dc?, block),
            (true, 0, true) => {
                block[0] |= (bits.take(1)? << self.low) as i16;
                Some(())
            }
            (true, _, false) => self.band(bits, ac?, block),
            (true, _, true) => self.refine(bits, ac?, block),
        }
    }

    fn first(&mut self, bits: &mut Bits<'_>, part: usize, table: &Huffman, block: &mut Block) -> Option<()> {
        let size = u32::from(bits.value(table)?);
        let previous = self.previous.get_mut(part)?;
        *previous = previous.wrapping_add(bits.signed((size <= 15).then_some(size)?)?);
        block[0] = (*previous << self.low) as i16;
        Some(())
    }

    fn others(&self, bits: &mut Bits<'_>, table: &Huffman, block: &mut Block) -> Option<()> {
        let mut at = 1;
        while at < 64 {
            let code = bits.value(table)?;
            let (run, size) = (usize::from(code >> 4), u32::from(code & 15));
            match (run, size) {
                (15, 0) => at += 16,
                (_, 0) => break,
                _ => {
                    at += run;
                    block[*ZIGZAG.get(at)?] = bits.signed(size)? as i16;
                    at += 1;
                }
            }
        }
        Some(())
    }

    /// A band of coefficients, without their lowest bits.
    fn band(&mut self, bits: &mut Bits<'_>, table: &Huffman, block: &mut Block) -> Option<()> {
        if self.empty > 0 {
            self.empty -= 1;
            return Some(());
        }
        let mut at = self.band.0;
        while at <= self.band.1 {
            let code = bits.value(table)?;
            let (run, size) = (u32::from(code >> 4), u32::from(code & 15));
            match (run, size) {
                (15, 0) => at += 16,
                (_, 0) => {
                    self.empty = (1 << run) - 1 + bits.take(run)? as u32;
                    break;
                }
                _ => {
                    at += run as usize;
                    block[*ZIGZAG.get(at)?] = (bits.signed(size)? << self.low) as i16;
                    at += 1;
                }
            }
        }
        Some(())
    }

    /// One more bit of those coefficients of a band that have some, and new ones between them.
    fn refine(&mut self, bits: &mut Bits<'_>, table: &Huffman, block: &mut Block) -> Option<()> {
        let mut at = self.band.0;
        if self.empty == 0 {
            while at <= self.band.1 {
                let code = bits.value(table)?;
                let (run, size) = (u32::from(code >> 4), code & 15);
                let new = match (run, size) {
                    (15, 0) => 0,
                    (_, 0) => {
                        self.empty = (1 << run) + bits.take(run)? as u32;
                        break;
                    }
                    (_, 1) => (if bits.take(1)? == 1 { 1 } else { -1 }) << self.low,
                    _ => return None,
                };
                at = self.refine_to(bits, block, at, Some(run))?;
                if new != 0 {
                    block[*ZIGZAG.get(at).filter(|_| at <= self.band.1)?] = new;
                }
                at += 1;
            }
        }
        if self.empty > 0 {
            self.refine_to(bits, block, at, None)?;
            self.empty -= 1;
        }
        Some(())
    }

    /// Refines from `at` on, up to the place behind `zeros` coefficients that are still zero, or to the band's end.
    fn refine_to(&self, bits: &mut Bits<'_>, block: &mut Block, at: usize, zeros: Option<u32>) -> Option<usize> {
        let mut left = zeros;
        for place in at..=self.band.1 {
            let value = &mut block[ZIGZAG[place]];
            if *value == 0 {
                match left {
                    Some(0) => return Some(place),
                    Some(zeros) => left = Some(zeros - 1),
                    None => {}
                }
            } else if bits.take(1)? == 1 && *value & (1 << self.low) == 0 {
                *value = value.wrapping_add(if *value > 0 { 1 << self.low } else { -1 << self.low });
            }
        }
        Some(self.band.1 + 1)
    }
}
