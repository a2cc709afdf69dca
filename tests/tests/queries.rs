//! Third-party game servers, asked for real: what gsmon reads is held against the servers' own bytes.

use std::{
    fs::File,
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::Receiver,
    thread,
    time::{Duration, Instant},
};

use gsmon_agent::{
    config::{QueryProtocol, QuerySettings},
    games::{
        Fact,
        event::{PlayerCount, PlayerKind},
        query::{
            FailureKind, OwnReason, QueryAnswer, Reader,
            schedule::{Queries, QueryReport, QueryTarget, bounded},
        },
    },
};
use gsmon_tests::{netns::Netns, program_or_skip, root_or_skip, serve_queries};

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server inside the namespace, at home in `home`.
fn start(netns: &Netns, home: &Path, program: &str, arguments: &[&str]) -> Server {
    let log = File::create(home.join("log")).unwrap();
    let child = Command::new("ip")
        .args(["netns", "exec", &netns.name, program])
        .args(arguments)
        .current_dir(home)
        .env("HOME", home)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    Server(child)
}

/// Runs `work` on a thread inside the namespace.
fn inside<T: Send + 'static>(netns: &Netns, work: impl FnOnce() -> T + Send + 'static) -> T {
    let path = netns.path();
    thread::spawn(move || {
        let namespace = File::open(path).unwrap();
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        work()
    })
    .join()
    .unwrap()
}

/// The schedule as the agent runs it: from outside, into the namespace.
fn asking(netns: &Netns, protocol: QueryProtocol, address: SocketAddr) -> (Queries, Receiver<QueryReport>) {
    let (sink, reports) = bounded(1_000);
    let queries = Queries::new(sink).unwrap();
    queries.set(vec![QueryTarget {
        server: "real".into(),
        protocol,
        address,
        netns: Some(PathBuf::from(netns.path())),
        process: None,
        settings: QuerySettings {
            // Quake III servers answer one address about once a second.
            interval: Duration::from_secs(3),
            timeout: Duration::from_secs(1),
            ..QuerySettings::default()
        },
    }]);
    (queries, reports)
}

/// Waits for a report in which `condition` holds.
fn wait_for(
    reports: &Receiver<QueryReport>,
    limit: Duration,
    condition: impl Fn(&QueryAnswer) -> bool,
) -> (QueryAnswer, Vec<Fact>) {
    let end = Instant::now() + limit;
    let mut last = None;
    while let Ok(report) = reports.recv_timeout(end.saturating_duration_since(Instant::now())) {
        match report.result {
            Ok(answer) if condition(&answer) => return (answer, report.facts),
            other => last = Some(other),
        }
    }
    panic!("nothing of the kind within {limit:?}; last: {last:?}");
}

#[test]
fn openarena_says_as_many_bots_as_it_runs() {
    if !root_or_skip() || !program_or_skip("openarena-server", "openarena-server") {
        return;
    }
    serve_queries().unwrap();
    let netns = Netns::new("query-oa").unwrap();
    let home = tempfile::tempdir().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], 27_971));
    let arguments = "+set dedicated 1 +set net_ip 127.0.0.1 +set net_port 27971 +set sv_hostname asked +set sv_maxclients 16 \
        +set sv_pure 0 +set g_gametype 0 +set bot_enable 1 +set bot_minplayers 3 +set ttycon 0 +map oa_dm1";
    let arguments: Vec<&str> = arguments.split_ascii_whitespace().collect();
    let _server = start(&netns, home.path(), "/usr/games/openarena-server", &arguments);
    let (queries, reports) = asking(&netns, QueryProtocol::Quake3, address);
    let (answer, facts) = wait_for(&reports, Duration::from_secs(90), |answer| {
        answer.online == Some(3)
    });
    assert_eq!(
        (answer.name.as_deref(), answer.map.as_deref()),
        (Some("asked"), Some("oa_dm1"))
    );
    assert!(
        answer
            .version
            .as_deref()
            .is_some_and(|version| version.starts_with("ioq3"))
    );
    assert!(!answer.round_trip.is_zero() && answer.round_trip < Duration::from_secs(1));
    let count = PlayerCount {
        online: 3,
        bots: Some(3),
        max: Some(16),
    };
    assert!(facts.contains(&Fact::PlayerCount(count)), "{facts:?}");
    let roster = facts.iter().find_map(|fact| match fact {
        Fact::Roster(players) => Some(players),
        _ => None,
    });
    let roster = roster.expect("three bots of different names are a roster");
    assert!(
        roster
            .iter()
            .all(|player| player.kind.is_some_and(|known| known.kind == PlayerKind::Bot))
    );

    // gamedig lists nobody: it has been asked, in a worker, and then gsmon has read the list.
    let (_, statistics) = queries.statistics().remove(0);
    assert_eq!(statistics.reader, Some(Reader::Gsmon(OwnReason::Players)));
    let workers = queries.workers();
    assert_eq!(
        (workers.started, workers.died, workers.hung),
        (1, 0, 0),
        "{workers:?}"
    );

    // The server's own bytes, read in the plainest way: a line per player, the name between quotes.
    let raw = inside(&netns, move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut buffer = [0; 16_384];
        for _ in 0..10 {
            socket.send_to(b"\xff\xff\xff\xffgetstatus\n", address).unwrap();
            if let Ok(length) = socket.recv(&mut buffer) {
                return String::from_utf8_lossy(&buffer[..length]).into_owned();
            }
        }
        panic!("no answer to ten questions");
    });
    let mut listed: Vec<&str> = raw
        .lines()
        .skip(2)
        .filter_map(|line| line.split('"').nth(1))
        .collect();
    let mut read: Vec<&str> = roster
        .iter()
        .filter_map(|player| player.name.as_deref())
        .collect();
    listed.sort_unstable();
    read.sort_unstable();
    assert_eq!(read, listed);
}

/// Connects as a 0.7 client does, up to the point where the server has a client: token, then connection.
fn connect(server: SocketAddr) -> UdpSocket {
    const OURS: [u8; 4] = [1, 2, 3, 4];
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    socket.connect(server).unwrap();
    let control = |token: [u8; 4], message: u8| {
        let mut packet = [&[4, 0, 0], &token[..], &[message], &OURS].concat();
        packet.resize(7 + 512, 0);
        packet
    };
    socket.send(&control([0xff; 4], 5)).unwrap();
    let mut buffer = [0; 2_048];
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!((length, buffer[7]), (12, 5), "a token");
    let theirs = [buffer[8], buffer[9], buffer[10], buffer[11]];
    socket.send(&control(theirs, 1)).unwrap();
    socket
}

#[test]
fn teeworlds_is_asked_through_its_handshake() {
    if !root_or_skip() || !program_or_skip("teeworlds-server", "teeworlds-server") {
        return;
    }
    let netns = Netns::new("query-tw").unwrap();
    let home = tempfile::tempdir().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], 8_313));
    let commands = [
        "sv_name asked; sv_register 0; bindaddr 127.0.0.1; sv_port 8313; sv_map dm2; sv_gametype dm; sv_max_clients 12; sv_player_slots 8",
    ];
    let _server = start(&netns, home.path(), "/usr/games/teeworlds-server", &commands);
    let (_queries, reports) = asking(&netns, QueryProtocol::Teeworlds, address);
    let (answer, facts) = wait_for(&reports, Duration::from_secs(30), |_| true);
    assert_eq!(
        (answer.name.as_deref(), answer.map.as_deref()),
        (Some("asked"), Some("dm2"))
    );
    assert_eq!(
        (answer.mode.as_deref(), answer.online, answer.max),
        (Some("DM"), Some(0), Some(12))
    );
    assert!(
        answer
            .version
            .as_deref()
            .is_some_and(|version| version.starts_with("0.7")),
        "{answer:?}"
    );
    assert!(facts.contains(&Fact::Roster(Vec::new())), "{facts:?}");
    let _client = inside(&netns, move || connect(address));
    let (_, facts) = wait_for(&reports, Duration::from_secs(10), |answer| {
        answer.online == Some(1)
    });
    assert!(
        !facts.iter().any(|fact| matches!(fact, Fact::Roster(_))),
        "who is still connecting has no name to be told by: {facts:?}"
    );
}

/// A target inside the namespace, asked through gamedig every half second.
fn boxed(netns: &Netns, server: &str, game: &str, address: SocketAddr) -> QueryTarget {
    QueryTarget {
        server: server.into(),
        protocol: QueryProtocol::Gamedig,
        address,
        netns: Some(PathBuf::from(netns.path())),
        process: None,
        settings: QuerySettings {
            game: Some(game.to_owned()),
            interval: Duration::from_millis(500),
            timeout: Duration::from_secs(2),
            ..QuerySettings::default()
        },
    }
}

/// Answers every datagram with the same one, on a socket inside the namespace, until the test process ends.
fn answer_inside(netns: &Netns, answer: &'static [u8]) -> SocketAddr {
    inside(netns, move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 2_048];
            while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(answer, peer);
            }
        });
        address
    })
}

#[test]
fn gamedig_asks_inside_namespaces_and_what_kills_it_kills_a_worker_only() {
    if !root_or_skip() {
        return;
    }
    serve_queries().unwrap();
    let (first, second) = (Netns::new("query-g1").unwrap(), Netns::new("query-g2").unwrap());
    let mindustry = b"\x08A server\x05Forks\0\0\0\x03\0\0\0\x09\0\0\0\x92\x08official\x03\0\0\0\x10\0";
    let deadly = b"\\hostname\\x\\mapname\\m\\gametype\\g\\gamever\\1\\password\\0\\maxplayers\\1\\player_99999999999\\a\\final\\\\queryid\\1.1";
    let challenge = b"\xff\xff\xff\xffA\x01\x02\x03\x04";
    let (sink, reports) = bounded(1_000);
    let queries = Queries::new(sink).unwrap();
    queries.set(vec![
        boxed(&first, "first", "mindustry", answer_inside(&first, mindustry)),
        boxed(&second, "second", "mindustry", answer_inside(&second, mindustry)),
        boxed(
            &first,
            "deadly",
            "unrealtournament",
            answer_inside(&first, deadly),
        ),
        boxed(&second, "endless", "css", answer_inside(&second, challenge)),
    ]);
    let statistics = |server: &str| {
        let all = queries.statistics();
        all.into_iter()
            .find(|(name, _)| &**name == server)
            .map(|(_, statistics)| statistics)
            .unwrap()
    };
    let end = Instant::now() + Duration::from_secs(60);
    while statistics("deadly").failed(FailureKind::Worker) < 3
        || statistics("endless").failed(FailureKind::Malformed) < 3
        || statistics("first").answered < 3
        || statistics("second").answered < 3
    {
        assert!(Instant::now() < end, "{:?}", queries.statistics());
        let Ok(report) = reports.recv_timeout(Duration::from_secs(10)) else {
            panic!("nobody is asked any more: {:?}", queries.statistics());
        };
        if matches!(&*report.server, "first" | "second") {
            let answer = report.result.unwrap();
            assert_eq!((answer.online, answer.map.as_deref()), (Some(3), Some("Forks")));
            assert!(!answer.round_trip.is_zero());
        }
    }
    let workers = queries.workers();
    assert!(
        workers.died >= 3 && workers.hung == 0 && workers.started >= workers.died,
        "{workers:?}"
    );
}

#[test]
fn gamedig_is_asked_first_and_gsmon_reads_what_it_cannot() {
    if !root_or_skip() {
        return;
    }
    serve_queries().unwrap();
    let netns = Netns::new("query-g3").unwrap();
    let bedrock = inside(&netns, || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        thread::spawn(move || {
            let text = b"MCPE;Server;390;1.14.60;3;10;1;Level;Survival;1;19132;19133;";
            let length = (text.len() as u16).to_be_bytes();
            let mut buffer = [0; 2_048];
            while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                let pong = [
                    &[0x1c],
                    &buffer[1..9],
                    &[0; 8],
                    &buffer[9..25],
                    &length,
                    &text[..],
                ]
                .concat();
                let _ = socket.send_to(&pong, peer);
            }
        });
        address
    });
    let deadly = b"\\hostname\\x\\mapname\\m\\gametype\\g\\gamever\\1\\password\\0\\maxplayers\\1\\player_99999999999\\a\\final\\\\queryid\\1.1";
    let plain = |server: &str, protocol, address| QueryTarget {
        protocol,
        settings: QuerySettings {
            interval: Duration::from_millis(500),
            timeout: Duration::from_secs(4),
            ..QuerySettings::default()
        },
        ..boxed(&netns, server, "", address)
    };
    let (sink, reports) = bounded(1_000);
    let queries = Queries::new(sink).unwrap();
    queries.set(vec![
        plain("bedrock", QueryProtocol::MinecraftBedrock, bedrock),
        plain("deadly", QueryProtocol::Gamespy1, answer_inside(&netns, deadly)),
    ]);
    let end = Instant::now() + Duration::from_secs(60);
    let statistics = || queries.statistics();
    while statistics().iter().any(|(_, statistics)| statistics.answered < 4) {
        assert!(Instant::now() < end, "{:?}", statistics());
        let report = reports.recv_timeout(Duration::from_secs(10)).unwrap();
        let answer = report.result.unwrap();
        let expected = if &*report.server == "bedrock" {
            "Level"
        } else {
            "m"
        };
        assert_eq!(answer.map.as_deref(), Some(expected));
    }
    for (server, statistics) in statistics() {
        let expected = match &*server {
            "bedrock" => Reader::Gamedig,
            _ => Reader::Gsmon(OwnReason::Worker),
        };
        assert_eq!(statistics.reader, Some(expected), "{server}: {statistics:?}");
    }
    let workers = queries.workers();
    assert_eq!((workers.died, workers.hung), (1, 0), "{workers:?}");
}
