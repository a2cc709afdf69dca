//! Names of the wire formats that games use for play. Only what is known of each: no byte is read here.

use serde::{Deserialize, Serialize};

/// How a game numbers, acknowledges and times its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetcodeLayout {
    /// id Tech 3: 32-bit sequence in the clear both ways, the acknowledgement of a client in a body of static Huffman
    /// symbols; protocol 68 and before scrambles the body after that.
    Quake3,
    /// Source engine 1: 32-bit sequence and acknowledgement in the clear, flags, choked packets counted. CS:GO can
    /// encrypt the channel.
    Source,
    /// GoldSrc: 30-bit sequence and acknowledgement in the clear, body obfuscated.
    GoldSrc,
    /// RakNet (Minecraft Bedrock and others): 24-bit datagram numbers, explicit ACK and NACK ranges, all in the clear.
    RakNet,
    /// Teeworlds and DDNet: 10-bit acknowledgement of reliable chunks in the clear, chunk numbers Huffman-compressed.
    Teeworlds,
    /// Luanti: reliable packets numbered with 16 bits and acknowledged one by one, in the clear.
    Luanti,
    /// Unreal Engine 4 and 5: packet numbers and acknowledgement history bit by bit, optional packet handlers in front.
    UnrealHandler,
    /// Unity Transport: reliable pipeline with sequence, acknowledgement mask and the holder's processing time; DTLS
    /// and relays hide it.
    UnityTransport,
    /// KCP (Mirror's default): segments with sender clock and number, echoed by acknowledgements, in the clear.
    Kcp,
    /// LiteNetLib (FishNet's Tugboat): numbered pings and pongs once a second, acknowledgement bitmaps.
    LiteNetLib,
    /// ENet: 16-bit sender clock, echoed by acknowledgements; optional compression hides it.
    ENet,
    /// Steam Networking Sockets (CS2, Valheim, Steam titles): 16-bit packet numbers in the clear, the rest encrypted.
    Steam,
    /// Factorio: its own lockstep protocol over UDP; numbering not established.
    Factorio,
    /// A TCP stream: round trips and retransmits are the kernel's own.
    Tcp,
    /// Not known.
    Unknown,
}
