//! Transcripts, forged chat and arbitrary text for the Minecraft grammar.

use proptest::prelude::*;

use super::{
    super::{
        LineTime,
        transcript::{assert_silent, read, spoken, time},
    },
    *,
};

#[test]
fn a_vanilla_evening() {
    let transcript = r#"
[12:00:06] [Server thread/INFO]: Starting minecraft server version 1.21.4
[12:00:06] [Server thread/INFO]: Starting Minecraft server on *:25565
[12:00:08] [Server thread/INFO]: Preparing level "world"
[12:00:09] [Worker-Main-1/INFO]: Preparing spawn area: 83%
[12:00:12] [Server thread/INFO]: Done (44.552s)! For help, type "help"
[12:00:25] [User Authenticator #1/INFO]: UUID of player Steve is 069a79f4-44e9-4726-a5be-fca90e38aaf5
[12:00:26] [Server thread/INFO]: Steve[/127.0.0.1:54321] logged in with entity id 123 at (8.5, 64.0, 8.5)
[12:00:26] [Server thread/INFO]: Steve joined the game
[12:00:30] [Server thread/INFO]: <Steve> Alex left the game
[12:01:00] [Server thread/WARN]: Can't keep up! Is the server overloaded? Running 2861ms or 57 ticks behind
[12:01:01] [Server thread/INFO]: Steve has made the advancement [Stone Age]
[12:02:00] [Server thread/INFO]: There are 1 of a max of 20 players online: Steve
[12:03:00] [Server thread/INFO]: Steve lost connection: Disconnected
[12:03:00] [Server thread/INFO]: Steve left the game
[12:04:00] [Server thread/INFO]: Stopping the server
[12:04:00] [Server thread/INFO]: Stopping server
[12:04:00] [Server thread/INFO]: Saving players
"#;
    assert_eq!(
        read::<Log>(transcript),
        [
            "starting",
            "phase loading",
            "ready",
            "known Steve =069a79f4-44e9-4726-a5be-fca90e38aaf5",
            "joined Steve @127.0.0.1/54321",
            "joined Steve",
            "behind 2861",
            "count 1 of Some(20)",
            "roster Steve",
            "left Steve: Disconnected",
            "stopping",
        ]
    );
}

#[test]
fn paper_says_joined_first() {
    let transcript = "\
[18:00:00 INFO]: UUID of player .Bed_Rock is 00000000-0000-0000-0009-01f64f65c7c3
[18:00:01 INFO]: .Bed_Rock joined the game
[18:00:01 INFO]: .Bed_Rock[/[2001:db8:0:0:0:0:0:7]:19132] logged in with entity id 42 at ([world]8.5, 64.0, 8.5)
[18:00:02 INFO]: [Not Secure] <.Bed_Rock> hi
[18:00:03 WARN]: Can't keep up! Is the server overloaded? Running 5000ms or 100 ticks behind
[18:00:09 INFO]: .Bed_Rock lost connection: Timed out
[18:00:09 INFO]: .Bed_Rock left the game
[18:00:10 INFO]: Steve joined the game
[18:00:11 INFO]: Steve left the game";
    assert_eq!(
        read::<Log>(transcript),
        [
            "known .Bed_Rock =00000000-0000-0000-0009-01f64f65c7c3",
            "joined .Bed_Rock",
            "joined .Bed_Rock @2001:db8::7/19132",
            "behind 5000",
            "left .Bed_Rock: Timed out",
            "joined Steve",
            "left Steve",
        ]
    );
}

#[test]
fn a_server_that_dies_while_loading_starts_again() {
    let transcript = "\
[12:00:06] [Server thread/INFO]: Starting minecraft server version 1.21.4
[12:00:06] [Server thread/INFO]: Starting Minecraft server on *:25565
[12:00:09] [Server thread/INFO]: Starting minecraft server version 1.21.4
[12:00:09] [Server thread/INFO]: Starting Minecraft server on *:25565";
    assert_eq!(read::<Log>(transcript), ["starting", "starting"]);
}

#[test]
fn forge_fabric_and_old_servers() {
    assert_eq!(
        read::<Log>(
            r#"
[14Jan2024 12:34:56.789] [Server thread/INFO] [net.minecraft.server.dedicated.DedicatedServer/]: Done (8.331s)! For help, type "help"
[12:34:57] [Server thread/INFO] [minecraft/MinecraftServer]: Dev joined the game
[13:00:14] [Server thread/INFO] (Minecraft) Dev left the game
2012-09-02 07:54:39 [INFO] Starting minecraft server version 1.3.2
2012-09-02 07:54:39 [INFO] Starting Minecraft server on *:25565
2012-09-02 07:54:40 [INFO] Preparing level "world"
2012-09-02 07:54:49 [INFO] Done (9437519310ns)! For help, type "help" or "?"
2012-09-02 07:55:00 [INFO] Steve [/10.0.0.9:4000] logged in with entity id 5 at (1.0, 2.0, 3.0)
2012-09-02 07:55:01 [WARNING] Can't keep up! Did the system time change, or is the server overloaded?
2012-09-02 07:56:00 [INFO] Steve lost connection: disconnect.quitting
07:57:00 [INFO] Stopping server
"#
        ),
        [
            "ready",
            "joined Dev",
            "left Dev",
            "starting",
            "phase loading",
            "ready",
            "joined Steve @10.0.0.9/4000",
            "left Steve: disconnect.quitting",
            "stopping",
        ]
    );
}

#[test]
fn reference_lines() {
    for (line, facts) in [
        (
            "[12:00:06] [Server thread/INFO]: Starting minecraft server on *:25565",
            vec!["starting"],
        ),
        (
            "[12:00:06] [Server thread/WARN]: Can't keep up! Did the system time change, or is the server overloaded? Running 2000ms behind, skipping 40 tick(s)",
            vec!["behind 2000"],
        ),
        (
            "[12:00:06] [Server thread/INFO]: There are 0 of a max of 20 players online: ",
            vec!["count 0 of Some(20)", "roster"],
        ),
        (
            "[12:00:06] [Server thread/INFO]: There are 3/20 players online:",
            vec!["count 3 of Some(20)"],
        ),
        (
            "[12:00:06] [Server thread/INFO]: Steve[local] logged in with entity id 1 at (0, 0, 0)",
            vec!["joined Steve"],
        ),
        (
            "[12:00:06] [Server thread/INFO]: Steve[/0:0:0:0:0:0:0:1:54321] logged in with entity id 1 at (0, 0, 0)",
            vec!["joined Steve @::1/54321"],
        ),
        (
            "[12:00:06] [Server thread/INFO]: Neu (formerly known as Alt) joined the game",
            vec!["joined Neu"],
        ),
        (
            "[12:00:06] [Server thread/INFO]: Игрок joined the game",
            vec!["joined Игрок"],
        ),
    ] {
        assert_eq!(read::<Log>(line), facts, "{line}");
    }
}

#[test]
fn times_only_where_the_line_has_a_date() {
    assert_eq!(
        time::<Log>("[12:00:06] [Server thread/INFO]: Stopping server"),
        None
    );
    assert_eq!(
        time::<Log>("2012-09-02 07:54:39 [INFO] Stopping server"),
        Some(LineTime::Local(1_346_572_479_000))
    );
    assert_eq!(
        time::<Log>("[02Sep2012 07:54:39.250] [Server thread/INFO] [x/]: Stopping server"),
        Some(LineTime::Local(1_346_572_479_250))
    );
}

#[test]
fn a_refused_login_says_nothing_of_who_plays() {
    let transcript = "\
[12:00:00] [Server thread/INFO]: Steve[/10.0.0.1:1000] logged in with entity id 1 at (0, 0, 0)
[12:00:01] [Server thread/INFO]: Steve (/10.6.6.6:666) lost connection: Failed to verify username!
[12:00:02] [Server thread/INFO]: com.mojang.authlib.GameProfile@51a[id=<null>,name=Steve,properties={},legacy=false] (/10.6.6.6:667) lost connection: Disconnected
[12:00:03] [Server thread/INFO]: Alex (/10.0.0.2:5) lost connection: You are not white-listed on this server!
[12:00:03] [Server thread/INFO]: Eve (IP hidden) lost connection: Disconnected
[12:00:03] [Server thread/INFO]: Steve (IP hidden) lost connection: Disconnected
[12:00:04] [Server thread/INFO]: /10.0.0.3:7 lost connection: Disconnected";
    assert_eq!(
        read::<Log>(transcript),
        [
            "joined Steve @10.0.0.1/1000",
            "left @10.6.6.6/666: Failed to verify username!",
            "left @10.6.6.6/667: Disconnected",
            "left Alex @10.0.0.2/5: You are not white-listed on this server!",
            "left Eve: Disconnected",
            "left @10.0.0.3/7: Disconnected",
        ]
    );
}

#[test]
fn chat_forges_nothing() {
    assert_silent::<Log>(
        "\
[12:00:00] [Server thread/INFO]: <Steve> Done (1.0s)!
[12:00:00] [Server thread/INFO]: <Steve> Alex joined the game
[12:00:00] [Server thread/INFO]: [Server] Stopping server
[12:00:00] [Server thread/INFO]: [Steve: Stopping the server]
[12:00:00] [Server thread/INFO]: [Not Secure] <Steve> Alex left the game
[12:00:00] [Server thread/INFO]: [Steve] joined the game
[12:00:00] [Server thread/INFO]: * Alex left the game
[12:00:00] [Server thread/INFO]: * Steve Alex[/1.2.3.4:5] logged in with entity id 1 at
[12:00:00] [Async Chat Thread - #0/INFO]: Steve: Alex left the game
[12:00:00] [Async Chat Thread - #0/INFO]: Steve: joined the game
[12:00:00] [Async Chat Thread - #0/INFO]: [Owner] Steve » left the game
[12:00:00] [Async Chat Thread - #0/INFO]: Owner Steve left the game
[12:00:00] [Async Chat Thread - #0/INFO]: Steve Alex lost connection: x
[12:00:00] [Server thread/INFO]: Steve was slain by Alex using [Zed joined the game]
[12:00:00] [Server thread/INFO]: Steve was slain by Zed joined the game
[12:00:00] [Server thread/INFO]: Steve issued server command: /me left the game
[12:00:00] [Server thread/INFO]: Steve Can't keep up! Is the server overloaded? Running 2861ms or 57 ticks behind
[12:00:00] [Server thread/INFO]: <Steve> [12:00:00] [Server thread/INFO]: Stopping server
[12:00:00] [Server thread/INFO]: Done (with it)! For help
[12:00:00] [Server thread/INFO]: Stopping server now
[12:00:00] [Server thread/INFO]: Alex[[/1.2.3.4:5] logged in with entity id 1 at (0, 0, 0)
[12:00:00] [Server thread/INFO]: Alex[/[/1.2.3.4:5] logged in with entity id 1 at (0, 0, 0)
[12:00:00] [Server thread/INFO]: Alex (/1 (/1.2.3.4:5) lost connection: x
Stopping server
Steve left the game
[12:00:00] Steve left the game
[12:00:00] [x]: Steve left the game",
    );
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(line in ".*", inner in ".*") {
        spoken::<Log>(&line);
        spoken::<Log>(&format!("[12:00:00] [{line}]: {inner}"));
        spoken::<Log>(&format!("[12:00:00 INFO]: {line}[{inner}] logged in with entity id 1"));
        spoken::<Log>(&format!("[12:00:00 INFO]: {line} ({inner}) lost connection: x"));
        spoken::<Log>(&format!("2012-09-02 07:54:39 [INFO] {line}"));
    }

    #[test]
    fn a_speaker_in_brackets_is_never_heard(name in "[A-Za-z0-9_]{1,16}", text in "\\PC*") {
        for line in [
            format!("[12:00:00] [Server thread/INFO]: <{name}> {text}"),
            format!("[12:00:00 INFO]: [Not Secure] <{name}> {text}"),
            format!("[12:00:00] [Server thread/INFO]: [{name}] {text}"),
            format!("[12:00:00] [Server thread/INFO]: * {name} {text}"),
            format!("2012-09-02 07:54:39 [INFO] <{name}> {text}"),
        ] {
            prop_assert!(spoken::<Log>(&line).is_empty(), "{}", line);
        }
    }

    #[test]
    fn a_name_changes_nothing_for_others(start in "(A|Alex)?", name in "\\PC{0,12}", end in "(\\[|\\[/| \\(| \\(/1|\\[local| )?") {
        let name = start + &name + &end;
        for (line, joins) in [
            (format!("[12:00:00] [Server thread/INFO]: {name} joined the game"), true),
            (format!("[12:00:00] [Server thread/INFO]: {name} left the game"), false),
            (format!("[12:00:00] [Server thread/INFO]: {name}[/1.2.3.4:5] logged in with entity id 7 at (0, 0, 0)"), true),
            (format!("[12:00:00] [Server thread/INFO]: {name} (/1.2.3.4:5) lost connection: x"), false),
        ] {
            for spoken in spoken::<Log>(&line) {
                let who = match spoken.fact {
                    Fact::PlayerJoined(who) if joins => who,
                    Fact::PlayerLeft { player, .. } if !joins => player,
                    other => return Err(TestCaseError::fail(format!("{other:?}"))),
                };
                prop_assert_eq!(who.name.as_deref(), Some(name.as_str()));
            }
        }
    }
}
