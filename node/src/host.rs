//! gRPC hosting: the role's services, `grpc.health.v1`, reflection, the `Node` service, and a graceful stop.

use std::{sync::Arc, time::Duration};

use secateur_channel::{Channels, Guard, Intake};
use secateur_common::shutdown::CancellationToken;
use secateur_proto::{
    FILE_DESCRIPTOR_SET,
    v1::{self, node_server},
};
use secateur_transfer::frame;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, Streaming, service::RoutesBuilder, transport::Server};
use tonic_health::ServingStatus;

use crate::{
    Life, intake,
    link::{Acks, Links},
};

/// How long running requests may continue after the node was told to stop.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// How long running requests get to send their final error once the engine has ended.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);
/// Interval of keep-alive pings on a quiet connection: a live peer answers them.
const KEEPALIVE: Duration = Duration::from_secs(1);
/// The HTTP/2 library's own limit on a ping's answer. It is only a backstop: `secateur_channel` watches connections
/// itself, and on a slow link the answer queues behind the bytes of a shipment that are already in buffers.
const KEEPALIVE_PATIENCE: Duration = Duration::from_secs(60);
/// Largest message of the services that report on the node (health, reflection).
const SMALL_MESSAGE_BYTES_MAX: usize = 4 << 10;
/// Largest message of the `Node` service, whose link measurement sends frames as large as a shipment's.
const PROBE_BYTES_MAX: usize = 2 << 20;
/// Queue limit for the default intake, used until the role sets its own with [`Host::with_intake`].
const QUEUE_LIMIT: u32 = 256;
/// Service name under which `grpc.health.v1` reports whether the node can take requests, beside the empty name and
/// `liveness`.
const READINESS: &str = "readiness";
const LIVENESS: &str = "liveness";

/// Source of a node's description for the `Node` service.
pub trait Describe: Send + Sync + 'static {
    /// The node's description at this moment; `draining` is passed through into it.
    fn describe(&self, draining: bool) -> v1::NodeDescription;
}

/// gRPC server of a node's services. It serves until it is told to stop and running requests have ended, or until the
/// engine ends.
pub struct Host {
    routes: RoutesBuilder,
    shutdown: CancellationToken,
    intake: Intake,
    life: Life,
    // The describer owns the engine: holding it here keeps the engine alive as long as this host.
    describer: Arc<dyn Describe>,
    links: Links,
}

impl Host {
    /// A host that drains when `shutdown` is cancelled, and reaches other nodes through `channels`.
    pub fn new<D: Describe>(describer: Arc<D>, channels: Channels, shutdown: CancellationToken) -> Self {
        let describer: Arc<dyn Describe> = describer;
        let (routes, intake, life) = (RoutesBuilder::default(), intake::of_requests(QUEUE_LIMIT), Life::default());
        Self { routes, shutdown, intake, life, describer, links: Links::new(channels) }
    }

    /// This host with other limits on what callers may have in flight.
    pub fn with_intake(self, intake: Intake) -> Self {
        Self { intake, ..self }
    }

    /// This host with its end tied to the engine thread's: serving ends with an error when `life` ends.
    pub fn with_life(self, life: &Life) -> Self {
        Self { life: life.clone(), ..self }
    }

    /// The route table to which the role adds its services.
    pub fn routes(&mut self) -> &mut RoutesBuilder {
        &mut self.routes
    }

    /// Serves on `listener` behind `guard`; returns once stopped, with an error if the engine ended first.
    pub async fn serve(mut self, listener: TcpListener, guard: Guard) -> anyhow::Result<()> {
        let (reporter, health) = tonic_health::server::health_reporter();
        for service in ["", READINESS, LIVENESS] {
            reporter.set_service_status(service, ServingStatus::Serving).await;
        }
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()?;
        let node = NodeService {
            describer: self.describer.clone(),
            shutdown: self.shutdown.clone(),
            life: self.life.clone(),
            links: self.links,
        };
        self.routes
            .add_service(node_server::NodeServer::new(node).max_decoding_message_size(PROBE_BYTES_MAX))
            .add_service(health.max_decoding_message_size(SMALL_MESSAGE_BYTES_MAX))
            .add_service(reflection.max_decoding_message_size(SMALL_MESSAGE_BYTES_MAX));
        let (shutdown, life) = (self.shutdown.clone(), self.life.clone());
        let stop = async move {
            let is_alive = tokio::select! {
                () = shutdown.cancelled() => true,
                () = life.ended() => false,
            };
            let services: &[&str] = if is_alive { &["", READINESS] } else { &["", READINESS, LIVENESS] };
            for service in services {
                reporter.set_service_status(service, ServingStatus::NotServing).await;
            }
        };
        let server = Server::builder()
            .max_frame_size(frame::HTTP2_FRAME_BYTES)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE_PATIENCE));
        let serving = guard.serve(server, self.routes.routes(), listener, self.intake, stop);
        tokio::select! {
            served = serving => served?,
            () = overdue(&self.shutdown) => {
                tracing::warn!("requests still ran {} s after the stop; ending them", DRAIN_MAX.as_secs());
            }
            () = silenced(&self.life) => {}
        }
        anyhow::ensure!(!self.life.has_ended(), "the engine has ended, and the node with it; an earlier line says why");
        Ok(())
    }
}

/// Resolves [`DRAIN_MAX`] after the stop was asked for, when running requests have used up their time.
async fn overdue(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(DRAIN_MAX).await;
}

/// Resolves [`LAST_WORDS_MAX`] after the engine's end, when requests have had time to send their final error.
async fn silenced(life: &Life) {
    life.ended().await;
    tokio::time::sleep(LAST_WORDS_MAX).await;
}

struct NodeService {
    describer: Arc<dyn Describe>,
    shutdown: CancellationToken,
    life: Life,
    links: Links,
}

#[tonic::async_trait]
impl node_server::Node for NodeService {
    async fn describe(&self, _: Request<v1::DescribeRequest>) -> Result<Response<v1::NodeDescription>, Status> {
        let is_ending = self.shutdown.is_cancelled() || self.life.has_ended();
        Ok(Response::new(self.describer.describe(is_ending)))
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
