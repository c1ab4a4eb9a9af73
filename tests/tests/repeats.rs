//! An answer depends on its request alone, not on earlier ones: 200 requests in random order, each prompt twice under
//! every policy, some prompts being prefixes of others, so that decode often already holds a part of the KV.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::collections::HashMap;

use futures::{StreamExt, stream};
use secateur_tests::{cluster::Nodes, corruption::Random, repository, suite};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_secateur-under-test");
/// Number of prompts; every second one begins with the one before it.
const PROMPTS: usize = 20;
const FLYING: usize = 4;

fn policies() -> [Value; 5] {
    [
        json!({"policy": "dense"}),
        json!({"policy": "pdtrim"}),
        json!({"policy": "tiered"}),
        json!({"policy": "tiered", "bits": 3.5}),
        json!({"policy": "small"}),
    ]
}

/// Texts of the suite, each also with an extension.
fn prompts() -> Vec<String> {
    let texts = suite::cases().unwrap().into_iter().filter(|case| case.images.is_empty()).map(|case| case.prompt);
    let texts: Vec<String> = texts.filter(|text| text.len() > 200).take(PROMPTS / 2).collect();
    assert_eq!(texts.len(), PROMPTS / 2);
    texts.iter().flat_map(|text| [text.clone(), format!("{text} red circle, blue star. {text}")]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_gets_the_same_answer_whatever_was_asked_before() {
    let plan = repository("models/demo/plan");
    let flags = ["--plan", plan.to_str().unwrap()];
    let nodes = Nodes::start_with(PROGRAM, &suite::demo(), &flags, &flags).unwrap();
    let cluster = nodes.route(None).await.unwrap();
    let (prompts, policies) = (prompts(), policies());
    let each = |turn: usize| (0..prompts.len() * policies.len()).map(move |request| (request, turn));
    let mut order: Vec<(usize, usize)> = each(0).chain(each(1)).collect();
    let mut random = Random::new(7);
    for at in (1..order.len()).rev() {
        order.swap(at, random.below(at as u64 + 1) as usize);
    }
    assert_eq!(order.len(), 200);

    let ask = async |(request, _): (usize, usize)| {
        let (prompt, policy) = (&prompts[request / policies.len()], &policies[request % policies.len()]);
        let body = json!({
            "messages": [{"role": "user", "content": prompt}], "max_tokens": 24, "temperature": 0, "ignore_eos": true,
            "logprobs": true, "secateur": {"transfer": policy},
        });
        let (status, reply) = cluster.chat(&body).await.unwrap();
        assert!(status.is_success(), "{reply}");
        let held = reply["secateur"]["transfer"]["positions_held"].as_u64().unwrap();
        // Log probabilities are compared beside the words, because they show a difference first.
        (request, held, reply["choices"][0].clone())
    };
    let asked: Vec<_> = stream::iter(order).map(ask).buffer_unordered(FLYING).collect().await;
    let (mut answers, mut with_held, mut other_words, mut other_numbers) = (HashMap::new(), 0, 0, 0);
    for (request, held, answer) in asked {
        with_held += usize::from(held > 0);
        let Some(first) = answers.insert(request, answer.clone()) else { continue };
        other_words += usize::from(first["message"]["content"] != answer["message"]["content"]);
        other_numbers += usize::from(first["logprobs"] != answer["logprobs"]);
    }
    println!(
        "200 requests, {with_held} with held KV: {other_words} other answers, {other_numbers} other log-probabilities"
    );
    assert!(with_held > 60, "{with_held}: nothing is tested where nothing is held");
    assert_eq!(other_words, 0);
}
