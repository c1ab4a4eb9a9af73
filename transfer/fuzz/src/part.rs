//! What must hold of a coded part, whatever its bytes and whatever its values.

use half::{bf16, f16};
use secateur_transfer::{
    Codec, DType,
    codec::{CodeError, Layout, Packing, PartDecoder, PartEncoder, Plane, Rows, coded_bytes},
};

use crate::{input::Input, memory};

/// Forms of docs/transfer.md that keep every bit of the wire's dtype.
const EXACT_FORMS: [u8; 2] = [0, 1];
const RAW: u8 = 0;
const PLANES: u8 = 1;
/// What a decoder may take beside memory for each value: tables.
const TABLES_BYTES: usize = 64 << 10;
/// What a decoder may take for each value of K and V, growing vectors included.
const BYTES_PER_VALUE: usize = 128;

/// How a part is made, and read.
struct Case {
    codec: Codec,
    layout: Layout,
    source: DType,
    target: DType,
    positions: usize,
}

impl Case {
    fn of(codec: Codec, input: &mut Input<'_>) -> Self {
        let size = input.byte();
        let (width_max, positions_max) = if size >= 254 { (48, 24) } else { (10, 6) };
        let width = 1 + input.below(width_max);
        let positions = 1 + input.below(positions_max);
        let layout = Layout { width, dtype: input.dtype() };
        Self { codec, layout, source: input.dtype(), target: input.dtype(), positions }
    }

    fn count(&self) -> usize {
        self.positions * self.layout.width
    }
}

/// Everything, with a codec.
pub fn check(codec: Codec, bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.below(4);
    let case = Case::of(codec, &mut input);
    match kind {
        0 => {
            let _ = read(&case, input.rest());
        }
        1 => {
            let (k, v) = (bits(&case, &mut input), bits(&case, &mut input));
            arrives(&case, &mut input, &k, &v);
        }
        2 => {
            let (k, v) = (numbers(&case, &mut input), numbers(&case, &mut input));
            arrives(&case, &mut input, &k, &v);
        }
        _ => {
            let (k, v) = (numbers(&case, &mut input), numbers(&case, &mut input));
            let mut part = code(&case, &mut input, &k, &v);
            while !input.is_empty() {
                let at = input.number() as usize % part.len();
                match input.below(4) {
                    0 => part.truncate(at.max(1)),
                    1 => part[0] = input.byte(),
                    _ => part[at] ^= input.byte(),
                }
            }
            let _ = read(&case, &part);
        }
    }
}

/// K or V of arbitrary bits.
fn bits(case: &Case, input: &mut Input<'_>) -> Vec<u8> {
    input.repeated(case.count() * case.source.size_bytes())
}

/// K or V of numbers as KV has them: below ±256, some a little more than others.
fn numbers(case: &Case, input: &mut Input<'_>) -> Vec<u8> {
    let offset = f32::from(input.byte() as i8);
    let scale = f32::from(input.byte()) / 4_096.0;
    let numbers = input.repeated(case.count());
    let value = |byte: u8| offset + scale * f32::from(byte as i8);
    let mut bytes = Vec::with_capacity(case.count() * case.source.size_bytes());
    for number in numbers {
        let value = value(number);
        match case.source {
            DType::F32 => bytes.extend(value.to_le_bytes()),
            DType::F16 => bytes.extend(f16::from_f32(value).to_le_bytes()),
            DType::Bf16 => bytes.extend(bf16::from_f32(value).to_le_bytes()),
        }
    }
    bytes
}

fn code(case: &Case, input: &mut Input<'_>, k: &[u8], v: &[u8]) -> Vec<u8> {
    let packing = input.pick(&[Packing::WhereSmaller, Packing::Never]);
    let mut part = Vec::new();
    let copy = |plane, into: &mut Vec<u8>| into.extend_from_slice(if plane == Plane::K { k } else { v });
    let mut encoder = PartEncoder::new(case.layout, case.source, packing);
    // What an encoder coded before does not matter.
    if input.below(4) == 0 {
        let numbers = numbers(case, input);
        let copy = |_, into: &mut Vec<u8>| into.extend_from_slice(&numbers);
        encoder.encode(input.pick(&Codec::ALL), copy, &mut Vec::new());
    }
    encoder.encode(case.codec, copy, &mut part);
    part
}

/// Reads a part: it takes no more memory than its values need, and what it gives does not depend on what was read before
/// or comes behind.
fn read(case: &Case, bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut decoder = PartDecoder::new(case.layout, case.target);
    let bytes_max = TABLES_BYTES + 2 * BYTES_PER_VALUE * case.count();
    let first = memory::within(bytes_max, || copied(decoder.decode(case.codec, case.positions, bytes)));
    let (rows, used) = first.ok()?;
    assert!((1..=bytes.len()).contains(&used));
    assert_eq!(rows.len(), 2 * case.count() * case.target.size_bytes());
    let form = bytes[0];
    assert!(form == RAW || (form == PLANES) == (case.codec == Codec::Native), "form {form} of {:?}", case.codec);
    if !EXACT_FORMS.contains(&form) {
        assert!(values(&rows, case.target).iter().all(|value| value.is_finite()), "integers are numbers");
    }
    let alone = copied(decoder.decode(case.codec, case.positions, &bytes[..used]));
    assert_eq!(alone, Ok((rows.clone(), used)), "what was read before, or comes behind, matters");
    assert!(decoder.decode(case.codec, case.positions, &bytes[..used - 1]).is_err(), "its last byte is not needed");
    Some((rows, used))
}

/// K and V, one behind the other.
fn copied(decoded: Result<(Rows<'_>, usize), CodeError>) -> Result<(Vec<u8>, usize), CodeError> {
    decoded.map(|(rows, used)| {
        assert_eq!(rows.k.len(), rows.v.len());
        ([rows.k, rows.v].concat(), used)
    })
}

/// Codes K and V and reads them back: every bit where the form promises it, else half a step away at most.
fn arrives(case: &Case, input: &mut Input<'_>, k: &[u8], v: &[u8]) {
    let part = code(case, input, k, v);
    let (rows, used) = read(case, &part).expect("what was coded can be read");
    assert_eq!(used, part.len());
    let form = part[0];
    let (k_back, v_back) = rows.split_at(rows.len() / 2);
    if EXACT_FORMS.contains(&form) {
        assert!(part.len() <= 1 + 2 * case.layout.plane_bytes(case.positions));
        assert!(form == RAW || case.codec == Codec::Native);
        is_same(case, k, k_back);
        return is_same(case, v, v_back);
    }
    // K and V each say whether their codes are short.
    assert!(part.len() <= coded_bytes(case.layout, case.codec, case.positions) + 4, "longer than said");
    let (width, count) = (case.layout.width, case.count());
    let group = group(width);
    is_near(case, k, k_back, |at| at % width, width);
    is_near(case, v, v_back, |at| at / group, count / group);
}

/// Every bit of the wire's dtype, as the target holds it.
fn is_same(case: &Case, given: &[u8], back: &[u8]) {
    let wire = case.layout.dtype;
    if case.source == wire && wire == case.target {
        return assert_eq!(given, back);
    }
    let on_wire = values(given, case.source).into_iter().map(|value| through(value, case.source, wire));
    let expected = on_wire.map(|value| through(value, wire, case.target));
    for (expected, back) in expected.zip(values(back, case.target)) {
        assert!(expected == back || expected.is_nan() && back.is_nan(), "{expected} became {back}");
    }
}

/// A value in another dtype; one that it cannot hold is its largest.
fn through(value: f32, from: DType, to: DType) -> f32 {
    match to {
        _ if from == to => value,
        DType::F32 => value,
        DType::F16 => f16::from_f32(value.clamp(f16::MIN.to_f32(), f16::MAX.to_f32())).to_f32(),
        DType::Bf16 => bf16::from_f32(value.clamp(bf16::MIN.to_f32(), bf16::MAX.to_f32())).to_f32(),
    }
}

/// Half a step from what was given, in every group of values that has a scale; of two bits a fifth of the range may be cut.
fn is_near(case: &Case, given: &[u8], back: &[u8], group_of: impl Fn(usize) -> usize, groups: usize) {
    let (given, back) = (values(given, case.source), values(back, case.target));
    assert_eq!(given.len(), back.len());
    let mut bounds = vec![(f64::INFINITY, f64::NEG_INFINITY); groups];
    for (at, &value) in given.iter().enumerate() {
        assert!(value.abs() <= 65_504.0, "{value} has no scale");
        let (low, high) = &mut bounds[group_of(at)];
        (*low, *high) = (low.min(value.into()), high.max(value.into()));
    }
    let levels = f64::from((1u32 << case.codec.bits().expect("integers")) - 1);
    let exp2 = |exponent: i32| 2f64.powi(exponent);
    for (at, (&value, &back)) in given.iter().zip(&back).enumerate() {
        let (low, high) = bounds[group_of(at)];
        // The smallest value is rounded down to f16, and the step to nearest.
        let range = high - low + (low.abs().max(high.abs()) * exp2(-10)).max(exp2(-24));
        let step = range / levels;
        let cut = if case.codec == Codec::Int2 { 0.2 * range } else { 0.0 };
        // A short scale's step may be a sixth longer, and its smallest value an eighth of it lower.
        let of_scales = 0.66 * step + range * exp2(-11) + levels * exp2(-25) + 0.001 * step + cut;
        let of_f32 = (value.abs() as f64 + range) * exp2(-20);
        let of_target = match case.target {
            DType::F32 => 0.0,
            DType::Bf16 => (f64::from(value).abs() + of_scales) * exp2(-8),
            DType::F16 => (f64::from(value).abs() + of_scales) * exp2(-11) + exp2(-25),
        };
        let error = (f64::from(value) - f64::from(back)).abs();
        let allowed = of_scales + of_f32 + of_target;
        assert!(error <= allowed, "{value} became {back}, {allowed} is allowed; group {low}..{high}");
    }
}

/// Values of V that share a scale (docs/transfer.md).
fn group(width: usize) -> usize {
    let divisor = (1..=width.min(128)).rev().find(|&size| width.is_multiple_of(size)).unwrap_or(width);
    if divisor < 16 { width } else { divisor }
}

fn values(bytes: &[u8], dtype: DType) -> Vec<f32> {
    let value = |bytes: &[u8]| match (dtype, bytes) {
        (DType::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
        (DType::F16, &[a, b]) => f16::from_le_bytes([a, b]).to_f32(),
        (DType::Bf16, &[a, b]) => bf16::from_le_bytes([a, b]).to_f32(),
        _ => unreachable!("chunks of a value's size"),
    };
    bytes.chunks_exact(dtype.size_bytes()).map(value).collect()
}
