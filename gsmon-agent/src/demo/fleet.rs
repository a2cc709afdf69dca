//! Several servers with their bots: the three of `gsmon demo`, the six of `gsmon selftest`.

use std::path::{Path, PathBuf};

use super::{
    bots::{BotsArgs, Homes},
    diary::{DiaryArgs, LogFamily},
    game_loop::LoopKind,
    lag::LagArgs,
    process::{DemoError, DemoProcess},
    protocol::Header,
    server::ServerArgs,
};
use crate::config::{Game, GameServer, LogSettings, LogStart, Protocol, QueryProtocol, QuerySettings};

/// Why a fleet did not come up.
pub type FleetError = DemoError;

/// What a server of a fleet is.
#[derive(Clone, Debug)]
pub struct Member {
    /// Name for the monitor.
    pub name: String,
    /// The server.
    pub server: ServerArgs,
    /// Its bots.
    pub bots: u32,
    /// Where its bots call from.
    pub homes: Homes,
}

/// A server and its bots, running.
#[derive(Debug)]
pub struct Running {
    /// Name for the monitor.
    pub name: String,
    /// How it waits and works.
    pub kind: LoopKind,
    /// Ticks per second that it aims for.
    pub tick_hz: f64,
    /// Its log, where it writes one.
    pub log: Option<(LogFamily, PathBuf)>,
    /// The server.
    pub server: DemoProcess,
    /// Its bots.
    pub bots: DemoProcess,
}

/// Servers and bots, running.
#[derive(Debug)]
pub struct Fleet {
    /// In the order of the members.
    pub members: Vec<Running>,
}

fn member(
    name: &str,
    kind: LoopKind,
    header: Header,
    tick_hz: f64,
    work_us: (u64, u64),
    bots: u32,
) -> Member {
    let server = ServerArgs {
        kind,
        header,
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        port: 0,
        tick_hz,
        base_work_us: work_us.0,
        work_per_player_us: work_us.1,
        ticks_per_snapshot: if kind == LoopKind::Millisecond { 20 } else { 1 },
        max_players: 256,
        lifetime_seconds: 3_600,
        diary: DiaryArgs::default(),
        lag: LagArgs::default(),
    };
    Member {
        name: name.to_owned(),
        server,
        bots,
        homes: Homes::Shared,
    }
}

/// The servers of `gsmon demo`: three kinds of three families in turn, whose logs are in `directory`.
pub fn demo_members(servers: u32, players: u32, directory: &Path) -> Vec<Member> {
    use LogFamily::{Luanti, Quake3, Source};
    let kinds = [
        (
            Quake3,
            "sleeping",
            LoopKind::Sleeping,
            Header::Quake3,
            20.0,
            (500, 100),
        ),
        (Source, "epoll", LoopKind::Epoll, Header::Source, 60.0, (300, 50)),
        (
            Luanti,
            "worker-pool",
            LoopKind::WorkerPool,
            Header::Enet,
            30.0,
            (1_000, 100),
        ),
    ];
    (0..servers as usize)
        .map(|n| {
            let (family, name, kind, header, tick_hz, work) = kinds[n % kinds.len()];
            let name = if n < kinds.len() {
                format!("demo-{name}")
            } else {
                format!("demo-{name}-{}", n / kinds.len() + 1)
            };
            let mut member = member(&name, kind, header, tick_hz, work, players);
            member.server.diary = DiaryArgs {
                log: Some(directory.join(format!("{name}.log"))),
                log_family: Some(family),
                house_bots: if family == Quake3 { 2 } else { 0 },
            };
            // One address each, as players have: some logs tell no port.
            member.homes = Homes::Own;
            member
        })
        .collect()
}

/// The servers of `gsmon selftest`, one wave after the other: every kind, light enough for two cores. The one that spins
/// takes a core for itself, and the one with the shortest ticks has the other.
pub fn selftest_waves() -> [Vec<Member>; 2] {
    let calm = vec![
        member(
            "sleeping",
            LoopKind::Sleeping,
            Header::Quake3,
            20.0,
            (1_000, 100),
            8,
        ),
        member("epoll", LoopKind::Epoll, Header::Source, 60.0, (800, 50), 6),
        member(
            "lock-wait",
            LoopKind::LockWait,
            Header::Enet,
            30.0,
            (1_200, 50),
            4,
        ),
        member(
            "worker-pool",
            LoopKind::WorkerPool,
            Header::Quake3,
            30.0,
            (2_000, 100),
            4,
        ),
    ];
    let busy = vec![
        member("spinning", LoopKind::Spinning, Header::Plain, 64.0, (500, 50), 4),
        // Waking up and going to sleep take 20 to 40 us that a loop does not see of itself: its work is well above.
        member(
            "millisecond",
            LoopKind::Millisecond,
            Header::Source,
            1_000.0,
            (450, 5),
            4,
        ),
    ];
    [calm, busy]
}

impl Fleet {
    /// Starts every member: the `gsmon` binary, re-executed.
    pub fn start(gsmon: &Path, members: &[Member]) -> Result<Self, FleetError> {
        let mut running = Vec::new();
        for (n, member) in members.iter().enumerate() {
            let server = DemoProcess::server(gsmon, &[], &member.server)?;
            let bots = BotsArgs {
                header: member.server.header,
                address: member.server.address,
                port: server.ready.port,
                count: member.bots,
                input_hz: 30.0,
                stay_seconds: 0,
                homes: member.homes,
                seed: n as u64 + 1,
                lifetime_seconds: member.server.lifetime_seconds,
            };
            let bots = DemoProcess::bots(gsmon, &[], &bots)?;
            running.push(Running {
                name: member.name.clone(),
                kind: member.server.kind,
                tick_hz: member.server.tick_hz,
                log: member
                    .server
                    .diary
                    .log_family
                    .zip(member.server.diary.log.clone()),
                server,
                bots,
            });
        }
        Ok(Self { members: running })
    }

    /// Entries for the monitor.
    pub fn game_servers(&self) -> Vec<GameServer> {
        self.members.iter().map(Running::game_server).collect()
    }
}

impl Running {
    fn game_server(&self) -> GameServer {
        let game = self.log.as_ref().map_or(Game::Demo, |(family, _)| family.game());
        let mut server = GameServer::new(&self.name, game)
            .port(self.server.ready.port)
            .protocol(Protocol::Udp)
            .max_players(256);
        if let Some((_, path)) = &self.log {
            server.log = Some(LogSettings {
                file: Some(path.clone()),
                from: LogStart::Beginning,
                ..LogSettings::default()
            });
        }
        // Demo servers write like their families, but do not answer as they do.
        server.query = Some(QuerySettings {
            protocol: Some(QueryProtocol::Off),
            ..QuerySettings::default()
        });
        server
    }
}
