//! The body of one request.

use serde_json::{Map, Value, json};

use super::{arguments::BenchArguments, picture, prompt};

/// The body of the `index`-th request of all scenarios, with a text of so many characters.
pub fn body(arguments: &BenchArguments, model: &str, index: u64, chars: usize) -> anyhow::Result<Vec<u8>> {
    let mut content = Vec::new();
    for picture in 0..u64::from(arguments.images) {
        let url = picture::data_uri(arguments.seed, index * u64::from(arguments.images) + picture)?;
        content.push(json!({"type": "image_url", "image_url": {"url": url}}));
    }
    content.push(json!({"type": "text", "text": prompt::text(arguments.seed, index, chars)}));
    let mut body = json!({
        "model": model,
        "messages": [{"role": "user", "content": content}],
        // As long as asked, whatever the model would rather say.
        "max_tokens": arguments.output_len, "min_tokens": arguments.output_len, "ignore_eos": true,
        "temperature": 0, "stream": true, "stream_options": {"include_usage": true},
    });
    let extension = extension(arguments);
    if !extension.is_empty() {
        body["secateur"] = Value::Object(extension);
    }
    Ok(serde_json::to_vec(&body)?)
}

/// Left out where nothing is asked, so that other servers can be measured too.
fn extension(arguments: &BenchArguments) -> Map<String, Value> {
    let mut extension = Map::new();
    if let Some(visual) = &arguments.visual {
        let mut policy = json!({"method": visual.method});
        if let Some(keep) = visual.keep {
            policy["keep"] = keep.into();
        }
        extension.insert("visual".to_owned(), policy);
    }
    if let Some(policy) = &arguments.transfer {
        extension.insert("transfer".to_owned(), json!({"policy": policy}));
    }
    extension
}
