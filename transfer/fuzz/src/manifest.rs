//! Properties that must hold for every manifest, including those of a malicious sender.

use std::sync::{Arc, LazyLock};

use prost::Message;
use secateur_proto::v1;
use secateur_pruning::pdtrim::Plan;
use secateur_transfer::{
    BlockKeys, DType, Extent, KvShape, Manifest, Parties, Receiver, TransferPolicy, receive::Expectation,
};

use crate::{input::Input, memory};

const SHAPE: KvShape = KvShape { kv_heads: 2, head_dim: 4, dtype: DType::F32 };
const POSITIONS_MAX: u32 = 1_000;
const LAYERS: [u32; 3] = [0, 2, 3];
/// Most memory per byte of a message: an empty layer takes two bytes on the wire and thirty-two in memory, and vectors
/// grow with spare room.
const BYTES_PER_BYTE: usize = 64;
const BYTES_AT_LEAST: usize = 16 << 10;
/// Most memory of a receiver's parts: those of at most 1,000 positions, at least 16 each, in three layers.
const RECEIVER_BYTES_MAX: usize = 32 << 10;

/// A plan whose third block ships only first and last tokens.
static PLAN: LazyLock<Arc<Plan>> = LazyLock::new(|| {
    let text = r#"{"format":1,"model_fingerprint":"f","layers":4,
        "calibration":{"name":"c","digest":"d","samples":1,"seed":0},"rule":"subset",
        "prefill":{"removed":[]},"decode":{"removed":[{"layer":1}]},
        "kv":[{"layer":2,"keep":0.1,"phi":0.5,"first_min":4,"last_min":8}]}"#;
    Arc::new(Plan::parse(text).expect("a plan"))
});

fn expectation(input: &mut Input<'_>) -> Expectation {
    Expectation {
        model_fingerprint: "f".into(),
        plan_id: String::new(),
        shape: SHAPE,
        layers: LAYERS.to_vec(),
        plan: input.pick(&[true, false]).then(|| PLAN.clone()),
        policy: input.pick(&TransferPolicy::ALL),
        emitted: input.below(4) as u32,
        positions_max: POSITIONS_MAX,
    }
}

/// Reads an arbitrary manifest, or a good one with changes, and checks that every accepted manifest is an expected one.
pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let expected = expectation(&mut input);
    let message = match input.below(2) {
        0 => {
            let bytes = input.rest();
            let decode = || v1::Manifest::decode(bytes);
            let Ok(message) = memory::within(BYTES_AT_LEAST + BYTES_PER_BYTE * bytes.len(), decode) else { return };
            message
        }
        _ => edited(&expected, &mut input),
    };
    let bytes_max = BYTES_AT_LEAST + BYTES_PER_BYTE * message.encoded_len();
    let Ok(manifest) = memory::within(bytes_max, || Manifest::from_proto(message)) else { return };
    let again = manifest.to_proto();
    let bytes = again.encode_to_vec();
    assert_eq!(v1::Manifest::decode(&bytes[..]).as_ref(), Ok(&again));
    assert_eq!(Manifest::from_proto(again).as_ref(), Ok(&manifest), "a manifest is the same on its next way");
    if memory::within(BYTES_AT_LEAST, || expected.check(&manifest)).is_ok() {
        is_agreed(manifest, &expected, &mut input);
    }
}

/// A good manifest with some fields changed by the fuzzer.
fn edited(expected: &Expectation, input: &mut Input<'_>) -> v1::Manifest {
    let positions = 1 + input.number() % (POSITIONS_MAX + 8);
    let extent = Extent { prompt: positions.saturating_sub(expected.emitted), positions };
    let parties = Parties { epoch: "e".into(), attempt: 1, model_fingerprint: "f".into(), plan_id: String::new() };
    let shape = KvShape { dtype: input.dtype(), ..SHAPE };
    let keys = BlockKeys { positions: 16, keys: vec![7; 32 * (positions as usize / 16)].into() };
    let policy = (expected.policy, expected.plan.as_deref());
    let mut message = Manifest::new(parties, policy, extent, shape, &LAYERS).with_keys(keys).to_proto();
    while !input.is_empty() {
        edit(&mut message, input);
    }
    message
}

fn edit(message: &mut v1::Manifest, input: &mut Input<'_>) {
    let field = input.below(18);
    let layer = input.below(message.layers.len());
    let entry = message.layers.get_mut(layer);
    match field {
        0 => message.version = input.number(),
        1 => message.epoch = None,
        2 => message.model_fingerprint.push('x'),
        3 => message.plan_id.push('x'),
        4 => message.policy = input.below(5) as i32,
        5 => message.positions = input.number(),
        6 => message.kv_heads = input.number(),
        7 => message.head_dim = input.number(),
        8 => message.total_bytes = (u64::from(input.number()) << 32) | u64::from(input.number()),
        9 => message.next_position = input.number(),
        10 => message.prompt_positions = input.number(),
        11 => message.dtype = input.below(5) as i32,
        12 => message.block_keys = vec![1; input.below(200)].into(),
        13 => message.key_positions = input.number(),
        14 => message.layers.push(v1::LayerEntry { layer: input.number(), spans: Vec::new() }),
        15 => {
            if let Some(entry) = entry {
                entry.layer = input.number();
            }
        }
        16 => {
            let (start, end) = (input.number(), input.number());
            let span = v1::TokenSpan { start, end, codec: input.below(7) as i32, grain: input.below(48) as u32 };
            if let Some(entry) = entry {
                entry.spans.push(span);
            }
        }
        _ => {
            // Makes a span one token longer or shorter, and corrects the total.
            let Some(span) = entry.and_then(|entry| entry.spans.last_mut()) else { return };
            span.end = span.end.wrapping_add(1).wrapping_sub(2 * (input.byte() as u32 & 1));
            let tokens = |layer: &v1::LayerEntry| -> u64 {
                layer.spans.iter().map(|span| u64::from(span.end.saturating_sub(span.start))).sum()
            };
            let bytes = if message.dtype == DType::F32.to_proto() as i32 { 64 } else { 32 };
            message.total_bytes = message.layers.iter().map(tokens).sum::<u64>() * bytes;
        }
    }
}

/// Checks that an accepted manifest is exactly the one that policy and plan give for its extent.
fn is_agreed(manifest: Manifest, expected: &Expectation, input: &mut Input<'_>) {
    let Extent { prompt, positions } = manifest.extent;
    assert!(positions <= POSITIONS_MAX && positions == prompt + expected.emitted);
    let shape = KvShape { dtype: manifest.shape.dtype, ..SHAPE };
    let policy = (expected.policy, expected.plan.as_deref());
    let honest = Manifest::new(manifest.parties.clone(), policy, manifest.extent, shape, &LAYERS)
        .with_keys(manifest.keys.clone())
        .with_steps(&manifest.steps)
        .with_next_position(manifest.next_position);
    assert_eq!(manifest, honest);
    assert!(manifest.keys.iter().count() as u64 * u64::from(manifest.keys.positions) <= positions.into());
    let held = input.number() % (positions + 1);
    let receiver = memory::within(RECEIVER_BYTES_MAX + 2 * manifest.to_proto().encoded_len(), || {
        Receiver::new(manifest, expected, held)
    });
    assert_eq!(receiver.frames(), 0);
}
