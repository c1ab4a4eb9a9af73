//! A picture's orientation, read from its EXIF block as Pillow's `exif_transpose` does: transformers rotates pictures
//! by it.

use image::metadata::Orientation;

const ORIENTATION: u16 = 0x0112;
const SHORT: u16 = 3;
const LONG: u16 = 4;
/// TIFF's first four bytes. The last two forms contradict their byte order mark, and Pillow accepts them.
const HEADERS: [(&[u8; 4], bool); 4] =
    [(b"II\x2a\x00", false), (b"MM\x00\x2a", true), (b"II\x00\x2a", false), (b"MM\x2a\x00", true)];

/// The orientation in an EXIF block; upright if there is none or the block is damaged.
pub(crate) fn orientation(block: &[u8]) -> Orientation {
    found(without_prefixes(block)).and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms)
}

fn found(block: &[u8]) -> Option<u8> {
    let header = HEADERS.iter().find(|(header, _)| block.starts_with(*header))?;
    let tiff = Tiff { block, is_big_endian: header.1 };
    let first = tiff.long(4)?;
    u8::try_from(tiff.orientation(first as usize)?).ok()
}

/// JPEG's segment begins with `Exif\0\0`, and some encoders write the prefix twice or in other formats.
fn without_prefixes(block: &[u8]) -> &[u8] {
    let without = |block| <[u8]>::strip_prefix(block, b"Exif\0\0").unwrap_or(block);
    without(without(block))
}

struct Tiff<'a> {
    block: &'a [u8],
    is_big_endian: bool,
}

impl Tiff<'_> {
    /// The orientation value in the directory at `start`, read as far as the directory is complete.
    fn orientation(&self, start: usize) -> Option<u32> {
        let entries = usize::from(self.short(start)?);
        let entry = |index: usize| start.checked_add(2 + 12 * index);
        let mut found = None;
        for at in (0..entries).map_while(entry) {
            // An entry that is cut short ends the directory.
            let Some(value) = self.long(at + 8) else { break };
            let (kind, count) = (self.short(at + 2)?, self.long(at + 4)?);
            if self.short(at) == Some(ORIENTATION) {
                found = self.value(kind, count, at + 8, value).or(found);
            }
        }
        found
    }

    /// The first value of an entry, which is stored in the entry itself if all values fit there.
    fn value(&self, kind: u16, count: u32, at: usize, offset: u32) -> Option<u32> {
        match (kind, count) {
            (_, 0) => None,
            (SHORT, 1 | 2) => self.short(at).map(u32::from),
            (SHORT, _) => self.short(offset as usize).map(u32::from),
            (LONG, 1) => Some(offset),
            (LONG, _) => self.long(offset as usize),
            _ => None,
        }
    }

    fn short(&self, at: usize) -> Option<u16> {
        let bytes: [u8; 2] = self.block.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if self.is_big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn long(&self, at: usize) -> Option<u32> {
        let bytes: [u8; 4] = self.block.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if self.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUARTER: &[u8] = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";

    #[test]
    fn the_value_is_found_and_damage_is_forgiven() {
        assert_eq!(orientation(QUARTER), Orientation::Rotate90);
        assert_eq!(orientation(&QUARTER[6..]), Orientation::Rotate90);
        let little = b"II\x2a\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x03\0\0\0";
        assert_eq!(orientation(little), Orientation::Rotate180);
        for len in [14, 16, 20, 25] {
            assert_eq!(orientation(&QUARTER[..len]), Orientation::NoTransforms, "{len}");
        }
        assert_eq!(orientation(b"Exif\0\0"), Orientation::NoTransforms);
    }

    #[test]
    fn another_header_is_no_exif() {
        let mut other = QUARTER.to_vec();
        other[6] = b'X';
        assert_eq!(orientation(&other), Orientation::NoTransforms);
        assert_eq!(orientation(b"MM\0\x2a\0\0"), Orientation::NoTransforms);
    }
}
