//! One part: K and V of consecutive positions of a layer.
//!
//! Layout: one byte for the form, then K and V. In the raw form both are values of the wire's dtype; in the form planes
//! both are coded by [`planes`]; in the form steps they are coded by [`steps`](super::steps). Planes are for native
//! spans, steps for spans with a grain; a part of any span may be raw.

use super::{
    Codec, Grain,
    convert::{from_f32, to_f32},
    error::CodeError,
    planes,
    steps::{Coder, KvSteps, LayerModels, LayerSteps},
};
use crate::dtype::DType;

const RAW: u8 = 0;
const PLANES: u8 = 1;
const STEPS: u8 = 2;

/// Bytes of the form, the final states and the counts of a part in the form steps.
const STEPS_BYTES: usize = 140;

/// Layout of the values of a shipment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Number of values of K, and of V, of one position in one layer: `kv_heads x head_dim`.
    pub width: usize,
    /// Format of losslessly shipped values.
    pub dtype: DType,
}

impl Layout {
    /// Bytes of K, or of V, of `positions` positions.
    pub fn plane_bytes(&self, positions: usize) -> usize {
        positions * self.width * self.dtype.size_bytes()
    }
}

/// Bytes of a part of `positions` positions: an estimate for lossy codecs, and without lossless packing.
pub fn coded_bytes(layout: Layout, codec: Codec, positions: usize) -> usize {
    match codec.bits() {
        None => 1 + 2 * layout.plane_bytes(positions),
        Some(bits) => STEPS_BYTES + (2.0 * (layout.width * positions) as f64 * bits / 8.0).ceil() as usize,
    }
}

/// Whether losslessly shipped values are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Packing {
    /// Never: for links that are faster than packing.
    #[default]
    Never,
    /// Wherever the packed form is smaller.
    WhereSmaller,
}

/// One of the two planes of a part: keys or values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plane {
    /// Keys.
    K,
    /// Values.
    V,
}

/// K and V of a decoded part, each `[positions, width]` in the decoder's target dtype.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows<'a> {
    /// Keys.
    pub k: &'a [u8],
    /// Values.
    pub v: &'a [u8],
}

/// Coding state that the parts of one layer of a shipment share. Sender and receiver each have their own, and process
/// the same parts in the same order.
#[derive(Clone, Debug, Default)]
pub struct LayerCoding {
    steps: Option<LayerSteps>,
    models: LayerModels,
}

impl LayerCoding {
    /// State for the layer at index `place` of a shipment, whose lossy spans have `grain`.
    pub fn new(steps: &KvSteps, place: usize, shape: (usize, usize), grain: Option<Grain>) -> Self {
        Self { steps: grain.and_then(|grain| steps.layer(place, shape, grain)), models: LayerModels::default() }
    }
}

/// Encoder of parts, with buffers that are reused.
pub struct PartEncoder {
    layout: Layout,
    /// Format of the values that are encoded.
    source: DType,
    packing: Packing,
    bytes: [Vec<u8>; 2],
    values: Vec<f32>,
    coder: Coder,
    planes: planes::Scratch,
}

impl PartEncoder {
    /// An encoder for values of dtype `source`.
    pub fn new(layout: Layout, source: DType, packing: Packing) -> Self {
        let (bytes, values, coder, planes) = Default::default();
        Self { layout, source, packing, bytes, values, coder, planes }
    }

    /// Appends a coded part to `into`. `copy` appends the values of a plane, `[positions, width]` in the source dtype.
    pub fn encode(
        &mut self,
        codec: Codec,
        layer: &mut LayerCoding,
        mut copy: impl FnMut(Plane, &mut Vec<u8>),
        into: &mut Vec<u8>,
    ) {
        let start = into.len();
        let is_done = match codec {
            Codec::Steps(_) => self.steps(layer, &mut copy, into),
            Codec::Native => self.packing == Packing::WhereSmaller && self.planes(&mut copy, into),
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
        let bytes = &mut self.bytes[0];
        bytes.clear();
        self.values.clear();
        copy(plane, bytes);
        to_f32(self.source, bytes, &mut self.values);
        from_f32(self.layout.dtype, &self.values, into);
    }

    fn steps(
        &mut self,
        layer: &mut LayerCoding,
        copy: &mut impl FnMut(Plane, &mut Vec<u8>),
        into: &mut Vec<u8>,
    ) -> bool {
        let Some(steps) = &layer.steps else { return false };
        for (plane, bytes) in [Plane::K, Plane::V].into_iter().zip(&mut self.bytes) {
            bytes.clear();
            copy(plane, bytes);
        }
        into.push(STEPS);
        let [k, v] = &self.bytes;
        self.coder.encode(self.source, [k, v], steps, &mut layer.models, into)
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

/// Decoder of parts, with buffers that are reused.
pub struct PartDecoder {
    layout: Layout,
    /// Format of the decoded values.
    target: DType,
    /// Decoded K, then V, in the target dtype.
    out: Vec<u8>,
    /// Decoded K, then V, in the wire's dtype, for the form planes.
    raw: Vec<u8>,
    values: Vec<f32>,
    coder: Coder,
    planes: planes::Scratch,
}

impl PartDecoder {
    /// A decoder to values of dtype `target`.
    pub fn new(layout: Layout, target: DType) -> Self {
        let (out, raw, values, coder, planes) = Default::default();
        Self { layout, target, out, raw, values, coder, planes }
    }

    /// Decodes the part of `positions` positions at the front of `bytes`; returns its rows and its length in bytes.
    pub fn decode<'a>(
        &'a mut self,
        codec: Codec,
        layer: &mut LayerCoding,
        positions: usize,
        bytes: &'a [u8],
    ) -> Result<(Rows<'a>, usize), CodeError> {
        let (&form, rest) = bytes.split_first().ok_or(CodeError::Short)?;
        let used = |rest: &[u8]| bytes.len() - rest.len();
        match (form, codec) {
            (RAW, _) => {
                let (raw, rest) =
                    rest.split_at_checked(2 * self.layout.plane_bytes(positions)).ok_or(CodeError::Short)?;
                if self.target == self.layout.dtype {
                    return Ok((halves(raw), used(rest)));
                }
                self.convert(raw);
                Ok((halves(&self.out), used(rest)))
            }
            (PLANES, Codec::Native) => {
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
            (STEPS, Codec::Steps(_)) => {
                let steps = layer.steps.as_ref().ok_or(CodeError::Form)?;
                let to = (self.target, &mut self.out);
                let rest = self.coder.decode(positions, rest, steps, &mut layer.models, to)?;
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
}

fn halves(both: &[u8]) -> Rows<'_> {
    let (k, v) = both.split_at(both.len() / 2);
    Rows { k, v }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::steps::Notch;
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
        let grain = |quarters| Grain::of_quarters(quarters).map_or(Codec::Native, Codec::Steps);
        prop_oneof![Just(Codec::Native), (8u8..=40).prop_map(grain)]
    }

    /// Coding state with steps of 1 for keys and of 2 for values, at grain 0.
    fn coding(width: usize, codec: Codec) -> LayerCoding {
        let steps = KvSteps::new(1, (1, width), |_, _, _| Notch::nearest(1.0), |_, _| Notch::nearest(2.0));
        let grain = match codec {
            Codec::Native => None,
            Codec::Steps(grain) => Some(grain),
        };
        LayerCoding::new(&steps, 0, (1, width), grain)
    }

    /// Codes K and V, as values of `source`, as a part.
    fn coded(layout: Layout, source: DType, packing: Packing, codec: Codec, (k, v): (&[f32], &[f32])) -> Vec<u8> {
        let mut part = Vec::new();
        let copy = |plane, into: &mut Vec<u8>| from_f32(source, if plane == Plane::K { k } else { v }, into);
        let mut layer = coding(layout.width, codec);
        PartEncoder::new(layout, source, packing).encode(codec, &mut layer, copy, &mut part);
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
            part.extend_from_slice(b"next");
            let mut decoder = PartDecoder::new(layout, target);
            let mut layer = coding(width, codec);
            let (rows, used) = decoder.decode(codec, &mut layer, positions, &part).unwrap();
            prop_assert_eq!(&part[used..], b"next");
            let (mut k_back, mut v_back) = (Vec::new(), Vec::new());
            to_f32(target, rows.k, &mut k_back);
            to_f32(target, rows.v, &mut v_back);
            let step = codec.bits().map_or(0.0, |bits| (-bits).exp2() as f32);
            for (given, back, step) in [(&k, &k_back, step), (&v, &v_back, 2.0 * step)] {
                prop_assert_eq!(given.len(), back.len());
                for (given, back) in given.iter().zip(back) {
                    prop_assert!((given - back).abs() <= 0.51 * step + 0.01 * given.abs() + 1e-3, "{given} {back}");
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
            let layout = Layout { width, dtype: wire };
            let _ = PartDecoder::new(layout, target).decode(codec, &mut coding(width, codec), positions, &bytes);
        }

        /// A decoded value does not depend on the positions that it is coded with.
        #[test]
        fn parts_may_be_cut_anywhere(cut in 1usize..39, width in 1usize..30, seed: u64, quarters in 8u8..=40) {
            let codec = Codec::Steps(Grain::of_quarters(quarters).unwrap());
            let layout = Layout { width, dtype: DType::Bf16 };
            let (k, v) = (values(width * 40, seed, 30.0), values(width * 40, seed ^ 99, 2.0));
            let read = |from: usize, to: usize| {
                let (k, v) = (&k[from * width..to * width], &v[from * width..to * width]);
                let part = coded(layout, DType::Bf16, Packing::Never, codec, (k, v));
                let mut decoder = PartDecoder::new(layout, DType::Bf16);
                let (rows, _) = decoder.decode(codec, &mut coding(width, codec), to - from, &part).unwrap();
                [rows.k.to_vec(), rows.v.to_vec()]
            };
            let (whole, first, second) = (read(0, 40), read(0, cut), read(cut, 40));
            for plane in [0, 1] {
                prop_assert_eq!(&whole[plane], &[&first[plane][..], &second[plane]].concat());
            }
        }
    }

    fn four_bits() -> Codec {
        Codec::of_bits(4.0).unwrap()
    }

    #[test]
    fn what_is_no_number_goes_as_it_is() {
        let layout = Layout { width: 2, dtype: DType::F32 };
        for value in [f32::NAN, f32::INFINITY] {
            for (k, v) in [([value, 1.0], [1.0, 1.0]), ([1.0, 1.0], [1.0, value])] {
                let part = coded(layout, DType::F32, Packing::Never, four_bits(), (&k, &v));
                assert_eq!(part.len(), 1 + 16);
                let mut decoder = PartDecoder::new(layout, DType::F32);
                let (rows, _) = decoder.decode(four_bits(), &mut coding(2, four_bits()), 1, &part).unwrap();
                let given: Vec<u8> = [k, v].concat().into_iter().flat_map(f32::to_le_bytes).collect();
                assert_eq!([rows.k, rows.v].concat(), given);
            }
        }
    }

    #[test]
    fn a_form_that_the_codec_does_not_have_is_refused() {
        let layout = Layout { width: 16, dtype: DType::Bf16 };
        let some = values(16 * 64, 1, 2.0);
        let packed = coded(layout, DType::Bf16, Packing::WhereSmaller, Codec::Native, (&some, &some));
        let stepped = coded(layout, DType::Bf16, Packing::Never, four_bits(), (&some, &some));
        assert_eq!((packed[0], stepped[0]), (PLANES, STEPS));
        let mut decoder = PartDecoder::new(layout, DType::Bf16);
        let mut decode =
            |codec, bytes: &[u8]| decoder.decode(codec, &mut coding(16, codec), 64, bytes).map(|(_, used)| used);
        assert_eq!(decode(four_bits(), &packed), Err(CodeError::Form));
        assert_eq!(decode(Codec::Native, &stepped), Err(CodeError::Form));
        assert_eq!(decode(Codec::Native, &[3]), Err(CodeError::Form));
        assert_eq!(decode(Codec::Native, &[]), Err(CodeError::Short));
        // The layer has no steps.
        let mut decoder = PartDecoder::new(layout, DType::Bf16);
        assert_eq!(decoder.decode(four_bits(), &mut LayerCoding::default(), 64, &stepped).err(), Some(CodeError::Form));
    }
}
