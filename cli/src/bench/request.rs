//! The body of one request.

use secateur_transfer::TransferPolicy;
use serde_json::{Value, json};

use super::{arguments::BenchArguments, picture, prompt};
use crate::client::extension;

/// Identity of a request: compared rows send the same prompts, under labels by which caches tell them apart.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Number of the prompt.
    pub prompt: u64,
    /// Label that is never used twice.
    pub label: u64,
    /// Transfer policy to ask for; `None` leaves the choice to the router.
    pub policy: Option<TransferPolicy>,
}

/// The body of a request with a text of `chars` characters.
pub fn body(arguments: &BenchArguments, model: &str, ask: Ask, chars: usize) -> anyhow::Result<Vec<u8>> {
    let mut content = Vec::new();
    let images = u64::from(arguments.images);
    for picture in 0..images {
        let url = picture::data_uri(arguments.seed, ask.prompt * images + picture, ask.label)?;
        content.push(json!({"type": "image_url", "image_url": {"url": url}}));
    }
    let text = prompt::text(arguments.seed, ask.prompt, ask.label, chars);
    content.push(json!({"type": "text", "text": text}));
    let mut body = json!({
        "model": model,
        "messages": [{"role": "user", "content": content}],
        // The answer has the requested length even if the model would end it earlier.
        "max_tokens": arguments.output_len, "min_tokens": arguments.output_len, "ignore_eos": true,
        "temperature": 0, "stream": true, "stream_options": {"include_usage": true},
    });
    let extension = extension::of(arguments.visual.as_ref(), ask.policy);
    if !extension.is_empty() {
        body["secateur"] = Value::Object(extension);
    }
    Ok(serde_json::to_vec(&body)?)
}
