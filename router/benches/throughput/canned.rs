//! A plain server that sends the same reply whatever is asked.

use std::{convert::Infallible, net::SocketAddr};

use axum::{
    Router,
    body::{Body, Bytes},
    response::Response,
    routing::post,
};
use futures::stream;
use tokio::net::TcpListener;

/// Serves a reply of these pieces until the runtime ends; returns the address.
pub async fn serve(pieces: &[Bytes]) -> SocketAddr {
    let pieces = pieces.to_vec();
    let reply = move |_: Bytes| {
        let pieces = pieces.clone();
        async move {
            match pieces.as_slice() {
                [one] => Response::new(Body::from(one.clone())),
                _ => Response::new(Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, Infallible>)))),
            }
        }
    };
    let routes = Router::new().route("/v1/chat/completions", post(reply));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    address
}
