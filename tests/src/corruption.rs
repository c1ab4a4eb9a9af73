//! Corruption in transit: which bits flip, and on whose connections.

use std::{fs, net::SocketAddr};

/// Selection of the traffic to corrupt.
#[derive(Clone, Copy, Debug)]
pub struct Corruption {
    /// Id of the process whose connections are corrupted.
    pub process: u32,
    /// Places where bits flip.
    pub place: Place,
}

/// Places where bits flip.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// One bit in about this many bytes of a connection, anywhere.
    Every(u64),
    /// One bit among the first bytes of every other connection: the preface, settings, headers and the manifest.
    First(u64),
}

/// Flips bits on one connection.
pub struct Flipper {
    random: Random,
    /// Number of bytes that have passed.
    passed: u64,
    /// Offset of the byte whose bit flips next.
    next: Option<u64>,
}

impl Flipper {
    /// A flipper for a connection from `peer`; the peer's port seeds it, so that connections get different flips.
    pub fn new(peer: SocketAddr) -> Self {
        Self { random: Random::new(u64::from(peer.port())), passed: 0, next: None }
    }

    /// Flips bits in the next bytes of the connection and returns the number of flips.
    pub fn flip(&mut self, place: Place, bytes: &mut [u8]) -> u64 {
        let end = self.passed + bytes.len() as u64;
        let mut flips = 0;
        loop {
            let next = *self.next.get_or_insert_with(|| match place {
                Place::Every(every) => self.passed + self.random.below(2 * every),
                Place::First(first) if self.random.below(2) == 0 => self.random.below(first),
                Place::First(_) => u64::MAX,
            });
            if next >= end {
                break;
            }
            if let Some(byte) = next.checked_sub(self.passed).and_then(|at| bytes.get_mut(at as usize)) {
                *byte ^= 1 << self.random.below(8);
                flips += 1;
            }
            self.next = match place {
                Place::Every(every) => Some(next + 1 + self.random.below(2 * every)),
                Place::First(_) => Some(u64::MAX),
            };
        }
        self.passed = end;
        flips
    }
}

/// SplitMix64, a generator of pseudo-random numbers that are the same in every run.
pub struct Random(u64);

impl Random {
    /// A generator seeded with `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Draws a number from `0..bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}

/// Whether a loopback socket at `address` belongs to a process (Linux).
pub fn is_of_process(address: SocketAddr, process: u32) -> bool {
    let Ok(sockets) = fs::read_to_string("/proc/net/tcp") else { return false };
    let port = format!(":{:04X}", address.port());
    // A port can have several sockets: to other peers, and closed ones that still wait.
    let inodes: Vec<String> = sockets
        .lines()
        .filter_map(|line| {
            let mut columns = line.split_whitespace();
            columns.nth(1).filter(|local| local.ends_with(&port))?;
            // The columns after the local address are remote, state, queues, timer, retransmits, user, timeout, inode.
            columns.nth(7).map(|inode| format!("socket:[{inode}]"))
        })
        .collect();
    let Ok(files) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    files.flatten().any(|file| {
        fs::read_link(file.path()).is_ok_and(|link| inodes.iter().any(|inode| link.to_string_lossy() == *inode))
    })
}
