//! Properties that must hold for every coded part, whatever its bytes and values.

use half::{bf16, f16};
use secateur_transfer::{
    Codec, DType, Grain,
    codec::{
        CodeError, KvSteps, LayerCoding, Layout, Packing, PartDecoder, PartEncoder, Plane, Rows, steps::Notch,
    },
};

use crate::{input::Input, memory};

/// Forms of a part (docs/transfer.md) that keep every bit of the wire's dtype.
const EXACT_FORMS: [u8; 2] = [0, 1];
const RAW: u8 = 0;
const PLANES: u8 = 1;
/// Bytes that a decoder may take for tables, besides the memory for each value.
const TABLES_BYTES: usize = 512 << 10;
/// Bytes that a decoder may take for each value of K and V, including spare room of vectors.
const BYTES_PER_VALUE: usize = 160;
/// Largest code: values further from zero than this many steps are clamped to it.
const CODE_MAX: f64 = 32_000.0;

/// Parameters of making and reading a part.
struct Case {
    codec: Codec,
    /// Steps of keys and of values, as notches.
    notches: [u8; 2],
    layout: Layout,
    source: DType,
    target: DType,
    positions: usize,
}

impl Case {
    fn of(is_native: bool, input: &mut Input<'_>) -> Self {
        let grain = Grain::of_quarters(8 + input.below(33) as u8);
        let codec = grain.filter(|_| !is_native).map_or(Codec::Native, Codec::Steps);
        let notches = [input.byte(), input.byte()];
        let size = input.byte();
        let (width_max, positions_max) = if size >= 254 { (48, 24) } else { (10, 6) };
        let width = 1 + input.below(width_max);
        let positions = 1 + input.below(positions_max);
        let layout = Layout { width, dtype: input.dtype() };
        Self { codec, notches, layout, source: input.dtype(), target: input.dtype(), positions }
    }

    /// Coding state of the layer before its first part.
    fn coding(&self) -> LayerCoding {
        let [keys, values] = self.notches.map(Notch);
        let heads = (1, self.layout.width);
        let steps = KvSteps::new(1, heads, |_, _, _| keys, |_, _| values);
        let grain = match self.codec {
            Codec::Native => None,
            Codec::Steps(grain) => Some(grain),
        };
        LayerCoding::new(&steps, 0, heads, grain)
    }

    /// The step of keys or of values.
    fn step(&self, plane: usize) -> f64 {
        let bits = self.codec.bits().expect("steps");
        ((f64::from(self.notches[plane]) - 128.0) / 4.0 - bits).exp2()
    }

    fn count(&self) -> usize {
        self.positions * self.layout.width
    }
}

/// Checks all properties, of native spans or of spans in steps.
pub fn check(is_native: bool, bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.below(4);
    let case = Case::of(is_native, &mut input);
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

/// A plane (K or V) of arbitrary bits.
fn bits(case: &Case, input: &mut Input<'_>) -> Vec<u8> {
    input.repeated(case.count() * case.source.size_bytes())
}

/// A plane (K or V) of numbers of a size that is usual for KV: within ±256, around an offset.
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
    // The encoder may have coded another part before, which must not matter.
    if input.below(4) == 0 {
        let numbers = numbers(case, input);
        let copy = |_, into: &mut Vec<u8>| into.extend_from_slice(&numbers);
        encoder.encode(input.pick(&[Codec::Native, case.codec]), &mut case.coding(), copy, &mut Vec::new());
    }
    encoder.encode(case.codec, &mut case.coding(), copy, &mut part);
    part
}

/// Decodes a part, and checks that decoding takes no more memory than the part's values need, and that the result
/// depends neither on earlier parts nor on bytes after the part.
fn read(case: &Case, bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut decoder = PartDecoder::new(case.layout, case.target);
    let bytes_max = TABLES_BYTES + 2 * BYTES_PER_VALUE * case.count();
    let first = memory::within(bytes_max, || copied(decoder.decode(case.codec, &mut case.coding(), case.positions, bytes)));
    let (rows, used) = first.ok()?;
    assert!((1..=bytes.len()).contains(&used));
    assert_eq!(rows.len(), 2 * case.count() * case.target.size_bytes());
    let form = bytes[0];
    assert!(form == RAW || (form == PLANES) == (case.codec == Codec::Native), "form {form} of {:?}", case.codec);
    if !EXACT_FORMS.contains(&form) {
        assert!(values(&rows, case.target).iter().all(|value| value.is_finite()), "steps are numbers");
    }
    let alone = copied(decoder.decode(case.codec, &mut case.coding(), case.positions, &bytes[..used]));
    assert_eq!(alone, Ok((rows.clone(), used)), "what was read before, or comes behind, matters");
    assert!(decoder.decode(case.codec, &mut case.coding(), case.positions, &bytes[..used - 1]).is_err(), "its last byte is not needed");
    Some((rows, used))
}

/// Copies K and V of a decoded part into one vector.
fn copied(decoded: Result<(Rows<'_>, usize), CodeError>) -> Result<(Vec<u8>, usize), CodeError> {
    decoded.map(|(rows, used)| {
        assert_eq!(rows.k.len(), rows.v.len());
        ([rows.k, rows.v].concat(), used)
    })
}

/// Codes K and V and reads them back: the result must have the same bits if the form is lossless, else be at most half
/// a step away.
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
    is_near(case, k, k_back, case.step(0));
    is_near(case, v, v_back, case.step(1));
}

/// Checks that every bit of the wire's dtype arrived, converted to the target's dtype.
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

/// Converts a value to another dtype; one that is too large becomes the dtype's largest.
fn through(value: f32, from: DType, to: DType) -> f32 {
    match to {
        _ if from == to => value,
        DType::F32 => value,
        DType::F16 => f16::from_f32(value.clamp(f16::MIN.to_f32(), f16::MAX.to_f32())).to_f32(),
        DType::Bf16 => bf16::from_f32(value.clamp(bf16::MIN.to_f32(), bf16::MAX.to_f32())).to_f32(),
    }
}

/// Checks that values are at most half a step from those given, which are clamped at the largest code.
fn is_near(case: &Case, given: &[u8], back: &[u8], step: f64) {
    let (given, back) = (values(given, case.source), values(back, case.target));
    assert_eq!(given.len(), back.len());
    let exp2 = |exponent: i32| 2f64.powi(exponent);
    for (&value, &back) in given.iter().zip(&back) {
        let most = CODE_MAX * step;
        let (held, exact) = (f64::from(value).clamp(-most, most), f64::from(back));
        let of_target = match case.target {
            DType::F32 => 0.0,
            DType::Bf16 => (held.abs() + step) * exp2(-8),
            DType::F16 if held.abs() + step > f64::from(f16::MAX.to_f32()) => continue,
            DType::F16 => (held.abs() + step) * exp2(-11) + exp2(-25),
        };
        // Dividing by a step rounds, and multiplying by it rounds again.
        let allowed = 0.5 * step + held.abs() * exp2(-22) + of_target + exp2(-140);
        assert!((held - exact).abs() <= allowed, "{value} became {back}, {allowed} from {held} is allowed");
    }
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
