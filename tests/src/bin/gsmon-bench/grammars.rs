//! What reading a log costs: lines of every family as servers write them, nine in ten of them chat and other noise,
//! beside a baseline that only splits the same text into lines and hashes them.

use std::{
    hash::{DefaultHasher, Hasher},
    hint::black_box,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use gsmon_agent::{
    config::Game,
    games::{Grammar, Spoken, family},
};

use crate::Row;

const LINES: usize = 100_000;
const RUNS: usize = 15;

/// Lines of one family; `{n}` is a number that differs from line to line.
struct Corpus {
    game: Game,
    name: &'static str,
    noise: &'static [&'static str],
    events: &'static [&'static str],
}

const CORPORA: [Corpus; 6] = [
    Corpus {
        game: Game::Minecraft,
        name: "minecraft",
        noise: &[
            "[12:00:26] [Server thread/INFO]: <Steve{n}> has anyone seen Alex? she left the game an hour ago",
            "[12:00:26 INFO]: [Not Secure] <Player{n}> joined the game is what it says every time, lol",
            "[12:00:27] [Server thread/INFO]: Player{n} was slain by Zombie",
            "[12:00:27] [Server thread/INFO]: Player{n} has made the advancement [Monster Hunter]",
            "[12:00:28] [Server thread/INFO]: Player{n} issued server command: /home base",
            "[12:00:28] [Server thread/INFO]: [Essentials] Player{n} has 12 unread mails in their mailbox",
            "[12:00:29] [Craft Scheduler Thread - 3 - CoreProtect/INFO]: [CoreProtect] Purged {n} rows of old block data",
            "[12:00:29] [Server thread/WARN]: Player{n} moved too quickly! -10.1,0.3,8.2",
            "\tat net.minecraft.server.MinecraftServer.tickServer(MinecraftServer.java:{n})",
        ],
        events: &[
            "[12:00:25] [User Authenticator #1/INFO]: UUID of player Player{n} is 069a79f4-44e9-4726-a5be-fca90e38aaf5",
            "[12:00:26] [Server thread/INFO]: Player{n}[/203.0.113.9:54321] logged in with entity id {n} at (8.5, 64.0, 8.5)",
            "[12:00:26] [Server thread/INFO]: Player{n} joined the game",
            "[12:00:30] [Server thread/INFO]: Player{n} lost connection: Disconnected",
            "[12:00:30] [Server thread/INFO]: Player{n} left the game",
        ],
    },
    Corpus {
        game: Game::MinecraftBedrock,
        name: "minecraft-bedrock",
        noise: &[
            "[2024-04-01 20:50:27:000 INFO] Player PartyIdUpdate:  pfid: 94BDCFBEDC749828, partyid: , isLeader: false",
            "[2024-04-01 20:50:27:000 INFO] Running AutoCompaction...",
            "[2024-04-01 20:50:27:000 WARN] [Scripting] <Player{n}> hello everybody, Player disconnected: not yet",
            "[2024-04-01 20:50:27:000 INFO] [Scripting] saved {n} chunks of the shop plugin's region",
            "[2024-04-01 20:50:27:000 ERROR] [Json] behavior pack | entities/thing{n}.json | unknown child",
        ],
        events: &[
            "[2024-04-01 20:50:26:198 INFO] Player connected: Player {n}, xuid: 2535413418839840",
            "[2024-04-01 20:50:31:386 INFO] Player Spawned: Player {n} xuid: 2535413418839840, pfid: c31902da495f4549",
            "[2024-04-01 21:48:00:000 INFO] Player disconnected: Player {n}, xuid: 2535413418839840, pfid: c31902da495f4549",
        ],
    },
    Corpus {
        game: Game::Source,
        name: "source",
        noise: &[
            "L 03/07/2013 - 18:02:00: \"Player<{n}><[U:1:1562053]><Red>\" killed \"Bob<17><[U:1:77]><Blue>\" with \"minigun\" (attacker_position \"1 2 3\") (victim_position \"4 5 6\")",
            "L 03/07/2013 - 18:02:10: \"Player<{n}><[U:1:1562053]><Red>\" say \"gg wp, next map entered the game\"",
            "L 03/07/2013 - 18:02:10: \"Player<{n}><[U:1:1562053]><Red>\" triggered \"shot_fired\" (weapon \"scattergun\")",
            "L 03/07/2013 - 18:02:10: \"Player<{n}><[U:1:1562053]><CT>\" [-1016 -2229 -127] attacked \"Paul<23><BOT><CT>\" [334 2434 -63] with \"ak47\" (damage \"27\") (damage_armor \"4\") (health \"73\")",
            "L 03/07/2013 - 18:02:10: \"Player<{n}><[U:1:1562053]><Red>\" spawned as \"Soldier\"",
            "L 03/07/2013 - 18:02:10: Team \"Red\" current score \"{n}\" with \"6\" players",
            "L 03/07/2013 - 18:02:10: \"mp_timelimit\" = \"{n}\"",
            "L 03/07/2013 - 18:02:10: rcon from \"10.0.0.1:{n}\": command \"status\"",
        ],
        events: &[
            "L 03/07/2013 - 18:01:00: \"Player<{n}><[U:1:1562053]><>\" connected, address \"203.0.113.5:27005\"",
            "L 03/07/2013 - 18:01:07: \"Player<{n}><[U:1:1562053]><>\" entered the game",
            "L 03/07/2013 - 18:01:08: World triggered \"Round_Start\"",
            "L 03/07/2013 - 18:30:10: \"Player<{n}><[U:1:1562053]><Red>\" disconnected (reason \"Disconnect by user.\")",
        ],
    },
    Corpus {
        game: Game::Quake3,
        name: "quake3",
        noise: &[
            " 20:40 Item: {n} weapon_rocketlauncher",
            " 21:42 Kill: 1022 {n} 22: <world> killed ^1Isgala^7mido by MOD_TRIGGER_HURT",
            " 21:50 say: ^1Isgala^7mido: well played everybody, that was client {n}",
            "^1Isgala^7mido^7: ^2ClientBegin: {n}",
            " 21:51 Award: {n} 3: ^1Isgala^7mido gained the EXCELLENT award!",
            " 21:51 score: 20  ping: 48  client: {n} ^1Isgala^7mido",
            "broadcast: print \"^1Isgala^7mido^7 connected ({n})\\n\"",
        ],
        events: &[
            " 20:34 ClientConnect: 2",
            " 20:34 ClientUserinfoChanged: 2 n\\Player{n}\\t\\0\\model\\xian/default\\hmodel\\xian/default\\c1\\4\\c2\\5\\hc\\100\\w\\0\\l\\0\\tt\\0\\tl\\0",
            " 20:37 ClientBegin: 2",
            " 22:10 ClientDisconnect: 2",
        ],
    },
    Corpus {
        game: Game::Teeworlds,
        name: "teeworlds",
        noise: &[
            "2026-08-01 12:00:02 I chat: 12:-2:nameless tee: does anyone want to finish this one? {n}",
            "2026-08-01 12:00:02 I chat: *** 'nameless tee' joined the game {n}",
            "2026-08-01 12:00:02 I game: kill killer='12:nameless tee' victim='{n}:brave tee' weapon=1 special=0",
            "2026-08-01 12:00:02 I game: pickup player='12:nameless tee' item={n}",
            "[2026-11-24 20:47:30][chat]: 0:-2:nameless tee: leave player='{n}:x'",
            "2026-08-01 12:00:02 I server: ClientId={n} rcon='status'",
            "2026-08-01 12:00:02 I teehistorian: recording to 'teehistorian/{n}.teehistorian'",
        ],
        events: &[
            "2026-08-01 12:00:00 I server: player has entered the game. ClientId=12 addr=<{203.0.113.4:5678}> sixup=0",
            "2026-08-01 12:00:00 I game: team_join player='12:tee {n}' team=0",
            "2026-08-01 12:00:03 I game: leave player='12:tee {n}'",
            "2026-08-01 12:00:03 I server: client dropped. cid=12 addr=<{203.0.113.4:5678}> reason='Timeout'",
        ],
    },
    Corpus {
        game: Game::Luanti,
        name: "luanti",
        noise: &[
            "2026-08-01 19:01:10: ACTION[Server]: alice{n} digs default:dirt at (1,2,3)",
            "2026-08-01 19:01:10: ACTION[Server]: alice{n} places node default:stone at (-101,2,33)",
            "2026-08-01 19:01:10: ACTION[Server]: CHAT: <alice{n}> bob leaves game. List of players: so he said",
            "2026-08-01 19:01:10: ACTION[Server]: player alice{n} crafts default:torch 4",
            "2026-08-01 19:01:10: ACTION[Server]: alice{n} activates doors:door_wood_a",
            "2026-08-01 19:01:10: WARNING[Server]: Map::updateLighting took {n} ms",
            "2026-08-01 19:01:10: INFO[Emerge-0]: generated block ({n},0,0)",
        ],
        events: &[
            "2026-08-01 19:01:00: ACTION[Server]: alice{n} [203.0.113.9] joins game. List of players: alice bob carol dave alice{n}",
            "2026-08-01 19:03:00: ACTION[Server]: alice{n} leaves game. List of players: alice bob carol dave",
        ],
    },
];

impl Corpus {
    fn text(&self) -> String {
        let mut text = String::new();
        for line in 0..LINES {
            let forms = if line % 10 == 9 { self.events } else { self.noise };
            // A step that is prime to every count of forms, so that all come up in a mixed order.
            let form = forms[(line * 7919 + line / 10) % forms.len()];
            text += &form.replace("{n}", &(line % 997).to_string());
            text.push('\n');
        }
        text
    }
}

fn hash(text: &str) -> u64 {
    let mut sum = 0u64;
    for line in text.lines() {
        let mut hasher = DefaultHasher::new();
        hasher.write(line.as_bytes());
        sum ^= hasher.finish();
    }
    sum
}

fn parse(log: &mut dyn Grammar, text: &str, said: &mut Vec<Spoken>) -> usize {
    let mut speaking = 0;
    for line in text.lines() {
        log.line(line, said);
        speaking += usize::from(!said.is_empty());
        said.clear();
    }
    speaking
}

/// Nanoseconds per line.
pub fn run() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for corpus in &CORPORA {
        let text = corpus.text();
        let mut log = family(corpus.game).grammar.context("no grammar")?();
        let mut said = Vec::new();
        let (mut split, mut parsed) = (f64::MAX, f64::MAX);
        let mut speaking = 0;
        for _ in 0..RUNS {
            let start = Instant::now();
            black_box(hash(black_box(&text)));
            split = split.min(start.elapsed().as_nanos() as f64 / LINES as f64);
            let start = Instant::now();
            speaking = parse(log.as_mut(), black_box(&text), &mut said);
            parsed = parsed.min(start.elapsed().as_nanos() as f64 / LINES as f64);
        }
        // One line in ten is an event, and some of those repeat another; noise that speaks would show here.
        ensure!(
            (LINES / 20..LINES / 9).contains(&speaking),
            "{}: {speaking} of {LINES} lines speak",
            corpus.name
        );
        rows.push(Row::net(
            format!("log {}: {:.1} M lines/s per core", corpus.name, 1e3 / parsed),
            parsed,
            0.0,
            Some(1000.0),
            "ns/line",
        ));
        rows.push(Row::net(
            format!("  split and hashed only: {:.1} M lines/s", 1e3 / split),
            split,
            0.0,
            None,
            "ns/line",
        ));
    }
    Ok(rows)
}
