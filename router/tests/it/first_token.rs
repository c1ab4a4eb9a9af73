//! The first token, which prefill draws while decode waits for the rest, in every way in which it can begin and end an
//! answer. Whole and streamed answers are the same.

use std::path::PathBuf;

use futures::StreamExt;
use secateur_proto::{ErrorCode, ServiceError};
use serde_json::{Value, json};
use tokenizers::Tokenizer;

use crate::{
    support::{
        END_TOKEN, answer_tokens,
        nodes::{Act, Script},
        replies::{Reply, at_rest, both, both_after},
        router::{Cluster, joined, question, until},
    },
    tools::{CALL, model_with_tools},
};

/// In the fixture's tokens `hello`, ` w`, `or`, `l`, `d`.
const TEXT: &str = "hello world";

fn say(cluster: &Cluster, tokens: Vec<u32>) {
    for node in cluster.prefill.iter().chain(&cluster.decode) {
        node.script.answer(tokens.clone());
    }
}

async fn saying(tokens: Vec<u32>) -> Cluster {
    let cluster = Cluster::one().await;
    say(&cluster, tokens);
    cluster
}

fn nodes(cluster: &Cluster) -> (&Script, &Script) {
    (&cluster.prefill[0].script, &cluster.decode[0].script)
}

fn lost() -> ServiceError {
    ServiceError::new(ErrorCode::Unavailable, "the node is stopping")
}

/// Ways in which prefill fails behind its first token.
fn failures() -> [Act; 4] {
    let at_peer = ServiceError::new(ErrorCode::KvRefused, "digests differ").at_peer();
    [
        Act::Break(0, lost()),
        Act::Break(0, at_peer),
        Act::Spend { bytes: 7, after_first: true, error: lost(), millis: 0 },
        Act::Spend { bytes: 7, after_first: true, error: lost().at_peer(), millis: 0 },
    ]
}

/// Asks where prefill fails behind its first token, before decode has drawn any.
async fn set_back(cluster: &Cluster, failure: &Act, extra: Value) -> Reply {
    let (prefill, decode) = nodes(cluster);
    let prepare = || {
        prefill.then([failure.clone()]);
        decode.then([Act::Hang]);
    };
    both_after(cluster, prepare, extra).await
}

#[tokio::test]
async fn one_token_is_prefills_alone() {
    let cluster = saying(answer_tokens(TEXT)).await;
    let (prefill, decode) = nodes(&cluster);
    let one = both(&cluster, json!({"max_tokens": 1, "logprobs": true, "top_logprobs": 2})).await;
    assert_eq!(one.only(), ("hello", "length", 1));
    assert_eq!((one.choices[0].entries.len(), one.bytes()), (1, b"hello".to_vec()));
    let first = answer_tokens(TEXT)[0];
    for (stop, expected) in [
        (json!({"stop": "hello"}), ("", "stop", 1)),
        (json!({"stop": "ell"}), ("h", "stop", 1)),
        (json!({"stop": "hello world"}), ("hello", "length", 1)),
        (json!({"stop": "hello", "min_tokens": 1}), ("hello", "length", 1)),
        (json!({"stop_token_ids": [first]}), ("", "stop", 0)),
    ] {
        let mut body = stop.clone();
        body["max_tokens"] = 1.into();
        assert_eq!(both(&cluster, body).await.only(), expected, "{stop}");
    }
    let calls = prefill.calls();
    for failure in failures() {
        let failed = both_after(&cluster, || prefill.then([failure.clone()]), json!({"max_tokens": 1})).await;
        assert_eq!(failed.only(), ("hello", "length", 1), "there was nothing left to do");
    }
    assert_eq!(prefill.calls() - calls, 8, "nothing is done again");
    let several = both(&cluster, json!({"max_tokens": 1, "n": 2})).await;
    assert_eq!((several.choices.len(), several.completion_tokens), (2, 2));
    assert!(several.choices.iter().all(|choice| choice.content == "hello" && choice.finish == "length"));
    assert_eq!(decode.calls(), 0);
}

#[tokio::test]
async fn one_token_that_begins_a_character_is_unreadable() {
    let cluster = saying(answer_tokens("👩 there")).await;
    let one = both(&cluster, json!({"max_tokens": 1, "logprobs": true})).await;
    assert_eq!((one.only(), one.bytes()), (("\u{fffd}", "length", 1), vec![0xF0]));
    let two = both(&cluster, json!({"max_tokens": 4, "logprobs": true})).await;
    assert_eq!((two.only(), two.bytes()), (("👩", "length", 4), "👩".as_bytes().to_vec()));
}

#[tokio::test]
async fn an_end_token_first_is_an_empty_answer_and_ends_both_legs() {
    let cluster = saying(vec![END_TOKEN]).await;
    let (prefill, decode) = nodes(&cluster);
    let own = answer_tokens(TEXT)[0];
    for (tokens, extra) in [
        (vec![END_TOKEN], json!({})),
        (vec![END_TOKEN], json!({"max_tokens": 1})),
        (vec![END_TOKEN], json!({"max_tokens": 2, "logprobs": true})),
        (vec![END_TOKEN, own], json!({"stop": "hello", "min_tokens": 1})),
        (answer_tokens(TEXT), json!({"stop_token_ids": [own]})),
        (answer_tokens(TEXT), json!({"stop_token_ids": [own], "ignore_eos": true, "logprobs": true})),
    ] {
        say(&cluster, tokens);
        // Whatever decode does, and however the shipment ends, the answer has ended.
        for failure in [vec![], vec![Act::Break(0, lost())], failures()[2..3].to_vec()] {
            for decodes in [Act::Answer, Act::Hang, Act::Break(0, lost())] {
                let prepare = || {
                    prefill.then(failure.clone());
                    decode.set(decodes.clone());
                };
                let reply = both_after(&cluster, prepare, extra.clone()).await;
                assert_eq!(reply.only(), ("", "stop", 0), "{extra} {failure:?} {decodes:?}");
                assert!(reply.choices[0].entries.is_empty(), "an end token is no part of the answer");
            }
        }
        decode.set(Act::Hang);
        let mut several = extra.clone();
        several["n"] = 2.into();
        let several = both(&cluster, several).await;
        assert_eq!((several.choices.len(), several.completion_tokens), (2, 0));
        assert!(several.choices.iter().all(|choice| choice.content.is_empty() && choice.finish == "stop"));
    }
}

#[tokio::test]
async fn stop_texts_in_the_first_token_end_the_answer_there() {
    let cluster = saying(answer_tokens(TEXT)).await;
    let decode = &cluster.decode[0].script;
    for (stop, content, tokens) in [
        (json!({"stop": "hello"}), "", 1),
        (json!({"stop": "h"}), "", 1),
        (json!({"stop": "ell"}), "h", 1),
        (json!({"stop": ["worldly", "l", "hello"]}), "he", 1),
        (json!({"stop": "o w"}), "hell", 2),
        (json!({"stop": "hello w"}), "", 2),
        (json!({"stop": ["o wor", "hello world, there"]}), "hell", 3),
        (json!({"stop": "hello", "include_stop_str_in_output": true}), "hello", 1),
        (json!({"stop": "ell", "include_stop_str_in_output": true}), "hell", 1),
        (json!({"stop": "o w", "include_stop_str_in_output": true}), "hello w", 2),
        // A text that ends within the shortest answer does not count, one that only begins there does.
        (json!({"stop": "hello", "min_tokens": 1}), "hello world", 5),
        (json!({"stop": "o w", "min_tokens": 1}), "hell", 2),
        (json!({"stop": "o w", "min_tokens": 2}), "hello world", 5),
    ] {
        decode.set(if tokens == 1 { Act::Hang } else { Act::Answer });
        let mut body = stop.clone();
        let plain = both(&cluster, stop.clone()).await;
        assert_eq!(plain.only(), (content, "stop", tokens), "{stop}");
        body["logprobs"] = true.into();
        let scored = both(&cluster, body.clone()).await;
        assert_eq!(scored.only(), plain.only(), "{stop}");
        assert!(scored.bytes().starts_with(content.as_bytes()), "{stop}");
        assert!(scored.choices[0].entries.len() <= tokens as usize, "{stop}");
        body["n"] = 2.into();
        let several = both(&cluster, body).await;
        assert_eq!(several.completion_tokens, 2 * tokens, "{stop}");
        assert!(several.choices.iter().all(|choice| choice.content == content && choice.finish == "stop"), "{stop}");
    }
}

#[tokio::test]
async fn a_call_may_begin_with_the_first_token() {
    let folder = model_with_tools();
    let cluster = Cluster::start(1, 1, &["--model", folder.path().to_str().unwrap()]).await;
    say(&cluster, answer_tokens(CALL));
    let function = json!({"name": "look_up", "parameters": {"type": "object"}});
    let tools = json!({"tools": [{"type": "function", "function": function}]});
    let called = both(&cluster, tools.clone()).await;
    assert_eq!(called.only(), ("", "tool_calls", answer_tokens(CALL).len() as u64 - 1));
    assert_eq!(called.choices[0].calls, [("look_up".to_owned(), r#"{"city": "Oslo"}"#.to_owned())]);
    for failure in failures() {
        assert_eq!(set_back(&cluster, &failure, tools.clone()).await, called);
    }
    let with = |key: &str, value: Value| {
        let mut body = tools.clone();
        body[key] = value;
        body
    };
    let several = both(&cluster, with("n", json!(2))).await;
    assert!(several.choices.iter().all(|choice| *choice == called.choices[0]));
    let cut = both(&cluster, with("max_tokens", json!(1))).await;
    assert_eq!(cut.only(), ("<", "length", 1), "what might have become a call is text");
    say(&cluster, vec![END_TOKEN]);
    assert_eq!(both(&cluster, tools).await.only(), ("", "stop", 0));
}

/// Nodes end an answer that is complete by its grammar; this is what the router makes of it.
#[tokio::test]
async fn a_grammar_of_one_token_is_one_token() {
    let cluster = saying(answer_tokens("hello")).await;
    let (prefill, decode) = nodes(&cluster);
    for extra in [json!({}), json!({"min_tokens": 3}), json!({"logprobs": true}), json!({"stop": "hellos"})] {
        let mut body = extra.clone();
        body["guided_choice"] = json!(["hello"]);
        let reply = both(&cluster, body.clone()).await;
        assert_eq!(reply.only(), ("hello", "stop", 1), "{extra}");
        let grammar = |sampling: Option<secateur_proto::v1::Sampling>| sampling.unwrap().grammar.unwrap();
        let first = grammar(prefill.prefill_request.lock().unwrap().clone().unwrap().sampling);
        assert_eq!(first, grammar(decode.generate_request.lock().unwrap().clone().unwrap().sampling));
        for failure in failures() {
            assert_eq!(set_back(&cluster, &failure, body.clone()).await, reply);
        }
    }
    let one = both(&cluster, json!({"guided_choice": ["hello"], "max_tokens": 1})).await;
    assert_eq!(one.only(), ("hello", "length", 1));
}

#[tokio::test]
async fn the_first_token_has_its_log_probability() {
    let cluster = saying(answer_tokens(TEXT)).await;
    let asked = json!({"logprobs": true, "top_logprobs": 3});
    let reply = both(&cluster, asked.clone()).await;
    let first = &reply.choices[0].entries[0];
    assert_eq!(
        (&first["token"], &first["logprob"], &first["bytes"]),
        (&json!("hello"), &json!(-0.0), &json!(b"hello"))
    );
    let top = first["top_logprobs"].as_array().unwrap();
    assert_eq!((top.len(), &top[0]["token"], &top[1]["logprob"]), (3, &json!("hello"), &json!(-1.0)));
    assert_eq!((reply.choices[0].entries.len(), reply.bytes()), (5, TEXT.as_bytes().to_vec()));
    for failure in failures() {
        assert_eq!(set_back(&cluster, &failure, asked.clone()).await, reply, "{failure:?}");
    }
}

/// One tokenizer drops the space in front of the first word, the other begins it within a character.
#[tokio::test]
async fn the_first_tokens_bytes_are_those_of_the_text() {
    for (name, text, first, written) in [
        ("byte-fallback", "hello world", "hello", "hello"),
        ("byte-fallback", " 글 world", " ", ""),
        ("byte-fallback", "안녕 hello", "안녕", "안녕"),
        ("across", "안녕하세요 세계", "\u{fffd}", "\u{fffd}"),
    ] {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/scripts").join(name);
        let tokenizer = Tokenizer::from_file(folder.join("tokenizer.json")).unwrap();
        let mut tokens = tokenizer.encode(text, false).unwrap().get_ids().to_vec();
        tokens.push(tokenizer.token_to_id("</s>").unwrap());
        let cluster = Cluster::start(1, 1, &["--model", folder.to_str().unwrap()]).await;
        say(&cluster, tokens.clone());
        let reply = both(&cluster, json!({"logprobs": true, "top_logprobs": 1})).await;
        assert_eq!(reply.only(), (text, "stop", tokens.len() as u64 - 1), "{name}");
        assert_eq!(reply.bytes(), text.as_bytes(), "{name}");
        let entry = &reply.choices[0].entries[0];
        assert_eq!((&entry["token"], &entry["top_logprobs"][0]["token"]), (&json!(first), &json!(first)), "{name}");
        let one = both(&cluster, json!({"max_tokens": 1})).await;
        assert_eq!(one.only(), (written, "length", 1), "{name}");
        for failure in failures() {
            let again = set_back(&cluster, &failure, json!({"logprobs": true, "top_logprobs": 1})).await;
            assert_eq!(again, reply, "{name} {failure:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_whose_prefill_fails_behind_the_first_token_goes_on_without_doubling() {
    let cluster = saying(answer_tokens(TEXT)).await;
    let (prefill, decode) = nodes(&cluster);
    let first = answer_tokens(TEXT)[0];
    for failure in failures() {
        let reply = set_back(&cluster, &failure, json!({})).await;
        assert_eq!(reply.only(), (TEXT, "stop", 5), "{failure:?}");
        let runs = prefill.prefill_requests.lock().unwrap().clone();
        let emitted: Vec<_> = runs.iter().rev().take(4).map(|run| run.emitted.clone()).collect();
        assert_eq!(emitted, [vec![first], vec![], vec![first], vec![]], "{failure:?}");
        let generates = decode.generate_requests.lock().unwrap().clone();
        assert_eq!(generates.last().unwrap().emitted, [first], "{failure:?}");

        // What begins in the first token ends in the next one, which another attempt draws.
        assert_eq!(set_back(&cluster, &failure, json!({"stop": "o w"})).await.only(), ("hell", "stop", 2));
        assert_eq!(set_back(&cluster, &failure, json!({"stop": "hello"})).await.only(), ("", "stop", 1));
        let several = set_back(&cluster, &failure, json!({"n": 2})).await;
        assert_eq!((several.choices.len(), several.completion_tokens), (2, 10));
        assert!(several.choices.iter().all(|choice| choice.content == TEXT && choice.finish == "stop"));

        let calls = decode.calls();
        assert_eq!(set_back(&cluster, &failure, json!({"max_tokens": 2})).await.only(), ("hello w", "length", 2));
        assert_eq!(decode.calls() - calls, 2, "the last token needs no decode node");
    }
}

#[tokio::test]
async fn an_answer_that_always_loses_its_prefill_ends_with_an_error() {
    let cluster = saying(answer_tokens(TEXT)).await;
    let (prefill, decode) = nodes(&cluster);
    decode.set(Act::Hang);
    prefill.set(Act::Break(0, lost()));
    let events = cluster.stream(json!({})).await;
    assert_eq!(events.last().unwrap()["error"]["code"], "unavailable");
    assert_eq!(joined(&events), "hello worl", "a token an attempt, none twice");
    at_rest(&cluster).await;
    assert_eq!(cluster.post(&question(json!({}))).await.status(), 503);
    // What another attempt would not make better is an error at once.
    let calls = prefill.calls();
    prefill.set(Act::Break(0, ServiceError::new(ErrorCode::Internal, "a defect")));
    let events = cluster.stream(json!({})).await;
    assert_eq!(
        (events.last().unwrap()["error"]["code"].as_str(), joined(&events).as_str()),
        (Some("internal_error"), "hello")
    );
    assert_eq!(cluster.post(&question(json!({}))).await.status(), 500);
    assert_eq!(prefill.calls() - calls, 2);
    at_rest(&cluster).await;
}

/// How far the answer is when its client leaves.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    BeforeFirst,
    AtFirst,
    Later,
}

#[tokio::test]
async fn a_client_that_leaves_around_the_first_token_leaves_nothing_behind() {
    let cluster = saying(answer_tokens(&"hello ".repeat(100))).await;
    let (prefill, decode) = nodes(&cluster);
    for leaves in [Leaves::BeforeFirst, Leaves::AtFirst, Leaves::Later] {
        for (stream, n) in [(true, 1), (false, 1), (true, 2), (false, 2)] {
            prefill.set(if matches!(leaves, Leaves::BeforeFirst) { Act::Hang } else { Act::Answer });
            decode.set(if matches!(leaves, Leaves::Later) { Act::Slow(20) } else { Act::Hang });
            let calls = prefill.calls();
            let request = cluster.client.post(cluster.url("/v1/chat/completions"));
            let request = request.json(&question(json!({"stream": stream, "n": n})));
            let (heard, hears) = tokio::sync::watch::channel(0);
            let asking = tokio::spawn(async move {
                let mut body = request.send().await.unwrap().bytes_stream();
                while let Some(Ok(piece)) = body.next().await {
                    let hellos = String::from_utf8_lossy(&piece).matches("hello").count();
                    heard.send_modify(|heard| *heard += hellos);
                }
            });
            until("prefill works", async || prefill.calls() > calls).await;
            match leaves {
                Leaves::BeforeFirst => assert_eq!(*hears.borrow(), 0),
                Leaves::AtFirst if stream => until("one token is here", async || *hears.borrow() == 1).await,
                Leaves::Later if stream => until("some are here", async || *hears.borrow() > 2).await,
                // Nothing is to be seen of an answer that is not streamed.
                _ => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            }
            assert!(!asking.is_finished(), "{leaves:?}: the answer goes on");
            asking.abort();
            at_rest(&cluster).await;
        }
    }
    prefill.set(Act::Answer);
    decode.set(Act::Answer);
    say(&cluster, answer_tokens(TEXT));
    assert_eq!(both(&cluster, json!({})).await.only(), (TEXT, "stop", 5));
}
