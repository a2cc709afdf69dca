//! Third-party servers, gsmon's own and things that only look like servers, in a namespace of their own: the first are
//! found, named, rated and can be followed; the last are not.

use std::{
    net::Ipv4Addr,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use gsmon_agent::{
    Game,
    config::Protocol,
    demo::{DemoProcess, game_loop::LoopKind, protocol::Header, server::ServerArgs},
    host::{
        AutoDiscovery, Candidate, Discovery, ProcessTable,
        sockets::{BoundSocket, NetnsHandle},
    },
};
use gsmon_tests::{gsmon, netns::Netns, program_or_skip, root_or_skip};

/// From the configuration's default.
const LEAST: f64 = 0.6;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(netns: &Netns, home: &Path, words: &[&str]) -> Running {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &netns.name]).args(words);
    Running(quiet(&mut command, home).spawn().unwrap())
}

fn quiet<'a>(command: &'a mut Command, home: &Path) -> &'a mut Command {
    let log = std::fs::File::create(home.join("out")).unwrap();
    command
        .current_dir(home)
        .env("HOME", home)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
}

/// What a monitor would do every interval.
struct Search {
    discovery: AutoDiscovery,
    processes: ProcessTable,
    netns: NetnsHandle,
}

impl Search {
    fn new(netns: &Netns) -> Self {
        Self {
            discovery: AutoDiscovery::new(LEAST),
            processes: ProcessTable::new(None),
            netns: NetnsHandle::open(Path::new(&netns.path())).unwrap(),
        }
    }

    fn update(&mut self) -> (Vec<Candidate>, Vec<BoundSocket>) {
        self.processes.refresh(None);
        let sockets = self.netns.dump().unwrap();
        let found = self.discovery.update(&self.processes, &sockets).to_vec();
        (found, sockets)
    }

    fn until(&mut self, limit: Duration, wanted: impl Fn(&[Candidate]) -> bool) -> Vec<Candidate> {
        let end = Instant::now() + limit;
        loop {
            let (found, sockets) = self.update();
            if wanted(&found) {
                return found;
            }
            assert!(Instant::now() < end, "found {found:#?}\nsockets {sockets:#?}");
            thread::sleep(Duration::from_millis(200));
        }
    }
}

fn by_name<'a>(found: &'a [Candidate], name: &str) -> &'a Candidate {
    found
        .iter()
        .find(|candidate| candidate.name == name)
        .unwrap_or_else(|| panic!("no {name} in {found:#?}"))
}

fn openarena(netns: &Netns, home: &Path) -> Running {
    let words = "/usr/games/openarena-server +set dedicated 1 +set net_ip 127.0.0.1 +set net_port 27961 \
        +set sv_hostname test-oa +set sv_pure 0 +set ttycon 0 +map oa_dm1";
    start(netns, home, &words.split_ascii_whitespace().collect::<Vec<_>>())
}

#[test]
fn real_servers_are_found_named_and_rated_and_others_are_not() {
    if !root_or_skip()
        || !program_or_skip("openarena-server", "openarena-server")
        || !program_or_skip("minetestserver", "minetest-server")
    {
        return;
    }
    let netns = Netns::new("auto").unwrap();
    let homes: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    let arena = openarena(&netns, homes[0].path());
    std::fs::write(
        homes[1].path().join("minetest.conf"),
        "bind_address = 127.0.0.1\nserver_announce = false\nipv6_server = false\n",
    )
    .unwrap();
    let luanti = start(
        &netns,
        homes[1].path(),
        &"/usr/games/minetestserver --config minetest.conf --world alps --gameid minetest_game --logfile debug.txt"
            .split_ascii_whitespace()
            .collect::<Vec<_>>(),
    );
    // Any free port: nothing states it.
    let demo = DemoProcess::server(
        &gsmon().unwrap(),
        &netns.launcher(),
        &ServerArgs {
            kind: LoopKind::Sleeping,
            header: Header::Quake3,
            address: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            tick_hz: 20.0,
            base_work_us: 100,
            work_per_player_us: 10,
            ticks_per_snapshot: 1,
            max_players: 16,
            lifetime_seconds: 120,
            diary: gsmon_agent::demo::diary::DiaryArgs::default(),
            lag: gsmon_agent::demo::lag::LagArgs::default(),
        },
    )
    .unwrap();

    // What only looks like a server.
    let mut renamed = Command::new("/usr/bin/sleep");
    renamed.arg0("./srcds_linux").arg("120");
    let _sleep = Running(quiet(&mut renamed, homes[2].path()).spawn().unwrap());
    let _shell = start(
        &netns,
        homes[2].path(),
        &[
            "bash",
            "-c",
            "sleep 120; : ./valheim_server.x86_64 -name x -port 2456 -world y",
        ],
    );
    let listen = |port: u16| {
        format!(
            "use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => {port}, \
             Proto => 'udp') or die; while (1) {{ $s->recv(my $b, 2048); }}"
        )
    };
    let _tool = start(&netns, homes[2].path(), &["perl", "-e", &listen(27_960)]);
    // The same under a name that nobody knows: worth a query, no more.
    let stranger_program = homes[3].path().join("listener");
    std::fs::copy("/usr/bin/perl", &stranger_program).unwrap();
    let stranger = start(
        &netns,
        homes[2].path(),
        &[stranger_program.to_str().unwrap(), "-e", &listen(27_016)],
    );

    let mut search = Search::new(&netns);
    search.until(Duration::from_secs(60), |found| found.len() >= 3);
    // Time for everything else to be looked at as well; a mistake would show up now.
    let (mut slowest, mut all) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..30 {
        search.processes.refresh(None);
        let sockets = search.netns.dump().unwrap();
        let began = Instant::now();
        search.discovery.update(&search.processes, &sockets);
        slowest = slowest.max(began.elapsed());
        all += began.elapsed();
    }
    eprintln!(
        "an update over {} processes takes {:?}, at most {slowest:?}",
        search.processes.iter().count(),
        all / 30
    );
    let (found, sockets) = search.update();
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(
        sockets.iter().any(|socket| socket.port == 27_960)
            && sockets.iter().any(|socket| socket.port == 27_016),
        "the listeners are there: {sockets:#?}"
    );
    let suspects = search.discovery.suspects().to_vec();
    assert_eq!(suspects.len(), 1, "{suspects:#?}");
    // `ip netns exec` becomes what it runs.
    assert_eq!(
        (suspects[0].pid, suspects[0].recognised.game),
        (stranger.0.id(), Game::Source)
    );
    assert!(suspects[0].recognised.confidence < LEAST);

    let demo_name = format!("gsmon-demo-{}", demo.ready.port);
    for (name, game, title, pid, port, own_name) in [
        (
            "openarena-27961",
            Game::Quake3,
            "OpenArena",
            arena.0.id(),
            27_961,
            Some("test-oa"),
        ),
        (
            "luanti-30000",
            Game::Luanti,
            "Luanti",
            luanti.0.id(),
            30_000,
            Some("alps"),
        ),
        (
            demo_name.as_str(),
            Game::Demo,
            "gsmon demo",
            demo.ready.pid,
            demo.ready.port,
            Some("sleeping"),
        ),
    ] {
        let candidate = by_name(&found, name);
        assert_eq!(
            (candidate.recognised.game, candidate.recognised.title),
            (game, title)
        );
        assert_eq!(candidate.pid, pid, "{candidate:#?}");
        assert_eq!(candidate.ports(), [(Protocol::Udp, port)]);
        assert_eq!(candidate.recognised.name.as_deref(), own_name);
        assert!(candidate.recognised.confidence >= LEAST && candidate.recognised.confidence < 1.0);
        assert_eq!(candidate.netns.as_deref(), Some(Path::new(&netns.path())));
        eprintln!(
            "{name}: {:.2}, {}",
            candidate.recognised.confidence,
            candidate
                .recognised
                .reasons
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ")
        );
    }
    // Logs are found where they are, at the latest when they have been begun.
    let found = search.until(Duration::from_secs(10), |found| {
        found.iter().filter(|candidate| candidate.log.is_some()).count() == 2
    });
    let log_of = |name: &str| by_name(&found, name).log.clone();
    assert_eq!(log_of("luanti-30000"), Some(homes[1].path().join("debug.txt")));
    assert_eq!(
        log_of("openarena-27961"),
        Some(homes[0].path().join(".openarena/baseoa/games.log"))
    );

    // Configured discovery follows what was found.
    let servers: Vec<_> = found.iter().map(Candidate::to_game_server).collect();
    let followed = Discovery::new(&servers, None).refresh(None);
    for (candidate, server) in found.iter().zip(&followed.servers) {
        assert!(server.pids.contains(&candidate.pid), "{candidate:#?} {server:#?}");
        assert_eq!(server.sockets.len(), 1, "{server:#?}");
    }

    // An answer makes a server of the stranger; a restart keeps the name.
    let suspect = suspects[0].name.clone();
    search.discovery.confirm(&suspect, Game::Source);
    let found = search.until(Duration::from_secs(5), |found| found.len() == 4);
    assert_eq!(by_name(&found, &suspect).pid, stranger.0.id());
    let old = arena.0.id();
    drop(arena);
    search.until(Duration::from_secs(10), |found| found.len() == 3);
    let again = openarena(&netns, homes[0].path());
    let found = search.until(Duration::from_secs(30), |found| found.len() == 4);
    let candidate = by_name(&found, "openarena-27961");
    assert!(candidate.pid == again.0.id() && candidate.pid != old);
}
