//! The decode process. It reads lines from standard input and answers each with one line.
//!
//! | line | does | answer |
//! |---|---|---|
//! | (start) | | `<address of the service> <address of the raw sink>` |
//! | `open EPOCH POLICY` | admits one shipment | `open` |
//! | `usage` | | see [`Usage::line`] |
//! | `forget` | resets the memory peak | `forgotten` |

use secateur_common::shutdown::CancellationToken;
use secateur_decode_node::rehearsal::Rehearsal;
use secateur_proto::v1;
use secateur_transfer::TransferPolicy;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
};

use crate::{
    made::{self, POSITIONS},
    raw,
    usage::Usage,
};

/// Serves until standard input ends.
pub async fn run() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let rehearsal = Rehearsal::new(made::identity(v1::Role::Decode), made::pool(), true);
    tokio::spawn(rehearsal.clone().serve(listener, CancellationToken::new()));
    println!("{address} {}", raw::sink());
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["open", epoch, policy] => {
                let transfer: TransferPolicy = policy.parse().unwrap();
                let awaited = rehearsal.open(epoch, transfer, POSITIONS as u32).unwrap();
                // Prefill is told of a failure, and reports it.
                tokio::spawn(awaited.accepted());
                println!("open");
            }
            ["usage"] => println!("{}", Usage::now().line()),
            ["forget"] => {
                Usage::forget_peak();
                println!("forgotten");
            }
            _ => panic!("unknown line {line}"),
        }
    }
}
