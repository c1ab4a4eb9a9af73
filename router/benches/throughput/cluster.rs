//! The router, and the nodes that it asks.

use std::{net::SocketAddr, sync::atomic::Ordering};

use bytes::Bytes;
use http_body_util::BodyExt;
use secateur_proto::v1::{GenerateRequest, PrefillRequest};
use serde_json::{Value, json};

use super::{
    arguments::Arguments,
    case::Case,
    client::{Asked, Connection},
    direct::Calls,
    support::{answer_tokens, router::Cluster},
};

/// More than any concurrency: the router's bounds are not what is measured.
const BOUND: &str = "4096";

/// A router that serves, and its nodes.
pub struct Served(Cluster);

/// What one request became.
pub struct Answered {
    /// The reply, as the pieces in which it came.
    pub pieces: Vec<Bytes>,
    /// The calls to the nodes.
    pub calls: Calls,
}

impl Served {
    pub async fn start(arguments: &Arguments) -> Served {
        let mut flags = vec!["--max-concurrent", BOUND, "--max-waiting", BOUND];
        flags.extend(arguments.model.as_deref().map(|model| ["--model", model]).into_iter().flatten());
        let room = u32::try_from(2 * (arguments.prompt + arguments.stream + arguments.whole)).unwrap() + 1_000;
        Served(Cluster::of(1, 1, &flags, |node| node.max_positions = room).await)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Tokens of a text.
    pub async fn count(&self, text: &str) -> usize {
        let reply = self.0.post_to("/tokenize", &json!({"prompt": text, "add_special_tokens": false})).await;
        let reply: Value = reply.json().await.unwrap();
        reply["count"].as_u64().unwrap_or_else(|| panic!("{reply}")) as usize
    }

    /// Makes the nodes answer as a case says.
    pub fn answer(&self, case: &Case) {
        let words = answer_tokens("hello world, and so it goes on for a while. ");
        let words = &words[..words.len() - 1];
        let tokens: Vec<u32> = words.iter().copied().cycle().take(case.answer_tokens).collect();
        let per_message = if case.is_streamed { 1 } else { case.answer_tokens };
        for node in self.0.prefill.iter().chain(&self.0.decode) {
            node.script.answer(tokens.clone());
            node.script.tokens_per_message.store(per_message, Ordering::Relaxed);
        }
    }

    /// Asks once, and looks at what came and went.
    pub async fn ask(&self, case: &Case) -> Answered {
        let (prefill, decode) = (&self.0.prefill[0], &self.0.decode[0]);
        let forgets = |forgets| {
            prefill.script.forgets.store(forgets, Ordering::Relaxed);
            decode.script.forgets.store(forgets, Ordering::Relaxed);
        };
        forgets(false);
        let asked = Asked::new(self.address(), case.body.clone(), 1);
        let mut connection = Connection::open(&asked).await;
        let mut body = connection.send(&asked).await;
        let mut pieces = Vec::new();
        while let Some(frame) = body.frame().await {
            pieces.extend(frame.unwrap().into_data().ok());
        }
        forgets(true);
        let run: PrefillRequest = prefill.script.prefill_request.lock().unwrap().clone().unwrap();
        let generate: Option<GenerateRequest> = decode.script.generate_request.lock().unwrap().clone();
        let generate = generate.filter(|_| case.answer_tokens > 1);
        Answered { pieces, calls: Calls::new(prefill.address, decode.address, run, generate) }
    }
}
