//! How a format is described: fields at known places, guards that say when they are there, and a bounded walk where a
//! datagram holds several commands. Everything is plain data, so that the agent can put a layout of its user's own into
//! the kernel's table.

/// Byte order of a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Least significant byte first.
    Little,
    /// Most significant byte first (network byte order).
    Big,
}

/// How a field is read, worked out when it is made: most fields lie in the first eight bytes and cost one shift.
mod reading {
    /// Not there.
    pub const ABSENT: u8 = 0;
    /// Out of the first eight bytes, read as one little-endian word.
    pub const FIRST_LITTLE: u8 = 1;
    /// Out of the first eight bytes, read as one big-endian word.
    pub const FIRST_BIG: u8 = 2;
    /// Read on its own, little-endian.
    pub const LITTLE: u8 = 3;
    /// Read on its own, big-endian.
    pub const BIG: u8 = 4;
}
pub(super) use reading::{ABSENT, BIG, FIRST_BIG, FIRST_LITTLE, LITTLE};

/// A number in a packet: `(bytes >> shift) & mask`. Default: not there.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Field {
    /// From where it is counted (the packet's payload, or a command).
    pub(super) offset: u16,
    /// Bytes to read: 1, 2, 4 or 8.
    pub(super) width: u8,
    /// One of [`reading`].
    pub(super) reading: u8,
    /// Right shift after reading.
    pub(super) shift: u32,
    /// Kept bits after the shift.
    pub(super) mask: u32,
}

impl Field {
    /// Not there.
    pub const ABSENT: Self = Self {
        offset: 0,
        width: 0,
        reading: ABSENT,
        shift: 0,
        mask: 0,
    };

    /// `width` bytes (1, 2, 3, 4 or 8) at `offset`, then `shift` and `mask`. Three bytes are read as four, one before
    /// (little-endian) or after them: such a field needs a byte there.
    pub const fn new(offset: u16, width: u8, order: Order, shift: u32, mask: u32) -> Self {
        let end = offset + width as u16;
        if end <= 8 {
            let (reading, place) = match order {
                Order::Little => (FIRST_LITTLE, 8 * offset as u32),
                Order::Big => (FIRST_BIG, 8 * (8 - end) as u32),
            };
            let kept = if width >= 4 {
                u32::MAX
            } else {
                (1 << (8 * width as u32)) - 1
            };
            return Self {
                offset,
                width,
                reading,
                shift: place + shift,
                // A shift inside the field takes its upper bits away.
                mask: mask & if width == 8 { u32::MAX } else { kept >> shift },
            };
        }
        let (offset, width, shift) = match (width, order) {
            (3, Order::Little) => (offset - 1, 4, shift + 8),
            (3, Order::Big) => (offset, 4, shift + 8),
            _ => (offset, width, shift),
        };
        let reading = match order {
            Order::Little => LITTLE,
            Order::Big => BIG,
        };
        Self {
            offset,
            width,
            reading,
            shift,
            mask,
        }
    }

    /// One byte.
    pub const fn u8(offset: u16) -> Self {
        Self::new(offset, 1, Order::Little, 0, 0xff)
    }

    /// Two bytes.
    pub const fn u16(offset: u16, order: Order) -> Self {
        Self::new(offset, 2, order, 0, 0xffff)
    }

    /// Three bytes.
    pub const fn u24(offset: u16, order: Order) -> Self {
        Self::new(offset, 3, order, 0, 0xff_ffff)
    }

    /// Four bytes.
    pub const fn u32(offset: u16, order: Order) -> Self {
        Self::new(offset, 4, order, 0, u32::MAX)
    }

    /// With only the bits of `mask`.
    pub const fn masked(self, mask: u32) -> Self {
        Self {
            mask: self.mask & mask,
            ..self
        }
    }

    /// Is it described at all?
    pub const fn is_there(&self) -> bool {
        self.reading != ABSENT
    }

    /// First byte behind it.
    pub const fn end(&self) -> u16 {
        match self.reading {
            ABSENT => 0,
            _ => self.offset + self.width as u16,
        }
    }
}

/// How a guard compares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Test {
    /// Nothing: it always holds.
    Always = 0,
    /// The field is the value.
    Equal = 1,
    /// The field is less than the value.
    Below = 2,
    /// The field is not the value.
    Differs = 3,
}

/// When something is there.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Guard {
    /// What is looked at.
    pub field: Field,
    /// What it is held against.
    pub value: u32,
    /// A [`Test`].
    pub test: u32,
}

impl Guard {
    /// Always.
    pub const ALWAYS: Self = Self {
        field: Field::ABSENT,
        value: 0,
        test: Test::Always as u32,
    };

    /// `field == value`.
    pub const fn equal(field: Field, value: u32) -> Self {
        Self {
            field,
            value,
            test: Test::Equal as u32,
        }
    }

    /// `field < value`.
    pub const fn below(field: Field, value: u32) -> Self {
        Self {
            field,
            value,
            test: Test::Below as u32,
        }
    }

    /// `field != value`.
    pub const fn differs(field: Field, value: u32) -> Self {
        Self {
            field,
            value,
            test: Test::Differs as u32,
        }
    }
}

/// Which parts a [`Case`] has, as bits.
pub struct Parts;

impl Parts {
    /// `channel`: numbers of different channels are different numbers.
    pub const CHANNEL: u32 = 1;
    /// Client to server: `sequence` counts the client's packets. Server to client: it counts the server's.
    pub const SEQUENCE: u32 = 1 << 1;
    /// With [`Parts::SEQUENCE`]: what is lost is sent again under its number.
    pub const RESENT: u32 = 1 << 2;
    /// Server to client: `stamp` is what the client's acknowledgement will name.
    pub const STAMP: u32 = 1 << 3;
    /// Client to server: `acknowledged` names a stamp.
    pub const ACKNOWLEDGED: u32 = 1 << 4;
    /// Client to server: `settled` is the number that arrived, where `acknowledged` is a clock.
    pub const SETTLED: u32 = 1 << 5;
    /// Client to server: `received` has a bit for each of the numbers up to the acknowledged one, newest in bit 0.
    pub const RECEIVED: u32 = 1 << 6;
    /// Client to server: the numbers `refused` to `refused_last` did not arrive.
    pub const REFUSED: u32 = 1 << 7;
    /// Client to server: `clock` is the sender's clock.
    pub const CLOCK: u32 = 1 << 8;
    /// Client to server: the acknowledgement was held back for `hold` milliseconds.
    pub const HOLD: u32 = 1 << 9;
    /// Client to server: `choked` numbers before this one were never sent, where `choked_when` holds.
    pub const CHOKED: u32 = 1 << 10;
    /// Client to server: `spin` turns once per round trip.
    pub const SPIN: u32 = 1 << 11;
    /// `packet` is a guard on the datagram, also where the case is one of commands.
    pub const PACKET_GUARD: u32 = 1 << 12;
    /// `guard` holds.
    pub const GUARD: u32 = 1 << 13;
    /// `stamp` and `acknowledged` are the server's clock: of no channel, and what is sent again carries another.
    pub const ECHO: u32 = 1 << 14;
    /// Client to server: all numbers below `received` arrived.
    pub const COVERED: u32 = 1 << 15;
}

/// One kind of packet, or of command in a packet: when it is that, and what it says.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Case {
    /// Of [`Parts`]; 0 ends the list of cases.
    pub parts: u32,
    /// Bytes that must be there.
    pub bytes: u16,
    /// Bits of a sequence number.
    pub sequence_bits: u8,
    /// Numbers below the acknowledged one that may still be on their way when `received` is read.
    pub settling: u8,
    /// Looks at the datagram, in a command too.
    pub packet: Guard,
    /// Is it this kind?
    pub guard: Guard,
    /// See [`Parts`].
    pub channel: Field,
    /// See [`Parts`].
    pub sequence: Field,
    /// See [`Parts`].
    pub stamp: Field,
    /// See [`Parts`].
    pub acknowledged: Field,
    /// See [`Parts`].
    pub settled: Field,
    /// See [`Parts`].
    pub received: Field,
    /// See [`Parts`].
    pub refused: Field,
    /// See [`Parts`].
    pub refused_last: Field,
    /// See [`Parts`].
    pub clock: Field,
    /// See [`Parts`].
    pub hold: Field,
    /// See [`Parts`].
    pub choked_when: Guard,
    /// See [`Parts`].
    pub choked: Field,
    /// See [`Parts`].
    pub spin: Field,
    /// Numbers that `received` has a bit for.
    pub received_bits: u32,
}

impl Case {
    /// No case.
    pub const NONE: Self = Self {
        parts: 0,
        bytes: 0,
        sequence_bits: 0,
        settling: 0,
        packet: Guard::ALWAYS,
        guard: Guard::ALWAYS,
        channel: Field::ABSENT,
        sequence: Field::ABSENT,
        stamp: Field::ABSENT,
        acknowledged: Field::ABSENT,
        settled: Field::ABSENT,
        received: Field::ABSENT,
        refused: Field::ABSENT,
        refused_last: Field::ABSENT,
        clock: Field::ABSENT,
        hold: Field::ABSENT,
        choked_when: Guard::ALWAYS,
        choked: Field::ABSENT,
        spin: Field::ABSENT,
        received_bits: 0,
    };

    /// A case of packets that pass a guard.
    pub const fn when(guard: Guard) -> Self {
        Self {
            guard,
            parts: Parts::GUARD,
            bytes: guard.field.end(),
            ..Self::NONE
        }
    }

    const fn with(self, part: u32, field: Field) -> Self {
        let bytes = if field.end() > self.bytes {
            field.end()
        } else {
            self.bytes
        };
        Self {
            parts: self.parts | part,
            bytes,
            ..self
        }
    }

    /// Only in datagrams that pass a guard.
    pub const fn in_packets(self, packet: Guard) -> Self {
        Self {
            packet,
            parts: self.parts | Parts::PACKET_GUARD,
            ..self
        }
    }

    /// Numbers are of a channel.
    pub const fn channel(self, field: Field) -> Self {
        Self {
            channel: field,
            ..self.with(Parts::CHANNEL, field)
        }
    }

    /// A sequence number of so many bits.
    pub const fn sequence(self, field: Field, bits: u8) -> Self {
        Self {
            sequence: field,
            sequence_bits: bits,
            ..self.with(Parts::SEQUENCE, field)
        }
    }

    /// What is lost is sent again under its number.
    pub const fn resent(self) -> Self {
        Self {
            parts: self.parts | Parts::RESENT,
            ..self
        }
    }

    /// What an acknowledgement will name.
    pub const fn stamp(self, field: Field) -> Self {
        Self {
            stamp: field,
            ..self.with(Parts::STAMP, field)
        }
    }

    /// An acknowledgement of a stamp.
    pub const fn acknowledged(self, field: Field) -> Self {
        Self {
            acknowledged: field,
            ..self.with(Parts::ACKNOWLEDGED, field)
        }
    }

    /// What is stamped and acknowledged is the server's clock.
    pub const fn echo(self) -> Self {
        Self {
            parts: self.parts | Parts::ECHO,
            ..self
        }
    }

    /// The number that arrived.
    pub const fn settled(self, field: Field) -> Self {
        Self {
            settled: field,
            ..self.with(Parts::SETTLED, field)
        }
    }

    /// One bit for each of the `reported` numbers up to the acknowledged one, which has `bits` bits; the newest
    /// `settling` are not judged.
    pub const fn received(self, field: Field, reported: u32, bits: u8, settling: u8) -> Self {
        Self {
            received: field,
            received_bits: reported,
            sequence_bits: bits,
            settling,
            ..self.with(Parts::RECEIVED, field)
        }
    }

    /// And all numbers below that in `field` arrived.
    pub const fn covered(self, field: Field) -> Self {
        Self {
            received: field,
            ..self.with(Parts::COVERED, field)
        }
    }

    /// A range of numbers that did not arrive.
    pub const fn refused(self, first: Field, last: Field) -> Self {
        Self {
            refused: first,
            refused_last: last,
            ..self.with(Parts::REFUSED, first).with(Parts::REFUSED, last)
        }
    }

    /// The sender's clock.
    pub const fn clock(self, field: Field) -> Self {
        Self {
            clock: field,
            ..self.with(Parts::CLOCK, field)
        }
    }

    /// How long the acknowledgement was held back.
    pub const fn hold(self, field: Field) -> Self {
        Self {
            hold: field,
            ..self.with(Parts::HOLD, field)
        }
    }

    /// Numbers that were never sent. They are read where there are some: not part of the length asked for.
    pub const fn choked(self, when: Guard, field: Field) -> Self {
        Self {
            choked_when: when,
            choked: field,
            ..self.with(Parts::CHOKED, when.field)
        }
    }

    /// A bit that turns once per round trip.
    pub const fn spin(self, field: Field) -> Self {
        Self {
            spin: field,
            ..self.with(Parts::SPIN, field)
        }
    }
}

/// Kinds of commands that a walk tells apart.
pub const WALK_KINDS: usize = 16;
/// Commands of a datagram that are read; the rest is counted as left.
pub const WALK_COMMANDS: u32 = 8;

/// Several commands, one after the other, in one datagram.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Walk {
    /// When there are any: looks at the first eight bytes of the datagram.
    pub guard: Guard,
    /// Where the first begins.
    pub first: u16,
    /// Where the first begins where `longer_when` holds.
    pub first_longer: u16,
    /// Bits of a command's first byte that tell its kind; 0 where there is one kind.
    pub kind_mask: u8,
    /// 1 where commands are walked at all.
    pub there: u8,
    /// Bytes of the length of what follows a command's header: 2 or 4.
    pub length_width: u8,
    /// Is that big-endian? 1 for yes.
    pub length_big: u8,
    /// Looks at the first eight bytes of the datagram.
    pub longer_when: Guard,
    /// Length of a command's header by kind; 0 ends the walk.
    pub sizes: [u8; WALK_KINDS],
    /// Where in the header the length of what follows is, plus one, by kind; 0 where nothing follows.
    pub length_at: [u8; WALK_KINDS],
}

impl Walk {
    /// No walk.
    pub const NONE: Self = Self {
        guard: Guard::ALWAYS,
        first: 0,
        first_longer: 0,
        kind_mask: 0,
        there: 0,
        length_width: 0,
        length_big: 0,
        longer_when: Guard::ALWAYS,
        sizes: [0; WALK_KINDS],
        length_at: [0; WALK_KINDS],
    };
}

/// Cases of a datagram, and of a command.
pub const CASES: usize = 4;

/// What one direction says.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Side {
    /// Kinds of datagrams; the first that fits is read.
    pub whole: [Case; CASES],
    /// Commands.
    pub walk: Walk,
    /// Kinds of commands; the first that fits is read.
    pub each: [Case; CASES],
}

impl Side {
    /// Says nothing.
    pub const NONE: Self = Self {
        whole: [Case::NONE; CASES],
        walk: Walk::NONE,
        each: [Case::NONE; CASES],
    };
}

/// A format.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Layout {
    /// Client to server.
    pub rx: Side,
    /// Server to client.
    pub tx: Side,
    /// Length of one step of the sender's clock.
    pub clock_step_ns: u32,
    /// Steps after which the sender's clock begins anew; 0 for 2^32.
    pub clock_wrap: u32,
    /// A step of the clock that is none; 0 for no such value.
    pub clock_ignored: u32,
    /// Not zero where what the client says of a packet, that it came or that it is missing, is said once: no later packet
    /// repeats it.
    pub said_once: u32,
    /// Not zero for the messages of Teeworlds ([`super::teeworlds`]), which no field describes: they are packed.
    pub messages: u32,
}

impl Layout {
    /// Says nothing.
    pub const NONE: Self = Self {
        rx: Side::NONE,
        tx: Side::NONE,
        clock_step_ns: 0,
        clock_wrap: 0,
        clock_ignored: 0,
        said_once: 0,
        messages: 0,
    };

    fn cases(&self) -> impl Iterator<Item = &Case> {
        [&self.rx, &self.tx]
            .into_iter()
            .flat_map(|side| side.whole.iter().chain(&side.each))
    }

    /// Does any kind of it have one of these parts?
    pub fn has(&self, part: u32) -> bool {
        self.cases().any(|case| case.parts & part != 0)
    }

    /// Can it tell round trips?
    pub fn tells_rtt(&self) -> bool {
        self.messages != 0
            || self.has(Parts::SPIN)
            || (self.has(Parts::STAMP) && self.has(Parts::ACKNOWLEDGED))
    }

    /// Can it tell what is lost on the way to the client?
    pub fn tells_down_loss(&self) -> bool {
        let sent_again = [&self.tx.whole, &self.tx.each]
            .into_iter()
            .flatten()
            .any(|case| case.parts & Parts::RESENT != 0);
        sent_again || self.has(Parts::RECEIVED) || self.has(Parts::REFUSED)
    }

    /// Can it tell what is lost on the way to the server?
    pub fn tells_up_loss(&self) -> bool {
        [&self.rx.whole, &self.rx.each]
            .into_iter()
            .flatten()
            .any(|case| case.parts & Parts::SEQUENCE != 0)
    }

    /// Does it carry the sender's clock?
    pub fn has_clock(&self) -> bool {
        self.has(Parts::CLOCK)
    }
}

const _: () = assert!(size_of::<Field>() == 12);
const _: () = assert!(size_of::<Guard>() == 20);
const _: () = assert!(size_of::<Case>().is_multiple_of(4));
