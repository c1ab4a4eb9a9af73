//! The body of `POST /v1/embeddings`, and its reply.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secateur_proto::ServiceError;
use serde::Serialize;
use serde_json::Value;

use super::{
    fields::{Fields, unsupported},
    prompts,
};
use crate::request::{EmbeddingJob, Limits, Pooling};

/// Most texts of one request, as in OpenAI's API.
const INPUTS_MAX: usize = 2_048;

/// Parameters of vLLM's API that would change the vectors and are not supported, with the one value that changes
/// nothing, if there is one.
const UNSUPPORTED: &[(&str, Option<&str>)] = &[
    ("messages", None),
    ("truncate_prompt_tokens", None),
    ("chat_template", None),
    ("chat_template_kwargs", None),
    ("mm_processor_kwargs", None),
    ("embed_dtype", Some("float32")),
    ("endianness", Some("little")),
    ("use_activation", None),
];

/// Reads and validates a request body.
pub fn parse(body: &Value, limits: &Limits) -> Result<EmbeddingJob, ServiceError> {
    let fields = Fields::of(body, "")?;
    for (name, neutral) in UNSUPPORTED {
        if fields.get(name).is_some_and(|value| neutral.is_none() || value.as_str() != *neutral) {
            return Err(unsupported(*name, format!("{name} is not supported; leave it out")));
        }
    }
    let inputs = prompts::parse(&fields, "input", limits.vocab, INPUTS_MAX)?;
    let is_base64 = match fields.text("encoding_format")? {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(fields.invalid("encoding_format", "must be float or base64")),
    };
    Ok(EmbeddingJob {
        model: fields.text("model")?.map(str::to_owned),
        inputs,
        adds_special_tokens: fields.flag("add_special_tokens")?.unwrap_or(true),
        pooling: pooling(&fields)?,
        normalizes: fields.flag("normalize")?.unwrap_or(true),
        dimensions: fields.integer_from("dimensions", 1)?,
        is_base64,
    })
}

/// Reads `secateur.pooling`. Unknown keys beside it are refused, since a misspelt one would mean another vector.
fn pooling(fields: &Fields) -> Result<Pooling, ServiceError> {
    let Some(extension) = fields.object("secateur")? else { return Ok(Pooling::default()) };
    if let Some(key) = extension.keys().find(|key| *key != "pooling") {
        return Err(extension.invalid(key, "is not known; known here: pooling"));
    }
    match extension.text("pooling")? {
        None | Some("last") => Ok(Pooling::Last),
        Some("mean") => Ok(Pooling::Mean),
        Some(_) => Err(extension.invalid("pooling", "must be last or mean")),
    }
}

/// The error for a length of vectors that the model does not have.
pub fn wrong_dimensions(asked: u32, has: usize) -> ServiceError {
    let message = format!("dimensions must be {has}, the length of this model's vectors, not {asked}; leave it out");
    unsupported("dimensions", message)
}

/// The reply.
#[derive(Debug, Serialize)]
pub struct Embeddings {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    data: Vec<Embedding>,
    usage: EmbeddingUsage,
}

#[derive(Debug, Serialize)]
struct Embedding {
    object: &'static str,
    index: usize,
    embedding: Numbers,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Numbers {
    Floats(Vec<f32>),
    Base64(String),
}

#[derive(Debug, Serialize)]
struct EmbeddingUsage {
    prompt_tokens: u32,
    total_tokens: u32,
}

/// How vectors are written.
#[derive(Clone, Copy, Debug)]
pub struct VectorStyle {
    /// Whether they are scaled to length 1.
    pub normalizes: bool,
    /// Whether they are written as base64 of little-endian f32 numbers.
    pub is_base64: bool,
}

impl Embeddings {
    /// The reply of `model` with these vectors, in order; `epoch` makes its id.
    pub fn new(
        (epoch, created, model): (&str, u64, &str),
        vectors: Vec<Vec<f32>>,
        style: VectorStyle,
        tokens: u32,
    ) -> Self {
        let entry = |(index, mut vector): (usize, Vec<f32>)| {
            if style.normalizes {
                normalize(&mut vector);
            }
            let embedding = if style.is_base64 {
                Numbers::Base64(STANDARD.encode(little_endian(&vector)))
            } else {
                Numbers::Floats(vector)
            };
            Embedding { object: "embedding", index, embedding }
        };
        Self {
            id: format!("embd-{epoch}"),
            object: "list",
            created,
            model: model.to_owned(),
            data: vectors.into_iter().enumerate().map(entry).collect(),
            usage: EmbeddingUsage { prompt_tokens: tokens, total_tokens: tokens },
        }
    }
}

/// Scales a vector to length 1; one of zeros stays as it is.
fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|&number| f64::from(number) * f64::from(number)).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|number| *number = (f64::from(*number) / length) as f32);
    }
}

fn little_endian(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|number| number.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use secateur_proto::ErrorCode;
    use serde_json::json;

    use super::*;
    use crate::request::Words;

    const LIMITS: Limits = Limits { images_max: 0, image_bytes_max: 0, vocab: 300 };

    #[test]
    fn inputs_come_in_four_shapes_and_defaults_are_vllms() {
        for (input, count) in [(json!("a"), 1), (json!(["a", "b"]), 2), (json!([1, 2]), 1), (json!([[1], [2]]), 2)] {
            assert_eq!(parse(&json!({"input": input}), &LIMITS).unwrap().inputs.len(), count);
        }
        let job = parse(&json!({"input": "a", "user": "u", "dimensions": null, "embed_dtype": "float32"}), &LIMITS);
        let job = job.unwrap();
        assert_eq!((job.pooling, job.normalizes, job.is_base64, job.dimensions), (Pooling::Last, true, false, None));
        assert_eq!(job.inputs[0].words, Words::Text("a".into()));
        let body = json!({"input": [[7]], "encoding_format": "base64", "normalize": false, "dimensions": 8,
            "add_special_tokens": false, "secateur": {"pooling": "mean"}});
        let job = parse(&body, &LIMITS).unwrap();
        assert_eq!((job.pooling, job.normalizes, job.is_base64, job.dimensions), (Pooling::Mean, false, true, Some(8)));
        assert_eq!((&*job.inputs[0].param, job.adds_special_tokens), ("input[0]", false));
    }

    #[test]
    fn what_is_wrong_is_named() {
        use ErrorCode::{InvalidRequest, UnsupportedParameter};
        for (extra, param, code) in [
            (json!({"input": []}), "input", InvalidRequest),
            (json!({"input": null}), "input", InvalidRequest),
            (json!({"input": ["a", 5]}), "input[1]", InvalidRequest),
            (json!({"input": [300]}), "input", InvalidRequest),
            (json!({"input": vec!["a"; INPUTS_MAX + 1]}), "input", InvalidRequest),
            (json!({"encoding_format": "bytes"}), "encoding_format", InvalidRequest),
            (json!({"dimensions": 0}), "dimensions", InvalidRequest),
            (json!({"normalize": 1}), "normalize", InvalidRequest),
            (json!({"secateur": {"pooling": "cls"}}), "secateur.pooling", InvalidRequest),
            (json!({"secateur": {"transfer": {}}}), "secateur.transfer", InvalidRequest),
            (json!({"messages": []}), "messages", UnsupportedParameter),
            (json!({"truncate_prompt_tokens": 5}), "truncate_prompt_tokens", UnsupportedParameter),
            (json!({"embed_dtype": "float16"}), "embed_dtype", UnsupportedParameter),
        ] {
            let mut body = json!({"input": "a"});
            extra.as_object().unwrap().iter().for_each(|(key, value)| body[key] = value.clone());
            let error = parse(&body, &LIMITS).unwrap_err();
            assert_eq!((error.param.as_deref(), error.code), (Some(param), code), "{extra}");
        }
    }

    #[test]
    fn vectors_have_length_one_or_the_models() {
        let write = |normalizes, is_base64| {
            let vectors = vec![vec![3.0, -4.0], vec![0.0, 0.0]];
            let reply = Embeddings::new(("e", 1, "m"), vectors, VectorStyle { normalizes, is_base64 }, 7);
            serde_json::to_value(reply).unwrap()
        };
        let reply = write(false, false);
        assert_eq!(reply["data"][0], json!({"object": "embedding", "index": 0, "embedding": [3.0, -4.0]}));
        assert_eq!((&reply["object"], &reply["id"]), (&json!("list"), &json!("embd-e")));
        assert_eq!(reply["usage"], json!({"prompt_tokens": 7, "total_tokens": 7}));
        let unit = write(true, true);
        let bytes = STANDARD.decode(unit["data"][0]["embedding"].as_str().unwrap()).unwrap();
        assert_eq!(bytes, [0.6f32.to_le_bytes(), (-0.8f32).to_le_bytes()].concat());
        assert_eq!(write(true, false)["data"][1]["embedding"], json!([0.0, 0.0]));
    }
}
