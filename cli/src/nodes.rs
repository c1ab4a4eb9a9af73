//! Requests to single nodes, over gRPC.

use std::time::Duration;

use secateur_channel::Channels;
use secateur_node::link;
use secateur_proto::{
    ErrorCode, ServiceError,
    error::is_from_service,
    v1::{self, node_client::NodeClient},
};
use tokio::time::timeout;

/// Payload and time of a measurement: enough for a flow-control window to open, little enough that a user does not
/// wait.
const MEASURE_BYTES: u64 = link::BYTES_MAX;
const MEASURE_MS: u32 = 2_000;
/// Timeout of the call; a node ends its measurement before this, whatever the link.
const MEASURE_MAX: Duration = Duration::from_secs(30);

/// Asks the node at `from` to measure its link to the node at `to`.
pub async fn measure_link(channels: &Channels, from: &str, to: &str) -> Result<v1::LinkReport, ServiceError> {
    let mut client = NodeClient::new(link::open(channels, from)?);
    let request =
        v1::MeasureLinkRequest { address: to.to_owned(), bytes_max: MEASURE_BYTES, milliseconds_max: MEASURE_MS };
    answer(MEASURE_MAX, client.measure_link(request)).await
}

async fn answer<T>(
    limit: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, ServiceError> {
    match timeout(limit, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) if is_from_service(&status) => Err(status.into()),
        // The transport's message is about sockets; it means that no node was reached.
        Ok(Err(status)) => match ServiceError::from(status) {
            error if error.code == ErrorCode::Incompatible => {
                Err(ServiceError::new(error.code, "it is of a version that cannot be asked this"))
            }
            error => Err(ServiceError::new(error.code, "no node answers there")),
        },
        Err(_) => Err(ServiceError::new(ErrorCode::Timeout, format!("no answer within {} s", limit.as_secs()))),
    }
}
