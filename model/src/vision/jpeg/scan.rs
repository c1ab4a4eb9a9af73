//! One scan: which blocks it brings, in which order.

use crate::vision::jpeg::bits::{Bits, Huffman};
use crate::vision::jpeg::block::Decoder;
use crate::vision::jpeg::frame::Frame;

/// The Huffman tables that are defined at the moment.
pub(crate) struct Tables {
    pub dc: [Option<Huffman>; 4],
    pub ac: [Option<Huffman>; 4],
}

/// What the scan's header says.
pub(crate) struct Scan {
    pub parts: Vec<Part>,
    /// First and last coefficient, in zigzag order.
    pub band: (usize, usize),
    /// How many low bits were lacking before, if any had come; and after.
    pub precision: (u8, u8),
    restart_interval: usize,
}

/// A component in a scan.
pub(crate) struct Part {
    pub component: usize,
    dc: usize,
    ac: usize,
}

impl Scan {
    pub fn read(header: &[u8], frame: &mut Frame, restart_interval: usize) -> Option<Scan> {
        let [count, rest @ ..] = header else { return None };
        let (typed, end) = rest.split_at_checked(usize::from(*count) * 2)?;
        let [first, last, precision] = *end else { return None };
        let part = |typed: &[u8]| {
            let component = frame.components.iter().position(|component| component.id == typed[0])?;
            Some(Part { component, dc: usize::from(typed[1] >> 4), ac: usize::from(typed[1] & 15) })
        };
        let parts: Vec<Part> = typed.chunks_exact(2).map(part).collect::<Option<_>>()?;
        let (band, precision) = match frame.progressive {
            true => ((usize::from(first), usize::from(last)), (precision >> 4, precision & 15)),
            false => ((0, 63), (0, 0)),
        };
        let is_dc = band == (0, 0);
        let in_order = band.0 <= band.1 && band.1 < 64 && precision.1 <= 13;
        let apart = !frame.progressive || is_dc || (band.0 > 0 && parts.len() == 1);
        if parts.is_empty() || !in_order || !apart {
            return None;
        }
        let scan = Scan { parts, band, precision, restart_interval };
        scan.note(frame)?;
        Some(scan)
    }

    /// Every bit comes once, from the highest down.
    fn note(&self, frame: &mut Frame) -> Option<()> {
        let (before, after) = self.precision;
        for part in &self.parts {
            for missing in &mut frame.components[part.component].missing[self.band.0..=self.band.1] {
                let follows = match *missing {
                    None => before == 0,
                    Some(bits) => bits > 0 && before == bits && after + 1 == bits,
                };
                if !follows {
                    return None;
                }
                *missing = Some(after);
            }
        }
        Some(())
    }

    /// Decodes it into the frame's coefficients.
    pub fn decode(&self, bits: &mut Bits<'_>, tables: &Tables, frame: &mut Frame) -> Option<()> {
        let units = match self.parts.as_slice() {
            [part] => frame.components[part.component].blocks,
            _ => frame.units(),
        };
        let mut decoder = Decoder::new(self, frame.progressive);
        for unit in 0..units.0 * units.1 {
            if self.restart_interval > 0 && unit > 0 && unit % self.restart_interval == 0 {
                bits.restart()?;
                decoder = Decoder::new(self, frame.progressive);
            }
            let at = (unit % units.0, unit / units.0);
            for (index, part) in self.parts.iter().enumerate() {
                let component = &mut frame.components[part.component];
                let (dc, ac) = (tables.dc.get(part.dc)?.as_ref(), tables.ac.get(part.ac)?.as_ref());
                // A component alone is stored without padding.
                let (across, down) = if self.parts.len() == 1 { (1, 1) } else { component.sampling };
                for y in at.1 * down..(at.1 + 1) * down {
                    for x in at.0 * across..(at.0 + 1) * across {
                        let block = &mut component.coefficients[y * component.stored.0 + x];
                        decoder.block(bits, index, (dc, ac), block)?;
                    }
                }
            }
        }
        Some(())
    }
}
