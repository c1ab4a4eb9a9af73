use proptest::prelude::*;

use super::*;
use crate::build::{Build, read};

fn problem(build: &Build) -> String {
    build.read().unwrap_err().to_string()
}

/// Calls every method that interprets a file. Errors are fine, panics are not.
fn use_all(gguf: &Gguf) {
    let _ = gguf.config();
    let _ = gguf.generation_config();
    let _ = gguf.tokenizer();
    let _ = gguf.tokenizer_config();
    let _ = gguf.named_tensors();
    let _ = gguf.tokenizer_digest();
}

#[test]
fn a_whole_file_is_read() {
    let gguf = Build::llama().read().unwrap();
    assert_eq!(gguf.count("llama.context_length").unwrap(), Some(64));
    let tensor = &gguf.tensors()["blk.0.ffn_up.weight"];
    assert_eq!((tensor.kind, tensor.shape.as_slice()), (TensorType::F32, [16, 8].as_slice()));
    assert_eq!((tensor.bytes.end - tensor.bytes.start, tensor.bytes.start % 32), (16 * 8 * 4, 0));
    for result in [gguf.config(), gguf.tokenizer(), gguf.tokenizer_config(), gguf.generation_config()] {
        assert!(result.is_ok(), "{result:?}");
    }
    assert_eq!(gguf.named_tensors().unwrap().len(), 11);
}

#[test]
fn what_is_no_file_of_a_known_version_is_refused() {
    assert!(read(b"").unwrap_err().to_string().contains("shorter"));
    assert!(read(b"PK\x03\x04 not at all").unwrap_err().to_string().contains("does not begin with `GGUF`"));
    assert!(problem(&Build::empty().version(1)).contains("version 1 is not supported"));
    assert!(problem(&Build::empty().version(3u32.swap_bytes())).contains("big-endian"));
    assert!(Build::llama().version(2).read().is_ok());
}

#[test]
fn parts_of_a_split_file_are_refused() {
    let part = Build::llama().with("split.count", Value::Integer(3));
    assert!(problem(&part).contains("split"));
    assert!(Build::llama().with("split.count", Value::Integer(1)).read().is_ok());
}

#[test]
fn tensor_types_that_are_not_read_are_refused_by_name() {
    for (kind, name) in [(23, "IQ4_XS"), (39, "MXFP4"), (77, "unknown")] {
        let message = problem(&Build::llama().stored("extra", &[256], kind, vec![0; 136]));
        assert!(message.contains("`extra`") && message.contains(name), "{message}");
    }
}

#[test]
fn impossible_tensors_are_refused_by_name() {
    let cases: [(&[u64], u32, &str); 5] = [
        (&[33], 2, "impossible for Q4_0"),
        (&[0, 4], 0, "impossible"),
        (&[1 << 40, 1 << 40], 0, "impossible"),
        (&[1, 1, 1, 1, 1], 0, "5 dimensions"),
        (&[1 << 20], 0, "cut short"),
    ];
    for (dimensions, kind, expected) in cases {
        let message = problem(&Build::llama().stored("extra", dimensions, kind, vec![0; 64]));
        assert!(message.contains("`extra`") && message.contains(expected), "{message}");
    }
    assert!(problem(&Build::llama().tensor("output_norm.weight", &[8])).contains("there twice"));
}

#[test]
fn lengths_that_the_file_cannot_hold_are_refused_before_memory_is_taken() {
    let huge = u64::MAX.to_le_bytes();
    let claims = [
        [&8u32.to_le_bytes()[..], &huge].concat(),
        [&9u32.to_le_bytes()[..], &8u32.to_le_bytes(), &huge].concat(),
        [&9u32.to_le_bytes()[..], &0u32.to_le_bytes(), &(1u64 << 50).to_le_bytes()].concat(),
        [&9u32.to_le_bytes()[..], &9u32.to_le_bytes(), &1u64.to_le_bytes(), &[0; 16]].concat(),
        [&99u32.to_le_bytes()[..], &huge].concat(),
    ];
    for claim in claims {
        let message = problem(&Build::llama().raw("claim", claim));
        assert!(message.contains("damaged"), "{message}");
    }
    for at in [8, 16] {
        let mut bytes = Build::llama().bytes();
        bytes[at..at + 8].copy_from_slice(&huge);
        assert!(read(&bytes).unwrap_err().to_string().contains("do not fit"));
    }
}

#[test]
fn a_file_that_is_cut_short_anywhere_is_refused() {
    let whole = Build::llama().bytes();
    for length in 0..whole.len() {
        assert!(read(&whole[..length]).is_err(), "cut at {length}");
    }
}

#[test]
fn alignment_is_that_of_the_file() {
    for wrong in [0, 4, 24, 1 << 21] {
        let message = problem(&Build::llama().with("general.alignment", Value::Integer(wrong)));
        assert!(message.contains("general.alignment"), "{message}");
    }
}

#[test]
fn the_tokenizers_digest_covers_its_keys_and_no_others() {
    let digest = |build: Build| build.read().unwrap().tokenizer_digest();
    let one = digest(Build::llama());
    assert_eq!(one, digest(Build::llama().with("general.name", Value::Text("x".to_owned()))));
    assert_ne!(one, digest(Build::llama().with("tokenizer.ggml.merges", Value::Texts(vec!["b a".to_owned()]))));
    assert_ne!(one, digest(Build::llama().without("tokenizer.ggml.pre")));
}

proptest! {
    #[test]
    fn no_bytes_cause_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend(bytes);
        if let Ok(gguf) = read(&file) {
            use_all(&gguf);
        }
    }

    /// Most of a changed file is still valid, so that the change reaches the code behind the container format.
    #[test]
    fn no_change_of_a_whole_file_causes_a_panic(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<proptest::sample::Index>(),
        is_cut in proptest::bool::weighted(0.1),
    ) {
        let mut bytes = Build::llama().bytes();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(gguf) = read(&bytes) {
            use_all(&gguf);
        }
    }

    /// Keys that are used get values of the wrong kind or out of range.
    #[test]
    fn no_value_of_a_key_causes_a_panic(key in 0..KEYS.len(), value in any_value()) {
        if let Ok(gguf) = Build::llama().with(KEYS[key], value).read() {
            use_all(&gguf);
        }
    }
}

const KEYS: [&str; 18] = [
    "general.architecture",
    "llama.block_count",
    "llama.context_length",
    "llama.embedding_length",
    "llama.attention.head_count",
    "llama.attention.head_count_kv",
    "llama.attention.key_length",
    "llama.rope.dimension_count",
    "llama.rope.freq_base",
    "llama.rope.scaling.type",
    "llama.rope.scaling.factor",
    "tokenizer.ggml.model",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.token_type",
    "tokenizer.ggml.merges",
    "tokenizer.ggml.scores",
    "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.eos_token_id",
];

fn any_value() -> impl Strategy<Value = Value> {
    let text = || prop_oneof![Just("llama".to_owned()), Just(String::new()), ".{0,8}"];
    prop_oneof![
        prop_oneof![Just(0), Just(1), Just(u32::MAX), any::<u32>()].prop_map(|value| Value::Integer(value.into())),
        any::<f32>().prop_map(|value| Value::Float(value.into())),
        any::<bool>().prop_map(Value::Flag),
        text().prop_map(Value::Text),
        proptest::collection::vec(any::<i32>().prop_map(i64::from), 0..8).prop_map(Value::Integers),
        proptest::collection::vec(any::<f32>(), 0..8).prop_map(Value::Floats),
        proptest::collection::vec(text(), 0..8).prop_map(Value::Texts),
    ]
}
