//! Netcode: numbers, acknowledgements and clocks in the payload of a flow that has a layout.
//!
//! The decoder is gsmon-common's; here is where it finds its bytes. Both looks are global functions: the verifier checks
//! each once, whatever calls it, and a packet of a flow without a layout pays for none of it.

use aya_ebpf::{
    bindings::{__sk_buff, xdp_md},
    helpers::bpf_ktime_get_ns,
};
use gsmon_common::netcode::{
    Kinds, Layout, NetcodeSlot, Outcome, Payload, Way,
    decode::{first_word, note, positions, read_at, side_of},
    huffman,
    layouts::{LAYOUTS as LAYOUT_COUNT, MESSAGES, WALKED},
    teeworlds,
};

use super::{
    Direction,
    packet::{Packet, SkbPacket, XdpPacket},
};
use crate::maps::{BENCH, LAYOUTS, NETCODE};

/// A packet whose bytes are read by one global function for each width: in one function together the compiler joins their
/// bounds checks, and the verifier no longer knows what was checked.
trait Words {
    /// The `width` (1, 2, 4 or 8) bytes at `offset`, which is not 0; zero beyond the end.
    fn word(&self, offset: u32, width: u32) -> u64;

    /// The eight bytes at `at` of a payload of `length` bytes that begins at `start`; zeros behind its end.
    fn word_of(&self, start: u32, at: u32, length: u32) -> u64;
}

/// The verifier follows no offset into a packet beyond 65,535; what a game says lies far before.
const FAR: u32 = 0x7fff;

macro_rules! words {
    ($packet:ident: $context:ty, $two:ident, $four:ident, $eight:ident, $message:ident, $any:ident) => {
        words!(@$packet, $context, $two, u16);
        words!(@$packet, $context, $four, u32);
        words!(@$packet, $context, $eight, u64);

        impl Words for $packet {
            #[inline(always)]
            fn word(&self, offset: u32, width: u32) -> u64 {
                // SAFETY: the context is valid for the program's run.
                unsafe {
                    match width {
                        // The verifier learns nothing from comparing the very end: a byte is read with the one before,
                        // which a payload has.
                        1 => $two(self.0, offset.wrapping_sub(1)) >> 8,
                        2 => $two(self.0, offset),
                        4 => $four(self.0, offset),
                        _ => $eight(self.0, offset),
                    }
                }
            }

            #[inline(always)]
            fn word_of(&self, start: u32, at: u32, length: u32) -> u64 {
                // SAFETY: as above.
                unsafe { $any(self.0, start, at, length) }
            }
        }

        /// The first message of a Teeworlds datagram that begins at `start`.
        ///
        /// # Safety
        /// `ctx` is the context of the running program.
        #[unsafe(no_mangle)]
        #[inline(never)]
        unsafe extern "C" fn $message(ctx: *mut $context, start: u32, length: u32, version: u32) -> u32 {
            // SAFETY: the context is that of the running program.
            let word = |at| unsafe { $any(ctx, start, at, length) };
            teeworlds::message_by(length, version as u8, word, |bits| teeworlds_symbol(bits))
        }

        /// # Safety
        /// `ctx` is the context of the running program.
        #[unsafe(no_mangle)]
        #[inline(never)]
        unsafe extern "C" fn $any(ctx: *mut $context, start: u32, at: u32, length: u32) -> u64 {
            if at >= length {
                return 0;
            }
            first_word(&At { packet: $packet(ctx), start }, at, length)
        }
    };
    (@$packet:ident, $context:ty, $name:ident, $word:ty) => {
        /// # Safety
        /// `ctx` is the context of the running program.
        #[unsafe(no_mangle)]
        #[inline(never)]
        unsafe extern "C" fn $name(ctx: *mut $context, offset: u32) -> u64 {
            if offset >= FAR {
                return 0;
            }
            let word: Option<$word> = $packet(ctx).load(offset as usize);
            word.map_or(0, |word| word as u64)
        }
    };
}

words!(SkbPacket: __sk_buff, skb_word_2, skb_word_4, skb_word_8, skb_message, skb_word);
words!(XdpPacket: xdp_md, xdp_word_2, xdp_word_4, xdp_word_8, xdp_message, xdp_word);

/// A symbol of a Teeworlds datagram: in a function of its own the verifier looks at it once, not at every place of a datagram.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn teeworlds_symbol(bits: u64) -> u32 {
    huffman::symbol(bits)
}

/// A payload that begins at an offset of a packet. The decoder asks for nothing beyond its length.
struct At<P> {
    packet: P,
    start: u32,
}

impl<P: Words> Payload for At<P> {
    #[inline(always)]
    fn load(&self, at: u32, width: u32) -> Option<u64> {
        Some(self.packet.word(self.start.wrapping_add(at), width))
    }

    #[inline(always)]
    fn word(&self, at: u32, length: u32) -> u64 {
        self.packet.word_of(self.start, at, length)
    }
}

/// Where a payload lies, and of which flow it is.
#[derive(Clone, Copy)]
pub struct Place {
    /// From the packet's first byte.
    pub start: u32,
    /// Bytes.
    pub length: u32,
    /// Detail slot, which is the netcode slot too.
    pub slot: u32,
    /// Place of the layout in the table.
    pub layout: u32,
}

/// Four numbers in two registers: a global function takes five.
#[inline(always)]
fn packed(place: Place) -> (u64, u64) {
    (
        (place.length as u64) << 32 | place.start as u64,
        (place.layout as u64) << 32 | place.slot as u64,
    )
}

#[inline(always)]
fn unpacked(where_: u64, whose: u64) -> Place {
    Place {
        start: where_ as u32,
        length: (where_ >> 32) as u32,
        slot: whose as u32,
        layout: (whose >> 32) as u32,
    }
}

/// Set in a place among the commands of a datagram.
const COMMAND: u64 = 1 << 32;
#[inline(always)]
fn tables(place: Place) -> Option<(&'static Layout, *mut NetcodeSlot)> {
    let layout = LAYOUTS.get(place.layout & (LAYOUT_COUNT - 1))?;
    Some((layout, NETCODE.get_ptr_mut(place.slot)?))
}

/// Global functions for each hook and direction: one reads a datagram that has no commands, one goes through a datagram that
/// has, one reads what is said at one place of it, and one follows the messages of Teeworlds.
macro_rules! looks {
    ($($alone:ident, $look:ident, $part:ident, $follow:ident by $message:ident: $context:ty, $packet:ident, $way:expr;)*) => {
        $(
            /// # Safety
            /// `ctx` is the context of the running program.
            #[unsafe(no_mangle)]
            #[inline(never)]
            unsafe extern "C" fn $alone(ctx: *mut $context, where_: u64, whose: u64, now_ns: u64) -> u32 {
                let place = unpacked(where_, whose);
                let Some((layout, slot)) = tables(place) else {
                    return 0;
                };
                let payload = At { packet: $packet(ctx), start: place.start };
                // SAFETY: non-null map pointer. Another CPU with a packet of the same flow may write at the same time:
                // each word is written whole, and what is lost is one sample.
                let slot = unsafe { &mut *slot };
                let fits = read_at(&payload, place.length, layout, $way, Kinds::Whole, 0, now_ns, slot);
                note(&mut slot.counts, $way, Outcome { fits, left: false });
                0
            }

            /// # Safety
            /// `ctx` is the context of the running program.
            #[unsafe(no_mangle)]
            #[inline(never)]
            unsafe extern "C" fn $part(ctx: *mut $context, where_: u64, whose: u64, now_ns: u64, at: u64) -> u32 {
                let place = unpacked(where_, whose);
                let Some((layout, slot)) = tables(place) else {
                    return 0;
                };
                let payload = At { packet: $packet(ctx), start: place.start };
                let kinds = if at & COMMAND != 0 { Kinds::Commands } else { Kinds::Whole };
                // SAFETY: as above.
                read_at(&payload, place.length, layout, $way, kinds, at as u32, now_ns, unsafe { &mut *slot }) as u32
            }

            /// # Safety
            /// `ctx` is the context of the running program.
            #[unsafe(no_mangle)]
            #[inline(never)]
            unsafe extern "C" fn $look(ctx: *mut $context, where_: u64, whose: u64, now_ns: u64) -> u32 {
                let place = unpacked(where_, whose);
                let Some((layout, slot)) = tables(place) else {
                    return 0;
                };
                let payload = At { packet: $packet(ctx), start: place.start };
                let outcome = positions(&payload, place.length, side_of(layout, $way), |kinds, base| {
                    let command = if kinds == Kinds::Commands { COMMAND } else { 0 };
                    // SAFETY: the context is valid for the program's run.
                    unsafe { $part(ctx, where_, whose, now_ns, base as u64 | command) != 0 }
                });
                // SAFETY: as above.
                note(unsafe { &mut (*slot).counts }, $way, outcome);
                0
            }

            /// # Safety
            /// `ctx` is the context of the running program.
            #[unsafe(no_mangle)]
            #[inline(never)]
            unsafe extern "C" fn $follow(ctx: *mut $context, where_: u64, whose: u64, now_ns: u64) -> u32 {
                let place = unpacked(where_, whose);
                let Some(slot) = NETCODE.get_ptr_mut(place.slot) else {
                    return 0;
                };
                // SAFETY: as above.
                let slot = unsafe { &mut *slot };
                if !teeworlds::is_looked_at(slot, $way, now_ns) {
                    return 0;
                }
                // SAFETY: the context is valid for the program's run.
                let mut message = unsafe { $message(ctx, place.start, place.length, teeworlds::SEVEN as u32) };
                if message == 0 {
                    // SAFETY: as above.
                    message = unsafe { $message(ctx, place.start, place.length, teeworlds::SIX as u32) };
                }
                let fits = teeworlds::follow(slot, $way, message, now_ns);
                note(&mut slot.counts, $way, Outcome { fits, left: false });
                0
            }
        )*
    };
}

looks! {
    netcode_skb_receive, netcode_skb_receive_walk, netcode_skb_receive_part, netcode_skb_receive_follow by skb_message: __sk_buff, SkbPacket, Way::Up;
    netcode_skb_transmit, netcode_skb_transmit_walk, netcode_skb_transmit_part, netcode_skb_transmit_follow by skb_message: __sk_buff, SkbPacket, Way::Down;
    netcode_xdp_receive, netcode_xdp_receive_walk, netcode_xdp_receive_part, netcode_xdp_receive_follow by xdp_message: xdp_md, XdpPacket, Way::Up;
}

/// Puts the flow back to what it was before the packet: a bench has the same packet again and again.
///
/// # Safety
/// To be called by programs only.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn netcode_bench_prepare(whose: u64, now_ns: u64) -> u32 {
    if let (Some(slot), Some(before)) = (NETCODE.get_ptr_mut(whose as u32), BENCH.get(0)) {
        // SAFETY: non-null map pointer; a bench has one CPU.
        before.restore(unsafe { &mut *slot }, now_ns);
    }
    0
}

/// An skb whose netcode is read after [`netcode_bench_prepare`].
pub struct BenchPacket(pub *mut __sk_buff);

impl Netcode for BenchPacket {
    #[inline(always)]
    fn netcode(&self, place: Place, direction: Direction, now_ns: u64) {
        // SAFETY: called by a program.
        unsafe {
            netcode_bench_prepare(packed(place).1, now_ns);
            // Nothing after it begins before the clock was read: else the reading would run beside the preparation.
            bpf_ktime_get_ns();
        }
        SkbPacket(self.0).netcode(place, direction, now_ns);
    }
}

/// A packet whose netcode can be read, at one hook.
pub trait Netcode {
    /// Reads it.
    fn netcode(&self, place: Place, direction: Direction, now_ns: u64);
}

impl Netcode for SkbPacket {
    #[inline(always)]
    fn netcode(&self, place: Place, direction: Direction, now_ns: u64) {
        let (where_, whose) = packed(place);
        let receiving = direction == Direction::Receive;
        // SAFETY: the context is valid for the program's run.
        unsafe {
            if place.layout & (WALKED | MESSAGES) == 0 {
                if receiving {
                    netcode_skb_receive(self.0, where_, whose, now_ns);
                } else {
                    netcode_skb_transmit(self.0, where_, whose, now_ns);
                }
            } else if place.layout & WALKED != 0 {
                if receiving {
                    netcode_skb_receive_walk(self.0, where_, whose, now_ns);
                } else {
                    netcode_skb_transmit_walk(self.0, where_, whose, now_ns);
                }
            } else if receiving {
                netcode_skb_receive_follow(self.0, where_, whose, now_ns);
            } else {
                netcode_skb_transmit_follow(self.0, where_, whose, now_ns);
            }
        }
    }
}

impl Netcode for XdpPacket {
    #[inline(always)]
    fn netcode(&self, place: Place, _: Direction, now_ns: u64) {
        let (where_, whose) = packed(place);
        // SAFETY: the context is valid for the program's run.
        unsafe {
            if place.layout & (WALKED | MESSAGES) == 0 {
                netcode_xdp_receive(self.0, where_, whose, now_ns);
            } else if place.layout & WALKED != 0 {
                netcode_xdp_receive_walk(self.0, where_, whose, now_ns);
            } else {
                netcode_xdp_receive_follow(self.0, where_, whose, now_ns);
            }
        }
    }
}
