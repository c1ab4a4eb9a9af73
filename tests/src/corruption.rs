//! Bits that flip on their way: which, and of whose connections.

use std::{fs, net::SocketAddr};

/// What is corrupted.
#[derive(Clone, Copy, Debug)]
pub struct Corruption {
    /// The process whose connections are.
    pub process: u32,
    /// Where bits flip.
    pub place: Place,
}

/// Where bits flip.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// One in about so many bytes of a connection, wherever that is.
    Every(u64),
    /// One among the first bytes of every other connection: the preface, settings, headers and the manifest.
    First(u64),
}

/// Flips bits of one connection.
pub struct Flipper {
    random: Random,
    /// Bytes that passed.
    passed: u64,
    /// The byte whose bit flips next.
    next: Option<u64>,
}

impl Flipper {
    /// For a connection from `peer`, whose port makes it flip other bits than others.
    pub fn new(peer: SocketAddr) -> Self {
        Self { random: Random::new(u64::from(peer.port())), passed: 0, next: None }
    }

    /// Flips what is to be flipped of the next bytes; says how many.
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

/// Numbers that look random and are the same every time (SplitMix64).
pub struct Random(u64);

impl Random {
    /// Numbers that `seed` determines.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next one of `0..bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}

/// Whether a loopback socket at `address` is one of a process (Linux).
pub fn is_of_process(address: SocketAddr, process: u32) -> bool {
    let Ok(sockets) = fs::read_to_string("/proc/net/tcp") else { return false };
    let port = format!(":{:04X}", address.port());
    // A port can have several sockets: to other peers, and some that are closed and wait.
    let inodes: Vec<String> = sockets
        .lines()
        .filter_map(|line| {
            let mut columns = line.split_whitespace();
            columns.nth(1).filter(|local| local.ends_with(&port))?;
            // Behind the local address: remote, state, queues, timer, retransmits, user, timeout, inode.
            columns.nth(7).map(|inode| format!("socket:[{inode}]"))
        })
        .collect();
    let Ok(files) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    files.flatten().any(|file| {
        fs::read_link(file.path()).is_ok_and(|link| inodes.iter().any(|inode| link.to_string_lossy() == *inode))
    })
}
