//! Orderly stop of a cluster: running requests are finished, unless a second signal interrupts them.

use secateur_common::shutdown::Stops;
use serde_json::Value;

use super::cluster::Cluster;
use crate::console;

/// Stops every role; returns false if a signal interrupted requests.
pub async fn stop(cluster: &mut Cluster, stops: &Stops) -> bool {
    // A cluster that ends by itself, for example after a failure, has had no first signal yet.
    let cut = if stops.first.is_cancelled() {
        console::progress(&said(requests(&cluster.view().await)));
        &stops.again
    } else {
        &stops.first
    };
    tokio::select! {
        () = cluster.stop() => true,
        () = cut.cancelled() => {
            cluster.kill().await;
            false
        }
    }
}

/// Number of running and waiting requests, from the router's view.
fn requests(view: &Value) -> u64 {
    let count = |which: &str| view["requests"][which].as_u64().unwrap_or(0);
    count("running") + count("waiting")
}

fn said(requests: u64) -> String {
    match requests {
        0 => "stopping".to_owned(),
        1 => "finishing 1 request; again to stop now".to_owned(),
        many => format!("finishing {many} requests; again to stop now"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_finished_is_counted() {
        assert_eq!(said(requests(&Value::Null)), "stopping");
        assert_eq!(
            said(requests(&json!({"requests": {"running": 1, "waiting": 0}}))),
            "finishing 1 request; again to stop now"
        );
        assert!(
            said(requests(&json!({"requests": {"running": 2, "waiting": 3}}))).starts_with("finishing 5 requests;")
        );
    }
}
