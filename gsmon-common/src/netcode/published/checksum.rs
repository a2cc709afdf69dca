//! Datagrams of the C library ENet 1.3.17 with `enet_crc32` as its host's checksum: four bytes between the header and the
//! first command. A relay on the way dropped the client's 3 and the server's 5.

use super::{super::captures::Seen, fit, read, round_trips, up};
use crate::netcode::Way::{Down, Up};
use crate::netcode::layouts::Format;

const WITH_CHECKSUM: &[Seen] = &[
    (
        63,
        Up,
        "8fff3fbdf9f362b182ff00010000ffff000005780001000000000002000000000000000000001388000000020000000292c7c4b400000000",
    ),
    (
        489,
        Down,
        "80003fbec0f8b8d283ff000100000000000005780001000000000002000000000000000000001388000000020000000292c7c4b4",
    ),
    (894, Up, "80003fbe5d77949c01ff000100013fbe85ff0002"),
    (1_290, Down, "0000eece1aea01ff000200023fbe"),
    (21_873, Down, "80003fd352b140a7860000010005776f726c64"),
    (22_279, Up, "00000a1d89b60100000100013fd3"),
    (26_846, Down, "80003fd886e56cf9860000020005776f726c64"),
    (27_265, Up, "0000d82994b70100000200023fd8"),
    (31_922, Down, "80003fdd3016b171860000030005776f726c64"),
    (32_331, Up, "000094e123bf0100000300033fdd"),
    (32_338, Up, "80003fdd24cf1a6f8600000100046d6f7665"),
    (32_732, Down, "0000eda5a4b10100000100013fdd"),
    (36_924, Down, "80003fe245219ab1860000040005776f726c64"),
    (37_340, Up, "000095e8c4170100000400043fe2"),
    (37_348, Up, "80003fe28d0862be8600000200046d6f7665"),
    (37_751, Down, "00001e254d050100000200023fe2"),
    (41_950, Down, "80003fe7f3d24739860000050005776f726c64"),
    (46_563, Down, "80003feca9096c84860000050005776f726c64"),
    (46_987, Up, "00004ef2aa970100000500053fec"),
    (47_032, Down, "80003fec27866b67860000060005776f726c64"),
    (47_426, Up, "00000b146e1e0100000600063fec"),
    (47_431, Up, "80003fec03ab4ff18600000400046d6f7665"),
    (
        53_091,
        Up,
        "80003ff2c01b15858600000300046d6f76658600000400046d6f7665",
    ),
    (53_104, Down, "80003ff2e123a352860000060005776f726c64"),
    (53_110, Down, "00007250e9100100000400043fec"),
    (53_529, Up, "0000f11b537d0100000600063ff2"),
    (53_535, Down, "80003ff383e1325d860000070005776f726c64"),
    (53_541, Down, "000005398b680100000300033ff20100000400043ff2"),
    (53_937, Up, "0000babe206c0100000700073ff3"),
    (53_943, Up, "80003ff3b53618978600000500046d6f7665"),
    (54_351, Down, "0000c3faa7620100000500053ff3"),
    (57_020, Down, "80003ff62098fde7860000080005776f726c64"),
    (57_414, Up, "000043d8040f0100000800083ff6"),
    (57_420, Up, "80003ff6b759bc818600000600046d6f7665"),
    (57_865, Down, "0000f67697640100000600063ff6"),
    (61_710, Down, "80003ffbe578bf20860000090005776f726c64"),
    (62_119, Up, "000001cb3b350100000900093ffb"),
    (62_125, Up, "80003ffbed20c5398600000700046d6f7665"),
    (62_546, Down, "0000b465a85e0100000700073ffb"),
];

#[test]
fn enet_with_checksums_of_the_c_library() {
    let slot = read(Format::ENetChecksum, WITH_CHECKSUM).slot;
    assert_eq!(fit(&slot), (WITH_CHECKSUM.len() as u32, 0));
    assert_eq!(
        round_trips(&slot),
        (
            11,
            405 + 406 + 419 + 409 + 416 + 424 + 394 + 425 + 402 + 394 + 409,
            394,
            0
        )
    );
    // 1 to 7; 3 came again after 4, together with another copy of it.
    assert_eq!(up(&slot), (7, 6, 1, 0));
    let counts = &slot.counts;
    // 5 was sent again since it was lost, 6 although it had come.
    assert_eq!(
        (counts.down_sent, counts.down_resent, counts.down_needless),
        (11, 2, 1)
    );
}

#[test]
fn checksums_are_not_taken_for_commands() {
    // Without room for the checksum its bytes are read as a command: hardly any number is found.
    let slot = read(Format::ENet, WITH_CHECKSUM).slot;
    assert!(slot.counts.rtt_samples < 3, "{:?}", slot.counts);
}
