//! One task for each node: asks it to describe itself, again and again, and publishes the answer.
//!
//! ```text
//!            answered                       answered
//!        ┌──────────────┐              ┌──────────────┐
//!        ▼              │              ▼              │
//!      Down ──answered──┴────────────▶ Up ────────────┘
//!        ▲                             │
//!        └── connection lost, at once ─┤
//!        └── two silences in a row ────┘
//! ```
//!
//! A single silence is not enough to give a node up: a machine whose cores all compute may answer late.

use std::{sync::Arc, time::Duration};

use secateur_channel::is_tls_failure;
use secateur_common::shutdown::CancellationToken;
use secateur_proto::{
    error::is_from_service,
    v1::{DescribeRequest, NodeDescription, node_client::NodeClient},
};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tonic::Status;

use super::node::{MESSAGE_BYTES_MAX, Node, NodeState};

/// Between an answer and the next question.
const INTERVAL: Duration = Duration::from_millis(300);
/// Two silences and an interval stay well under two seconds, the time of a machine that is busy added.
const PATIENCE: Duration = Duration::from_millis(700);
const SILENCES_MAX: u32 = 2;
const _: () = assert!(INTERVAL.as_millis() + PATIENCE.as_millis() * SILENCES_MAX as u128 <= 1_800);

enum Answer {
    Described(Box<NodeDescription>),
    Refused(String),
    Silence,
}

/// Probes `node` until `shutdown`; rings `news` when it came or went.
pub async fn run(node: Arc<Node>, news: Arc<Notify>, shutdown: CancellationToken) {
    let mut silences = 0;
    loop {
        let answer = tokio::select! {
            answer = ask(&node) => answer,
            () = shutdown.cancelled() => return,
        };
        silences = if matches!(answer, Answer::Silence) { silences + 1 } else { 0 };
        let is_patient = matches!(answer, Answer::Silence) && silences < SILENCES_MAX;
        if !is_patient {
            if publish(&node, answer) {
                news.notify_one();
            }
            tokio::select! {
                () = sleep(INTERVAL) => {}
                () = node.suspected() => {}
                () = shutdown.cancelled() => return,
            }
        }
    }
}

async fn ask(node: &Node) -> Answer {
    let mut client = NodeClient::new(node.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    match timeout(PATIENCE, client.describe(DescribeRequest {})).await {
        Ok(Ok(reply)) => Answer::Described(Box::new(reply.into_inner())),
        Ok(Err(status)) => Answer::Refused(reason(&status)),
        Err(_) => Answer::Silence,
    }
}

fn reason(status: &Status) -> String {
    match status.code() {
        _ if is_tls_failure(status) => "does not agree on TLS with this router, or on a certificate".to_owned(),
        tonic::Code::Unauthenticated => "does not accept this router's cluster secret".to_owned(),
        tonic::Code::Unavailable | tonic::Code::Unknown => "cannot be reached".to_owned(),
        tonic::Code::Unimplemented => "is not a Secateur node".to_owned(),
        // Nobody's answer, but bytes that are no HTTP/2, such as those of a TLS handshake.
        tonic::Code::Internal | tonic::Code::Cancelled if !is_from_service(status) => {
            "does not speak as this router does; it may want TLS".to_owned()
        }
        code => format!("does not describe itself ({code:?})"),
    }
}

fn publish(node: &Node, answer: Answer) -> bool {
    let state = match answer {
        Answer::Described(description) => NodeState::Up(description),
        Answer::Refused(reason) => NodeState::Down(reason),
        Answer::Silence => NodeState::Down("does not answer".to_owned()),
    };
    let (is_up, why) = match &state {
        NodeState::Up(_) => (true, String::new()),
        NodeState::Down(why) => (false, why.clone()),
    };
    let is_news = node.publish(state);
    if is_news {
        tracing::info!(address = %node.address, role = ?node.role, is_up, why, "node changed state");
    }
    is_news
}
