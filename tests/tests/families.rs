//! Every model family through real processes over HTTP: the cluster's answers, with dense transfer, equal the greedy
//! tokens of transformers on the same tiny checkpoint, token for token (`tests/fixtures/families/make.py`).
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

#[path = "../fixtures/expected.rs"]
mod expected;

use std::path::{Path, PathBuf};

use base64::Engine as _;
use expected::Expected;
use secateur_tests::cluster::Nodes;
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_secateur-under-test");
const TEXT: [&str; 6] = ["llama2", "llama3", "llama-linear", "mistral", "qwen2", "qwen3"];
const VISION: [&str; 3] = ["llava", "llava-next", "qwen2.5-vl"];

fn families() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/families")
}

/// What transformers computed for one family.
fn expected(family: &str) -> Expected {
    Expected::open(&families().join(family).join("expected.safetensors"))
}

/// Text of tokens in these checkpoints, whose tokenizer knows words: token 17 is `t17`.
fn words(tokens: &[u32]) -> String {
    tokens.iter().map(|token| format!("t{token}")).collect::<Vec<_>>().join(" ")
}

/// Text of an answer, from which special tokens are left out.
fn answer_of(tokens: &[u32], family: &str) -> String {
    // 0 is the unknown token, which transformers leaves out of texts like the other special tokens.
    let special: &[u32] = match family {
        "qwen2.5-vl" => &[0, 1, 2, 90, 91, 92, 93],
        family if VISION.contains(&family) => &[0, 1, 2, 90],
        _ => &[0, 1, 2],
    };
    words(&tokens.iter().copied().filter(|token| !special.contains(token)).collect::<Vec<_>>())
}

fn picture(name: &str) -> Value {
    let folder = families().join("pictures");
    let file = ["png", "jpg"].map(|kind| folder.join(format!("{name}.{kind}")));
    let bytes = file.iter().find_map(|file| std::fs::read(file).ok()).unwrap();
    let data = base64::engine::general_purpose::STANDARD.encode(bytes);
    json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{data}")}})
}

/// Content parts of a prompt: text between placeholders, pictures in their place; the template's own tokens around a
/// picture are dropped.
fn content(prompt: &[u32], family: &str, pictures: &[String]) -> Value {
    const IMAGE: u32 = 90;
    let around: &[u32] = if family == "qwen2.5-vl" { &[91, 92] } else { &[] };
    let mut parts = Vec::new();
    let mut pictures = pictures.iter();
    for (at, text) in prompt.split(|token| *token == IMAGE).enumerate() {
        if at > 0 {
            parts.push(picture(pictures.next().unwrap()));
        }
        let text: Vec<u32> = text.iter().copied().filter(|token| !around.contains(token)).collect();
        if !text.is_empty() {
            parts.push(json!({"type": "text", "text": format!(" {} ", words(&text))}));
        }
    }
    parts.into()
}

async fn check(family: &str) {
    let cluster = Nodes::start(PROGRAM, &families().join(family)).unwrap().route(None).await.unwrap();
    let expected = expected(family);
    let counts: &[usize] = if VISION.contains(&family) { &[0, 1, 3] } else { &[0] };
    for &count in counts {
        let (suffix, pictures) = match count {
            0 => (String::new(), Vec::new()),
            count => {
                let names = expected.note(&format!("pictures.{count}"));
                (format!(".{count}"), names.split(' ').map(str::to_owned).collect())
            }
        };
        let prompt = expected.tokens(&format!("prompt{suffix}"));
        let greedy = expected.tokens(&format!("greedy{suffix}"));
        let body = json!({
            "messages": [{"role": "user", "content": content(&prompt, family, &pictures)}],
            "temperature": 0, "repetition_penalty": 1, "max_tokens": greedy.len(),
            "secateur": {"visual": {"method": "none"}, "transfer": {"policy": "dense"}},
        });
        let found = cluster.answer(&body).await.unwrap();
        assert!(answer_of(&greedy, family).len() > 100, "{family}{suffix}: too little to compare");
        assert_eq!(found.trim(), answer_of(&greedy, family), "{family}{suffix}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_families_answer_as_transformers_do() {
    for family in TEXT {
        check(family).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vision_families_answer_as_transformers_do() {
    for family in VISION {
        check(family).await;
    }
}
