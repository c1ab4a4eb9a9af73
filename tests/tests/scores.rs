//! Scores and vectors of a real cluster: a text that was generated is as likely when it is scored, and neither scores nor
//! vectors depend on what else is computed.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use futures::future::join_all;
use secateur_tests::{cluster::Cluster, suite};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_secateur-under-test");
const PROMPTS: [&str; 3] = ["The red square is", "Hello!", "Two circles, one blue and one green, stand beside"];

async fn post(cluster: &Cluster, path: &str, body: &Value) -> Value {
    let answer = cluster.client().post(cluster.url(path)).json(body).send().await.unwrap();
    let status = answer.status();
    let reply: Value = answer.json().await.unwrap();
    assert!(status.is_success(), "{status}: {reply}");
    reply
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

async fn tokens(cluster: &Cluster, text: &str) -> Vec<u64> {
    let reply = post(cluster, "/tokenize", &json!({"prompt": text})).await;
    reply["tokens"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect()
}

/// Ids and log probabilities of a greedy answer.
async fn generated(cluster: &Cluster, prompt: &[u64]) -> (Vec<u64>, Vec<f64>) {
    let body = json!({
        "prompt": prompt, "max_tokens": 24, "temperature": 0, "ignore_eos": true, "logprobs": 1,
        "return_tokens_as_token_ids": true, "secateur": {"transfer": {"policy": "dense"}},
    });
    let logprobs = post(cluster, "/v1/completions", &body).await["choices"][0]["logprobs"].clone();
    let id = |token: &Value| token.as_str().unwrap().strip_prefix("token_id:").unwrap().parse().unwrap();
    (logprobs["tokens"].as_array().unwrap().iter().map(id).collect(), numbers(&logprobs["token_logprobs"]))
}

/// The choice of a prompt that is scored, with nothing behind it.
async fn scored(cluster: &Cluster, prompt: &[u64]) -> Value {
    let body = json!({"prompt": prompt, "echo": true, "logprobs": 3, "max_tokens": 0});
    post(cluster, "/v1/completions", &body).await["choices"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_generated_is_as_likely_when_it_is_scored() {
    let cluster = Cluster::start(PROGRAM, &suite::demo()).await.unwrap();
    let mut texts = Vec::new();
    for prompt in PROMPTS {
        let prompt = tokens(&cluster, prompt).await;
        let (answer, expected) = generated(&cluster, &prompt).await;
        let text = [&*prompt, &*answer].concat();
        let choice = scored(&cluster, &text).await;
        let logprobs = choice["logprobs"]["token_logprobs"].as_array().unwrap();
        assert_eq!((logprobs.len(), &choice["finish_reason"]), (text.len(), &json!("length")));
        assert!(logprobs[0].is_null());
        let found: Vec<f64> = logprobs[prompt.len()..].iter().map(|number| number.as_f64().unwrap()).collect();
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-3, "{found} is not {expected}");
        }
        let (sum, expected) = (found.iter().sum::<f64>(), expected.iter().sum::<f64>());
        assert!((sum - expected).abs() < 1e-3 * found.len() as f64, "{sum} is not {expected}");
        texts.push((text, choice));
    }
    // Again, all at once and beside answers.
    let again = texts.iter().cycle().take(12).map(async |(text, choice)| {
        assert_eq!(&scored(&cluster, text).await, choice);
    });
    let beside = texts.iter().map(async |(text, _)| {
        generated(&cluster, text).await;
    });
    tokio::join!(join_all(again), join_all(beside));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scored_question_is_answered_as_ever() {
    let cluster = Cluster::start(PROGRAM, &suite::demo()).await.unwrap();
    let cases = suite::cases().unwrap();
    let case = cases.iter().find(|case| case.images.len() == 1).unwrap();
    let body = case.body(&suite::exact()).unwrap();
    let plain = post(&cluster, "/v1/chat/completions", &body).await;
    let mut asked = body.clone();
    asked["prompt_logprobs"] = json!(2);
    let reply = post(&cluster, "/v1/chat/completions", &asked).await;
    assert_eq!(reply["choices"], plain["choices"]);
    let scores = reply["prompt_logprobs"].as_array().unwrap();
    let question = json!({"messages": body["messages"]});
    assert_eq!(json!(scores.len()), post(&cluster, "/tokenize", &question).await["count"]);
    // The first token and the picture have none.
    assert_eq!(scores.iter().filter(|score| score.is_null()).count(), 2);
    for score in scores.iter().filter_map(Value::as_object) {
        let own = score.values().next().unwrap();
        assert!(own["logprob"].as_f64().unwrap() <= 0.0 && own["rank"].as_u64().unwrap() >= 1);
        let most_likely = score.values().map(|candidate| candidate["logprob"].as_f64().unwrap()).fold(-1e9, f64::max);
        let first = score.values().find(|candidate| candidate["rank"] == 1).unwrap();
        assert_eq!(first["logprob"].as_f64().unwrap(), most_likely);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_depend_on_their_text_alone() {
    let cluster = Cluster::start(PROGRAM, &suite::demo()).await.unwrap();
    for pooling in ["last", "mean"] {
        let vectors = async |input: Value| -> Vec<Vec<f64>> {
            let body = json!({"input": input, "secateur": {"pooling": pooling}});
            let reply = post(&cluster, "/v1/embeddings", &body).await;
            reply["data"].as_array().unwrap().iter().map(|entry| numbers(&entry["embedding"])).collect()
        };
        let mut alone = Vec::new();
        for prompt in PROMPTS {
            alone.extend(vectors(json!(prompt)).await);
        }
        assert_eq!(vectors(json!(PROMPTS)).await, alone, "{pooling}: together");
        for all in join_all((0..4).map(|_| vectors(json!(PROMPTS)))).await {
            assert_eq!(all, alone, "{pooling}: at the same time, and of texts that prefill remembers");
        }
        for vector in &alone {
            let length = vector.iter().map(|number| number * number).sum::<f64>().sqrt();
            assert!((length - 1.0).abs() < 1e-5, "{length}");
        }
        assert_ne!(alone[0], alone[1]);
    }
}
