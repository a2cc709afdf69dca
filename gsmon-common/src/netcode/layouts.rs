//! The formats that games use. Sources stand with each; what a format hides (encryption, compression) it does not tell.

use super::layout::{
    Case, Field, Guard, Layout,
    Order::{Big, Little},
    Parts, Side, WALK_KINDS, Walk,
};

/// Formats that are described here. The number is the place in the kernel's table; the agent's own begin at
/// [`CUSTOM_FIRST`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
#[repr(u32)]
pub enum Format {
    /// Quake II and QuakeWorld.
    Quake2 = 1,
    /// Quake III and its descendants.
    Quake3 = 2,
    /// GoldSrc (Half-Life 1).
    GoldSrc = 3,
    /// Source 1.
    Source = 4,
    /// ENet.
    ENet = 5,
    /// ENet with checksums.
    ENetChecksum = 6,
    /// RakNet.
    RakNet = 7,
    /// LiteNetLib.
    LiteNetLib = 8,
    /// Unity Transport.
    UnityTransport = 9,
    /// Unreal Engine 4.
    Unreal4 = 10,
    /// Unreal Engine 5.
    Unreal5 = 11,
    /// Luanti (Minetest).
    Luanti = 12,
    /// KCP.
    Kcp = 13,
    /// kcp2k (Mirror).
    Kcp2k = 14,
    /// Teeworlds 0.6 and 0.7, and DDNet.
    Teeworlds = 15,
    /// QUIC.
    Quic = 16,
    /// Steam Networking Sockets.
    Steam = 17,
}

/// First place of layouts of the configuration.
pub const CUSTOM_FIRST: u32 = 32;
/// Set in the number of a layout whose datagrams hold commands: a kernel program sees it before it fetches the layout.
pub const WALKED: u32 = 1 << 31;
/// Set in the number of the layout of Teeworlds' messages, likewise.
pub const MESSAGES: u32 = 1 << 30;
/// Places in the table; a power of two. Place 0 is no layout.
pub const LAYOUTS: u32 = 64;

/// Place of a layout in the kernel's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayoutPlace(u32);

impl LayoutPlace {
    /// None.
    pub const NONE: Self = Self(0);

    /// Of the layout that the configuration lists as its `index`-th; `None` where the table has no room for it.
    pub fn custom(index: usize) -> Option<Self> {
        let place = CUSTOM_FIRST.checked_add(u32::try_from(index).ok()?)?;
        (place < LAYOUTS).then_some(Self(place))
    }

    /// As kernel programs have it: with [`WALKED`] where its datagrams hold commands, and [`MESSAGES`].
    pub fn number(self, layout: &Layout) -> u32 {
        let walks = layout.rx.walk.there | layout.tx.walk.there != 0;
        self.0 | if walks { WALKED } else { 0 } | if layout.messages != 0 { MESSAGES } else { 0 }
    }

    /// Index into the table.
    pub const fn index(self) -> u32 {
        self.0
    }
}

impl From<Format> for LayoutPlace {
    fn from(format: Format) -> Self {
        Self(format as u32)
    }
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 17] = [
        Format::Quake2,
        Format::Quake3,
        Format::GoldSrc,
        Format::Source,
        Format::ENet,
        Format::ENetChecksum,
        Format::RakNet,
        Format::LiteNetLib,
        Format::UnityTransport,
        Format::Unreal4,
        Format::Unreal5,
        Format::Luanti,
        Format::Kcp,
        Format::Kcp2k,
        Format::Teeworlds,
        Format::Quic,
        Format::Steam,
    ];

    /// Name, as in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Format::Quake2 => "quake2",
            Format::Quake3 => "quake3",
            Format::GoldSrc => "goldsrc",
            Format::Source => "source",
            Format::ENet => "enet",
            Format::ENetChecksum => "enet-checksum",
            Format::RakNet => "raknet",
            Format::LiteNetLib => "litenetlib",
            Format::UnityTransport => "unity-transport",
            Format::Unreal4 => "unreal4",
            Format::Unreal5 => "unreal5",
            Format::Luanti => "luanti",
            Format::Kcp => "kcp",
            Format::Kcp2k => "kcp2k",
            Format::Teeworlds => "teeworlds",
            Format::Quic => "quic",
            Format::Steam => "steam",
        }
    }

    /// Its layout.
    pub const fn layout(self) -> Layout {
        match self {
            Format::Quake2 => quake2(),
            Format::Quake3 => quake3(),
            Format::GoldSrc => goldsrc(),
            Format::Source => source(),
            Format::ENet => enet(2),
            Format::ENetChecksum => enet(6),
            Format::RakNet => raknet(),
            Format::LiteNetLib => litenetlib(),
            Format::UnityTransport => unity_transport(),
            Format::Unreal4 => unreal(1),
            Format::Unreal5 => unreal(6),
            Format::Luanti => luanti(),
            Format::Kcp => kcp(0, Guard::ALWAYS),
            Format::Kcp2k => kcp(5, Guard::equal(Field::u8(0), 1)),
            Format::Teeworlds => teeworlds(),
            Format::Quic => quic(),
            Format::Steam => steam(),
        }
    }
}

const fn whole(cases: [Case; 2]) -> Side {
    Side {
        whole: [cases[0], cases[1], Case::NONE, Case::NONE],
        ..Side::NONE
    }
}

const fn sides(rx: Side, tx: Side) -> Layout {
    Layout {
        rx,
        tx,
        ..Layout::NONE
    }
}

/// Sequence and acknowledgement side by side in the first eight bytes, of the bits in `mask`.
const fn pair(guard: Guard, mask: u32, bits: u8) -> (Case, Case) {
    let sequence = Field::u32(0, Little).masked(mask);
    let acknowledged = Field::u32(4, Little).masked(mask);
    (
        Case::when(guard)
            .sequence(sequence, bits)
            .acknowledged(acknowledged),
        Case::when(guard).stamp(sequence),
    )
}

/// yquake2 `src/common/netchan.c`, mvdsv `src/net_chan.c`.
const fn quake2() -> Layout {
    let (rx, tx) = pair(Guard::differs(Field::u32(0, Little), u32::MAX), 0x7fff_ffff, 31);
    sides(whole([rx, Case::NONE]), whole([tx, Case::NONE]))
}

/// ioq3 `code/qcommon/net_chan.c`: the acknowledgement lies in a Huffman-coded body.
const fn quake3() -> Layout {
    let ours = Case::when(Guard::differs(Field::u32(0, Little), u32::MAX));
    let rx = ours.sequence(Field::u32(0, Little).masked(0x7fff_ffff), 31);
    // Nothing is read of the server's, but they belong to the format.
    sides(whole([rx, Case::NONE]), whole([ours, Case::NONE]))
}

/// ReHLDS `rehlds/engine/net_chan.cpp`.
const fn goldsrc() -> Layout {
    let (rx, tx) = pair(Guard::below(Field::u32(0, Little), u32::MAX - 1), 0x3fff_ffff, 30);
    sides(whole([rx, Case::NONE]), whole([tx, Case::NONE]))
}

/// leysourceengineclient `src/leychan.cpp`. Choked numbers are used and not sent.
const fn source() -> Layout {
    const CHOKED: u32 = 16;
    let (rx, tx) = pair(Guard::below(Field::u32(0, Little), u32::MAX - 2), u32::MAX, 32);
    let rx = rx.choked(Guard::equal(Field::u8(8).masked(CHOKED), CHOKED), Field::u8(12));
    sides(whole([rx, Case::NONE]), whole([tx, Case::NONE]))
}

/// enet `include/enet/protocol.h`, `protocol.c`. The header carries the sender's clock in milliseconds, which an
/// acknowledgement echoes. `header` is its length where there is no clock.
const fn enet(header: u16) -> Layout {
    const CLOCK_AND_PLAIN: u32 = 0xc000;
    let flags = Field::u16(0, Big);
    let clock = Field::u16(2, Big);
    let kind = Field::u8(0).masked(0x0f);
    let channel = Field::u8(1);
    let number = Field::u16(2, Big);
    let reliable = [5, 6, 8];
    let mut rx_each = [Case::NONE; 4];
    let mut tx_each = [Case::NONE; 4];
    rx_each[0] = Case::when(Guard::equal(kind, 1))
        .channel(channel)
        .acknowledged(Field::u16(6, Big))
        .echo()
        .settled(Field::u16(4, Big));
    let mut n = 0;
    while n < reliable.len() {
        let case = Case::when(Guard::equal(kind, reliable[n]))
            .channel(channel)
            .sequence(number, 16)
            .resent();
        tx_each[n] = case;
        if reliable[n] != 5 {
            rx_each[n] = case;
        }
        n += 1;
    }
    // Others say nothing that is read, but belong to it: an acknowledgement alone has no clock, nor what is unreliable.
    rx_each[3] = Case::when(Guard::below(kind, 13));
    tx_each[3] = rx_each[3];
    let mut sizes = [0; WALK_KINDS];
    let mut length_at = [0; WALK_KINDS];
    let commands: [(usize, u8, u8); 12] = [
        (1, 8, 0),
        (2, 48, 0),
        (3, 44, 0),
        (4, 8, 0),
        (5, 4, 0),
        (6, 6, 4),
        (7, 8, 6),
        (8, 24, 6),
        (9, 8, 6),
        (10, 12, 0),
        (11, 16, 0),
        (12, 24, 6),
    ];
    let mut n = 0;
    while n < commands.len() {
        let (kind, size, length) = commands[n];
        sizes[kind] = size;
        length_at[kind] = if length == 0 { 0 } else { length + 1 };
        n += 1;
    }
    let walk = Walk {
        // A compressed one has nothing in the clear after its header.
        guard: Guard::equal(flags.masked(0x4000), 0),
        first: header,
        first_longer: header + 2,
        longer_when: Guard::equal(flags.masked(0x8000), 0x8000),
        kind_mask: 0x0f,
        there: 1,
        length_width: 2,
        length_big: 1,
        sizes,
        length_at,
    };
    let timed = Guard::equal(flags.masked(CLOCK_AND_PLAIN), 0x8000);
    let rx = Side {
        whole: [
            Case::when(Guard::equal(flags.masked(0x8000), 0x8000)).clock(clock),
            Case::NONE,
            Case::NONE,
            Case::NONE,
        ],
        walk,
        each: rx_each,
    };
    let tx = Side {
        whole: [
            Case::when(timed).stamp(clock).echo(),
            Case::NONE,
            Case::NONE,
            Case::NONE,
        ],
        walk,
        each: tx_each,
    };
    Layout {
        clock_step_ns: 1_000_000,
        clock_wrap: 0x1_0000,
        said_once: 1,
        ..sides(rx, tx)
    }
}

/// go-raknet `packet.go`, `acknowledge.go`. Datagram numbers are never used twice.
const fn raknet() -> Layout {
    let kind = Field::u8(0).masked(0xe0);
    let data = Guard::equal(kind, 0x80);
    let number = Field::u24(1, Little);
    let last = Field::u24(4, Little);
    let (acknowledged, refused) = (Guard::equal(kind, 0xc0), Guard::equal(kind, 0xa0));
    let (single, range) = (Guard::equal(Field::u8(0), 1), Guard::equal(Field::u8(0), 0));
    let mut sizes = [0; WALK_KINDS];
    (sizes[0], sizes[1]) = (7, 4);
    let rx = Side {
        whole: [
            Case::when(data).sequence(number, 24),
            Case::NONE,
            Case::NONE,
            Case::NONE,
        ],
        walk: Walk {
            guard: Guard::differs(Field::u8(0).masked(0x60), 0),
            first: 3,
            kind_mask: 1,
            there: 1,
            length_width: 2,
            sizes,
            ..Walk::NONE
        },
        each: [
            Case::when(single).in_packets(acknowledged).acknowledged(number),
            // Of a range the newest waited least.
            Case::when(range).in_packets(acknowledged).acknowledged(last),
            Case::when(single).in_packets(refused).refused(number, number),
            Case::when(range).in_packets(refused).refused(number, last),
        ],
    };
    let numbered = Case::when(data).stamp(number).sequence(number, 24);
    let tx = Side {
        whole: [
            numbered,
            Case::when(acknowledged),
            Case::when(refused),
            Case::NONE,
        ],
        ..Side::NONE
    };
    Layout {
        said_once: 1,
        ..sides(rx, tx)
    }
}

/// LiteNetLib `NetPacket.cs`, `LiteNetPeer.cs` (protocol 13): pings and pongs once a second; reliable packets by channel,
/// often merged.
const fn litenetlib() -> Layout {
    const MERGED: u32 = 13;
    const fn property(at: u16, is: u32) -> Guard {
        Guard::equal(Field::u8(at).masked(0x1f), is)
    }
    const fn channeled(at: u16) -> Case {
        Case::when(property(at, 1))
            .channel(Field::u8(at + 3))
            .sequence(Field::u16(at + 1, Little).masked(0x7fff), 15)
            .resent()
    }
    let walk = Walk {
        guard: property(0, MERGED),
        first: 1,
        there: 1,
        length_width: 2,
        sizes: [2; WALK_KINDS],
        length_at: [1; WALK_KINDS],
        ..Walk::NONE
    };
    let pong = Case::when(property(0, 5)).acknowledged(Field::u16(1, Little));
    let ping = Case::when(property(0, 4)).stamp(Field::u16(1, Little));
    let merged = [channeled(2), Case::NONE, Case::NONE, Case::NONE];
    let rx = Side {
        whole: [pong, channeled(0), Case::NONE, Case::NONE],
        walk,
        each: merged,
    };
    let tx = Side {
        whole: [ping, channeled(0), Case::NONE, Case::NONE],
        walk,
        each: merged,
    };
    sides(rx, tx)
}

/// com.unity.transport `Runtime/Pipelines/ReliableUtility.cs`, with the pipelines of Netcode for GameObjects: 2 is
/// sequenced, 3 is reliable. The reliable header keeps its places from version 1 to 2.7.
const fn unity_transport() -> Layout {
    let data = Guard::equal(Field::u8(0), 1);
    let pipeline = Field::u8(9);
    let pipeline_and_type = Field::u16(9, Little);
    let number = Field::u16(14, Little);
    let report = Case::NONE
        .acknowledged(Field::u16(16, Little))
        .hold(Field::u16(12, Little))
        .received(Field::u32(18, Little), 32, 16, 2);
    let payload = Case {
        guard: Guard::equal(pipeline_and_type, 0x0003),
        parts: report.parts | Parts::GUARD,
        ..report
    }
    .channel(pipeline)
    .sequence(number, 16)
    .resent()
    .in_packets(data);
    let only = Case {
        guard: Guard::equal(pipeline_and_type, 0x0103),
        parts: report.parts | Parts::GUARD,
        ..report
    }
    .channel(pipeline)
    .in_packets(data);
    let sequenced = Case::when(Guard::equal(pipeline, 2))
        .channel(pipeline)
        .sequence(Field::u16(10, Little), 16)
        .in_packets(data);
    let tx = Case::when(Guard::equal(pipeline_and_type, 0x0003))
        .channel(pipeline)
        .stamp(number)
        .sequence(number, 16)
        .resent()
        .in_packets(data);
    let rx = Side {
        whole: [payload, only, sequenced, Case::NONE],
        ..Side::NONE
    };
    sides(rx, whole([tx, Case::NONE]))
}

/// Prospect `FPackedHeader.cs`, `FNetPacketNotify.cs`; utcp `utcp_packet_notify.c`. The packed header begins at bit
/// `start` (1 in Unreal 4; 6 in 5, behind session and client ids); no magic header. The sender's clock is read where the
/// history is one word long, as it is unless much is under way.
const fn unreal(start: u32) -> Layout {
    let sequence = Field::new(0, 8, Little, start + 18, 0x3fff);
    let acknowledged = Field::new(0, 8, Little, start + 4, 0x3fff);
    let reported = 32 - start;
    let history = Field::new(4, 4, Little, start, u32::MAX >> start);
    let no_handshake = Guard::equal(Field::u16(0, Little).masked(1 << (start - 1)), 0);
    // The handshake bit and the count of history words less one.
    let one_word = Guard::equal(Field::u16(0, Little).masked(0x1f << (start - 1)), 0);
    // Behind header and one word of history: is there a clock, and the clock.
    let bit = start + 64;
    let has_clock = Guard::equal(Field::u8(8).masked(1 << (bit - 64)), 1 << (bit - 64));
    let clock_bytes = if bit + 1 + 10 <= 64 + 16 { 2 } else { 3 };
    let clock = Field::new(8, clock_bytes, Little, bit + 1 - 64, 0x3ff);
    const fn numbers(
        case: Case,
        sequence: Field,
        acknowledged: Field,
        history: Field,
        reported: u32,
    ) -> Case {
        case.sequence(sequence, 14)
            .acknowledged(acknowledged)
            .received(history, reported, 14, 2)
    }
    let timed = numbers(Case::when(one_word), sequence, acknowledged, history, reported)
        .in_packets(has_clock)
        .clock(clock);
    let plain = numbers(
        Case::when(no_handshake),
        sequence,
        acknowledged,
        history,
        reported,
    );
    let tx = Case::when(no_handshake).stamp(sequence);
    Layout {
        clock_step_ns: 1_000_000,
        clock_wrap: 1_000,
        clock_ignored: 1_023,
        ..sides(whole([timed, plain]), whole([tx, Case::NONE]))
    }
}

/// Luanti `src/network/mtp/internal.h`: reliable packets by channel, acknowledged one by one.
const fn luanti() -> Layout {
    const MAGIC: u32 = 0x4f45_7403;
    let ours = Guard::equal(Field::u32(0, Big), MAGIC);
    let channel = Field::u8(6);
    let number = Field::u16(8, Big);
    let reliable = Case::when(Guard::equal(Field::u8(7), 3))
        .channel(channel)
        .sequence(number, 16)
        .resent()
        .in_packets(ours);
    // A control packet (0) that acknowledges (0).
    let acknowledged = Case::when(Guard::equal(Field::u16(7, Big), 0))
        .channel(channel)
        .acknowledged(Field::u16(9, Big))
        .settled(Field::u16(9, Big))
        .in_packets(ours);
    let other = Case::when(ours);
    let rx = Side {
        whole: [reliable, acknowledged, other, Case::NONE],
        ..Side::NONE
    };
    Layout {
        said_once: 1,
        ..sides(rx, whole([reliable.stamp(number), other]))
    }
}

/// kcp `ikcp.c`: segments of 24 bytes and data, with the sender's clock, which the acknowledgement echoes.
const fn kcp(first: u16, guard: Guard) -> Layout {
    const PUSH: u32 = 81;
    const ACKNOWLEDGE: u32 = 82;
    let command = Field::u8(4);
    let clock = Field::u32(8, Little);
    let number = Field::u32(12, Little);
    let mut length_at = [0; WALK_KINDS];
    length_at[0] = 20 + 1;
    let mut sizes = [0; WALK_KINDS];
    sizes[0] = 24;
    let walk = Walk {
        guard,
        first,
        there: 1,
        length_width: 4,
        sizes,
        length_at,
        ..Walk::NONE
    };
    let push = Case::when(Guard::equal(command, PUSH))
        .sequence(number, 32)
        .resent();
    let answer = Case::when(Guard::equal(command, ACKNOWLEDGE))
        .acknowledged(clock)
        .echo()
        .settled(number)
        .covered(Field::u32(16, Little));
    let rx = Side {
        walk,
        each: [answer, push.clock(clock), Case::NONE, Case::NONE],
        ..Side::NONE
    };
    let tx = Side {
        walk,
        each: [
            push.stamp(clock).echo(),
            Case::when(Guard::equal(command, ACKNOWLEDGE)),
            Case::NONE,
            Case::NONE,
        ],
        ..Side::NONE
    };
    Layout {
        clock_step_ns: 1_000_000,
        ..sides(rx, tx)
    }
}

/// teeworlds `src/engine/client/client.cpp` and `server.cpp`: snapshots are stamped by their tick, which inputs name. The
/// acknowledgement in the header is of reliable chunks, which are rare; nothing numbers what a client sends.
const fn teeworlds() -> Layout {
    Layout {
        messages: 1,
        ..Layout::NONE
    }
}

/// RFC 9000, 17.3.1 and 17.4: the spin bit of short headers. The bit below the highest is chance where both sides grease
/// it (RFC 9287).
const fn quic() -> Layout {
    let short = Guard::equal(Field::u8(0).masked(0x80), 0);
    let rx = Case::when(short).spin(Field::new(0, 1, Little, 5, 1));
    sides(whole([rx, Case::NONE]), whole([Case::when(short), Case::NONE]))
}

/// GameNetworkingSockets `steamnetworkingsockets_udp.h`: packet numbers in the clear, acknowledgements encrypted.
const fn steam() -> Layout {
    let ours = Case::when(Guard::equal(Field::u8(0).masked(0x80), 0x80));
    let rx = ours.sequence(Field::u16(5, Little), 16);
    sides(whole([rx, Case::NONE]), whole([ours, Case::NONE]))
}
