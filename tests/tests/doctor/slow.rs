//! A TCP proxy that limits traffic to its target to about 40 Mbit/s; traffic back is not limited.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    time::sleep,
};

/// Number of bytes sent at a time, and the pause after them.
const PIECE: usize = 50_000;
const PAUSE: Duration = Duration::from_millis(10);

/// Starts a proxy before `target`; returns its address.
pub async fn start(target: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(carry(client, target));
        }
    });
    address
}

async fn carry(client: TcpStream, target: SocketAddr) -> std::io::Result<()> {
    let server = TcpStream::connect(target).await?;
    let (mut client_read, mut client_write) = client.into_split();
    let (mut server_read, mut server_write) = server.into_split();
    let backward = copy(&mut server_read, &mut client_write);
    let forward = async {
        let mut piece = vec![0; PIECE];
        loop {
            let count = client_read.read(&mut piece).await?;
            if count == 0 {
                return server_write.shutdown().await;
            }
            server_write.write_all(&piece[..count]).await?;
            sleep(PAUSE).await;
        }
    };
    tokio::try_join!(forward, async { backward.await.map(drop) }).map(drop)
}
