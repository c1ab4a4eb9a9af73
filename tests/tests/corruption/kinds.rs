//! Kinds of corruption of a shipment.

use prost::Message;
use secateur_proto::v1::{ShipFrame, ship_frame::Frame};
use secateur_tests::corruption::Random;

use crate::node::{Node, Of};

/// A kind of corruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A flipped bit in any message.
    Flipped,
    /// An early end of the stream, after a message or inside one.
    Truncated,
    /// Two messages exchanged.
    Swapped,
    /// A missing message.
    Dropped,
    /// A repeated message.
    Repeated,
    /// A frame of another shipment, intact in itself.
    Foreign,
    /// An unchanged shipment of an older attempt.
    Stale,
    /// Frames of an older attempt under the manifest of the new one.
    Renamed,
    /// A shipment for a request that is already answered.
    Finished,
}

impl Kind {
    /// All kinds, in turn.
    pub const ALL: [Kind; 9] = [
        Kind::Flipped,
        Kind::Truncated,
        Kind::Swapped,
        Kind::Dropped,
        Kind::Repeated,
        Kind::Foreign,
        Kind::Stale,
        Kind::Renamed,
        Kind::Finished,
    ];

    /// A shipment for the request `of`, corrupted in this way.
    pub fn spoil(self, node: &Node, of: &Of, random: &mut Random) -> Vec<Vec<u8>> {
        let mut messages = node.shipment(of);
        let count = messages.len();
        let at = random.below(count as u64) as usize;
        match self {
            Kind::Flipped => flip(&mut messages[at], random),
            Kind::Truncated => {
                // Half of them end after a complete message.
                let is_cut = at == 0 || random.below(2) == 0;
                messages.truncate(at + usize::from(is_cut));
                if is_cut {
                    let bytes = random.below(messages[at].len() as u64) as usize;
                    messages[at].truncate(bytes);
                }
            }
            Kind::Swapped => messages.swap(at, (at + 1 + random.below(count as u64 - 1) as usize) % count),
            Kind::Dropped => drop(messages.remove(at)),
            // The last message is not repeated: its copy would arrive when the shipment is already complete.
            Kind::Repeated => messages.insert(at.min(count - 2), messages[at.min(count - 2)].clone()),
            Kind::Foreign => {
                let frame = at.clamp(1, count - 2);
                messages[frame] = node.shipment(&Of { seed: of.seed + 1, ..of.clone() }).swap_remove(frame);
            }
            Kind::Stale => return node.shipment(&Of { attempt: of.attempt - 1, ..of.clone() }),
            Kind::Renamed => {
                let new = messages.swap_remove(0);
                messages = node.shipment(&Of { attempt: of.attempt - 1, ..of.clone() });
                messages[0] = new;
            }
            Kind::Finished => {}
        }
        messages
    }
}

/// Flips a bit that changes the message's meaning: a message that decodes to the same content is not corrupted.
fn flip(message: &mut [u8], random: &mut Random) {
    let before = ShipFrame::decode(&*message).unwrap();
    loop {
        let (at, bit) = (random.below(message.len() as u64) as usize, 1 << random.below(8));
        message[at] ^= bit;
        if ShipFrame::decode(&*message).as_ref() != Ok(&before) {
            return;
        }
        message[at] ^= bit;
    }
}

/// Whether every message still decodes.
pub fn are_messages(messages: &[Vec<u8>]) -> bool {
    messages.iter().all(|message| ShipFrame::decode(&message[..]).is_ok())
}

/// Whether the first message names this request, so that the request is told of the refusal.
pub fn claims(messages: &[Vec<u8>], of: &Of) -> bool {
    let first = messages.first().and_then(|message| ShipFrame::decode(&message[..]).ok());
    let Some(Frame::Manifest(manifest)) = first.and_then(|first| first.frame) else { return false };
    let names = manifest.epoch.as_ref().is_some_and(|epoch| epoch.id == of.epoch && epoch.attempt == of.attempt);
    names && secateur_transfer::Manifest::from_proto(manifest).is_ok()
}
