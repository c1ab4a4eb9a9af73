//! A TCP proxy on loopback that counts bytes, can cut every connection, and can flip bits that one process sends.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::corruption::{Corruption, Flipper, is_of_process};

/// A running proxy in front of one address.
pub struct Proxy {
    /// The address that the proxy listens on.
    pub address: SocketAddr,
    forward_bytes: Arc<AtomicU64>,
    flips: Arc<AtomicU64>,
    cut: watch::Sender<bool>,
    corruption: watch::Sender<Option<Corruption>>,
}

/// State of the proxy that its connections share.
#[derive(Clone)]
struct Line {
    target: SocketAddr,
    counter: Arc<AtomicU64>,
    flips: Arc<AtomicU64>,
    is_cut: watch::Receiver<bool>,
    corruption: watch::Receiver<Option<Corruption>>,
}

impl Proxy {
    /// Starts a proxy in front of `target`.
    pub async fn start(target: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let forward_bytes = Arc::new(AtomicU64::new(0));
        let flips = Arc::new(AtomicU64::new(0));
        let (cut, is_cut) = watch::channel(false);
        let (corruption, corrupts) = watch::channel(None);
        let line = Line { target, counter: forward_bytes.clone(), flips: flips.clone(), is_cut, corruption: corrupts };
        tokio::spawn(async move {
            while let Ok((client, peer)) = listener.accept().await {
                // A cut link accepts connections and drops them at once.
                if !*line.is_cut.borrow() {
                    tokio::spawn(carry(client, peer, line.clone()));
                }
            }
        });
        Ok(Self { address, forward_bytes, flips, cut, corruption })
    }

    /// Number of bytes sent from clients to the target since the start.
    pub fn forward_bytes(&self) -> u64 {
        self.forward_bytes.load(Ordering::Relaxed)
    }

    /// Number of bits flipped since the start.
    pub fn flips(&self) -> u64 {
        self.flips.load(Ordering::Relaxed)
    }

    /// Starts flipping bits, or stops if `corruption` is `None`.
    pub fn set_corruption(&self, corruption: Option<Corruption>) {
        self.corruption.send_replace(corruption);
    }

    /// Cuts every connection and refuses new ones, or accepts connections again.
    pub fn set_cut(&self, cut: bool) {
        self.cut.send_replace(cut);
    }
}

async fn carry(client: TcpStream, peer: SocketAddr, line: Line) {
    let Line { target, counter, flips, mut is_cut, corruption } = line;
    let Ok(server) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut client_read, mut client_write) = client.into_split();
    let (mut server_read, mut server_write) = server.into_split();
    let forward = async {
        let mut buffer = vec![0u8; 64 << 10];
        let mut flipper = Flipper::new(peer);
        loop {
            let count = client_read.read(&mut buffer).await?;
            if count == 0 {
                return server_write.shutdown().await;
            }
            counter.fetch_add(count as u64, Ordering::Relaxed);
            let corrupts = *corruption.borrow();
            if let Some(corruption) = corrupts.filter(|corruption| is_of_process(peer, corruption.process)) {
                flips.fetch_add(flipper.flip(corruption.place, &mut buffer[..count]), Ordering::Relaxed);
            }
            server_write.write_all(&buffer[..count]).await?;
        }
    };
    let backward = async {
        tokio::io::copy(&mut server_read, &mut client_write).await?;
        client_write.shutdown().await
    };
    tokio::select! {
        _ = async { tokio::join!(forward, backward) } => {}
        _ = is_cut.wait_for(|&cut| cut) => {}
    }
}
