//! Transcripts, forged chat and arbitrary text for the Teeworlds grammar.

use proptest::prelude::*;

use super::{
    super::transcript::{assert_silent, read, spoken, time},
    *,
};

#[test]
fn teeworlds_0_7() {
    let transcript = "\
[2026-11-24 20:46:22][engine]: running on unix-linux-amd64
[2026-11-24 20:46:22][server]: starting...
[2026-11-24 20:46:22][datafile]: loading. filename='maps/dm1.map'
[2026-11-24 20:46:22][server]: maps/dm1.map sha256 is 491af17a510214506270904f147a4c30ae0a85b91bb854395bef8c397fc078c3
[2026-11-24 20:46:22][server]: maps/dm1.map crc is 64548818
[2026-11-24 20:46:22][server]: server name is 'unnamed server'
[2026-11-24 20:46:22][server]: version 0.7 802f1be60a05665f
[2026-11-24 20:46:22][server]: | rcon password: '8XebVF' |
[2026-11-24 20:47:00][server]: player is ready. ClientID=0 addr=172.20.10.9:54272
[2026-11-24 20:47:00][server]: player has entered the game. ClientID=0 addr=172.20.10.9:54272
[2026-11-24 20:47:00][game]: team_join player='0:nameless tee' team=0
[2026-11-24 20:47:00][server]: player has entered the game. ClientID=10 addr=[2001:db8:0:0:0:0:0:9]:8303
[2026-11-24 20:47:10][game]: start match type='DM' teamplay='0'
[2026-11-24 20:47:20][chat]: 0:-2:nameless tee: leave player='0:nameless tee'
[2026-11-24 20:47:30][game]: kill killer='0:nameless tee' victim='10:x' weapon=1 special=0
[2026-11-24 20:48:00][game]: rotating map to dm2
[2026-11-24 20:48:00][server]: maps/dm2.map sha256 is 00
[2026-11-24 20:48:00][server]: maps/dm2.map crc is 00
[2026-11-24 20:48:01][server]: player has entered the game. ClientID=0 addr=172.20.10.9:54272
[2026-11-24 20:49:00][server]: client dropped. cid=0 addr=172.20.10.9:53784 reason='Timeout'
[2026-11-24 20:49:00][game]: leave player='0:nameless tee'
[2026-11-24 20:49:10][game]: leave player='10:o'neill'";
    assert_eq!(
        read::<Log>(transcript),
        [
            "starting",
            "begun dm1 -",
            "ready",
            "connecting #0 @172.20.10.9/54272",
            "joined #0 @172.20.10.9/54272",
            "known #0 nameless tee",
            "joined #10 @2001:db8::9/8303",
            "phase active",
            "ended",
            "phase loading",
            "begun dm2 -",
            "joined #0 @172.20.10.9/54272",
            "left #0 @172.20.10.9/53784: Timeout",
            "left #10 o'neill",
        ]
    );
}

#[test]
fn maps_begin_once_each_time() {
    let transcript = "\
[2026-11-24 20:46:22][server]: maps/a.map crc is 00
[2026-11-24 20:46:22][server]: maps/b.map crc is 00
[2026-11-24 20:46:22][server]: maps/b.map sha256 is 00
[2026-11-24 20:46:22][server]: maps/b.map crc is 00";
    assert_eq!(read::<Log>(transcript), ["begun a -", "begun b -", "begun b -"]);
}

#[test]
fn teeworlds_0_6_counts_in_hexadecimal() {
    let transcript = "\
[5a8bf70c][server]: player has entered the game. ClientID=f addr=172.17.0.1:57587
[5a8bf70d][server]: client dropped. cid=15 addr=172.17.0.1:57587 reason=''
[2019-10-13 03:15:53][server]: version 0.6 626fce9a778df4d4
[2019-10-13 03:15:53][server]: player has entered the game. ClientID=10 addr=127.0.0.1:61292
[2020-03-19 12:43:14][server]: player is ready. ClientID=10 addr=<{123.0.0.1:51151}>";
    assert_eq!(
        read::<Log>(transcript),
        [
            "joined #15 @172.17.0.1/57587",
            "left #15 @172.17.0.1/57587",
            "joined #16 @127.0.0.1/61292",
            "connecting #10 @123.0.0.1/51151",
        ]
    );
    assert_eq!(
        time::<Log>("[5a8bf70c][server]: server name is 'x'"),
        Some(LineTime::Utc(1_519_122_188_000))
    );
}

#[test]
fn ddnet() {
    let transcript = "\
2026-08-01 12:00:00 I server: starting...
2026-08-01 12:00:00 I server: server name is 'My DDNet'
2026-08-01 12:00:00 I server: version 0.6 626fce9a778df4d4
2026-08-01 12:00:00 I server: player has entered the game. ClientId=12 addr=<{203.0.113.4:5678}> sixup=0
2026-08-01 12:00:00 D game: team_join player='12:na' team=me' m_Team=0
2026-08-01 12:00:01 I server: player has entered the game. ClientId=2 addr=<{[eadc:6745:7332:1a06:a9b2:ef9e:60e8:1c3f]:27996}> sixup=0
2026-08-01 12:00:02 I chat: 12:-2:x: hello
2026-08-01 12:00:03 I game: leave player='12:na' team=me'
2026-08-01 12:00:03 I server: client dropped. cid=12 addr=<{203.0.113.4:5678}> reason='it's late'
2026-08-01 12:00:04 I server: client dropped. cid=2 addr=<{}> reason='x' addr=1.2.3.4:5 reason='y'";
    assert_eq!(
        read::<Log>(transcript),
        [
            "starting",
            "ready",
            "joined #12 @203.0.113.4/5678",
            "known #12 na' team=me",
            "joined #2 @eadc:6745:7332:1a06:a9b2:ef9e:60e8:1c3f/27996",
            "left #12 na' team=me",
            "left #2: x' addr=1.2.3.4:5 reason='y",
        ]
    );
    assert_eq!(
        time::<Log>("1970-01-02 00:00:00 I server: server name is 'x'"),
        Some(LineTime::Local(86_400_000))
    );
}

#[test]
fn chat_forges_nothing() {
    assert_silent::<Log>(
        "\
[2026-11-24 20:47:20][chat]: 0:-2:x: [2026-11-24 20:47:20][server]: starting...
[2026-11-24 20:47:20][chat]: *** 'x' has left the game
[2026-11-24 20:47:20][server]: 'leave' -> 'client dropped. cid=0'
[2026-11-24 20:47:20][server]: ClientID=0 rcon='client dropped. cid=0 addr=1.2.3.4:5 reason=''
[2026-11-24 20:47:20][server]: player has entered the game. ClientID=zz addr=1.2.3.4:5
[2026-11-24 20:47:20][server]: player has entered the game. ClientID=99999 addr=1.2.3.4:5
[2026-11-24 20:47:20][game]: kill killer='0:x' leave player='0:x'
[2026-11-24 20:47:20][econ]: client dropped. cid=0 addr=1.2.3.4:5 reason=''
2026-08-01 12:00:02 I chat: 12:-2:x: server: starting...
2026-08-01 12:00:02 I chat-command: server: starting...
2026-08-01 12:00:02 X server: starting...
server: starting...",
    );
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(line in ".*") {
        spoken::<Log>(&line);
        for head in ["[2026-11-24 20:47:20][server]: ", "[2026-11-24 20:47:20][game]: ", "2026-08-01 12:00:02 I server: ", "[ff][server]: "] {
            for verb in ["", "player has entered the game. ", "client dropped. cid=1 addr=", "team_join player='1:", "leave player='", "maps/"] {
                spoken::<Log>(&format!("{head}{verb}{line}"));
            }
        }
    }

    #[test]
    fn chat_of_any_kind_is_silent(text in "\\PC*", name in "\\PC{0,15}") {
        for head in ["[2026-11-24 20:47:20][chat]: 0:-2:", "2026-08-01 12:00:02 I chat: 0:-2:", "[5a8bf70c][chat]: 0:-2:"] {
            let line = format!("{head}{name}: {text}");
            prop_assert!(spoken::<Log>(&line).is_empty());
        }
    }

    #[test]
    fn a_name_changes_nothing_for_others(name in "\\PC{1,15}", hostile in "(' team=0|' m_Team=1|1:)?") {
        let name = name + &hostile;
        let who = PlayerRef::in_slot(7).with_name(&name);
        let joined = spoken::<Log>(&format!("2026-08-01 12:00:00 D game: team_join player='7:{name}' team=0"));
        prop_assert_eq!(joined.len(), 1);
        prop_assert_eq!(&joined[0].fact, &Fact::PlayerKnown(who.clone()));
        let left = spoken::<Log>(&format!("2026-08-01 12:00:00 I game: leave player='7:{name}'"));
        prop_assert_eq!(left.len(), 1);
        prop_assert_eq!(&left[0].fact, &Fact::PlayerLeft { player: who, reason: None });
    }
}
