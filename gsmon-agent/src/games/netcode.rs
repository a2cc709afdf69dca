//! Names of the wire formats that games use for play, and which of the formats that can be read a server may speak. No
//! byte is read here.

use std::sync::{Arc, LazyLock};

use gsmon_common::netcode::{
    Layout,
    layouts::{Format, LayoutPlace},
};
use serde::{Deserialize, Serialize};

use crate::config::{CustomNetcode, GameServer, NetcodeSetting};

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
    /// Teeworlds and DDNet: snapshots carry their game tick, inputs that of the last one, under a fixed Huffman code.
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

impl NetcodeLayout {
    /// The formats that it may be on the wire, the likeliest first; none where it cannot be read from packets.
    pub fn formats(self) -> &'static [Format] {
        match self {
            Self::Quake3 => &[Format::Quake3],
            Self::Source => &[Format::Source, Format::GoldSrc],
            Self::GoldSrc => &[Format::GoldSrc],
            Self::RakNet => &[Format::RakNet],
            Self::Teeworlds => &[Format::Teeworlds],
            Self::Luanti => &[Format::Luanti],
            Self::UnrealHandler => &[Format::Unreal5, Format::Unreal4],
            Self::UnityTransport => &[Format::UnityTransport],
            Self::Kcp => &[Format::Kcp2k, Format::Kcp],
            Self::LiteNetLib => &[Format::LiteNetLib],
            Self::ENet => &[Format::ENet, Format::ENetChecksum],
            Self::Steam => &[Format::Steam],
            Self::Factorio | Self::Tcp | Self::Unknown => &[],
        }
    }
}

/// Layouts in the order of [`Format::ALL`].
static LAYOUTS: LazyLock<[Arc<Layout>; Format::ALL.len()]> =
    LazyLock::new(|| Format::ALL.map(|format| Arc::new(format.layout())));

/// A format that a server may speak.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its name.
    pub name: Arc<str>,
    /// Where the kernel has it.
    pub place: LayoutPlace,
    /// What it is; shared by all servers.
    pub layout: Arc<Layout>,
    /// Is it usual for the game?
    pub usual: bool,
}

impl Candidate {
    /// A format that gsmon knows.
    pub fn of(format: Format) -> Self {
        Self {
            name: format.name().into(),
            place: format.into(),
            layout: Arc::clone(&LAYOUTS[format as usize - 1]),
            usual: false,
        }
    }

    /// The `index`-th of the configuration; `None` where the kernel's table has no room for it.
    pub fn custom(index: usize, netcode: &CustomNetcode) -> Option<Self> {
        Some(Self {
            name: netcode.name.as_str().into(),
            place: LayoutPlace::custom(index)?,
            layout: Arc::new(netcode.layout()),
            usual: false,
        })
    }
}

/// Order in which formats are tried: where two fit alike, the stricter one stands first.
const TRIED: [Format; 17] = [
    Format::Source,
    Format::Quake2,
    Format::GoldSrc,
    Format::ENet,
    Format::Kcp2k,
    Format::RakNet,
    Format::Unreal5,
    Format::Unreal4,
    Format::UnityTransport,
    Format::Luanti,
    Format::LiteNetLib,
    Format::Kcp,
    Format::ENetChecksum,
    Format::Teeworlds,
    Format::Quic,
    Format::Quake3,
    Format::Steam,
];

/// What a server may speak: what is usual for its game, then what the configuration describes, then all others.
pub fn candidates(usual: &[Format], custom: &[CustomNetcode]) -> Arc<[Candidate]> {
    let first = usual.iter().map(|format| Candidate {
        usual: true,
        ..Candidate::of(*format)
    });
    let described = custom
        .iter()
        .enumerate()
        .filter_map(|(index, netcode)| Candidate::custom(index, netcode));
    let others = TRIED
        .into_iter()
        .filter(|format| !usual.contains(format))
        .map(Candidate::of);
    first.chain(described).chain(others).collect()
}

/// What is said of the format on a port of a server.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Spoken {
    /// Nothing is to be read.
    #[default]
    Off,
    /// This one.
    Configured(Candidate),
    /// One of these, those usual for the game first.
    Game(Arc<[Candidate]>),
    /// One of these.
    Any(Arc<[Candidate]>),
}

/// What the players of a server may speak on each of its ports.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpokenByPort {
    /// The port that it is found by, where it is.
    main: Option<u16>,
    named: Vec<(u16, Spoken)>,
    others: Spoken,
}

impl SpokenByPort {
    /// On a port.
    pub fn on(&self, port: u16) -> &Spoken {
        let named = self.named.iter().find(|(named, _)| *named == port);
        named.map_or(&self.others, |(_, spoken)| spoken)
    }

    /// Where nobody has been heard yet.
    pub fn at_first(&self) -> &Spoken {
        self.main.map_or(&self.others, |port| self.on(port))
    }
}

/// What the players of a server may speak. The kernel has TCP's own figures: nothing is read of its payload.
pub fn spoken(server: &GameServer, custom: &[CustomNetcode]) -> SpokenByPort {
    let of = |setting: &NetcodeSetting| set(server, setting, custom);
    SpokenByPort {
        main: server.port,
        named: server
            .netcode_by_port
            .iter()
            .map(|(port, setting)| (port.0, of(setting)))
            .collect(),
        others: of(&server.netcode),
    }
}

fn set(server: &GameServer, setting: &NetcodeSetting, custom: &[CustomNetcode]) -> Spoken {
    match setting {
        NetcodeSetting::Off => Spoken::Off,
        NetcodeSetting::Format(format) => Spoken::Configured(Candidate::of(*format)),
        NetcodeSetting::Custom(name) => custom
            .iter()
            .position(|netcode| netcode.name == *name)
            .and_then(|index| Candidate::custom(index, &custom[index]))
            .map_or(Spoken::Off, Spoken::Configured),
        NetcodeSetting::Auto => {
            let usual = super::family::family(server.game).netcode;
            match usual {
                NetcodeLayout::Tcp => Spoken::Off,
                _ if usual.formats().is_empty() => Spoken::Any(candidates(&[], custom)),
                _ => Spoken::Game(candidates(usual.formats(), custom)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Game;

    #[test]
    fn a_port_speaks_what_is_said_of_it_and_else_what_is_said_of_the_server() {
        let server = GameServer::new("a", Game::Custom)
            .executable("x")
            .netcode(NetcodeSetting::Format(Format::ENet))
            .netcode_on(7_778, NetcodeSetting::Format(Format::Quic))
            .netcode_on(7_779, NetcodeSetting::Off);
        let spoken = spoken(&server, &[]);
        let enet = Spoken::Configured(Candidate::of(Format::ENet));
        assert_eq!((spoken.on(7_777), spoken.at_first()), (&enet, &enet));
        let quic = Spoken::Configured(Candidate::of(Format::Quic));
        assert_eq!((spoken.on(7_778), spoken.on(7_779)), (&quic, &Spoken::Off));
    }
}
