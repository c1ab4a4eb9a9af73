//! The bare TCP stream: 1 MiB pieces through a socket, and one byte back when all have arrived.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
};

const PIECE_BYTES: usize = 1 << 20;

/// Sends `bytes` bytes and waits until they have been read.
pub fn send(to: SocketAddr, bytes: u64) {
    let mut stream = TcpStream::connect(to).unwrap();
    let piece = vec![7; PIECE_BYTES];
    for _ in 0..bytes / PIECE_BYTES as u64 {
        stream.write_all(&piece).unwrap();
    }
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    stream.read_exact(&mut [0]).unwrap();
}

/// Reads all bytes of one connection after another, on a separate thread; returns the address.
pub fn sink() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut piece = vec![0; PIECE_BYTES];
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            while stream.read(&mut piece).unwrap() > 0 {}
            stream.write_all(&[1]).unwrap();
        }
    });
    address
}
