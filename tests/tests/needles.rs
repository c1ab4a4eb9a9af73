//! Facts in the middle of a prompt, asked of decode: if shipping loses a fact, decode cannot know it.
//!
//! The demo answers its needles with one token, which prefill draws with all KV at hand, so such an answer does not
//! depend on shipped KV. Here prefill gets the prompt without its last token and is made to draw exactly that one;
//! decode then has to find the fact in the KV that was shipped.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::path::Path;

use secateur_proto::v1::{
    DType, DescribeRequest, Epoch, GenerateRequest, NodeDescription, PrefillRequest, Sampling, TransferPolicy,
    VisualMethod, VisualPolicy, decode_client::DecodeClient, generate_event, node_client::NodeClient,
    prefill_client::PrefillClient, prefill_event,
};
use secateur_tests::{
    cluster::{Cluster, Nodes},
    suite,
};
use serde_json::{Value, json};
use tonic::transport::Channel;

const PROGRAM: &str = env!("CARGO_BIN_EXE_secateur-under-test");
const DEADLINE_MS: u64 = 30_000;

/// Writes a plan in which every layer sends only first and last tokens under `pdtrim`, and `tiered` keeps its defaults.
fn write_plan(dir: &Path, fingerprint: &str) {
    let kv: Vec<Value> =
        (0..12).map(|layer| json!({"layer": layer, "keep": 0.1, "first_min": 4, "last_min": 16})).collect();
    let plan = json!({
        "format": 1, "model_fingerprint": fingerprint, "layers": 12, "rule": "subset",
        "calibration": {"name": "none", "digest": "", "samples": 0, "seed": 0},
        "prefill": {"removed": []}, "decode": {"removed": []}, "kv": kv,
        "tiers": {"first": 2, "last": 4, "middle_bits": 6, "selected_bits": 6},
    });
    std::fs::write(dir.join("plan.json"), plan.to_string()).unwrap();
}

/// A prefill and a decode node, called directly.
struct Pair {
    prefill: Channel,
    decode: Channel,
    decode_address: String,
    description: NodeDescription,
}

impl Pair {
    async fn of(cluster: &Cluster) -> Pair {
        let connect = async |address: std::net::SocketAddr| {
            Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
        };
        let (prefill, decode) = (connect(cluster.prefill.address).await, connect(cluster.decode.address).await);
        let description = NodeClient::new(prefill.clone()).describe(DescribeRequest {}).await.unwrap().into_inner();
        Pair { prefill, decode, decode_address: cluster.decode.address.to_string(), description }
    }

    fn request(&self, epoch: &str, tokens: &[u32], policy: TransferPolicy) -> PrefillRequest {
        PrefillRequest {
            epoch: Some(Epoch { id: epoch.to_owned(), attempt: 1 }),
            model_fingerprint: self.description.model_fingerprint.clone(),
            plan_id: self.description.plan_id.clone(),
            tokens: tokens.to_vec(),
            visual: Some(VisualPolicy { method: VisualMethod::None as i32, keep: 1.0 }),
            transfer: policy as i32,
            deadline_ms: DEADLINE_MS,
            decode_dtype: DType::F32 as i32,
            ..PrefillRequest::default()
        }
    }

    /// The token that prefill draws after the whole prompt.
    async fn drawn_by_prefill(&self, epoch: &str, tokens: &[u32]) -> u32 {
        let request = self.request(epoch, tokens, TransferPolicy::Dense);
        let mut events = PrefillClient::new(self.prefill.clone()).run(request).await.unwrap().into_inner();
        loop {
            if let Some(prefill_event::Event::FirstToken(first)) = events.message().await.unwrap().unwrap().event {
                return first.token;
            }
        }
    }

    /// The token that decode draws after the prompt, from the KV that was shipped.
    async fn drawn_by_decode(&self, epoch: &str, tokens: &[u32], policy: TransferPolicy) -> u32 {
        let generate = GenerateRequest {
            epoch: Some(Epoch { id: epoch.to_owned(), attempt: 1 }),
            model_fingerprint: self.description.model_fingerprint.clone(),
            plan_id: self.description.plan_id.clone(),
            prompt_positions_max: tokens.len() as u32,
            max_new_tokens: 2,
            sampling: Some(Sampling::default()),
            deadline_ms: DEADLINE_MS,
            transfer: policy as i32,
            ..GenerateRequest::default()
        };
        let mut decoding = DecodeClient::new(self.decode.clone()).generate(generate).await.unwrap().into_inner();
        decoding.message().await.unwrap().unwrap();
        let (last, before) = tokens.split_last().unwrap();
        let sampling = Sampling { logit_bias: [(*last, 1e6)].into(), ..Sampling::default() };
        let mut request = self.request(epoch, before, policy);
        (request.sampling, request.decode_address) = (Some(sampling), self.decode_address.clone());
        let mut prefilling = PrefillClient::new(self.prefill.clone()).run(request).await.unwrap().into_inner();
        while let Some(event) = prefilling.message().await.unwrap() {
            if let Some(prefill_event::Event::FirstToken(first)) = event.event {
                assert_eq!(first.token, *last, "prefill draws what it is made to");
            }
        }
        loop {
            match decoding.message().await.unwrap().unwrap().event.unwrap() {
                generate_event::Event::Tokens(tokens) => return tokens.ids[0],
                generate_event::Event::Opened(_) => {}
                generate_event::Event::Done(_) => panic!("done without a token"),
            }
        }
    }
}

async fn tokens_of(cluster: &Cluster, prompt: &str) -> Vec<u32> {
    let body = json!({"messages": [{"role": "user", "content": prompt}]});
    let answer = cluster.client().post(cluster.url("/tokenize")).json(&body).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    answer["tokens"].as_array().unwrap().iter().map(|token| token.as_u64().unwrap() as u32).collect()
}

#[tokio::test]
async fn tiered_keeps_what_the_ends_alone_lose() {
    let fingerprint = {
        let nodes = Nodes::start(PROGRAM, &suite::demo()).unwrap().route(None).await.unwrap();
        Pair::of(&nodes).await.description.model_fingerprint
    };
    let dir = tempfile::tempdir().unwrap();
    write_plan(dir.path(), &fingerprint);
    let flags = ["--plan", dir.path().to_str().unwrap()];
    let cluster = Nodes::start_with(PROGRAM, &suite::demo(), &flags, &flags).unwrap().route(None).await.unwrap();
    let pair = Pair::of(&cluster).await;
    let policies = [TransferPolicy::Dense, TransferPolicy::Tiered, TransferPolicy::Small, TransferPolicy::Pdtrim];
    let (mut asked, mut found) = (0, [0; 4]);
    for case in suite::cases().unwrap().iter().filter(|case| case.tags.iter().any(|tag| tag == "needle")) {
        let tokens = tokens_of(&cluster, &case.prompt).await;
        let right = pair.drawn_by_prefill(&format!("{}-p", case.id), &tokens).await;
        asked += 1;
        for (policy, found) in policies.into_iter().zip(&mut found) {
            let epoch = format!("{}-{}", case.id, policy as i32);
            *found += usize::from(pair.drawn_by_decode(&epoch, &tokens, policy).await == right);
        }
    }
    let [dense, tiered, small, ends] = found;
    println!("of {asked} needles decode finds: dense {dense}, tiered {tiered}, small {small}, pdtrim {ends}");
    assert!(asked >= 90);
    assert_eq!([dense, tiered], [asked, asked], "nothing is lost");
    assert!(small * 20 >= asked * 19, "coarse steps lose little");
    assert!(ends * 2 < asked, "the ends alone do not hold what is in the middle");
}
