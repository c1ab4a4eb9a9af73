//! One part: K and V of consecutive positions of a layer.
//!
//! Layout: a byte for the form, then K, then V. Raw: both as they are. Planes: both as [`planes`] codes them. Integers: of
//! each the scales, K's by [`channels`] and V's by [`tokens`], and the codes, packed ([`pack`](mod@super::pack)) or by
//! [`huffman`]. A part of a span of any codec may be raw, where its values do not fit the scales; planes are for native
//! spans, integers for the others.

use super::{
    Codec, channels,
    convert::{from_f32, to_f32},
    huffman,
    pack::{pack, packed_len, unpack},
    planes,
    scale::Width,
    tokens,
};
use crate::dtype::DType;

const RAW: u8 = 0;
const PLANES: u8 = 1;
const INTEGERS: u8 = 2;
const INTEGERS_SHORT: u8 = 3;

/// A part that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// It ends before its values do.
    #[error("a part is shorter than its positions need")]
    Short,
    /// The form is not known, or not one of the span's codec.
    #[error("a part has a form that its codec does not have")]
    Form,
    /// A scale is no number.
    #[error("a part has a scale that is no number")]
    Scale,
}

/// How the values of a shipment lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Values of K, and of V, of one position in one layer: `kv_heads x head_dim`.
    pub width: usize,
    /// Of values that are shipped as they are.
    pub dtype: DType,
}

impl Layout {
    /// K, or V, of so many positions.
    pub fn plane_bytes(&self, positions: usize) -> usize {
        positions * self.width * self.dtype.size_bytes()
    }
}

/// Bytes of a part of so many positions, if its values fit its codec and nothing is made smaller without loss.
pub fn coded_bytes(layout: Layout, codec: Codec, positions: usize) -> usize {
    1 + match codec.bits() {
        None => 2 * layout.plane_bytes(positions),
        Some(bits) => {
            let k = channels::scales_len(layout.width, Width::Long);
            let scales = k + tokens::scales_len(layout.width, positions, Width::Long);
            scales + 2 * packed_len(layout.width * positions, bits)
        }
    }
}

/// Whether what is shipped is made smaller without loss: native spans by planes, integers by shorter codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Packing {
    /// Never: where the link is faster.
    #[default]
    Never,
    /// Wherever that is smaller.
    WhereSmaller,
}

/// K or V.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plane {
    /// Keys.
    K,
    /// Values.
    V,
}

/// K and V of a part, each `[positions, width]` in the dtype that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows<'a> {
    /// Keys.
    pub k: &'a [u8],
    /// Values.
    pub v: &'a [u8],
}

/// Codes parts, in memory that it keeps.
pub struct PartEncoder {
    layout: Layout,
    /// Of the values that come.
    source: DType,
    packing: Packing,
    bytes: Vec<u8>,
    values: Vec<f32>,
    codes: Vec<u8>,
    words: huffman::Scratch,
    planes: planes::Scratch,
}

impl PartEncoder {
    /// For values of dtype `source`.
    pub fn new(layout: Layout, source: DType, packing: Packing) -> Self {
        let (bytes, values, codes) = Default::default();
        Self { layout, source, packing, bytes, values, codes, words: Default::default(), planes: Default::default() }
    }

    /// Appends a part. `copy` appends the values of a plane, `[positions, width]`.
    pub fn encode(&mut self, codec: Codec, mut copy: impl FnMut(Plane, &mut Vec<u8>), into: &mut Vec<u8>) {
        let start = into.len();
        let is_done = match codec.bits() {
            Some(bits) => self.integers(bits, &mut copy, into),
            None => self.packing == Packing::WhereSmaller && self.planes(&mut copy, into),
        };
        if !is_done {
            into.truncate(start);
            into.push(RAW);
            self.raw(Plane::K, &mut copy, into);
            self.raw(Plane::V, &mut copy, into);
        }
    }

    fn raw(&mut self, plane: Plane, copy: &mut impl FnMut(Plane, &mut Vec<u8>), into: &mut Vec<u8>) {
        if self.source == self.layout.dtype {
            return copy(plane, into);
        }
        self.load(plane, copy);
        from_f32(self.layout.dtype, &self.values, into);
    }

    fn load(&mut self, plane: Plane, copy: &mut impl FnMut(Plane, &mut Vec<u8>)) {
        self.bytes.clear();
        self.values.clear();
        copy(plane, &mut self.bytes);
        to_f32(self.source, &self.bytes, &mut self.values);
    }

    fn integers(&mut self, bits: u32, copy: &mut impl FnMut(Plane, &mut Vec<u8>), into: &mut Vec<u8>) -> bool {
        // What values become must not depend on the link, so only codes do.
        let is_short = huffman::is_for(bits);
        into.push(if is_short { INTEGERS_SHORT } else { INTEGERS });
        [Plane::K, Plane::V].into_iter().all(|plane| {
            self.load(plane, copy);
            if !is_short {
                let scaled = self.scale(plane, bits, Width::Long, into);
                return scaled.map(|()| pack(&self.codes, bits, into)).is_some();
            }
            // The narrowest scales that these values allow.
            let start = into.len();
            let scaled = widths(plane).into_iter().any(|(tag, width)| {
                into.truncate(start);
                into.push(tag);
                self.scale(plane, bits, width, into).is_some()
            });
            // Without scales the codes are those of another part, maybe of more bits.
            if scaled {
                match self.packing {
                    Packing::WhereSmaller => huffman::encode(&self.codes, bits, &mut self.words, into),
                    Packing::Never => huffman::encode_packed(&self.codes, bits, into),
                }
            }
            scaled
        })
    }

    fn scale(&mut self, plane: Plane, bits: u32, written: Width, into: &mut Vec<u8>) -> Option<()> {
        let (values, width) = (&self.values, self.layout.width);
        match plane {
            Plane::K => channels::encode(values, width, (bits, written), &mut self.codes, into),
            Plane::V => tokens::encode(values, width, (bits, written), &mut self.codes, into),
        }
    }

    fn planes(&mut self, copy: &mut impl FnMut(Plane, &mut Vec<u8>), into: &mut Vec<u8>) -> bool {
        into.push(PLANES);
        let mut raw = Vec::new();
        [Plane::K, Plane::V].into_iter().all(|plane| {
            raw.clear();
            self.raw(plane, copy, &mut raw);
            planes::encode(self.layout.dtype, &raw, &mut self.planes, into)
        })
    }
}

/// Reads parts, into memory that it keeps.
pub struct PartDecoder {
    layout: Layout,
    /// Of the values that are wanted.
    target: DType,
    /// K, then V, in the target's dtype.
    out: Vec<u8>,
    /// The same in the wire's, where a form does not give it as it lies.
    raw: Vec<u8>,
    values: Vec<f32>,
    codes: Vec<u8>,
    words: huffman::Scratch,
    planes: planes::Scratch,
}

impl PartDecoder {
    /// For values of dtype `target`.
    pub fn new(layout: Layout, target: DType) -> Self {
        let (out, raw, values, codes) = Default::default();
        Self { layout, target, out, raw, values, codes, words: Default::default(), planes: Default::default() }
    }

    /// Reads the part of so many positions at the front of `bytes`, and says how long it is.
    pub fn decode<'a>(
        &'a mut self,
        codec: Codec,
        positions: usize,
        bytes: &'a [u8],
    ) -> Result<(Rows<'a>, usize), CodeError> {
        let (&form, rest) = bytes.split_first().ok_or(CodeError::Short)?;
        let used = |rest: &[u8]| bytes.len() - rest.len();
        match (form, codec.bits()) {
            (RAW, _) => {
                let (raw, rest) =
                    rest.split_at_checked(2 * self.layout.plane_bytes(positions)).ok_or(CodeError::Short)?;
                if self.target == self.layout.dtype {
                    return Ok((halves(raw), used(rest)));
                }
                self.convert(raw);
                Ok((halves(&self.out), used(rest)))
            }
            (PLANES, None) => {
                self.raw.clear();
                let count = positions * self.layout.width;
                let dtype = self.layout.dtype;
                let rest = planes::decode(dtype, rest, count, &mut self.planes, &mut self.raw)?;
                let rest = planes::decode(dtype, rest, count, &mut self.planes, &mut self.raw)?;
                if self.target == dtype {
                    return Ok((halves(&self.raw), used(rest)));
                }
                let raw = std::mem::take(&mut self.raw);
                self.convert(&raw);
                self.raw = raw;
                Ok((halves(&self.out), used(rest)))
            }
            (INTEGERS | INTEGERS_SHORT, Some(bits)) => {
                let rest = self.integers((bits, form == INTEGERS_SHORT), positions, rest)?;
                Ok((halves(&self.out), used(rest)))
            }
            _ => Err(CodeError::Form),
        }
    }

    fn convert(&mut self, raw: &[u8]) {
        self.values.clear();
        self.out.clear();
        to_f32(self.layout.dtype, raw, &mut self.values);
        from_f32(self.target, &self.values, &mut self.out);
    }

    fn integers<'a>(
        &mut self,
        (bits, is_short): (u32, bool),
        positions: usize,
        bytes: &'a [u8],
    ) -> Result<&'a [u8], CodeError> {
        let width = self.layout.width;
        let mut rest = bytes;
        self.values.clear();
        self.out.clear();
        for plane in [Plane::K, Plane::V] {
            let written = match is_short {
                true => {
                    let tag;
                    (tag, rest) = rest.split_first().ok_or(CodeError::Short)?;
                    let known = widths(plane).into_iter().find(|(known, _)| known == tag);
                    known.ok_or(CodeError::Form)?.1
                }
                false => Width::Long,
            };
            let scales_len = match plane {
                Plane::K => channels::scales_len(width, written),
                Plane::V => tokens::scales_len(width, positions, written),
            };
            let scales;
            (scales, rest) = rest.split_at_checked(scales_len).ok_or(CodeError::Short)?;
            self.codes.clear();
            rest = match is_short {
                true => huffman::decode(rest, bits, width * positions, &mut self.words, &mut self.codes)?,
                false => {
                    let packed = packed_len(width * positions, bits);
                    let (packed, behind) = rest.split_at_checked(packed).ok_or(CodeError::Short)?;
                    unpack(packed, bits, width * positions, &mut self.codes);
                    behind
                }
            };
            match plane {
                Plane::K => channels::decode(scales, written, &self.codes, width, &mut self.values)?,
                Plane::V => tokens::decode(scales, written, &self.codes, width, &mut self.values)?,
            }
        }
        from_f32(self.target, &self.values, &mut self.out);
        Ok(rest)
    }
}

/// How scales may be written where codes are short too, narrowest first, with their tags.
fn widths(plane: Plane) -> [(u8, Width); 2] {
    match plane {
        Plane::K => [(1, Width::Middle), (0, Width::Long)],
        Plane::V => [(1, Width::Short), (0, Width::Long)],
    }
}

fn halves(both: &[u8]) -> Rows<'_> {
    let (k, v) = both.split_at(both.len() / 2);
    Rows { k, v }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values(count: usize, seed: u64, scale: f32) -> Vec<f32> {
        let mut state = seed | 1;
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((state >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * scale
            })
            .collect()
    }

    fn dtype() -> impl Strategy<Value = DType> {
        prop_oneof![Just(DType::F32), Just(DType::Bf16), Just(DType::F16)]
    }

    fn codec() -> impl Strategy<Value = Codec> {
        prop::sample::select(Codec::ALL.to_vec())
    }

    /// K and V as bytes of `dtype`, coded as a part.
    fn coded(layout: Layout, source: DType, packing: Packing, codec: Codec, (k, v): (&[f32], &[f32])) -> Vec<u8> {
        let mut part = Vec::new();
        let copy = |plane, into: &mut Vec<u8>| from_f32(source, if plane == Plane::K { k } else { v }, into);
        PartEncoder::new(layout, source, packing).encode(codec, copy, &mut part);
        part
    }

    proptest! {
        #[test]
        fn parts_round_trip(
            (source, wire, target) in (dtype(), dtype(), dtype()),
            codec in codec(), pack: bool, width in 1usize..80, positions in 1usize..40, seed: u64,
        ) {
            let layout = Layout { width, dtype: wire };
            let (k, v) = (values(width * positions, seed, 8.0), values(width * positions, seed ^ 99, 2.0));
            let packing = if pack { Packing::WhereSmaller } else { Packing::Never };
            let mut part = coded(layout, source, packing, codec, (&k, &v));
            prop_assert!(part.len() <= coded_bytes(layout, codec, positions) + 4);
            part.extend_from_slice(b"next");
            let mut decoder = PartDecoder::new(layout, target);
            let (rows, used) = decoder.decode(codec, positions, &part).unwrap();
            prop_assert_eq!(&part[used..], b"next");
            let (mut k_back, mut v_back) = (Vec::new(), Vec::new());
            to_f32(target, rows.k, &mut k_back);
            to_f32(target, rows.v, &mut v_back);
            let steps = codec.bits().map_or(f32::INFINITY, |bits| (1u32 << bits) as f32 - 1.0);
            for (given, back, scale) in [(&k, &k_back, 8.0), (&v, &v_back, 2.0f32)] {
                prop_assert_eq!(given.len(), back.len());
                for (given, back) in given.iter().zip(back) {
                    let cut = if codec == Codec::Int2 { 0.2 * scale } else { 0.0 };
                    prop_assert!((given - back).abs() <= 0.65 * scale / steps + 0.01 * scale + cut, "{given} {back}");
                }
            }
            if codec == Codec::Native && source == wire && wire == target {
                let mut exact = Vec::new();
                from_f32(source, &k, &mut exact);
                from_f32(source, &v, &mut exact);
                prop_assert_eq!([rows.k, rows.v].concat(), exact);
            }
        }

        #[test]
        fn strange_bytes_never_panic(
            wire in dtype(), target in dtype(), codec in codec(), form in 0u8..5,
            bytes in prop::collection::vec(any::<u8>(), 0..400), width in 1usize..20, positions in 0usize..20,
        ) {
            let bytes = [&[form][..], &bytes].concat();
            let _ = PartDecoder::new(Layout { width, dtype: wire }, target).decode(codec, positions, &bytes);
        }
    }

    #[test]
    fn what_scales_cannot_hold_goes_as_it_is() {
        let layout = Layout { width: 2, dtype: DType::F32 };
        for value in [1e9, f32::NAN, f32::INFINITY] {
            for (k, v) in [([value, 1.0], [1.0, 1.0]), ([1.0, 1.0], [1.0, value])] {
                let part = coded(layout, DType::F32, Packing::Never, Codec::Int4, (&k, &v));
                assert_eq!(part.len(), 1 + 16);
                let mut decoder = PartDecoder::new(layout, DType::F32);
                let (rows, _) = decoder.decode(Codec::Int4, 1, &part).unwrap();
                let given: Vec<u8> = [k, v].concat().into_iter().flat_map(f32::to_le_bytes).collect();
                assert_eq!([rows.k, rows.v].concat(), given);
            }
        }
    }

    #[test]
    fn what_an_encoder_coded_before_does_not_matter() {
        let layout = Layout { width: 16, dtype: DType::F32 };
        let (some, strange) = (values(16 * 8, 1, 2.0), [f32::NAN; 16 * 8]);
        let mut encoder = PartEncoder::new(layout, DType::F32, Packing::WhereSmaller);
        let copy = |of: &[f32]| -> Vec<u8> { of.iter().flat_map(|value| value.to_le_bytes()).collect() };
        encoder.encode(Codec::Int8, |_, into| into.extend(copy(&some)), &mut Vec::new());
        let mut part = Vec::new();
        encoder.encode(Codec::Int2, |_, into| into.extend(copy(&strange)), &mut part);
        assert_eq!(part[0], RAW);
        assert_eq!(part[1..], [copy(&strange), copy(&strange)].concat());
    }

    #[test]
    fn a_form_that_the_codec_does_not_have_is_refused() {
        let layout = Layout { width: 16, dtype: DType::Bf16 };
        let some = values(16 * 64, 1, 2.0);
        let packed = coded(layout, DType::Bf16, Packing::WhereSmaller, Codec::Native, (&some, &some));
        let integers = coded(layout, DType::Bf16, Packing::Never, Codec::Int4, (&some, &some));
        assert_eq!((packed[0], integers[0]), (PLANES, INTEGERS_SHORT));
        let mut decoder = PartDecoder::new(layout, DType::Bf16);
        assert_eq!(decoder.decode(Codec::Int4, 64, &packed), Err(CodeError::Form));
        assert_eq!(decoder.decode(Codec::Native, 64, &integers), Err(CodeError::Form));
        assert!(decoder.decode(Codec::Int8, 64, &integers).is_err());
        assert_eq!(decoder.decode(Codec::Native, 64, &[3]), Err(CodeError::Form));
        assert_eq!(decoder.decode(Codec::Native, 64, &[]), Err(CodeError::Short));
    }
}
