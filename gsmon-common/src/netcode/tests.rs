//! The decoder on packets made here, byte by byte from the formats' descriptions. Packets of published implementations
//! are in `published`.

use std::{boxed::Box, vec, vec::Vec};

use proptest::prelude::*;

use super::{
    Field, Layout, NetcodeSlot, Order, Way, decode,
    layout::{Case, Guard, Side},
    layouts::Format,
};

const MS: u64 = 1_000_000;

pub(super) struct Flow {
    layout: Layout,
    pub(super) slot: Box<NetcodeSlot>,
}

impl Flow {
    pub(super) fn new(format: Format) -> Self {
        Self::of(format.layout())
    }

    fn of(layout: Layout) -> Self {
        Self {
            layout,
            slot: Box::new(NetcodeSlot::EMPTY),
        }
    }

    pub(super) fn see(&mut self, way: Way, packet: &[u8], at_ns: u64) -> bool {
        decode(
            packet,
            packet.len() as u32,
            &self.layout,
            way,
            at_ns,
            &mut self.slot,
        )
        .fits
    }

    pub(super) fn up(&mut self, packet: &[u8], at_ns: u64) -> bool {
        self.see(Way::Up, packet, at_ns)
    }

    pub(super) fn down(&mut self, packet: &[u8], at_ns: u64) -> bool {
        self.see(Way::Down, packet, at_ns)
    }

    fn mean_rtt_us(&self) -> Option<u64> {
        let counts = &self.slot.counts;
        counts.rtt_sum_us.checked_div(u64::from(counts.rtt_samples))
    }

    fn up_lost(&self) -> u32 {
        self.slot.counts.up_expected - self.slot.counts.up_received
    }
}

fn le(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn fields_of_every_width_and_order_are_read_near_and_far() {
    let bytes: Vec<u8> = (1..=32).collect();
    for offset in 0..20u16 {
        for width in [1u8, 2, 3, 4] {
            for order in [Order::Little, Order::Big] {
                if width == 3 && order == Order::Little && offset == 0 {
                    continue;
                }
                let field = Field::new(offset, width, order, 0, u32::MAX);
                let rx = Case::when(Guard::ALWAYS).sequence(field, 32);
                let mut flow = Flow::of(Layout {
                    rx: Side {
                        whole: [rx, Case::NONE, Case::NONE, Case::NONE],
                        ..Side::NONE
                    },
                    ..Layout::NONE
                });
                assert!(flow.up(&bytes, 1));
                let part = &bytes[offset as usize..][..width as usize];
                let fold = |word: u32, byte: &u8| word << 8 | u32::from(*byte);
                let want = match order {
                    Order::Little => part.iter().rev().fold(0, fold),
                    Order::Big => part.iter().fold(0, fold),
                };
                assert_eq!(flow.slot.counts.up_highest, want, "{offset} {width} {order:?}");
            }
        }
    }
}

#[test]
fn source_tells_round_trips_and_takes_choked_packets_for_unsent() {
    let mut flow = Flow::new(Format::Source);
    let mut now = MS;
    let mut sequence = 10;
    for n in 0..100u32 {
        now += 15 * MS;
        flow.down(&le(&[1_000 + n, sequence, 0]), now);
        // Two of three are choked now and then.
        let choked = if n % 10 == 9 { 2 } else { 0 };
        sequence += 1 + choked;
        let mut answer = le(&[sequence, 1_000 + n]);
        answer.push(if choked > 0 { 16 } else { 0 });
        answer.extend([0, 0, 0, choked as u8]);
        flow.up(&answer, now + 40 * MS);
    }
    assert_eq!(flow.mean_rtt_us(), Some(40_000));
    assert_eq!(flow.slot.counts.rtt_samples, 100);
    assert_eq!(flow.up_lost(), 0);
    // Connectionless, split and compressed ones are none.
    for header in [-1i32, -2, -3] {
        assert!(!flow.up(&le(&[header as u32, 5, 0, 0]), now));
    }
}

#[test]
fn lost_late_repeated_and_stray_numbers_are_told_apart() {
    let mut flow = Flow::new(Format::Quake2);
    let send = |flow: &mut Flow, number: u32, at: u64| flow.up(&le(&[number, 0, 0]), at * MS);
    for (at, number) in [1, 2, 3, 6, 5, 5, 7, 9].into_iter().enumerate() {
        send(&mut flow, number, at as u64 * 10);
    }
    let counts = flow.slot.counts;
    // 4 and 8 are missing.
    assert_eq!(
        (flow.up_lost(), counts.up_reordered, counts.up_repeated),
        (2, 1, 1)
    );
    // One number from somewhere else changes nothing; two in a row are a client that has begun anew.
    send(&mut flow, 900_000, 90);
    send(&mut flow, 10, 100);
    assert_eq!((flow.up_lost(), flow.slot.counts.up_strays), (2, 1));
    send(&mut flow, 500_000, 110);
    send(&mut flow, 500_001, 120);
    send(&mut flow, 500_002, 130);
    assert_eq!((flow.up_lost(), flow.slot.counts.up_restarts), (2, 1));
}

#[test]
fn numbers_wrap_in_their_own_width() {
    let mut flow = Flow::new(Format::RakNet);
    let number = |n: u32| {
        let mut packet = vec![0x84];
        packet.extend(&n.to_le_bytes()[..3]);
        packet.extend([0; 8]);
        packet
    };
    for step in 0..20u32 {
        let n = 0xff_fff6u32.wrapping_add(step) & 0xff_ffff;
        flow.down(&number(n), u64::from(step) * 10 * MS + 1);
        assert!(flow.up(&number(n), u64::from(step) * 10 * MS + 2));
    }
    assert_eq!(flow.up_lost(), 0);
    assert_eq!(flow.slot.counts.up_expected, 20);
}

#[test]
fn raknet_acknowledges_one_by_one_and_in_ranges_and_says_what_is_missing() {
    let mut flow = Flow::new(Format::RakNet);
    for n in 0..10u8 {
        flow.down(&[0x8c, n, 0, 0, 1, 2, 3, 4], u64::from(n) * 10 * MS + MS);
    }
    // 3, then 4 to 6.
    flow.up(&[0xc0, 0, 2, 1, 3, 0, 0, 0, 4, 0, 0, 6, 0, 0], 91 * MS);
    assert_eq!(flow.slot.counts.rtt_samples, 2);
    assert_eq!(flow.mean_rtt_us(), Some(45_000));
    // 7 to 8 and 9 have not come.
    flow.up(&[0xa0, 0, 2, 0, 7, 0, 0, 8, 0, 0, 1, 9, 0, 0], 92 * MS);
    assert_eq!(flow.slot.counts.down_missing, 3);
    assert_eq!(flow.slot.counts.down_sent, 10);
    // A ping of the server list is none of it.
    assert!(!flow.up(&[0x01, 0, 0, 0, 0, 0, 0, 0, 1, 0], 93 * MS));
}

fn enet_ack(channel: u8, number: u16, clock: u16, now: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0x00];
    packet.extend(now.to_be_bytes());
    packet.extend([1, channel, 0, 0]);
    packet.extend(number.to_be_bytes());
    packet.extend(clock.to_be_bytes());
    packet
}

fn enet_reliable(channel: u8, number: u16, clock: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0x00];
    packet.extend(clock.to_be_bytes());
    // An unreliable command of three bytes stands before it.
    packet.extend([7, channel, 0, 0, 0, 9, 0, 3, 1, 2, 3]);
    packet.extend([0x86, channel]);
    packet.extend(number.to_be_bytes());
    packet.extend([0, 2, 1, 2]);
    packet
}

#[test]
fn enet_echoes_the_clock_and_what_is_sent_again_is_lost_unless_both_arrive() {
    let mut flow = Flow::new(Format::ENet);
    for n in 0..20u16 {
        let sent = u64::from(n) * 100 * MS + MS;
        let clock = 1_000 + n * 100;
        flow.down(&enet_reliable(0, n + 1, clock), sent);
        if n % 5 != 0 {
            flow.up(&enet_ack(0, n + 1, clock, 77 + n * 100), sent + 30 * MS);
        } else {
            // Sent again: the first was lost (0 and 10), or both arrive (5 and 15).
            flow.down(&enet_reliable(0, n + 1, clock + 50), sent + 50 * MS);
            if n % 10 == 5 {
                flow.up(&enet_ack(0, n + 1, clock, 77 + n * 100), sent + 60 * MS);
            }
            flow.up(&enet_ack(0, n + 1, clock + 50, 77 + n * 100), sent + 80 * MS);
        }
    }
    let counts = flow.slot.counts;
    assert_eq!(
        (counts.down_sent, counts.down_resent, counts.down_needless),
        (24, 4, 2)
    );
    assert_eq!(counts.rtt_samples, 22);
    assert_eq!(counts.rtt_min_us, 30_000);
    // Compressed: the header's clock is all that is clear.
    let mut packed = enet_ack(0, 1, 1_000, 5_000);
    packed[0] |= 0x40;
    assert!(flow.up(&packed, 9_000 * MS));
    assert_eq!(flow.slot.counts.rtt_samples, 22);
}

#[test]
fn luanti_ignores_round_trips_of_what_was_sent_twice() {
    let mut flow = Flow::new(Format::Luanti);
    let reliable = |channel: u8, n: u16| {
        let mut packet = vec![0x4f, 0x45, 0x74, 0x03, 0, 1, channel, 3];
        packet.extend(n.to_be_bytes());
        packet.extend([1, 0, 0]);
        packet
    };
    let ack = |channel: u8, n: u16| {
        let mut packet = vec![0x4f, 0x45, 0x74, 0x03, 0, 2, channel, 0, 0];
        packet.extend(n.to_be_bytes());
        packet
    };
    flow.down(&reliable(0, 65_500), MS);
    flow.down(&reliable(1, 65_500), 2 * MS);
    flow.up(&ack(1, 65_500), 32 * MS);
    assert_eq!(flow.mean_rtt_us(), Some(30_000));
    flow.down(&reliable(0, 65_500), 500 * MS);
    flow.up(&ack(0, 65_500), 530 * MS);
    assert_eq!(flow.slot.counts.rtt_samples, 1);
    assert_eq!((flow.slot.counts.down_sent, flow.slot.counts.down_resent), (3, 1));
    let mut foreign = reliable(0, 3);
    foreign[0] = 0;
    assert!(!flow.up(&foreign, 540 * MS));
}

/// A KCP segment: command, clock, number, the number below which all arrived.
fn kcp_segment(command: u8, clock: u32, number: u32, next: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![7, 0, 0, 0, command, 0, 0, 1];
    bytes.extend(le(&[clock, number, next, data.len() as u32]));
    bytes.extend(data);
    bytes
}

#[test]
fn a_kcp_packet_that_came_before_it_was_sent_again_was_not_lost() {
    let mut flow = Flow::new(Format::Kcp);
    let push = |number, clock| kcp_segment(81, clock, number, 0, &[1]);
    let answer = |number, clock, next| kcp_segment(82, clock, number, next, &[]);
    for number in 0..6 {
        flow.see(Way::Down, &push(number, 10 * number), u64::from(number) * 10 * MS);
    }
    // 1 is lost, so is the acknowledgement of 3: both are sent again.
    for (number, next) in [(0, 1), (2, 1), (4, 1), (5, 1)] {
        flow.see(
            Way::Up,
            &answer(number, 10 * number, next),
            (60 + 10 * u64::from(number)) * MS,
        );
    }
    flow.see(Way::Down, &push(1, 100), 100 * MS);
    flow.see(Way::Down, &push(3, 120), 120 * MS);
    flow.see(Way::Down, &push(6, 121), 121 * MS);
    // 1 has closed the gap; then 3 is acknowledged a second time.
    flow.see(Way::Up, &answer(1, 100, 6), 160 * MS);
    let both = [answer(6, 121, 7), answer(3, 120, 7)].concat();
    flow.see(Way::Up, &both, 181 * MS);
    let counts = &flow.slot.counts;
    assert_eq!(
        (counts.down_sent, counts.down_resent, counts.down_needless),
        (9, 2, 1)
    );
}

#[test]
fn numbers_in_commands_that_are_not_read_are_not_taken_for_lost() {
    let mut flow = Flow::new(Format::Kcp);
    let mut number = 0;
    for n in 0..50u64 {
        // Every fifth datagram has more than are read; one with a single number is lost.
        let many = if n % 5 == 0 { 12 } else { 1 };
        let segments: Vec<u8> = (number..number + many)
            .flat_map(|number| kcp_segment(81, n as u32, number, 0, &[1]))
            .collect();
        number += many;
        if n != 23 {
            flow.see(Way::Up, &segments, n * 10 * MS);
        }
    }
    let counts = &flow.slot.counts;
    assert_eq!(counts.left, 10);
    assert_eq!(counts.up_expected - counts.up_received, 1);
    // Of ten datagrams eight numbers each are read.
    assert_eq!(counts.up_received, 10 * 8 + 39);
    assert_eq!(counts.up_repeated + counts.up_strays, 0);
}

#[test]
fn kcp_walks_several_segments_and_takes_the_clock_of_the_newest() {
    let mut flow = Flow::new(Format::Kcp2k);
    let segment = |command: u8, clock: u32, number: u32, data: &[u8]| {
        let mut bytes = vec![7, 0, 0, 0, command, 0, 0, 1];
        bytes.extend(le(&[clock, number, 0, data.len() as u32]));
        bytes.extend(data);
        bytes
    };
    let datagram = |segments: &[Vec<u8>]| {
        let mut bytes = vec![1, 9, 9, 9, 9];
        bytes.extend(segments.concat());
        bytes
    };
    for n in 0..10u32 {
        let now = u64::from(n) * 20 * MS + MS;
        let push = [
            segment(81, 500 + n * 20, 2 * n, b"abc"),
            segment(81, 500 + n * 20, 2 * n + 1, b""),
        ];
        flow.down(&datagram(&push), now);
        let both = [
            segment(82, 500 + n * 20, 2 * n, b""),
            segment(82, 500 + n * 20, 2 * n + 1, b""),
            segment(81, 90 + n * 20, n, b"xy"),
        ];
        flow.up(&datagram(&both), now + 55 * MS);
    }
    let counts = flow.slot.counts;
    assert_eq!(flow.mean_rtt_us(), Some(55_000));
    assert_eq!((counts.down_sent, counts.down_resent), (20, 0));
    assert_eq!((counts.up_expected, flow.up_lost()), (10, 0));
    assert_eq!(counts.jitter_16ns, 0);
    // The unreliable channel has no segments.
    assert!(!flow.up(&[2, 9, 9, 9, 9, 0, 0], 900 * MS));
}

fn unreal(start: u32, sequence: u32, acknowledged: u32, history: u32, clock: Option<u32>) -> Vec<u8> {
    let packed = u128::from(acknowledged << 4 | sequence << 18);
    let mut bits = packed << start | u128::from(history) << (start + 32);
    let mut length = start + 64;
    if let Some(clock) = clock {
        bits |= (1 | u128::from(clock) << 1) << length;
        length += 12;
    }
    let bytes = (length as usize + 1).div_ceil(8);
    bits |= 1 << length;
    bits.to_le_bytes()[..bytes].to_vec()
}

#[test]
fn unreal_reports_each_packet_in_its_history() {
    for (format, start) in [(Format::Unreal4, 1), (Format::Unreal5, 6)] {
        let mut flow = Flow::new(format);
        let mut history = u32::MAX;
        let mut acknowledged = 16_380;
        let mut judged = 0;
        for n in 0..400u32 {
            let now = u64::from(n) * 33 * MS + MS;
            let sequence = (16_380 + n) & 0x3fff;
            flow.down(&unreal(start, sequence, 0, 0, None), now);
            // Every tenth is lost, and the client tells of it with the next that it sends.
            let arrived = n % 10 != 9;
            history = history << 1 | u32::from(arrived);
            acknowledged = if n == 0 {
                sequence
            } else {
                (acknowledged + 1) & 0x3fff
            };
            if arrived {
                let clock = (u64::from(n) * 33 % 1_000) as u32;
                flow.up(
                    &unreal(start, (100 + n) & 0x3fff, acknowledged, history, Some(clock)),
                    now + 61 * MS,
                );
                judged = n;
            }
        }
        let counts = flow.slot.counts;
        assert_eq!(flow.mean_rtt_us(), Some(61_000), "{format:?}");
        assert_eq!(counts.down_reported, judged, "{format:?}");
        assert_eq!(counts.down_missing, 39, "{format:?}");
        assert_eq!(counts.up_expected - counts.up_received, 39, "{format:?}");
        assert!(
            counts.jitter_16ns >> 4 < 1_000_000,
            "{format:?} {}",
            counts.jitter_16ns >> 4
        );
    }
}

#[test]
fn unity_transport_takes_off_how_long_the_client_has_held_it() {
    let mut flow = Flow::new(Format::UnityTransport);
    let packet = |kind: u8, hold: u16, number: u16, acknowledged: u16, mask: u64| {
        let mut bytes = vec![1, 1, 2, 3, 4, 5, 6, 7, 8, 3, kind, 8];
        for word in [hold, number, acknowledged] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(mask.to_le_bytes());
        bytes
    };
    let mut mask = u64::MAX;
    for n in 0..50u16 {
        let now = u64::from(n) * 30 * MS + MS;
        flow.down(&packet(0, 0, n, 0, 0), now);
        let arrived = n % 7 != 6;
        mask = mask << 1 | u64::from(arrived);
        if arrived {
            flow.up(&packet(u8::from(n % 2 == 0), 12, n, n, mask), now + 52 * MS);
        }
    }
    assert_eq!(flow.mean_rtt_us(), Some(40_000));
    assert_eq!(flow.slot.counts.down_missing, 6);
}

#[test]
fn litenetlib_pings_and_merged_packets() {
    let mut flow = Flow::new(Format::LiteNetLib);
    flow.down(&[4, 5, 0], MS);
    flow.up(&[5, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0], 81 * MS);
    assert_eq!(flow.mean_rtt_us(), Some(80_000));
    // Two reliable ones merged, one of them again.
    let reliable = |n: u8| [5, 0, 1, n, 0, 0, 42];
    let merged = [&[13][..], &reliable(1), &reliable(2)].concat();
    flow.down(&merged, 90 * MS);
    flow.down(&[1, 1, 0, 0, 42], 200 * MS);
    assert_eq!((flow.slot.counts.down_sent, flow.slot.counts.down_resent), (3, 1));
}

#[test]
fn the_spin_bit_turns_once_per_round_trip() {
    let mut flow = Flow::new(Format::Quic);
    for n in 0..200u64 {
        let bit = (n / 5 % 2) as u8;
        flow.up(&[0x40 | bit << 5, 1, 2, 3], n * 10 * MS + MS);
    }
    assert_eq!(flow.mean_rtt_us(), Some(50_000));
    assert_eq!(flow.slot.counts.spin_single, 0);
    // Chance turns it after every other packet; long headers have none.
    assert!(!flow.up(&[0xc0, 0, 0, 0], 3_000 * MS));
}

#[test]
fn replayed_and_made_up_acknowledgements_measure_nothing() {
    let mut flow = Flow::new(Format::Quake2);
    for n in 0..50u32 {
        flow.down(&le(&[n, 0]), u64::from(n) * MS + 1);
    }
    flow.up(&le(&[1, 40]), 60 * MS);
    let once = flow.slot.counts.rtt_samples;
    for n in 0..100u32 {
        flow.up(&le(&[2 + n, 40]), 61 * MS);
        flow.up(&le(&[102 + n, 70_000 + n]), 62 * MS);
    }
    assert_eq!((once, flow.slot.counts.rtt_samples), (1, 1));
}

#[test]
fn a_far_client_is_measured_although_more_is_under_way_than_there_are_stamps() {
    let mut flow = Flow::new(Format::Source);
    // 128 packets a second, 900 ms there and back: 115 are under way.
    for n in 0..2_000u32 {
        let now = u64::from(n) * 7_812_500 + MS;
        flow.down(&le(&[n, 0, 0]), now);
        if n >= 115 {
            flow.up(&le(&[n - 115, n - 115, 0]), now + 1_562_500);
        }
    }
    let counts = flow.slot.counts;
    assert!(counts.rtt_samples > 200, "{}", counts.rtt_samples);
    let mean_ms = flow.mean_rtt_us().unwrap() / 1_000;
    assert!((899..=901).contains(&mean_ms), "{mean_ms}");
}

#[test]
fn jitter_is_that_of_rfc_3550() {
    let mut flow = Flow::new(Format::Kcp);
    let mut expected = 0.0f64;
    let mut before: Option<(u64, u32)> = None;
    let mut random = 12_345u64;
    for n in 0..500u32 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let delay_us = random >> 33 & 0x3fff;
        let (arrival_ns, clock) = (u64::from(n) * 20 * MS + 50 * MS + delay_us * 1_000, n * 20);
        let mut packet = vec![7, 0, 0, 0, 81, 0, 0, 1];
        packet.extend(le(&[clock, n, 0, 0]));
        flow.up(&packet, arrival_ns);
        if let Some((arrival_before, clock_before)) = before {
            let late = (arrival_ns - arrival_before) as f64 - f64::from(clock - clock_before) * 1e6;
            expected += (late.abs() - expected) / 16.0;
        }
        before = Some((arrival_ns, clock));
    }
    let told = f64::from(flow.slot.counts.jitter_16ns) / 16.0;
    assert!((told - expected).abs() / expected < 0.01, "{told} {expected}");
}

#[test]
fn what_the_server_sends_belongs_to_the_format_where_nothing_is_read_of_it() {
    for (format, packet) in [
        (Format::Quake3, le(&[7, 8, 9])),
        (Format::Steam, vec![0x80, 1, 2, 3, 4, 5, 0, 1]),
    ] {
        let mut flow = Flow::new(format);
        assert!(flow.down(&packet, MS) && flow.up(&packet, 2 * MS), "{format:?}");
    }
}

#[test]
fn what_a_format_can_tell_is_known_of_it() {
    use Format::*;
    for format in Format::ALL {
        let layout = format.layout();
        let told = (
            layout.tells_rtt(),
            layout.tells_down_loss(),
            layout.tells_up_loss(),
        );
        let want = match format {
            Quake2 | GoldSrc | Source => (true, false, true),
            Quake3 | Steam => (false, false, true),
            Teeworlds | Quic => (true, false, false),
            _ => (true, true, true),
        };
        assert_eq!(told, want, "{format:?}");
        assert_eq!(Format::ALL[format as usize - 1], format);
    }
}

proptest! {
    #[test]
    fn no_bytes_break_the_decoder(
        format in 0usize..Format::ALL.len(),
        packets in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..80), 0u64..1 << 40), 1..60),
    ) {
        let mut flow = Flow::new(Format::ALL[format]);
        for (up, packet, at_ns) in &packets {
            flow.see(if *up { Way::Up } else { Way::Down }, packet, *at_ns);
        }
        let counts = flow.slot.counts;
        let judged = counts.read + counts.unread;
        // Of some only what is followed is looked at.
        let all = packets.len() as u32;
        prop_assert!(judged == all || (flow.layout.messages != 0 && judged < all));
        prop_assert!(counts.up_received <= counts.up_expected);
    }

    #[test]
    fn random_numbers_give_no_round_trips(seed in any::<u64>(), format in 0usize..4) {
        let format = [Format::Source, Format::Quake2, Format::RakNet, Format::Luanti][format];
        let mut flow = Flow::new(format);
        let mut random = seed | 1;
        let mut bytes = || {
            let mut packet = Vec::new();
            for _ in 0..4 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                packet.extend(random.to_le_bytes());
            }
            packet
        };
        for n in 0..400u64 {
            flow.down(&bytes(), n * 15 * MS);
            flow.up(&bytes(), n * 15 * MS + 7 * MS);
        }
        prop_assert!(flow.slot.counts.rtt_samples <= 1);
    }

    #[test]
    fn what_is_lost_on_the_way_up_is_counted_exactly(
        fates in prop::collection::vec(0u8..20, 100..400),
        start in any::<u32>(),
    ) {
        let mut flow = Flow::new(Format::Source);
        let (mut lost, mut order): (u32, Vec<u32>) = (0, Vec::new());
        let last = fates.len() - 1;
        for (n, fate) in fates.iter().enumerate() {
            let number = start.wrapping_add(n as u32) & 0x7fff_ffff;
            match fate {
                // The first and the last arrive, so that the range is known.
                0 if n != 0 && n != last => lost += 1,
                1 if order.len() > 1 => order.insert(order.len() - 1, number),
                2 => order.extend([number, number]),
                _ => order.push(number),
            }
        }
        prop_assume!(order[0] == start & 0x7fff_ffff);
        for (n, number) in order.iter().enumerate() {
            flow.up(&le(&[*number, 0, 0]), n as u64 * 10 * MS);
        }
        // The numbers of 32 bits do not wrap at 31: those runs begin anew.
        prop_assume!(flow.slot.counts.up_restarts == 0);
        prop_assert_eq!(flow.up_lost(), lost);
    }
}
