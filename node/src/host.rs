//! gRPC hosting: the role's services, `grpc.health.v1`, reflection, the `Node` service, and a graceful stop.

use std::{sync::Arc, time::Duration};

use secateur_channel::{Channels, Guard};
use secateur_common::shutdown::CancellationToken;
use secateur_proto::{
    FILE_DESCRIPTOR_SET,
    v1::{self, node_server},
};
use secateur_transfer::frame;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, Streaming, service::RoutesBuilder, transport::Server};
use tonic_health::ServingStatus;

use crate::link::{Acks, Links};

/// How long running requests may go on once the node was told to stop.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// What a shipment may have in flight: enough for 25 Gb/s at 1 ms round trip.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// For all shipments of one peer together: the most that HTTP/2 has. Shipments that wait for blocks are not read, and must
/// not hold up one that has its blocks; each holds a stream's window at most, and how many wait is bounded.
const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;
/// How often a quiet peer is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// How long its answer may take: on a slow link it comes behind what a shipment has put into the sockets' buffers, some
/// megabytes. Routers, which send little, notice a lost node much sooner.
pub const KEEPALIVE_PATIENCE: Duration = Duration::from_secs(10);
/// Name under which `grpc.health.v1` answers for "can take requests", beside the empty name and `liveness`.
const READINESS: &str = "readiness";
const LIVENESS: &str = "liveness";

/// What a node can say of itself at this moment.
pub trait Describe: Send + Sync + 'static {
    /// The description, given whether the node is draining.
    fn describe(&self, draining: bool) -> v1::NodeDescription;
}

/// Hosts a role's services until it is told to stop and what runs has ended.
pub struct Host {
    routes: RoutesBuilder,
    shutdown: CancellationToken,
}

impl Host {
    /// A host that drains when `shutdown` is cancelled, and reaches other nodes through `channels`.
    pub fn new<D: Describe>(describer: Arc<D>, channels: Channels, shutdown: CancellationToken) -> Self {
        let node = NodeService { describer, shutdown: shutdown.clone(), links: Links::new(channels) };
        let mut routes = RoutesBuilder::default();
        routes.add_service(node_server::NodeServer::new(node));
        Self { routes, shutdown }
    }

    /// Where the role adds its services.
    pub fn routes(&mut self) -> &mut RoutesBuilder {
        &mut self.routes
    }

    /// Serves on `listener` behind `guard`; returns once stopped.
    pub async fn serve(mut self, listener: TcpListener, guard: Guard) -> anyhow::Result<()> {
        let (reporter, health) = tonic_health::server::health_reporter();
        for service in ["", READINESS, LIVENESS] {
            reporter.set_service_status(service, ServingStatus::Serving).await;
        }
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()?;
        self.routes.add_service(health).add_service(reflection);
        let draining = self.shutdown.clone();
        let stop = async move {
            draining.cancelled().await;
            reporter.set_service_status("", ServingStatus::NotServing).await;
            reporter.set_service_status(READINESS, ServingStatus::NotServing).await;
        };
        let server = Server::builder()
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(frame::HTTP2_FRAME_BYTES)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE_PATIENCE));
        let serving = guard.serve(server, self.routes.routes(), listener, stop);
        let overdue = async {
            self.shutdown.cancelled().await;
            tokio::time::sleep(DRAIN_MAX).await;
        };
        tokio::select! {
            served = serving => served?,
            () = overdue => tracing::warn!("requests still ran {} s after the stop; ending them", DRAIN_MAX.as_secs()),
        }
        Ok(())
    }
}

struct NodeService<D> {
    describer: Arc<D>,
    shutdown: CancellationToken,
    links: Links,
}

#[tonic::async_trait]
impl<D: Describe> node_server::Node for NodeService<D> {
    async fn describe(&self, _: Request<v1::DescribeRequest>) -> Result<Response<v1::NodeDescription>, Status> {
        Ok(Response::new(self.describer.describe(self.shutdown.is_cancelled())))
    }

    async fn measure_link(&self, request: Request<v1::MeasureLinkRequest>) -> Result<Response<v1::LinkReport>, Status> {
        Ok(Response::new(self.links.measure(&request.into_inner()).await?))
    }

    type SinkStream = Acks;

    async fn sink(&self, request: Request<Streaming<v1::Probe>>) -> Result<Response<Acks>, Status> {
        Ok(Response::new(self.links.sink(request.into_inner())?))
    }
}

#[cfg(test)]
mod tests;
