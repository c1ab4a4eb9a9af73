//! The segments of a file: tables, the frame header, scans.

use crate::vision::jpeg::bits::{Bits, Huffman};
use crate::vision::jpeg::block::ZIGZAG;
use crate::vision::jpeg::frame::Frame;
use crate::vision::jpeg::scan::{Scan, Tables};

/// More scans than any encoder makes are an attack on the processor's time.
const SCANS_MAX: usize = 64;

/// Reads a file from marker to marker.
pub(crate) struct Markers<'a> {
    bytes: &'a [u8],
    at: usize,
    quantization: [Option<[u16; 64]>; 4],
    tables: Tables,
    restart_interval: usize,
    has_jfif: bool,
    /// What Adobe's segment says of the colours.
    adobe: Option<u8>,
}

impl<'a> Markers<'a> {
    pub fn new(bytes: &'a [u8]) -> Markers<'a> {
        let tables = Tables { dc: [const { None }; 4], ac: [const { None }; 4] };
        Markers { bytes, at: 2, quantization: [None; 4], tables, restart_interval: 0, has_jfif: false, adobe: None }
    }

    /// All of the file up to its end marker.
    pub fn read(mut self, memory_bytes: u64) -> Option<Frame> {
        let mut frame: Option<Frame> = None;
        let mut scans = 0;
        loop {
            let (marker, segment) = self.segment()?;
            match marker {
                0xd9 => break,
                0xc0..=0xc2 if frame.is_none() => frame = Some(Frame::read(segment, marker == 0xc2, memory_bytes)?),
                0xc4 => self.huffman(segment)?,
                0xdb => self.quantize(segment)?,
                0xdd => self.restart_interval = usize::from(u16::from_be_bytes(segment.try_into().ok()?)),
                0xda => {
                    scans += 1;
                    if scans > SCANS_MAX {
                        return None;
                    }
                    self.scan(segment, frame.as_mut()?)?;
                }
                0xe0 if segment.starts_with(b"JFIF\0") => self.has_jfif = true,
                0xee if segment.starts_with(b"Adobe") => self.adobe = segment.get(11).copied(),
                // Comments and what applications keep.
                0xe0..=0xef | 0xfe => {}
                _ => return None,
            }
        }
        let mut frame = frame.filter(Frame::is_complete)?;
        frame.is_rgb = self.is_rgb(&frame);
        Some(frame)
    }

    /// The next marker and what belongs to it.
    fn segment(&mut self) -> Option<(u8, &'a [u8])> {
        while *self.bytes.get(self.at)? == 0xff && *self.bytes.get(self.at + 1)? == 0xff {
            self.at += 1;
        }
        let [0xff, marker] = *self.bytes.get(self.at..self.at + 2)? else { return None };
        self.at += 2;
        if marker == 0xd9 {
            return Some((marker, &[]));
        }
        let length = usize::from(u16::from_be_bytes(self.bytes.get(self.at..self.at + 2)?.try_into().ok()?));
        let segment = self.bytes.get(self.at + 2..self.at + length)?;
        self.at += length;
        Some((marker, segment))
    }

    fn huffman(&mut self, mut segment: &[u8]) -> Option<()> {
        while let [place, rest @ ..] = segment {
            let counts: &[u8; 16] = rest.first_chunk()?;
            let len: usize = counts.iter().map(|count| usize::from(*count)).sum();
            let table = Huffman::new(counts, rest.get(16..16 + len)?)?;
            let tables = if place >> 4 == 0 { &mut self.tables.dc } else { &mut self.tables.ac };
            *tables.get_mut(usize::from(place & 15))? = Some(table);
            segment = &rest[16 + len..];
        }
        Some(())
    }

    fn quantize(&mut self, mut segment: &[u8]) -> Option<()> {
        while let [place, rest @ ..] = segment {
            let size = 1 + usize::from(place >> 4 != 0);
            let factors = rest.get(..64 * size)?;
            let mut table = [0; 64];
            for (factor, natural) in factors.chunks_exact(size).zip(ZIGZAG) {
                table[natural] = factor.iter().fold(0, |high, low| high << 8 | u16::from(*low));
            }
            *self.quantization.get_mut(usize::from(place & 15))? = Some(table);
            segment = &rest[64 * size..];
        }
        Some(())
    }

    fn scan(&mut self, header: &[u8], frame: &mut Frame) -> Option<()> {
        let scan = Scan::read(header, frame, self.restart_interval)?;
        for part in &scan.parts {
            let component = &mut frame.components[part.component];
            // A table that comes later is for other components.
            component.quantization = component.quantization.or(self.quantization[component.table]);
            component.quantization?;
        }
        let mut bits = Bits::new(self.bytes, self.at);
        scan.decode(&mut bits, &self.tables, frame)?;
        self.at = bits.end();
        Some(())
    }

    /// libjpeg's guess.
    fn is_rgb(&self, frame: &Frame) -> bool {
        let ids = frame.components.iter().map(|component| component.id);
        match (self.has_jfif, self.adobe) {
            (true, _) => false,
            (false, Some(transform)) => transform == 0,
            (false, None) => ids.eq(*b"RGB"),
        }
    }
}
