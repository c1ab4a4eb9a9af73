//! The probe task of a node: periodically asks the node to describe itself and publishes the answer.
//!
//! ```text
//!            answered                       answered
//!        ┌──────────────┐              ┌──────────────┐
//!        ▼              │              ▼              │
//!      Down ──answered──┴────────────▶ Up ────────────┘
//!        ▲                             │
//!        └── two calls in a row fail ──┤
//!        └── silence, by `liveness` ───┘   its streams are abandoned as well
//! ```
//!
//! One call is open at a time, and its answer counts however late it comes. A single failed call may be a connection
//! that broke while the node is well, so the node is asked once more before it is taken down.

use std::{sync::Arc, time::Duration};

use secateur_channel::{Greeting, greet, is_connect_failure, is_tls_failure};
use secateur_common::shutdown::CancellationToken;
use secateur_proto::{
    error::is_from_service,
    v1::{DescribeRequest, NodeDescription, node_client::NodeClient},
};
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tonic::{Code, Status};

use super::{
    liveness::{Life, Silence, TICK},
    node::{MESSAGE_BYTES_MAX, Node},
    view::NodeState,
};

/// Pause between an answer and the next call.
const INTERVAL: Duration = Duration::from_millis(300);
/// Failed calls in a row that take a node from up to down.
const FAILURES_MIN: u32 = 2;
/// Pause before a node whose call failed is asked again.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the program at an address may take to send its first bytes.
const GREETING_PATIENCE: Duration = Duration::from_secs(1);

const SILENT: &str = "does not answer";
const UNREACHABLE: &str = "cannot be reached";

/// Probes `node` until `shutdown`; notifies `news` when the node comes up or goes down.
pub async fn run(node: Arc<Node>, news: Arc<Notify>, shutdown: CancellationToken) {
    let _ = shutdown.run_until_cancelled(probe(&node, &news)).await;
}

async fn probe(node: &Node, news: &Notify) {
    let mut failures = 0;
    let mut silence = Silence::new(Instant::now());
    loop {
        match ask(node, &mut silence, news).await {
            Ok(description) => {
                failures = 0;
                silence.broken(Instant::now());
                node.set_life(Life::Well);
                publish(node, NodeState::Up(Arc::new(description)), news);
            }
            Err(status) => {
                failures += 1;
                if failures < FAILURES_MIN && matches!(node.state(), NodeState::Up(_)) {
                    sleep(PAUSE).await;
                    continue;
                }
                publish(node, NodeState::Down(reason(node, &status).await.into()), news);
            }
        }
        tokio::select! {
            () = sleep(INTERVAL) => {}
            () = node.suspected() => {}
        }
    }
}

/// Makes one call. While the answer is awaited the node becomes late, and then lost.
async fn ask(node: &Node, silence: &mut Silence, news: &Notify) -> Result<NodeDescription, Status> {
    let mut client = NodeClient::new(node.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let answer = client.describe(DescribeRequest {});
    tokio::pin!(answer);
    silence.asked(Instant::now());
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => return Ok(answer?.into_inner()),
            _ = tick.tick() => {
                if node.take_heard() {
                    silence.broken(Instant::now());
                }
                let life = silence.look(Instant::now());
                node.set_life(life);
                if life == Life::Lost {
                    publish(node, NodeState::Down(SILENT.into()), news);
                }
            }
        }
    }
}

/// Why a node did not describe itself: only what is known, without guesses.
async fn reason(node: &Node, status: &Status) -> String {
    match status.code() {
        _ if is_tls_failure(status) => "does not agree on TLS with this router, or on a certificate".to_owned(),
        _ if is_connect_failure(status) => UNREACHABLE.to_owned(),
        Code::Unauthenticated if is_from_service(status) => "does not accept this router's cluster secret".to_owned(),
        code if is_from_service(status) => format!("does not describe itself ({code:?})"),
        Code::Unimplemented => "is not a Secateur node".to_owned(),
        _ if node.has_tls => "broke the connection".to_owned(),
        _ => greeted(greet(&node.address, GREETING_PATIENCE).await).to_owned(),
    }
}

/// Why a call over plain HTTP/2 broke, judged by what the address answers to a handshake.
fn greeted(greeting: Greeting) -> &'static str {
    match greeting {
        Greeting::Http2 => "broke the connection",
        Greeting::Tls => "wants TLS, and this router was told to use none",
        Greeting::Other => "speaks another protocol than gRPC",
        Greeting::Silence => SILENT,
        Greeting::Closed => "closes the connection at once",
        Greeting::Unreachable => UNREACHABLE,
    }
}

fn publish(node: &Node, state: NodeState, news: &Notify) {
    let (is_up, why) = match &state {
        NodeState::Up(_) => (true, "".into()),
        NodeState::Down(why) => (false, why.clone()),
    };
    if node.publish(state) {
        tracing::info!(address = %node.address, role = ?node.role, is_up, why = &*why, "node changed state");
        news.notify_one();
    }
}
