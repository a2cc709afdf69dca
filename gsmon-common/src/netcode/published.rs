//! The decoder on packets of published implementations, as the server's machine saw them: when (microseconds), which way,
//! and every byte of the payload (of QUIC the clear header). A relay on the way dropped some.

mod checksum;

use super::{Way, layouts::Format, slot::NetcodeSlot, tests::Flow};
use Way::{Down, Up};

type Seen = (u64, Way, &'static str);

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

/// `rusty_enet` 0.4.1: the connection; the client's 10 and the server's 26 were lost and are sent again, the client's 7
/// for want of its acknowledgement.
const ENET: &[Seen] = &[
    (
        245,
        Up,
        "8fff140a82ff00010000ffff00000570000100000000000200000000000000000000138800000002000000026dabc644\
         00000000",
    ),
    (
        10_011,
        Down,
        "8000141383ff00010000000000000570000100000000000200000000000000000000138800000002000000026dabc644",
    ),
    (11_029, Up, "8000141401ff00010001141385ff0002"),
    (
        111_981,
        Up,
        "80001478860000090013fe74686520776f726c64206173206974206973",
    ),
    (
        113_074,
        Up,
        "8000147b860000070013fe74686520776f726c64206173206974206973",
    ),
    (
        120_048,
        Down,
        "800014818600000a0013fe74686520776f726c64206173206974206973",
    ),
    (120_074, Down, "00000100000900091478010000070007147b"),
    (120_637, Up, "00000100000a000a1481"),
    (
        130_010,
        Down,
        "8000148b8600000b0013fe74686520776f726c64206173206974206973",
    ),
    (130_425, Up, "00000100000b000b148b"),
    (
        131_524,
        Up,
        "8000148c8600000b0013fe74686520776f726c64206173206974206973",
    ),
    (
        140_011,
        Down,
        "800014958600000c0013fe74686520776f726c64206173206974206973",
    ),
    (140_032, Down, "00000100000b000b148c"),
    (140_156, Up, "00000100000c000c1495"),
    (
        141_250,
        Up,
        "800014968600000c0013fe74686520776f726c64206173206974206973",
    ),
    (
        142_357,
        Up,
        "800014988600000a0013fe74686520776f726c64206173206974206973",
    ),
    (
        280_033,
        Down,
        "800015218600001a0013fe74686520776f726c64206173206974206973",
    ),
    (280_056, Down, "00000100001900191518"),
    (
        290_030,
        Down,
        "8000152b8600001b0013fe74686520776f726c64206173206974206973",
    ),
    (290_435, Up, "00000100001b001b152b"),
    (
        300_038,
        Down,
        "800015358600001c0013fe74686520776f726c64206173206974206973",
    ),
    (300_189, Up, "00000100001c001c1535"),
    (
        310_021,
        Down,
        "8000153f8600001a0013fe74686520776f726c642061732069742069738600001d0013fe74686520776f726c64206173\
         206974206973",
    ),
    (311_068, Up, "00000100001a001a153f0100001d001d153f"),
];

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

/// `kcp` 0.6.0: the server's 16 and the client's 23 were lost and are sent again, with others in one datagram.
const KCP: &[Seen] = &[
    (
        159_849,
        Down,
        "4433221152000001960000000f00000010000000000000004433221151000001a00000000f0000001000000013000000\
         fe74686520776f726c64206173206974206973",
    ),
    (
        160_702,
        Up,
        "4433221152000001a00000000f00000010000000000000004433221151000001a0000000100000001000000013000000\
         fe74686520776f726c64206173206974206973",
    ),
    (
        169_764,
        Down,
        "4433221152000001a00000001000000011000000000000004433221151000001aa000000100000001100000013000000\
         fe74686520776f726c64206173206974206973",
    ),
    (
        179_730,
        Down,
        "4433221151000001b4000000110000001100000013000000fe74686520776f726c64206173206974206973",
    ),
    (180_229, Up, "4433221152000001b4000000110000001000000000000000"),
    (
        189_765,
        Down,
        "4433221151000001be000000120000001100000013000000fe74686520776f726c64206173206974206973",
    ),
    (190_057, Up, "4433221152000001be000000120000001000000000000000"),
    (
        199_718,
        Down,
        "4433221151000001c8000000100000001100000013000000fe74686520776f726c642061732069742069734433221151\
         000001c8000000130000001100000013000000fe74686520776f726c64206173206974206973",
    ),
    (
        199_888,
        Up,
        "4433221152000001c80000001000000014000000000000004433221152000001c8000000130000001400000000000000\
         4433221151000001c7000000110000001400000013000000fe74686520776f726c642061732069742069734433221151\
         000001c7000000120000001400000013000000fe74686520776f726c642061732069742069734433221151000001c700\
         0000130000001400000013000000fe74686520776f726c642061732069742069734433221151000001c7000000140000\
         001400000013000000fe74686520776f726c64206173206974206973",
    ),
    (
        209_817,
        Down,
        "4433221152000001c70000001100000015000000000000004433221152000001c7000000120000001500000000000000\
         4433221152000001c70000001300000015000000000000004433221152000001c7000000140000001500000000000000\
         4433221151000001d2000000140000001500000013000000fe74686520776f726c64206173206974206973",
    ),
    (
        210_907,
        Up,
        "4433221152000001d20000001400000015000000000000004433221151000001d2000000150000001500000013000000\
         fe74686520776f726c64206173206974206973",
    ),
    (
        219_866,
        Down,
        "4433221152000001d20000001500000016000000000000004433221151000001dc000000150000001600000013000000\
         fe74686520776f726c64206173206974206973",
    ),
    (
        220_915,
        Up,
        "4433221152000001dc0000001500000016000000000000004433221151000001dc000000160000001600000013000000\
         fe74686520776f726c64206173206974206973",
    ),
    (
        229_819,
        Down,
        "4433221152000001dc0000001600000017000000000000004433221151000001e6000000160000001700000013000000\
         fe74686520776f726c64206173206974206973",
    ),
    (
        239_753,
        Down,
        "4433221151000001f0000000170000001700000013000000fe74686520776f726c64206173206974206973",
    ),
    (
        240_649,
        Up,
        "4433221152000001f00000001700000018000000000000004433221151000001f0000000180000001800000013000000\
         fe74686520776f726c64206173206974206973",
    ),
    (
        249_837,
        Down,
        "4433221152000001f00000001800000017000000000000004433221151000001fa000000180000001700000013000000\
         fe74686520776f726c64206173206974206973",
    ),
    (
        250_520,
        Up,
        "4433221152000001fa0000001800000019000000000000004433221151000001fa000000190000001900000013000000\
         fe74686520776f726c64206173206974206973",
    ),
    (
        259_840,
        Down,
        "4433221152000001fa000000190000001700000000000000443322115100000104010000190000001700000013000000\
         fe74686520776f726c64206173206974206973",
    ),
    (
        260_366,
        Up,
        "443322115200000104010000190000001a00000000000000443322115100000104010000170000001a00000013000000\
         fe74686520776f726c642061732069742069734433221151000001040100001a0000001a00000013000000fe74686520\
         776f726c64206173206974206973",
    ),
];

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

/// `rust-raknet` 1.4.0, unreliable messages: the client's 10 and the server's 15 were lost, and each side says so.
const RAKNET: &[Seen] = &[
    (
        44_638,
        Down,
        "84070000000098fe74686520776f726c64206173206974206973",
    ),
    (44_872, Up, "c0000101070000"),
    (
        54_591,
        Down,
        "84080000000098fe74686520776f726c64206173206974206973",
    ),
    (54_757, Up, "c0000101080000"),
    (55_970, Up, "84090000000098fe74686520776f726c64206173206974206973"),
    (57_171, Down, "c0000101090000"),
    (
        64_869,
        Down,
        "84090000000098fe74686520776f726c64206173206974206973",
    ),
    (65_126, Up, "c0000101090000"),
    (
        74_730,
        Down,
        "840a0000000098fe74686520776f726c64206173206974206973",
    ),
    (74_997, Up, "c00001010a0000"),
    (76_133, Up, "840b0000000098fe74686520776f726c64206173206974206973"),
    (105_720, Down, "a00001010a0000"),
    (
        125_020,
        Down,
        "840f0000000098fe74686520776f726c64206173206974206973",
    ),
    (158_851, Up, "a00001010f0000"),
];

/// The same: two are acknowledged as a range.
const RAKNET_RANGE: &[Seen] = &[
    (
        6_500,
        Down,
        "84010000000098fe74686520776f726c64206173206974206973",
    ),
    (
        6_518,
        Down,
        "84020000000098fe74686520776f726c64206173206974206973",
    ),
    (8_765, Up, "c0000100010000020000"),
];

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

/// `quinn` 0.11.12, over a line of 20 ms there and back, with a server that sends every 2 ms: two packets after each turn.
/// Both sides grease the fixed bit. The first two have long headers.
const QUIC: &[Seen] = &[
    (11_596, Up, "c300000001145e315d981b42e192e3de"),
    (36_897, Up, "c5000000010845ee98e9dd150acf0864"),
    (38_113, Up, "7145ee98e9dd150acf4b6a16752b1810"),
    (39_399, Up, "6345ee98e9dd150acfdbe44593319169"),
    (61_818, Up, "5e45ee98e9dd150acf59caf70423e965"),
    (63_057, Up, "4545ee98e9dd150acf4e17a10d789267"),
    (85_202, Up, "2c45ee98e9dd150acf9ee015cd31ee70"),
    (86_438, Up, "7145ee98e9dd150acff89f4498e1b446"),
    (110_443, Up, "0b45ee98e9dd150acf1e85ed661b0a8e"),
    (111_952, Up, "5245ee98e9dd150acf35cc94b1a064e2"),
    (132_641, Up, "3045ee98e9dd150acf7630c6a439d561"),
    (134_689, Up, "3b45ee98e9dd150acf964881b39407c2"),
    (156_480, Up, "1745ee98e9dd150acf52761bd00612a0"),
    (157_957, Up, "4845ee98e9dd150acf44a38dbdb83c3d"),
    (178_415, Up, "6345ee98e9dd150acfc22bdb5ca60c07"),
    (180_000, Up, "6245ee98e9dd150acf1e747e76276501"),
];

#[test]
fn the_spin_bit_of_quinn() {
    let slot = read(Format::Quic, QUIC).slot;
    assert_eq!(fit(&slot), (QUIC.len() as u32 - 2, 2));
    let sum = 23_384 + 25_241 + 22_198 + 23_839 + 21_935;
    assert_eq!(round_trips(&slot), (5, sum, 21_935, 0));
    assert_eq!((slot.counts.spin_turns, slot.counts.spin_single), (6, 0));
}

/// Luanti 5.6.1, server and client: the handshake, then packets of channel 0 (of long ones the head) while the client has
/// no time to answer: 101 is sent again needlessly, 129 was lost.
const LUANTI: &[Seen] = &[
    (47_783, Up, "4f45740300000003ffdc010000"),
    (49_078, Down, "4f45740300010003ffdc00010002"),
    (49_162, Up, "4f4574030002000000ffdc"),
    (49_184, Down, "4f4574030001000000ffdc"),
    (244_947, Up, "4f4574030002010100021d0000002500290005616c696365"),
    (
        248_977,
        Down,
        "4f45740300010003ffdd0100021d00000029000000040005616c696365",
    ),
    (249_080, Up, "4f4574030002000000ffdd"),
    (11_626_875, Down, "4f457403000100030065010034c4f000"),
    (11_693_356, Down, "4f45740300010003008102ffe0001900"),
    (11_742_026, Down, "4f457403000100030065010034c4f000"),
    (11_766_129, Up, "4f45740300020000000065"),
    (11_799_024, Down, "4f45740300010003008102ffe0001900"),
    (11_827_452, Up, "4f45740300020000000065"),
    (11_861_271, Up, "4f45740300020000000081"),
];

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
