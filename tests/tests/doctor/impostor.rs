//! A gRPC server that describes itself like a node of another version, or of another time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use secateur_proto::v1::{
    DescribeRequest, LinkReport, MeasureLinkRequest, NodeDescription, Probe, ProbeAck,
    node_server::{Node, NodeServer},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::{Empty, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

/// The running server; stopped on drop.
pub struct Impostor {
    /// The address that the server listens on.
    pub address: String,
    server: JoinHandle<()>,
}

struct Describing {
    description: NodeDescription,
    /// How far the server's clock is ahead; `None` if it reports no time.
    ahead: Option<Duration>,
}

#[tonic::async_trait]
impl Node for Describing {
    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<NodeDescription>, Status> {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let unix_ms = self.ahead.map_or(0, |ahead| (unix + ahead).as_millis() as u64);
        Ok(Response::new(NodeDescription { unix_ms, ..self.description.clone() }))
    }

    async fn measure_link(&self, _: Request<MeasureLinkRequest>) -> Result<Response<LinkReport>, Status> {
        Err(Status::unimplemented("it only describes itself"))
    }

    type SinkStream = Empty<Result<ProbeAck, Status>>;

    async fn sink(&self, _: Request<Streaming<Probe>>) -> Result<Response<Self::SinkStream>, Status> {
        Err(Status::unimplemented("it only describes itself"))
    }
}

impl Impostor {
    /// Starts a server on a free port.
    pub async fn start(description: NodeDescription) -> Self {
        Self::serve(Describing { description, ahead: None }).await
    }

    /// Starts a server whose clock is `ahead` of this machine's.
    pub async fn start_ahead(description: NodeDescription, ahead: Duration) -> Self {
        Self::serve(Describing { description, ahead: Some(ahead) }).await
    }

    async fn serve(describing: Describing) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serving = Server::builder()
            .add_service(NodeServer::new(describing))
            .serve_with_incoming(TcpListenerStream::new(listener));
        Self { address, server: tokio::spawn(async move { drop(serving.await) }) }
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.server.abort();
    }
}
