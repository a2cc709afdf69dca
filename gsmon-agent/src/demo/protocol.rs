//! The demo's wire format: a header in the manner of a real engine, one byte that says what it is, and padding.
//!
//! Only shape and size of the headers are borrowed (sequence numbers where engines have them); these are not the
//! engines' protocols.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Header in front of every datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Header {
    /// Sequence number (u32 little endian), as Quake III.
    Quake3,
    /// Sequence and acknowledgement (u32 little endian each), as Source.
    Source,
    /// Peer id and sent time (u16 big endian each), as ENet.
    Enet,
    /// None.
    Plain,
}

impl Header {
    fn bytes(self) -> usize {
        match self {
            Header::Quake3 => 4,
            Header::Source => 8,
            Header::Enet => 4,
            Header::Plain => 0,
        }
    }
}

/// What a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Client asks to play.
    Connect = 1,
    /// Server lets it.
    Accept = 2,
    /// Client moves.
    Input = 3,
    /// Server tells the world.
    Snapshot = 4,
    /// Client goes.
    Leave = 5,
}

/// Payload of an input.
pub const INPUT_BYTES: usize = 40;
/// Payload of a snapshot, before the players' share.
pub const SNAPSHOT_BYTES: usize = 120;
/// Payload of a snapshot per player.
pub const SNAPSHOT_BYTES_PER_PLAYER: usize = 12;

/// Writes a datagram.
pub fn encode(header: Header, kind: Kind, sequence: u32, acknowledged: u32, payload_bytes: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(header.bytes() + 1 + payload_bytes);
    match header {
        Header::Quake3 => bytes.extend(sequence.to_le_bytes()),
        Header::Source => {
            bytes.extend(sequence.to_le_bytes());
            bytes.extend(acknowledged.to_le_bytes());
        }
        Header::Enet => {
            bytes.extend((0x8000u16 | 1).to_be_bytes());
            bytes.extend((sequence as u16).to_be_bytes());
        }
        Header::Plain => {}
    }
    bytes.push(kind as u8);
    bytes.resize(bytes.len() + payload_bytes, 0x5a);
    bytes
}

/// Payload of a connect: the player's name, and padding.
pub const CONNECT_BYTES: usize = 16;

/// Writes a connect with a name, which is cut where it is too long.
pub fn encode_connect(header: Header, sequence: u32, acknowledged: u32, name: &str) -> Vec<u8> {
    let mut bytes = encode(header, Kind::Connect, sequence, acknowledged, CONNECT_BYTES);
    let payload = bytes.len() - CONNECT_BYTES;
    let name = name.bytes().chain(std::iter::repeat(0));
    bytes[payload..]
        .iter_mut()
        .zip(name)
        .for_each(|(to, from)| *to = from);
    bytes
}

/// The name in a connect: letters, digits and `-` only.
pub fn name(header: Header, bytes: &[u8]) -> Option<&str> {
    let payload = bytes.get(header.bytes() + 1..)?.get(..CONNECT_BYTES)?;
    let length = payload
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(CONNECT_BYTES);
    let name = std::str::from_utf8(&payload[..length]).ok()?;
    let usual = |sign: char| sign.is_ascii_alphanumeric() || sign == '-';
    (!name.is_empty() && name.chars().all(usual)).then_some(name)
}

/// Reads the kind of a datagram and, where the header has one, its sequence number.
pub fn decode(header: Header, bytes: &[u8]) -> Option<(Kind, u32)> {
    let kind = match bytes.get(header.bytes())? {
        1 => Kind::Connect,
        2 => Kind::Accept,
        3 => Kind::Input,
        4 => Kind::Snapshot,
        5 => Kind::Leave,
        _ => return None,
    };
    let sequence = match header {
        Header::Quake3 | Header::Source => u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?),
        Header::Enet => u32::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
        Header::Plain => 0,
    };
    Some((kind, sequence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_header_survives_a_round_trip() {
        for header in [Header::Quake3, Header::Source, Header::Enet, Header::Plain] {
            for kind in [
                Kind::Connect,
                Kind::Accept,
                Kind::Input,
                Kind::Snapshot,
                Kind::Leave,
            ] {
                let bytes = encode(header, kind, 77, 5, 10);
                let (back, sequence) = decode(header, &bytes).unwrap();
                assert_eq!(back, kind);
                assert_eq!(sequence, if header == Header::Plain { 0 } else { 77 });
            }
        }
    }

    #[test]
    fn a_connect_has_a_name_and_the_size_of_any_other() {
        for header in [Header::Quake3, Header::Source, Header::Enet, Header::Plain] {
            let bytes = encode_connect(header, 1, 0, "Ada-12");
            assert_eq!(name(header, &bytes), Some("Ada-12"));
            assert_eq!(
                bytes.len(),
                encode(header, Kind::Connect, 1, 0, CONNECT_BYTES).len()
            );
            assert_eq!(decode(header, &bytes).map(|(kind, _)| kind), Some(Kind::Connect));
            assert_eq!(name(header, &encode_connect(header, 1, 0, "a\u{1b}")), None);
            assert_eq!(name(header, &bytes[..5]), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn garbage_is_no_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64)) {
            for header in [Header::Quake3, Header::Source, Header::Enet, Header::Plain] {
                let _ = (decode(header, &bytes), name(header, &bytes));
            }
        }
    }
}
