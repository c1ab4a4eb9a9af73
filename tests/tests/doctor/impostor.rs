//! A gRPC server that describes itself as a node of another version, or of another time, would.

use secateur_proto::v1::{
    DescribeRequest, LinkReport, MeasureLinkRequest, NodeDescription, Probe, ProbeAck,
    node_server::{Node, NodeServer},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::{Empty, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

/// The running server; stopped on drop.
pub struct Impostor {
    /// Where it listens.
    pub address: String,
    server: JoinHandle<()>,
}

struct Describing(NodeDescription);

#[tonic::async_trait]
impl Node for Describing {
    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<NodeDescription>, Status> {
        Ok(Response::new(self.0.clone()))
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
    /// Starts one on a free port.
    pub async fn start(description: NodeDescription) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serving = Server::builder()
            .add_service(NodeServer::new(Describing(description)))
            .serve_with_incoming(TcpListenerStream::new(listener));
        Self { address, server: tokio::spawn(async move { drop(serving.await) }) }
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.server.abort();
    }
}
