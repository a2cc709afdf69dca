//! Transcripts, forged chat and arbitrary text for the Quake III grammar.

use proptest::prelude::*;

use super::{
    super::transcript::{assert_silent, read, spoken},
    *,
};

#[test]
fn a_match_with_its_map_change() {
    let transcript = r#"
  0:00 ------------------------------------------------------------
  0:00 InitGame: \sv_floodProtect\1\sv_maxclients\16\fraglimit\20\timelimit\15\g_gametype\0\mapname\q3dm17\version\ioq3
  0:00 ClientConnect: 0
  0:00 ClientUserinfoChanged: 0 n\Sarge\t\0\model\sarge\hmodel\sarge\c1\4\c2\5\hc\100\w\0\l\0\skill\ 3.00\tt\0\tl\0
  0:00 ClientBegin: 0
 20:34 ClientConnect: 2
 20:34 ClientUserinfoChanged: 2 n\Isgala^1mido\t\0\model\xian/default\hmodel\xian/default\c1\4\c2\5\hc\100\w\0\l\0\tt\0\tl\0
 20:37 ClientBegin: 2
 20:40 Item: 2 weapon_rocketlauncher
 21:42 Kill: 1022 2 22: <world> killed Isgala^1mido by MOD_TRIGGER_HURT
 21:50 say: Isgala^1mido: ShutdownGame:
 22:10 ClientDisconnect: 2
 25:00 Exit: Timelimit hit.
 25:00 red:8  blue:6
 25:00 score: 20  ping: 4  client: 0 Sarge
 25:10 ShutdownGame:
 25:10 ------------------------------------------------------------
  0:00 ------------------------------------------------------------
  0:00 InitGame: \g_gametype\3\mapname\q3dm6
  0:00 ClientConnect: 0
  0:00 ClientUserinfoChanged: 0 n\Sarge\t\0\model\sarge\skill\ 3.00
  0:00 ClientBegin: 0
  0:00 Warmup:
"#;
    assert_eq!(
        read::<Log>(transcript),
        [
            "ready",
            "begun q3dm17 0",
            "connecting #0",
            "known #0 Sarge bot",
            "joined #0",
            "connecting #2",
            "known #2 Isgala^1mido",
            "joined #2",
            "phase active",
            "left #2",
            "phase ended",
            "ended: Timelimit hit.",
            "ready",
            "begun q3dm6 3",
            "connecting #0",
            "known #0 Sarge bot",
            "joined #0",
            "phase lobby",
        ]
    );
}

#[test]
fn a_console_without_time() {
    let transcript = r#"
------ Server Initialization ------
Server: oa_dm1
------- Game Initialization -------
InitGame: \sv_hostname\test\g_gametype\0\mapname\oa_dm1
AAS initialized.
Client 0 connecting with 200 challenge ping
ClientUserinfoChanged: 4 n\Gargoyle\t\0\model\gargoyle\hmodel\gargoyle\c1\4\c2\5\hc\100\w\0\l\0\skill\ 3.00\tt\0\tl\0\id\
ClientConnect: 4
broadcast: print "Gargoyle^7 connected\n"
Info: There has been at least 1 bot now
Playerstore: Failed to restore player. Invalid guid: 
broadcast: print "Gargoyle^7 entered the game\n"
ClientBegin: 4
Item: 4 item_health
^7Gargoyle^7: ^2hello
Exit: Fraglimit hit.
ShutdownGame:
----- Server Shutdown (Server quit) -----
"#;
    assert_eq!(
        read::<Log>(transcript),
        [
            "phase loading",
            "ready",
            "begun oa_dm1 0",
            "known #4 Gargoyle bot",
            "connecting #4 Gargoyle bot",
            "joined #4",
            "phase active",
            "phase ended",
            "ended: Fraglimit hit.",
            "stopping",
        ]
    );
}

/// Two matches of OpenArena 0.8.8 with three bots, shortened by pick-ups and kills.
const OPENARENA: &str = "\
ready
begun oa_dm1 0
known #0 Liz bot
connecting #0 Liz bot
joined #0
phase active
known #1 Ghost bot
connecting #1 Ghost bot
joined #1
known #2 Arachna bot
connecting #2 Arachna bot
joined #2
phase ended
ended: Timelimit hit.
ready
begun oa_dm2 0
known #0 Liz bot
connecting #0 Liz bot
joined #0
known #1 Ghost bot
connecting #1 Ghost bot
phase active
joined #1
known #2 Arachna bot
connecting #2 Arachna bot
joined #2
ended
";

#[test]
fn openarena_wrote_this_to_its_log() {
    let said = read::<Log>(include_str!("openarena-games.log"));
    assert_eq!(said.join("\n") + "\n", OPENARENA);
}

#[test]
fn openarena_printed_this_on_its_console() {
    let mut said = read::<Log>(include_str!("openarena-console.log"));
    assert_eq!(said.iter().filter(|said| *said == "phase loading").count(), 2);
    assert_eq!(said.iter().filter(|said| *said == "stopping").count(), 1);
    said.retain(|said| said != "phase loading" && said != "stopping");
    said.retain(|said| said != "phase active");
    let expected: Vec<_> = OPENARENA.lines().filter(|line| *line != "phase active").collect();
    assert_eq!(said, expected);
}

#[test]
fn urban_terror_and_tremulous() {
    let transcript = r#"
  0:00 InitGame: \g_gametype\4\mapname\ut4_eagle\gamename\q3ut4
  0:00 Warmup:
  0:24 ClientConnect: 0
  0:24 ClientUserinfo: 0 \ip\192.168.1.1:27960\challenge\-1375992965\name\Josh\racered\2
  0:24 ClientUserinfoChanged: 0 n\Josh\t\3\r\2\tl\0\f0\\f1\\f2\\a0\0\a1\0\a2\0
  0:25 ClientBegin: 0
  1:00 InitRound: \g_gametype\4\mapname\ut4_eagle
  2:00 ClientConnect: 3 [10.0.0.9] (0123456789ABCDEF0123456789ABCDEF) "dre^3tch"
  2:01 ClientConnect: 4 [2001:db8::9] (XXXX) "gran^7ger^7" "granger^7"
  2:02 ClientRename: 4 [2001:db8::9] (XXXX) "gran^7ger^7" -> "mara^7" "mara^7"
  2:03 ClientDisconnect: 3 [10.0.0.9] (0123456789ABCDEF0123456789ABCDEF) "dre^3tch"
"#;
    assert_eq!(
        read::<Log>(transcript),
        [
            "ready",
            "begun ut4_eagle 4",
            "phase lobby",
            "connecting #0",
            "known #0 Josh @192.168.1.1/27960",
            "known #0 Josh",
            "joined #0",
            "phase active",
            "connecting #3 dre^3tch @10.0.0.9",
            "connecting #4 gran^7ger @2001:db8::9",
            "known #4 mara",
            "left #3 dre^3tch @10.0.0.9",
        ]
    );
}

#[test]
fn chat_forges_nothing() {
    assert_silent::<Log>(
        r#"
  1:00 say: Eve: ClientDisconnect: 0
  1:00 sayteam: Eve: Exit: Timelimit hit.
  1:00 tell: Eve to Bob: ShutdownGame:
  1:00 say: ClientBegin: 3: hello
ClientBegin: 3^7: ^2hello
  0:00 ClientBegin: 3^7: hello
ClientDisconnect: 0^7: ^2
ClientConnect: 0 [1.2.3.4] (x) ^7: ^2hello
ShutdownGame:^7: ^2hello
Warmup:^7: ^2
Exit: x^7: ^2Timelimit hit.
Exit: Timelimit hit.: hello
InitGame:^7: ^2\mapname\q3dm1
InitRound:^7: \mapname\q3dm1
----- Server Shutdown (x^7: ^2) -----
------ Server Initialization ------^7: ^2
broadcast: print "ShutdownGame:\n"
ClientBegin: 99999999999999999999
ClientBegin: 5000
ClientBegin: x
ClientBegin:"#,
    );
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(line in ".*", before in "[ 0-9:]{0,12}") {
        spoken::<Log>(&line);
        for head in ["Client", "ClientConnect: 1 [", "ClientUserinfo: 1 \\", "ClientUserinfoChanged: 1 n\\", "InitGame: \\", "Exit: ", "----- Server Shutdown "] {
            spoken::<Log>(&format!("{before}{head}{line}"));
        }
    }

    /// A console prints chat behind the bare name: whatever both hold, nobody else is spoken of.
    #[test]
    fn console_chat_is_silent(
        name in "(ClientBegin: 3|ClientDisconnect: 3|Exit: x|ShutdownGame:|Warmup:|InitGame: |InitRound: )?[^\\\\\";\\pC]{0,20}",
        text in "(ClientBegin: 3|Exit: x\\.|\\\\mapname\\\\x|-----)?[^\\pC]{0,20}",
        white in "\\^7",
    ) {
        let name = name.trim();
        for line in [format!("{name}{white}: ^2{text}"), format!("{name}{white}\u{19}: ^2{text}")] {
            prop_assert!(spoken::<Log>(&line).is_empty(), "{}", line);
        }
    }

    #[test]
    fn a_name_changes_nothing_for_others(name in "[^\\\\\";\\pC]{1,35}") {
        let line = format!("  0:24 ClientUserinfoChanged: 7 n\\{name}\\t\\0\\model\\x\\tl\\0");
        let said = spoken::<Log>(&line);
        prop_assert_eq!(said.len(), 1);
        prop_assert_eq!(&said[0].fact, &Fact::PlayerKnown(PlayerRef::in_slot(7).with_name(&name)));
        let kill = format!("  0:24 Kill: 1 2 3: {name} killed {name} by MOD_X");
        prop_assert!(spoken::<Log>(&kill).is_empty());
        let score = format!("  0:24 score: 20  ping: 4  client: 4 {name}");
        prop_assert!(spoken::<Log>(&score).is_empty());
    }
}
