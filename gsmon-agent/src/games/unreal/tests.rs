use proptest::prelude::*;

use super::Log;
use crate::games::{
    event::{Fact, Phase, PlayerRef},
    fields::hostile_name,
    grammar::{Grammar, LineTime, Spoken},
};

mod players;

fn read(log: &mut Log, lines: &[&str]) -> Vec<Fact> {
    said(log, lines).into_iter().map(|spoken| spoken.fact).collect()
}

fn said(log: &mut Log, lines: &[&str]) -> Vec<Spoken> {
    let mut said = Vec::new();
    for line in lines {
        log.line(line, &mut said);
    }
    said
}

fn facts(lines: &[&str]) -> Vec<Fact> {
    read(&mut Log::default(), lines)
}

fn at(address: &str, port: u16) -> PlayerRef {
    PlayerRef::default().with_address(address.parse().unwrap(), Some(port))
}

fn begun(map: &str) -> Fact {
    Fact::MatchBegun {
        map: Some(map.into()),
        mode: None,
        id: None,
    }
}

fn left(player: PlayerRef) -> Fact {
    Fact::PlayerLeft { player, reason: None }
}

const ADDED: &str = "AddClientConnection: Added client connection: [UNetConnection] RemoteAddr: ";
const DRIVER: &str = ", Name: IpConnection_1, Driver: GameNetDriver IpNetDriver_0, IsServer: YES, PC: NULL, Owner: NULL, UniqueId: INVALID";

fn added(second: u32, frame: u32, remote: &str) -> String {
    net(second, frame, &format!("{ADDED}{remote}{DRIVER}"))
}

fn net(second: u32, frame: u32, text: &str) -> String {
    format!("[2026.05.22-20.35.{second:02}:271][{frame:>3}]LogNet: {text}")
}

fn all(lines: &[String]) -> Vec<Fact> {
    facts(&lines.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_server_starts_plays_and_stops() {
    let log = [
        "Log file open, 03/10/26 00:05:06",
        "LogPluginManager: Mounting plugin Paper2D",
        "LogInit: Display: Starting Game.",
        "[2026.03.10-00.05.07:001][  0]LogLoad: LoadMap: /Game/Maps/Level01/Level01_Main?Name=Player",
        "[2026.03.10-00.05.07:101][  0]LogNet: Name:GameNetDriver IpNetDriver listening on port 17777",
        "[2026.03.10-00.05.07:102][  0]LogWorld: Bringing World /Game/Maps/Level01/Level01_Main.Level01_Main up for play (max tick rate 30) at 2026.03.10-01.05.07",
        "[2026.03.10-00.05.07:103][  0]LogGameMode: Display: Match State Changed from EnteringMap to WaitingToStart",
        "[2026.03.10-00.05.07:104][  0]LogInit: Display: Engine is initialized. Leaving FEngineLoop::Init()",
        "[2026.03.10-00.05.09:000][ 61]LogGameMode:Display: Match State Changed from WaitingToStart to InProgress",
        "[2026.03.10-00.05.09:000][ 61]LogGameState: Match State Changed from WaitingToStart to InProgress",
        "[2026.03.10-00.25.09:000][ 61]LogGameState: Match State Changed from InProgress to WaitingPostMatch",
        "[2026.03.10-00.26.09:000][ 61]LogGameMode: Display: Match State Changed from WaitingPostMatch to LeavingMap",
        "[2026.03.10-00.26.09:000][ 61]LogWorld: SeamlessTravel to: /Game/Maps/Level02",
        "[2026.03.10-00.26.09:500][ 62]LogWorld: Bringing World /Temp/Untitled_1.Untitled up for play (max tick rate 30) at 2026.03.10-01.26.09",
        "[2026.03.10-00.26.09:500][ 62]LogWorld: Bringing World /Game/Maps/TransitionMap.TransitionMap up for play (max tick rate 30) at 2026.03.10-01.26.09",
        "[2026.03.10-00.26.10:000][ 63]LogWorld: Bringing World /Game/Maps/Level02.Level02 up for play (max tick rate 30) at 2026.03.10-01.26.10",
        "[2026.03.10-00.27.10:000][ 64]LogGameMode: Display: Match State Changed from InProgress to Aborted",
        "[2026.03.10-00.27.10:000][ 64]LogGameMode: Display: Match State Changed from Aborted to OverTimeOfThisTitle",
        "[2026.03.10-00.28.10:000][ 65]LogCore: Engine exit requested (reason: ConsoleCtrl RequestExit)",
        "[2026.03.10-00.28.11:000][ 65]LogExit: Preparing to exit.",
        "[2026.03.10-00.28.11:000][ 65]LogExit: Exiting.",
        "[2026.03.10-00.28.11:000][ 65]Log file closed, 03/10/26 01:28:11",
    ];
    let said = said(&mut Log::default(), &log);
    let times: Vec<_> = said.iter().map(|spoken| spoken.time).collect();
    let facts: Vec<_> = said.into_iter().map(|spoken| spoken.fact).collect();
    assert_eq!(
        facts,
        [
            Fact::ServerStarting,
            Fact::Phase(Phase::Loading),
            Fact::ServerReady,
            begun("Level01_Main"),
            Fact::Phase(Phase::Lobby),
            Fact::Phase(Phase::Active),
            Fact::Phase(Phase::Ended),
            Fact::Phase(Phase::Loading),
            begun("Level02"),
            Fact::Phase(Phase::Lobby),
            Fact::MatchEnded {
                reason: Some("Aborted".into())
            },
            Fact::ServerStopping,
        ]
    );
    assert_eq!(times[0], Some(LineTime::Local(1_773_101_106_000)));
    assert_eq!(times[1], Some(LineTime::Utc(1_773_101_107_001)));
}

#[test]
fn ready_by_whatever_says_it_first() {
    let listening =
        "LogNet: Name:GameNetDriver Def:GameNetDriver IpNetDriver_0 IpNetDriver listening on port 7777";
    assert_eq!(facts(&[listening, listening]), [Fact::ServerReady]);
    assert_eq!(
        facts(&["LogNet: Name:BeaconNetDriver IpNetDriver_1 IpNetDriver listening on port 15000"]),
        []
    );
    assert_eq!(
        facts(&["LogWorld: Bringing World /Game/A.A up for play (max tick rate 30) at 2023.01.01-00.00.00"]),
        [Fact::ServerReady, begun("A"), Fact::Phase(Phase::Lobby)]
    );
    assert_eq!(
        facts(&["[2026.03.10-00.05.07:001][  0]LogInit: Display: Engine is initialized."]),
        [Fact::ServerReady]
    );
    // A new process in the same file is ready anew.
    assert_eq!(
        facts(&[listening, "Log file open, 03/10/26 00:05:06", listening]),
        [Fact::ServerReady, Fact::ServerStarting, Fact::ServerReady]
    );
}

#[test]
fn other_prefixes() {
    let accepted = "LogNet: NotifyAcceptingConnection accepted from: [2001:db8::10]:45000";
    let expected = [Fact::PlayerConnecting(at("2001:db8::10", 45000))];
    for prefix in [
        "",
        "[0014.42][114]",
        "[2026.07.31-13.33.00:000]",
        "[2026.07.31-13.33.00:000][  1]",
    ] {
        assert_eq!(facts(&[&format!("{prefix}{accepted}")]), expected, "{prefix}");
    }
    assert_eq!(
        facts(&[&format!("[chat]{accepted}"), &format!(" {accepted}")]),
        []
    );
}

#[test]
fn a_match_without_states_is_active_from_the_first_join() {
    assert_eq!(
        facts(&[
            "LogWorld: Bringing World /Game/A.A up for play (max tick rate 30) at x",
            "LogNet: Join succeeded: Anna",
            "LogNet: Join succeeded: Ben",
        ])[2..],
        [
            Fact::Phase(Phase::Lobby),
            Fact::PlayerJoined(PlayerRef::named("Anna")),
            Fact::Phase(Phase::Active),
            Fact::PlayerJoined(PlayerRef::named("Ben")),
        ]
    );
}

#[test]
fn chat_and_names_forge_nothing() {
    let at = "[2026.05.22-20.35.23:271][686]";
    for line in [
        "LogChat: Evil: LogNet: Join succeeded: Victim",
        "LogSquad: Player Evil has been added to Team 1",
        "LogSquad: USQGameState: Server Tick Rate: 1 (Online IDs: EOS: aa steam: 7) has created Squad 1 (Squad Name: x) on Army",
        "LogSquad: PostLogin: NewPlayer: C /x (IP: 1.1.1.1 | Online IDs: EOS: aa) (Online IDs: EOS: bb steam: 7) has created Squad 1 (Squad Name: (IP: 2.2.2.2 | Online IDs: EOS: cc) on Army",
        "LogTemp: Match State Changed from WaitingToStart to InProgress",
        "LogGameMode: Evil said Match State Changed from WaitingToStart to InProgress",
        "LogGameMode: Match State Changed from WaitingToStart to InProgress!",
        "LogWorld: x Bringing World /Game/A.A up for play",
        "LogNet: Evil Join succeeded: Victim",
        "LogExit: Exiting. (not)",
        "Evil: Log file closed, 03/10/26 01:28:11",
    ] {
        assert_eq!(facts(&[&format!("{at}{line}")]), [], "{line}");
    }
    // A line break in a chat message of a log with dates.
    assert_eq!(
        facts(&[
            &format!("{at}LogChat: hello"),
            "LogNet: Join succeeded: Victim",
            "LogExit: Exiting."
        ]),
        []
    );
    // The client writes its own options; the engine's fields are the last ones.
    assert_eq!(
        facts(&[&format!(
            "{at}LogNet: Login request: ?Name=Evil userId: EOS:victim platform: EOS?x=1 userId: EOS:evil platform: EOS"
        )]),
        [Fact::PlayerKnown(PlayerRef {
            platform_id: Some("evil".into()),
            ..PlayerRef::named("Evil userId: EOS:victim platform: EOS")
        })]
    );
}

proptest! {
    #[test]
    fn nothing_panics(lines in prop::collection::vec("\\PC{0,120}", 0..20)) {
        let _ = facts(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    }

    #[test]
    fn engine_like_text_never_panics(lines in prop::collection::vec(
        "(\\[2026\\.05\\.22-20\\.35\\.23:271\\]\\[ ?[0-9]{0,4}\\]?)?(LogNet|LogSquad|LogWorld|LogGameMode): (Login request: |Join succeeded: |UNetConnection::Close: \\[UNetConnection\\] RemoteAddr: |PostLogin: NewPlayer: |Bringing World |Match State Changed from )\\PC{0,60}",
        0..20,
    )) {
        let _ = facts(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// Whatever a player calls himself, his join is his, and nobody else is touched by it.
    #[test]
    fn names_change_nothing_for_others(name in hostile_name()) {
        let mut log = Log::default();
        read(&mut log, &[
            &added(1, 1, "192.0.2.1:7"),
            &net(2, 2, "Login request: ?Name=Victim userId: EOS:victim platform: EOS"),
            &net(3, 3, "Join succeeded: Victim"),
        ]);
        let facts = read(&mut log, &[
            &added(4, 4, "192.0.2.2:8"),
            &net(5, 5, &format!("Login request: ?Name={name} userId: EOS:evil platform: EOS")),
            &net(6, 6, &format!("Join request: /Game/A?Name={name}")),
            &net(6, 6, &format!("Join succeeded: {name}")),
        ]);
        prop_assert_eq!(facts.len(), 3, "{:?}", &facts);
        for fact in &facts {
            let player = match fact {
                Fact::PlayerConnecting(player) | Fact::PlayerKnown(player) | Fact::PlayerJoined(player) => player,
                other => return Err(TestCaseError::fail(format!("{other:?}"))),
            };
            prop_assert_ne!(player.platform_id.as_deref(), Some("victim"));
            prop_assert_eq!(player.address, "192.0.2.2".parse().ok());
        }
    }
}
