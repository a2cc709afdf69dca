//! What reading a line costs: the grammars of Unreal, ARK, Palworld, Unity, Valheim, Rust, Factorio and of the user's own
//! rules, on mixed lines (nine of ten say nothing), beside a pass over the same lines that only hashes them.

use std::{
    hash::{DefaultHasher, Hasher},
    hint::black_box,
    time::Instant,
};

use anyhow::{Result, ensure};
use gsmon_agent::{
    config::{GrammarRule, GrammarSettings, RuleEvent},
    games::{Grammar, Spoken, ark, custom, factorio, palworld, rust, unity, unreal, valheim},
};

use crate::Row;

const LINES: usize = 100_000;
const RUNS: usize = 9;
/// One million lines a second.
const TARGET_NS: f64 = 1_000.0;

/// What a family writes: `#` becomes a number that grows with every use of a list.
struct Corpus {
    family: &'static str,
    noise: &'static [&'static str],
    events: &'static [&'static str],
}

const CORPORA: [Corpus; 8] = [
    Corpus {
        family: "unreal",
        noise: &[
            "[2026.05.22-20.35.23:271][686]LogStreaming: Display: FlushAsyncLoading(#): 1 QueuedPackages, 0 AsyncPackages",
            "[2026.05.22-20.35.23:272][686]LogNet: Warning: UNetConnection::ReceivedPacket: Packet # lost in sequence",
            "[2026.05.22-20.35.23:273][686]LogSquadTrace: [DedicatedServer]ASQPlayerController::ChangeState(): PC=Player# OldState=Playing NewState=Inactive",
            "[2026.05.22-20.35.24:100][687]LogSquad: Player:[TAG] Someone# ActualDamage=43.0 from Other (Online IDs: EOS: 0002bb228e4d4363ada0c139b11a9ece steam: 76561198000000000)",
            "[2026.05.22-20.35.24:101][687]LogOnlineGame: Verbose: Session Squad_GameSession updated, # open connections",
            "[2026.05.22-20.35.24:101][688]LogBlueprintUserMessages: [BP_Vehicle_C_#] Seat changed",
            "LogPlayerController: Error: InvalidTransform # in ServerMove",
        ],
        events: &[
            "[2026.05.22-20.35.23:271][686]LogNet: NotifyAcceptingConnection accepted from: 203.0.113.133:#",
            "[2026.05.22-20.35.23:271][686]LogNet: AddClientConnection: Added client connection: [UNetConnection] RemoteAddr: 203.0.113.133:#, Name: IpConnection_1, Driver: GameNetDriver IpNetDriver_0, IsServer: YES, PC: NULL, Owner: NULL, UniqueId: INVALID",
            "[2026.05.22-20.35.24:000][700]LogNet: Login request: ?Name=Player#?Password=x userId: RedpointEOS:0002bb228e4d4363ada0c1390000# platform: RedpointEOS",
            "[2026.05.22-20.35.25:000][710]LogNet: Join request: /Game/Maps/Level01?Name=Player#?SplitscreenCount=1",
            "[2026.05.22-20.35.25:000][710]LogNet: Join succeeded: Player#",
            "[2026.05.22-20.35.26:000][720]LogSquad: USQGameState: Server Tick Rate: 49.9",
            "[2026.05.22-20.45.26:000][720]LogNet: UNetConnection::Close: [UNetConnection] RemoteAddr: 203.0.113.133:#, Name: IpConnection_1, Driver: GameNetDriver IpNetDriver_0, IsServer: YES, PC: BP_PC_C_1, Owner: BP_PC_C_1, UniqueId: RedpointEOS:0002bb",
            "[2026.05.22-20.45.26:000][721]LogGameState: Match State Changed from InProgress to WaitingPostMatch",
        ],
    },
    Corpus {
        family: "ark",
        noise: &[
            "[2026.07.27-21.26.00:000][100]2026.07.27_21.26.00: LeRaptorSauvage (Raptor): Hello world #",
            "[2026.07.27-21.26.46:000][  0]2026.07.27_21.26.46: Tribe Tribe of Guppy, ID #: Day 1, 12:00:00: Your Tribe Tamed a Juvenile Kentrosaurus - Lvl 24 (Kentrosaurus)!",
            "[2026.07.27-21.26.46:000][  0]Survivor - Lvl # (The Tribe) was killed by a Direwolf - Lvl 114!",
            "[2026.07.27-21.27.00:000][101]AdminCmd: SaveWorld (PlayerName: LeRaptorSauvage, UserId: #)",
            "[2026.07.27-21.27.00:000][101]LogMemory: Platform Memory Stats for Linux #",
        ],
        events: &[
            "[2026.07.27-21.25.20:000][990]IP for incoming account 0002dbe9ab20413e9b8e7e156200# - IP 203.0.113.66",
            "[2026.07.27-21.25.23:191][991]2026.07.27_21.25.23: Survivor# [UniqueNetId:0002dbe9ab20413e9b8e7e156200# Platform:None] joined this ARK!",
            "[2026.07.27-21.25.35:084][345]2026.07.27_21.25.35: Survivor# [UniqueNetId:0002dbe9ab20413e9b8e7e156200# Platform:None] left this ARK!",
        ],
    },
    Corpus {
        family: "palworld",
        noise: &[
            "[2026-08-02 13:43:28] [CHAT] <Apollo> hello from game #",
            "[2026-08-02 13:43:30] [LOG] REST accessed endpoint /v1/api/info OK #",
            "[2026-08-02 13:43:30] [LOG] Apollo executed the command. showplayers #",
            "[S_API] SteamAPI_Init(): Loaded local 'steamclient.so' OK. #",
        ],
        events: &[
            "[2026-08-02 13:41:39] [LOG] Apollo 192.0.2.7 connected the server. (User id: steam_767354732547#)",
            "[2026-08-02 13:42:08] [LOG] Apollo joined the server. (User id: steam_767354732547#, Player id: D74EBDB1000000)",
            "[2026-08-02 13:43:58] [LOG] Apollo left the server. (User id: steam_767354732547#)",
        ],
    },
    Corpus {
        family: "unity",
        noise: &[
            "Spawned enemy wave # at (12.5, 0.0, -4.0)",
            "UnityEngine.Debug:Log(Object)",
            "  at Mirror.NetworkServer.NetworkLateUpdate () [0x00000] in <00000000>:0",
            "",
            "[KCP] KcpServerConnection: created with cookie=#",
            "[GAME-CONNECTION] Roster updated (# participants)",
        ],
        events: &[
            "[KCP] Server: added connection(-#)",
            "[KCP] Server: OnConnected(-#)",
            "[KCP] Server: OnDisconnected(-#)",
            "Remote connection started for Id #.",
            "Remote connection stopped for Id #.",
        ],
    },
    Corpus {
        family: "valheim",
        noise: &[
            "09/16/2026 05:21:57: Placed locations in zone #, -4",
            "09/16/2026 05:21:57: Network version check, their:40, mine:40 #",
            "09/16/2026 05:21:57: Random event set:army_theelder #",
            "[Info   : Unity Log] 09/16/2026 05:21:57: Console: <color=orange>Erwin</color>: hello #",
            "[Info   :Some Mod] Adding peer (Steam_7656119#) to validated list",
        ],
        events: &[
            "09/16/2026 05:21:57: Got connection SteamID 76561198#",
            "09/16/2026 05:21:57: Got handshake from client 76561198#",
            "09/16/2026 05:21:57: Got character ZDOID from Testvazz : 95485#:113",
            "09/16/2026 05:21:57: Closing socket 76561198#",
            "[Info   : Unity Log] 09/16/2026 05:21:57:  Connections 4 ZDOS:419858  sent:0 recv:#",
        ],
    },
    Corpus {
        family: "rust",
        noise: &[
            "[CHAT] luigiplr[8220/76561198000000000] : testing #",
            "luigiplr[8220/76561198000000000] was killed by Suicide #",
            "Saving complete #",
            "[EAC] Kick #",
            "Calling kill on entity #",
        ],
        events: &[
            "203.0.113.179:5229/765611980000#/Pope of the Nope joined [windows/765611980000#]",
            "203.0.113.179:5229/765611980000#/Pope of the Nope disconnecting: disconnect",
        ],
    },
    Corpus {
        family: "factorio",
        noise: &[
            " 118.214 Info ServerMultiplayerManager.cpp:795: updateTick(#) changing state from(InGame) to(InGameSavingMap)",
            " 121.284 Info ServerMultiplayerManager.cpp:944: updateTick(#) received stateChanged peerID(2) oldState(ConnectedWaitingForMap) newState(ConnectedDownloadingMap)",
            "2026-08-02 02:16:35 [CHAT] david: hello #",
            " 224.089 Script @__Event-Logger__/logger.lua:65: [RESEARCH] worker-robots-speed #",
            "Players (#):",
        ],
        events: &[
            " 118.214 Info ServerSynchronizer.cpp:604: nextHeartbeatSequenceNumber(64747) adding peer(3)",
            " 250.355 Info GameActionHandler.cpp:4996: UpdateTick (15127) processed PlayerJoinGame peerID(3) playerIndex(0) mode(connect) ",
            "2022-04-09 06:08:43 [JOIN] david# joined the game",
            "2022-04-09 06:09:51 [LEAVE] david# left the game",
        ],
    },
    Corpus {
        family: "custom, 8 rules",
        noise: &[
            "[12:30:01] INFO world: saved chunk # in 3 ms",
            "[12:30:01] INFO chat: <someone> player # joined the party",
            "[12:30:01] DEBUG net: packet # dropped",
            "[12:30:01] INFO game: # entities",
        ],
        events: &[
            "[12:30:01] INFO game: player Anna# joined from 192.0.2.1:4000",
            "[12:30:01] INFO game: player Anna# left: timed out",
            "[12:30:01] INFO game: tick 49.9 Hz",
            "[12:30:01] INFO game: # players online",
        ],
    },
];

impl Corpus {
    /// Nine lines that say nothing, then one that does.
    fn lines(&self) -> Vec<String> {
        let filled = |of: &[&str], index: usize| {
            let number = 10_000 + index / of.len() % 5_000;
            of[index % of.len()].replace('#', &number.to_string())
        };
        (0..LINES)
            .map(|line| match line % 10 {
                9 => filled(self.events, line / 10),
                place => filled(self.noise, line / 10 * 9 + place),
            })
            .collect()
    }

    fn grammar(&self) -> Result<Box<dyn Grammar>> {
        Ok(match self.family {
            "unreal" => Box::new(unreal::Log::default()),
            "ark" => Box::new(ark::Log::default()),
            "palworld" => Box::new(palworld::Log::default()),
            "unity" => Box::new(unity::Log),
            "valheim" => Box::new(valheim::Log::default()),
            "rust" => Box::new(rust::Log::default()),
            "factorio" => Box::new(factorio::Log::default()),
            _ => Box::new(custom::Log::new(&rules())?),
        })
    }
}

fn rules() -> GrammarSettings {
    let rule = |event, pattern: &str| GrammarRule {
        event,
        pattern: pattern.into(),
        separator: ", ".into(),
        kind: None,
    };
    GrammarSettings {
        prefix: Some(r"\[\d\d:\d\d:\d\d\] INFO game: ".into()),
        rules: vec![
            rule(RuleEvent::ServerReady, r"listening on port \d+"),
            rule(RuleEvent::MatchBegun, r"match (?<session>\w+) on (?<map>\w+)"),
            rule(RuleEvent::MatchEnded, r"match over: (?<reason>.+)"),
            rule(RuleEvent::Phase, r"phase (?<phase>\w+)"),
            rule(RuleEvent::Join, r"player (?<name>.+) joined from (?<address>\S+)"),
            rule(RuleEvent::Leave, r"player (?<name>.+) left: (?<reason>.+)"),
            rule(RuleEvent::Tick, r"tick (?<rate>[\d.]+) Hz"),
            rule(RuleEvent::Count, r"(?<count>\d+) players online"),
        ],
    }
}

/// The smallest time of several passes, nanoseconds a line.
fn fastest(mut pass: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        pass()?;
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / LINES as f64);
    }
    Ok(best)
}

/// Lines of every family, read by their grammars.
pub fn lines() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for corpus in &CORPORA {
        let lines = corpus.lines();
        let hashed = fastest(|| {
            for line in &lines {
                black_box(hash(line));
            }
            Ok(())
        })?;
        let mut said: Vec<Spoken> = Vec::with_capacity(16);
        let mut facts = 0;
        let read = fastest(|| {
            let mut grammar = corpus.grammar()?;
            facts = 0;
            for line in &lines {
                black_box(hash(line));
                said.clear();
                grammar.line(line, &mut said);
                facts += black_box(&said).len();
            }
            Ok(())
        })?;
        // A grammar that understood nothing would be fast.
        ensure!(
            facts > LINES / 40,
            "{}: only {facts} facts of {LINES} lines",
            corpus.family
        );
        let millions = 1e3 / (read - hashed).max(1.0);
        rows.push(Row::net(
            format!(
                "log line, {} ({millions:.1} M/s a core, {facts} facts)",
                corpus.family
            ),
            read,
            hashed,
            Some(TARGET_NS),
            "ns",
        ));
    }
    Ok(rows)
}

fn hash(line: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(line.as_bytes());
    hasher.finish()
}
