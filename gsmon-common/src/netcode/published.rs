//! The decoder on packets of published implementations, as the server's machine saw them: when (microseconds), which way,
//! and every byte of the payload (of QUIC the clear header). A relay on the way dropped some.

mod checksum;

use super::{
    captures::{ENET, KCP, LUANTI, QUIC, RAKNET, RAKNET_RANGE, Seen},
    layouts::Format,
    slot::NetcodeSlot,
    tests::Flow,
};

fn bytes(hex: &str) -> std::vec::Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

/// All that is told of these packets.
fn read(format: Format, seen: &[Seen]) -> Flow {
    let mut flow = Flow::new(format);
    for (at_us, way, hex) in seen {
        flow.see(*way, &bytes(hex), at_us * 1_000);
    }
    flow
}

/// Round trips: number, sum, shortest (microseconds), and acknowledgements of what was not awaited.
fn round_trips(slot: &NetcodeSlot) -> (u32, u64, u32, u32) {
    let counts = &slot.counts;
    (
        counts.rtt_samples,
        counts.rtt_sum_us,
        counts.rtt_min_us,
        counts.unmatched,
    )
}

/// Numbers of the client: used, arrived, twice, out of order.
fn up(slot: &NetcodeSlot) -> (u32, u32, u32, u32) {
    let counts = &slot.counts;
    (
        counts.up_expected,
        counts.up_received,
        counts.up_repeated,
        counts.up_reordered,
    )
}

/// Packets that fit and that do not.
fn fit(slot: &NetcodeSlot) -> (u32, u32) {
    (slot.counts.read, slot.counts.unread)
}

#[test]
fn enet_of_rusty_enet() {
    let slot = read(Format::ENet, ENET).slot;
    assert_eq!(fit(&slot), (ENET.len() as u32, 0));
    // Of two acknowledgements of one datagram the second tells nothing more.
    assert_eq!(
        round_trips(&slot),
        (7, 1_018 + 589 + 415 + 145 + 405 + 151 + 1_047, 145, 1)
    );
    // 9 to 12. On a line so short 11 ms are no reordering.
    assert_eq!(up(&slot), (4, 3, 1, 0));
    let counts = &slot.counts;
    assert_eq!(
        (counts.down_sent, counts.down_resent, counts.down_needless),
        (8, 1, 0)
    );
}

#[test]
fn kcp_of_the_crate_kcp() {
    let slot = read(Format::Kcp, KCP).slot;
    assert_eq!(fit(&slot), (KCP.len() as u32, 0));
    let sum = 853 + 499 + 292 + 170 + 1_090 + 1_049 + 896 + 683 + 526;
    assert_eq!(round_trips(&slot), (9, sum, 170, 1));
    // 16 to 26.
    assert_eq!(up(&slot), (11, 10, 0, 0));
    let counts = &slot.counts;
    assert_eq!(
        (counts.down_sent, counts.down_resent, counts.down_needless),
        (12, 1, 0)
    );
}

#[test]
fn raknet_of_rust_raknet() {
    let slot = read(Format::RakNet, RAKNET).slot;
    assert_eq!(fit(&slot), (RAKNET.len() as u32, 0));
    assert_eq!(round_trips(&slot), (4, 234 + 166 + 257 + 267, 166, 0));
    assert_eq!(up(&slot), (3, 2, 0, 0));
    assert_eq!((slot.counts.down_sent, slot.counts.down_missing), (5, 1));
    let slot = read(Format::RakNet, RAKNET_RANGE).slot;
    assert_eq!(round_trips(&slot), (1, 8_765 - 6_518, 2_247, 0));
}

#[test]
fn the_spin_bit_of_quinn() {
    let slot = read(Format::Quic, QUIC).slot;
    assert_eq!(fit(&slot), (QUIC.len() as u32 - 2, 2));
    let sum = 23_384 + 25_241 + 22_198 + 23_839 + 21_935;
    assert_eq!(round_trips(&slot), (5, sum, 21_935, 0));
    assert_eq!((slot.counts.spin_turns, slot.counts.spin_single), (6, 0));
}

#[test]
fn luanti_itself() {
    let slot = read(Format::Luanti, LUANTI).slot;
    assert_eq!(fit(&slot), (LUANTI.len() as u32, 0));
    // Which of two copies is acknowledged cannot be told.
    assert_eq!(round_trips(&slot), (2, 84 + 103, 84, 3));
    assert_eq!(up(&slot), (1, 1, 0, 0));
    let counts = &slot.counts;
    assert_eq!(
        (counts.down_sent, counts.down_resent, counts.down_needless),
        (6, 2, 1)
    );
}

#[test]
fn a_resend_is_told_from_a_late_packet_although_another_gap_is_fresh() {
    let mut flow = Flow::new(Format::Kcp);
    let push = |number: u32| {
        let mut packet = bytes("4433221151000001a0000000");
        packet.extend(number.to_le_bytes());
        packet.extend([0; 8]);
        packet
    };
    // 2 is lost and comes again 40 ms later, just after 6 was found missing; 6 itself was only late.
    let seen = [(1, 0), (3, 10), (4, 20), (5, 30), (7, 45), (2, 50), (6, 52)];
    for (number, at_ms) in seen {
        flow.up(&push(number), (100 + at_ms) * 1_000_000);
    }
    assert_eq!(up(&flow.slot), (7, 6, 0, 1));
}

#[test]
fn what_is_sent_again_although_acknowledged_already_is_not_taken_for_lost() {
    let mut flow = Flow::new(Format::Kcp);
    let segment = |command: u8, number: u32, clock: u32| {
        let mut packet = bytes("44332211");
        packet.extend([command, 0, 0, 1]);
        packet.extend(clock.to_le_bytes());
        packet.extend(number.to_le_bytes());
        packet.extend([0; 8]);
        packet
    };
    for number in 0..200u32 {
        let at_ms = u64::from(number) * 100 + 100;
        let clock = number * 100;
        flow.down(&segment(81, number, clock), at_ms * 1_000_000);
        flow.up(&segment(82, number, clock), (at_ms + 39) * 1_000_000);
        // The server has not looked yet; every fourth of these is really lost, and nobody acknowledges it.
        flow.down(&segment(81, number, clock + 40), (at_ms + 40) * 1_000_000);
        if number % 4 != 0 {
            flow.up(&segment(82, number, clock + 40), (at_ms + 79) * 1_000_000);
        }
    }
    let counts = &flow.slot.counts;
    assert_eq!(
        (counts.down_sent, counts.down_resent, counts.down_needless),
        (400, 200, 150)
    );
}
