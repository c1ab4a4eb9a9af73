//! Entropy coding of one part: K and V of some positions.
//!
//! Layout: a byte whose bits 0 and 1 say that a model of K's or of V's channels follows; these models; the symbols of K
//! and V ([`rans`]); the low bits of channels with a wide spread ([`low_bits`](super::low_bits)), K's before V's; the
//! number of escaped symbols (u32) and the code of each (i16).

use super::{
    super::error::CodeError,
    instructions::by_instructions,
    low_bits::{BitReader, BitWriter},
    model::{LayerModels, PlaneModel, Sums, sums},
    quantize::{find_non_finite, quantize, restore},
    rans::{self, Run},
};
use crate::dtype::DType;

/// Largest distance from a channel's centre that has a symbol: symbols `0..=2 * LARGEST` stand for
/// `-LARGEST..=LARGEST`.
const LARGEST: i32 = 31;
const ESCAPE: u8 = 63;

/// Quantization steps of one layer's channels at one grain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerSteps {
    /// Steps of keys and of values, each `[width]`.
    pub steps: [Vec<f32>; 2],
    /// Inverses of the steps.
    pub steps_per_unit: [Vec<f32>; 2],
}

/// Encoder and decoder of parts, with buffers that are reused.
#[derive(Default)]
pub struct Coder {
    codes: [Vec<i16>; 2],
    symbols: [Vec<u8>; 2],
    sums: Vec<Sums>,
    words: Vec<u16>,
    low: Vec<u8>,
    escapes: Vec<i16>,
}

impl Coder {
    /// Appends K and V, each `[positions, width]` in `dtype`, as a coded part. Returns false, with nothing appended, if
    /// some value is infinite or NaN.
    pub fn encode(
        &mut self,
        dtype: DType,
        planes: [&[u8]; 2],
        steps: &LayerSteps,
        models: &mut LayerModels,
        into: &mut Vec<u8>,
    ) -> bool {
        for values in planes {
            let mut is_found = false;
            find_non_finite(dtype, values, &mut is_found);
            if is_found {
                return false;
            }
        }
        self.low.clear();
        self.escapes.clear();
        let flags_at = into.len();
        into.push(0);
        for plane in [0, 1] {
            let steps = &steps.steps_per_unit[plane];
            let codes = &mut self.codes[plane];
            codes.resize(planes[plane].len() / dtype.size_bytes(), 0);
            quantize(dtype, planes[plane], steps, codes);
            sums(codes, steps.len(), &mut self.sums);
            let model = &mut models.planes[plane];
            if model.adapt(&self.sums, codes.len() / steps.len()) {
                into[flags_at] |= 1 << plane;
                model.write(into);
            }
            to_symbols(codes, model, &mut self.symbols[plane], &mut self.escapes);
        }
        let run = |plane: usize| Run { symbols: &self.symbols[plane], classes: &models.planes[plane].classes };
        rans::encode(&[run(0), run(1)], &mut self.words, into);
        let mut bits = BitWriter::new(into);
        for (codes, model) in self.codes.iter().zip(&models.planes) {
            model.low_bits.write(codes, &model.centers, &mut bits);
        }
        bits.finish();
        into.extend_from_slice(&(self.escapes.len() as u32).to_le_bytes());
        self.escapes.iter().for_each(|code| into.extend_from_slice(&code.to_le_bytes()));
        true
    }

    /// Decodes K and V of `positions` positions from the front of `bytes` into `values`, K then V in `dtype`; returns
    /// the rest of the bytes.
    pub fn decode<'a>(
        &mut self,
        positions: usize,
        bytes: &'a [u8],
        steps: &LayerSteps,
        models: &mut LayerModels,
        (dtype, values): (DType, &mut Vec<u8>),
    ) -> Result<&'a [u8], CodeError> {
        let width = steps.steps[0].len();
        let (&flags, mut rest) = bytes.split_first().ok_or(CodeError::Short)?;
        if flags > 3 {
            return Err(CodeError::Form);
        }
        for plane in [0, 1] {
            if flags & 1 << plane != 0 {
                (models.planes[plane], rest) = PlaneModel::read(rest, width)?;
            } else if models.planes[plane].channels.len() != width {
                return Err(CodeError::Form);
            }
        }
        let (mut decoder, rest) = rans::Decoder::new(rest, &mut self.words)?;
        for plane in [0, 1] {
            self.symbols[plane].resize(positions * width, 0);
            decoder.run(&mut self.symbols[plane], &models.planes[plane].classes)?;
        }
        decoder.finish()?;
        let low_bits = models.planes.iter().map(|model| model.low_bits.count(positions)).sum();
        let (mut bits, rest) = BitReader::new(rest, low_bits)?;
        for plane in [0, 1] {
            let (codes, model) = (&mut self.codes[plane], &models.planes[plane]);
            codes.resize(positions * width, 0);
            from_symbols(&self.symbols[plane], &model.centers, &model.shifts, codes);
            model.low_bits.read(codes, width, &mut bits);
        }
        let rest = self.escapes_back(rest)?;
        let plane_bytes = positions * width * dtype.size_bytes();
        values.clear();
        values.resize(2 * plane_bytes, 0);
        for (plane, values) in values.chunks_exact_mut(plane_bytes.max(1)).enumerate() {
            restore(dtype, &self.codes[plane], &steps.steps[plane], values);
        }
        Ok(rest)
    }

    /// Reads the codes of escaped symbols into their places; returns the rest of the bytes.
    fn escapes_back<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], CodeError> {
        let (count, rest) = bytes.split_first_chunk::<4>().ok_or(CodeError::Short)?;
        let len = (u32::from_le_bytes(*count) as usize).checked_mul(2).ok_or(CodeError::Short)?;
        let (given, rest) = rest.split_at_checked(len).ok_or(CodeError::Short)?;
        let mut given = given.as_chunks::<2>().0.iter();
        for (codes, symbols) in self.codes.iter_mut().zip(&self.symbols) {
            for (codes, symbols) in
                codes.chunks_mut(64).zip(symbols.chunks(64)).filter(|(_, symbols)| has_escape(symbols))
            {
                for (code, _) in codes.iter_mut().zip(symbols).filter(|(_, symbol)| **symbol == ESCAPE) {
                    *code = i16::from_le_bytes(*given.next().ok_or(CodeError::Short)?);
                }
            }
        }
        if given.next().is_none() { Ok(rest) } else { Err(CodeError::Form) }
    }
}

fn to_symbols(codes: &[i16], model: &PlaneModel, symbols: &mut Vec<u8>, escapes: &mut Vec<i16>) {
    symbols.resize(codes.len(), 0);
    let mut most = 0;
    place(codes, &model.centers, &model.shifts, symbols, &mut most);
    if most == ESCAPE {
        for (symbols, codes) in symbols.chunks(64).zip(codes.chunks(64)).filter(|(symbols, _)| has_escape(symbols)) {
            escapes.extend(symbols.iter().zip(codes).filter(|(symbol, _)| **symbol == ESCAPE).map(|(_, code)| *code));
        }
    }
}

/// Whether a group of symbols has an escape. Escapes are rare, so whole groups are skipped by this test.
fn has_escape(symbols: &[u8]) -> bool {
    symbols.iter().fold(0, |most, &symbol| most.max(symbol)) == ESCAPE
}

by_instructions! {
    fn place(codes: &[i16], centers: &[i16], shifts: &[u32], symbols: &mut [u8], most: &mut u8) {
        let width = centers.len();
        for (symbols, codes) in symbols.chunks_exact_mut(width).zip(codes.chunks_exact(width)) {
            for (((symbol, code), center), shift) in symbols.iter_mut().zip(codes).zip(centers).zip(shifts) {
                let place = ((i32::from(*code) - i32::from(*center)) >> shift).wrapping_add(LARGEST) as u32;
                *symbol = place.min(ESCAPE as u32) as u8;
            }
        }
        *most = symbols.iter().fold(0, |most, symbol| most.max(*symbol));
    }
}

by_instructions! {
    fn from_symbols(symbols: &[u8], centers: &[i16], shifts: &[u32], codes: &mut [i16]) {
        let width = centers.len();
        for (symbols, codes) in symbols.chunks_exact(width).zip(codes.chunks_exact_mut(width)) {
            for (((code, symbol), center), shift) in codes.iter_mut().zip(symbols).zip(centers).zip(shifts) {
                *code = ((i32::from(*symbol) - LARGEST) << shift).wrapping_add((*center).into()) as i16;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::convert::{from_f32, to_f32};
    use proptest::prelude::*;

    /// Random values of channels with the centres and spreads in `of`, from a simple generator.
    fn plane(positions: usize, of: &[(f32, f32)], seed: u64) -> Vec<f32> {
        let mut state = seed | 1;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        };
        let mut normal = || (0..12).map(|_| uniform()).sum::<f32>();
        (0..positions)
            .flat_map(|_| of.iter().map(|(center, spread)| center + spread * normal()).collect::<Vec<_>>())
            .collect()
    }

    fn steps(width: usize, step: f32) -> LayerSteps {
        let of = |step: f32| [vec![step; width], vec![2.0 * step; width]];
        LayerSteps { steps: of(step), steps_per_unit: [vec![1.0 / step; width], vec![0.5 / step; width]] }
    }

    fn bytes(values: &[f32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        from_f32(DType::F32, values, &mut bytes);
        bytes
    }

    proptest! {
        #[test]
        fn parts_come_back_within_half_a_step(
            of in prop::collection::vec((-300.0f32..300.0, 0.0f32..60.0), 1..40), lengths in prop::collection::vec(0usize..70, 1..4),
            seed: u64, step in 0.02f32..3.0,
        ) {
            let width = of.len();
            let steps = steps(width, step);
            let (mut coder, mut reader) = (Coder::default(), Coder::default());
            let (mut models, mut reader_models) = (LayerModels::default(), LayerModels::default());
            for (at, positions) in lengths.into_iter().enumerate() {
                let planes = [plane(positions, &of, seed ^ at as u64), plane(positions, &of, !seed ^ at as u64)];
                let given = planes.each_ref().map(|plane| bytes(plane));
                let mut part = Vec::new();
                prop_assert!(coder.encode(DType::F32, [&given[0], &given[1]], &steps, &mut models, &mut part));
                part.push(77);
                let mut values = Vec::new();
                let rest = reader.decode(positions, &part, &steps, &mut reader_models, (DType::F32, &mut values)).unwrap();
                prop_assert_eq!(rest, &[77u8][..]);
                let mut back = Vec::new();
                to_f32(DType::F32, &values, &mut back);
                let exact: Vec<f32> = planes.concat();
                for (at, (exact, back)) in exact.iter().zip(&back).enumerate() {
                    let step = if at < positions * width { step } else { 2.0 * step };
                    prop_assert!((exact - back).abs() <= 0.5 * step + 1e-4 * exact.abs() || exact.abs() >= 32_000.0 * step);
                }
            }
        }

        #[test]
        fn strange_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), positions in 0usize..20, width in 1usize..12) {
            let mut coder = Coder::default();
            let _ = coder.decode(positions, &bytes, &steps(width, 1.0), &mut LayerModels::default(), (DType::Bf16, &mut Vec::new()));
        }
    }

    #[test]
    fn bits_are_those_of_the_distribution() {
        // The channels spread by 0.3 to 40 steps around varied centres; a Gaussian takes log2(spread sqrt(2 pi e))
        // bits.
        let of: Vec<(f32, f32)> = (0..64).map(|i| (i as f32 - 20.0, 0.3 * 1.08f32.powi(i))).collect();
        let positions = 512;
        let planes = [plane(positions, &of, 5), plane(positions, &of, 6)];
        let given = planes.each_ref().map(|plane| bytes(plane));
        let mut part = Vec::new();
        let mut steps = steps(64, 1.0);
        steps.steps_per_unit[1] = vec![1.0; 64];
        assert!(Coder::default().encode(
            DType::F32,
            [&given[0], &given[1]],
            &steps,
            &mut LayerModels::default(),
            &mut part
        ));
        let entropy = |spread: f32| {
            let spread = f64::from(spread);
            let share = |n: i32| (-f64::from(n * n) / (2.0 * spread * spread + 1.0 / 6.0)).exp();
            let total: f64 = (-400..=400).map(share).sum();
            (-400..=400).map(|n| share(n) / total).filter(|p| *p > 0.0).map(|p| -p * p.log2()).sum::<f64>()
        };
        let expected = of.iter().map(|(_, spread)| entropy(*spread)).sum::<f64>() / 64.0;
        let found = part.len() as f64 * 8.0 / (2 * 64 * positions) as f64;
        assert!(found < expected + 0.09, "{found} bits, {expected} expected");
    }

    #[test]
    fn a_damaged_part_is_no_part() {
        let of = [(0.0, 3.0); 16];
        let given = [bytes(&plane(64, &of, 1)), bytes(&plane(64, &of, 2))];
        let mut part = Vec::new();
        assert!(Coder::default().encode(
            DType::F32,
            [&given[0], &given[1]],
            &steps(16, 1.0),
            &mut LayerModels::default(),
            &mut part
        ));
        let read = |part: &[u8]| {
            let mut coder = Coder::default();
            coder
                .decode(64, part, &steps(16, 1.0), &mut LayerModels::default(), (DType::F32, &mut Vec::new()))
                .map(|rest| rest.len())
        };
        assert_eq!(read(&part), Ok(0));
        assert!(read(&part[..part.len() - 1]).is_err());
        let mut damaged = part.clone();
        damaged[300] ^= 4;
        assert!(read(&damaged).is_err(), "the coder ends in another state");
    }
}
