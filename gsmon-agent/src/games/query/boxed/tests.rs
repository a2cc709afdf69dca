//! The crate in its box: what it reads, and what becomes of it when servers are hostile. The worker is this test program.

use std::{
    io::Write,
    net::{SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use super::{
    super::{
        FailureKind, Listed, QueryAnswer, QueryError,
        testing::{Server, read, tcp_server, udp_server},
        wire::Deadline,
    },
    Ask, Pool, Wanted,
};

const TIMEOUT: Duration = Duration::from_millis(1_500);

/// Not a test: what the pools of tests start.
#[test]
#[ignore = "serves as the worker of other tests"]
fn worker_for_tests() {
    let _ = super::serve();
}

pub(in super::super) fn pool() -> Pool {
    let name = "games::query::boxed::tests::worker_for_tests";
    let arguments = ["--exact", name, "--ignored", "--nocapture", "--test-threads=1"];
    Pool::of(
        std::env::current_exe().unwrap(),
        arguments.map(str::to_owned).to_vec(),
    )
}

fn asked(pool: &Pool, game: &str, address: SocketAddr) -> Result<QueryAnswer, QueryError> {
    let question = Ask {
        wanted: Wanted::Game(game.to_owned()),
        address,
        netns: None,
    };
    pool.ask(&question, Deadline::after(TIMEOUT)).result
}

/// A Mindustry server's answer: texts with a length in front, numbers most significant byte first.
const MINDUSTRY: &[u8] = b"\x08A server\x05Forks\0\0\0\x03\0\0\0\x09\0\0\0\x92\x08official\x03\0\0\0\x10\0";

pub(in super::super) fn mindustry() -> Server {
    udp_server(|request| {
        assert_eq!(request, [0xfe, 1]);
        vec![MINDUSTRY.to_vec()]
    })
}

/// A GameSpy 1 answer whose row number makes the crate ask for more memory than there is.
pub(in super::super) fn deadly() -> Server {
    let answer = b"\\hostname\\x\\mapname\\m\\gametype\\g\\gamever\\1\\password\\0\\maxplayers\\1\\player_99999999999\\a\\final\\\\queryid\\1.1";
    udp_server(move |_| vec![answer.to_vec()])
}

/// A server of Minecraft that never stops: a byte whenever the crate is about to lose its patience.
fn endless() -> Server {
    tcp_server(|stream| {
        read(stream, 1);
        for _ in 0..80 {
            if stream.write_all(b"x").is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
    })
}

pub(in super::super) fn css(names: &[&[u8]]) -> impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static {
    let info = [
        &b"\xff\xff\xff\xffI\x11A server\0de_dust\0cstrike\0Counter-Strike: Source\0\xf0\x00"[..],
        &[names.len() as u8, 16, 0],
        b"dl\x00\x001.0\0",
    ]
    .concat();
    let mut list = b"\xff\xff\xff\xffD".to_vec();
    list.push(names.len() as u8);
    for name in names {
        list.extend_from_slice(&[&[0], *name, &[0; 9]].concat());
    }
    move |request| match request.get(4) {
        Some(b'T') => vec![info.clone()],
        Some(b'U') if request.ends_with(&[0xff; 4]) => vec![b"\xff\xff\xff\xffA\x01\x02\x03\x04".to_vec()],
        Some(b'U') => vec![list.clone()],
        _ => Vec::new(),
    }
}

#[test]
fn a_game_that_only_the_crate_knows_is_read() {
    let (pool, server) = (pool(), mindustry());
    for _ in 0..3 {
        let answer = asked(&pool, "mindustry", server.address).unwrap();
        assert_eq!(
            (
                answer.name.as_deref(),
                answer.map.as_deref(),
                answer.mode.as_deref()
            ),
            (Some("A server"), Some("Forks"), Some("pvp"))
        );
        assert_eq!((answer.online, answer.max), (Some(3), Some(16)));
        assert!(answer.round_trip > Duration::ZERO && answer.round_trip < TIMEOUT);
    }
    let statistics = pool.statistics();
    assert_eq!((statistics.live, statistics.started), (1, 1), "{statistics:?}");
    assert!(
        statistics.rss_bytes > 0 && statistics.rss_bytes < 64 << 20,
        "{statistics:?}"
    );
}

#[test]
fn a_valve_game_is_read_over_either_internet_protocol() {
    let pool = pool();
    let server = udp_server(css(&[b"Ann", b"Bob"]));
    let answer = asked(&pool, "css", server.address).unwrap();
    assert_eq!(
        (answer.online, answer.bots, answer.max),
        (Some(2), Some(0), Some(16))
    );
    let Some(Listed::Everybody(players)) = answer.players else {
        panic!("{:?}", answer.players);
    };
    assert_eq!(players[1].name.as_deref(), Some("Bob"));
    let Ok(socket) = UdpSocket::bind("[::1]:0") else {
        println!("skipped: no IPv6 on this machine");
        return;
    };
    let address = socket.local_addr().unwrap();
    let answering = thread::spawn(move || {
        let mut buffer = [0; 100];
        let (_, peer) = socket.recv_from(&mut buffer).unwrap();
        socket.send_to(MINDUSTRY, peer).unwrap();
    });
    assert_eq!(asked(&pool, "mindustry", address).unwrap().online, Some(3));
    answering.join().unwrap();
}

#[test]
fn a_list_that_stays_away_costs_little() {
    let (pool, mut whole) = (pool(), css(&[b"Ann"]));
    let server = udp_server(move |request| match request.get(4) {
        Some(b'T') => whole(request),
        _ => Vec::new(),
    });
    let start = Instant::now();
    let answer = asked(&pool, "css", server.address).unwrap();
    assert_eq!((answer.online, answer.players), (Some(1), None));
    assert!(start.elapsed() < TIMEOUT / 2, "{:?}", start.elapsed());
}

#[test]
fn refusal_silence_and_unknown_games_are_told_apart() {
    let pool = pool();
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let kind = |game, address| asked(&pool, game, address).unwrap_err().kind();
    assert_eq!(kind("mindustry", nobody), FailureKind::Refused);
    assert_eq!(kind("minecraftjava", nobody), FailureKind::Refused);
    assert_eq!(kind("pong", nobody), FailureKind::Settings);
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert_eq!(kind("css", silent.local_addr().unwrap()), FailureKind::Timeout);
    let garbage = udp_server(|_| vec![b"nonsense".to_vec()]);
    assert_eq!(kind("css", garbage.address), FailureKind::Malformed);
    let statistics = pool.statistics();
    assert_eq!(
        (statistics.started, statistics.died, statistics.hung),
        (1, 0, 0),
        "{statistics:?}"
    );
}

#[test]
fn challenges_without_end_are_cut_short_and_cost_no_worker() {
    let pool = pool();
    let server = udp_server(|_| vec![b"\xff\xff\xff\xffA\x01\x02\x03\x04".to_vec()]);
    let start = Instant::now();
    let error = asked(&pool, "css", server.address).unwrap_err();
    assert!(
        matches!(error, QueryError::Malformed("datagrams without end")),
        "{error}"
    );
    assert!(start.elapsed() < TIMEOUT, "{:?}", start.elapsed());
    assert_eq!(pool.statistics().hung, 0);
}

#[test]
fn a_connection_without_end_is_cut_short_and_costs_no_worker() {
    let (pool, server) = (pool(), endless());
    let start = Instant::now();
    let error = asked(&pool, "minecraftjava", server.address).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Malformed, "{error}");
    assert!(
        start.elapsed() < TIMEOUT + Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    let statistics = pool.statistics();
    assert_eq!((statistics.hung, statistics.live), (0, 1), "{statistics:?}");
}

#[test]
fn a_worker_that_an_answer_kills_costs_that_question() {
    let (pool, bad, good) = (pool(), deadly(), mindustry());
    for round in 1..=3 {
        let error = asked(&pool, "unrealtournament", bad.address).unwrap_err();
        assert_eq!(error.kind(), FailureKind::Worker, "{error}");
        let statistics = pool.statistics();
        assert_eq!((statistics.died, statistics.hung), (round, 0), "{statistics:?}");
        assert_eq!(asked(&pool, "mindustry", good.address).unwrap().online, Some(3));
    }
    assert_eq!(pool.statistics().live, 1);
}

#[test]
fn a_worker_that_hangs_is_killed_in_time() {
    let (pool, good) = (pool(), mindustry());
    assert!(asked(&pool, "mindustry", good.address).is_ok());
    // As if it were caught in a loop.
    let pid = nix::unistd::Pid::from_raw(pool.pids()[0].try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    let start = Instant::now();
    let error = asked(&pool, "mindustry", good.address).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Worker, "{error}");
    assert!(
        start.elapsed() < TIMEOUT + Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(asked(&pool, "mindustry", good.address).unwrap().online, Some(3));
    let statistics = pool.statistics();
    assert_eq!(
        (statistics.died, statistics.hung, statistics.started),
        (0, 1, 2),
        "{statistics:?}"
    );
}

#[test]
fn workers_are_not_started_without_end() {
    let (pool, bad) = (pool(), deadly());
    let refused = (0..40).find_map(|_| {
        let error = asked(&pool, "unrealtournament", bad.address).unwrap_err();
        error.to_string().contains("within a minute").then_some(())
    });
    assert!(refused.is_some());
    let statistics = pool.statistics();
    assert_eq!(
        (statistics.started, statistics.died, statistics.live),
        (30, 30, 0),
        "{statistics:?}"
    );
}

#[test]
fn a_worker_keeps_no_privilege() {
    let (pool, server) = (pool(), mindustry());
    assert!(asked(&pool, "mindustry", server.address).is_ok());
    let pid = pool.pids()[0];
    // The test program serves on a thread of its own; this one was started by it.
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let status = threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("status")).ok())
        .find(|status| status.starts_with("Name:\tgsmon-hear"))
        .unwrap();
    let line = |name: &str| -> Vec<&str> {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_ascii_whitespace().skip(1).collect()
    };
    for set in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
        assert_eq!(line(set), ["0000000000000000"], "{set}");
    }
    assert_eq!(line("NoNewPrivs:"), ["1"]);
    if nix::unistd::geteuid().is_root() {
        assert_eq!(line("Uid:"), ["65534"; 4]);
        assert_eq!(line("Gid:"), ["65534"; 4]);
        assert!(line("Groups:").is_empty());
    }
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    assert!(environment.is_empty());
}
