//! `secateur bench --link` and `secateur doctor --link`, run as commands.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::{
    net::TcpListener,
    process::{Command, Output},
};

use secateur_tests::{cluster::Nodes, suite::demo};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_secateur-under-test");

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().unwrap()
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn bench_measures_by_link() {
    let asked = ["bench", "--link", "200mbit,none", "--transfer", "dense", "--requests", "4", "--json"];
    let load = ["--concurrency", "2", "--input-len", "200", "--output-len", "4", "--rounds", "2", "--threads", "1"];
    let output = run(&[&asked[..], &load].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document = document(&output);
    let rows = document["rows"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["link"].as_str().unwrap()).collect::<Vec<_>>(), ["200mbit", "none"]);
    for row in rows {
        assert_eq!(
            (&row["transfer"], &row["requests"], &row["failed"]),
            (&"dense".into(), &4.into(), &0.into()),
            "{row}"
        );
        for figure in ["ttft_ms", "second_token_ms", "tpot_ms", "wire_ms"] {
            assert!(row[figure]["p50"].as_f64().unwrap() > 0.0, "{figure}: {row}");
        }
        assert!(row["second_token_ms"]["p50"].as_f64() >= row["ttft_ms"]["p50"].as_f64(), "{row}");
        assert!((0.0..=1.0).contains(&row["overlap"].as_f64().unwrap()), "{row}");
        assert!(row["link_stack_mbit_s"].as_f64().unwrap() > 0.0, "{row}");
        assert!(row["bytes_sent_per_request"].as_f64().unwrap() > 100_000.0, "{row}");
    }
    let (shaped, free) = (&rows[0], &rows[1]);
    assert!(free["link_reached_mbit_s"].is_null());
    let reached = shaped["link_reached_mbit_s"].as_f64().unwrap();
    assert!(reached > 0.0 && reached <= 200.0, "{reached}");
    // Over two seconds, the initial burst is negligible.
    assert!(shaped["link_stack_mbit_s"].as_f64().unwrap() <= 202.0, "{shaped}");
    // A shipment cannot be faster than the bucket, whatever the machine does: all bytes except a burst of 64 KiB, and
    // the amount that a late thread catches up (20 ms at most), wait for tokens.
    let (bytes, wire_ms) =
        (shaped["bytes_sent_per_request"].as_f64().unwrap(), shaped["wire_ms"]["p50"].as_f64().unwrap());
    assert!(wire_ms >= (bytes - 65_536.0) * 8.0 / 200e3 - 20.0, "{bytes} bytes in {wire_ms} ms");
}

#[test]
fn a_link_that_cannot_be_shaped_is_bad_usage() {
    for (flags, named) in [
        (["--link", "fast"], "--link"),
        (["--transfer", "pdtrim"], "--plan"),
        (["--link=1gbit", "--url=http://127.0.0.1:1"], "--url"),
    ] {
        let output = run(&[&["bench"][..], &flags].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {said}");
        assert!(said.contains(named), "{flags:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_measures_between_two_nodes() {
    let cluster = Nodes::start(PROGRAM, &demo()).unwrap().route(None).await.unwrap();
    let (prefill, decode) = (cluster.prefill.address.to_string(), cluster.decode.address.to_string());
    let flags = ["doctor", "--link", &prefill, &decode, "--prompt-len", "1000", "--images", "1", "--json"];
    let output = run(&flags);
    let document = document(&output);
    assert_eq!(output.status.code(), Some(0), "{document}");
    let checks = document["checks"].as_array().unwrap();
    assert_eq!(checks.len(), 4, "{document}");
    assert!(checks.iter().all(|check| check["ok"] == true && check["found"].is_string()), "{document}");
    let link = &document["link"];
    let number = |key: &str| link[key].as_f64().unwrap();
    assert!(number("round_trip_ms") > 0.0 && number("bytes") > 0.0);
    assert!((number("mbit_s") - number("bytes") * 8.0 / 1e6 / number("seconds")).abs() < 1.0, "{link}");
    // Twelve blocks, K and V, in f32; the kept visual tokens are a part of the picture's 144.
    let visual = number("visual_positions");
    assert!(visual > 0.0 && visual < 144.0 && number("positions") == 1_000.0 + visual, "{link}");
    let dense = &link["shipments"][0];
    assert_eq!(dense["policy"], "dense");
    // One byte states the format of each part.
    let over = dense["bytes"].as_f64().unwrap() - number("positions") * number("kv_bytes_per_token");
    assert!((1.0..1_000.0).contains(&over), "{link}");

    // The verdict in words compares with prefill; one token per century is slower than any link.
    let said = |rate: &str| {
        let output = run(&["doctor", "--link", &prefill, &decode, "--prefill-tokens-per-s", rate]);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (status, text) = said("0.0000001");
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("Mbit/s") && text.contains("a 2,048-token prompt of"), "{text}");
    let (status, text) = said("1e18");
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("FAIL  shipment"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_says_which_end_is_dead() {
    let cluster = Nodes::start(PROGRAM, &demo()).unwrap().route(None).await.unwrap();
    let alive = cluster.prefill.address.to_string();
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for (from, to) in [(&dead, &alive), (&alive, &dead)] {
        let output = run(&["doctor", "--link", from, to, "--json"]);
        let document = document(&output);
        assert_eq!(output.status.code(), Some(1), "{document}");
        let checks = document["checks"].as_array().unwrap();
        let failed = checks.iter().find(|check| check["ok"] == false).unwrap();
        assert_eq!(failed["name"], format!("node {dead}"), "{document}");
        assert!(failed["advice"].as_str().unwrap().contains(dead.as_str()), "{document}");
        assert!(document["link"].is_null());
    }
    let twice = run(&["doctor", "--link", &alive, &alive]);
    assert_eq!(twice.status.code(), Some(2));
}
