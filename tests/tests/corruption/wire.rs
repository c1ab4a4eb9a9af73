//! Flipped bits in the traffic from a real prefill node to a real decode node.

use std::time::Duration;

use futures::{StreamExt, stream};
use reqwest::StatusCode;
use secateur_tests::{
    cluster::{Cluster, Nodes},
    corruption::{Corruption, Place},
    proxy::Proxy,
    suite::{self, Case},
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::PROGRAM;

const QUESTIONS: usize = 40;
const CONCURRENT: usize = 2;
/// Number of fresh connections whose beginning may be corrupted.
const CONNECTIONS: usize = 12;
/// Deadline of every request, whatever was corrupted.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Any byte of a shipment: mostly KV, sometimes the frames of gRPC and HTTP/2 around it.
const ANYWHERE: Place = Place::Every(400_000);
/// A connection's preface, settings and headers, and the first manifest.
const BEGINNING: Place = Place::First(600);

/// Asks a case; returns the answer, or the error's message.
async fn ask(cluster: &Cluster, case: &Case, policy: &str) -> Result<String, String> {
    let extension = json!({"visual": {"method": "none"}, "transfer": {"policy": policy}});
    let asked = timeout(ANSWER_MAX, cluster.chat(&case.body(&extension).unwrap())).await;
    let (status, reply): (StatusCode, Value) = asked.expect("a request hangs").unwrap();
    if status.is_success() {
        return Ok(reply["choices"][0]["message"]["content"].as_str().unwrap().to_owned());
    }
    assert!(status.is_server_error(), "{status} {reply}");
    let message = reply["error"]["message"].as_str().unwrap().to_owned();
    assert!(!message.is_empty());
    Err(message)
}

async fn refusals(cluster: &Cluster) -> Vec<String> {
    let text = cluster.client().get(cluster.url("/metrics")).send().await.unwrap().text().await.unwrap();
    let is_some = |line: &&str| line.starts_with("secateur_kv_refused_total") && !line.ends_with(" 0");
    text.lines().filter(is_some).map(str::to_owned).collect()
}

/// Asks the questions while bits flip; returns the answers and errors.
async fn corrupted(
    (cluster, proxy): (&Cluster, &Proxy),
    place: Place,
    policy: &str,
    cases: &[Case],
) -> Vec<Result<String, String>> {
    let before = proxy.flips();
    proxy.set_corruption(Some(Corruption { process: cluster.prefill.id(), place }));
    let answers = match place {
        Place::Every(_) => {
            stream::iter(cases).map(|case| ask(cluster, case, policy)).buffered(CONCURRENT).collect::<Vec<_>>().await
        }
        Place::First(_) => {
            let mut answers = Vec::new();
            for case in cases.iter().take(CONNECTIONS) {
                // Existing connections are past their beginning, so they are cut.
                proxy.set_cut(true);
                tokio::time::sleep(Duration::from_millis(20)).await;
                proxy.set_cut(false);
                cluster.ready().await.unwrap();
                answers.push(ask(cluster, case, policy).await);
            }
            answers
        }
    };
    proxy.set_corruption(None);
    let flips = proxy.flips() - before;
    let errors: Vec<&String> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    eprintln!(
        "{place:?} {policy}: {flips} bits flipped; {} of {} answered; {errors:?}",
        answers.len() - errors.len(),
        answers.len()
    );
    assert!(flips > 0, "nothing was flipped");
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn bits_that_flip_between_prefill_and_decode_never_become_another_answer() {
    // A corrupted length leaves both sides waiting for each other, until prefill's patience ends.
    let prefill = ["--ship-patience", "5"];
    let nodes = Nodes::start_with(PROGRAM, &suite::demo(), &prefill, &[]).unwrap();
    let proxy = nodes.decode_proxy().await.unwrap();
    let cluster = nodes.route(Some(proxy.address)).await.unwrap();
    let cases: Vec<Case> = suite::cases().unwrap().into_iter().take(QUESTIONS).collect();
    let mut found = Vec::new();
    for (place, policy) in [(ANYWHERE, "dense"), (ANYWHERE, "tiered"), (BEGINNING, "dense")] {
        found.push((policy, corrupted((&cluster, &proxy), place, policy, &cases).await));
    }
    let refused = refusals(&cluster).await;
    eprintln!("{refused:#?}");
    assert!(refused.iter().any(|line| line.contains("digest_mismatch")), "{refused:?}");
    // One connection may still be broken; after this request everything is answered.
    let _ = ask(&cluster, &cases[0], "dense").await;
    cluster.ready().await.unwrap();
    let greedy = suite::greedy().unwrap();
    for (policy, answers) in found {
        for (case, answer) in cases.iter().zip(answers) {
            let right = ask(&cluster, case, policy).await.unwrap();
            if policy == "dense" {
                assert_eq!(right.trim_start(), greedy[&case.id].text.trim_start(), "{}", case.id);
            }
            if let Ok(answer) = answer {
                assert_eq!(answer, right, "{} under {policy}", case.id);
            }
        }
    }
}
