//! A third-party game server, its bots, and clients that speak its protocol.

use std::{
    net::UdpSocket,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use gsmon_agent::{Game, GameServer, GameServerMonitor, config::Protocol, world::snapshot::ServerState};
use gsmon_tests::{counted, netns::Netns, program_or_skip, root_or_skip, server, settled, wait_for};

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends `getstatus` from inside the namespace and returns how many answers came; one socket per client.
fn ask(netns: &Netns, port: u16, clients: u32, rounds: u32) -> (u64, u64) {
    let path = netns.path();
    thread::spawn(move || {
        use std::os::fd::AsFd;
        // Only this thread goes inside.
        let namespace = std::fs::File::open(path).unwrap();
        nix::sched::setns(namespace.as_fd(), nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let (mut sent, mut answered) = (0, 0);
        let sockets: Vec<UdpSocket> = (0..clients)
            .map(|_| UdpSocket::bind("127.0.0.1:0").unwrap())
            .collect();
        for _ in 0..rounds {
            for socket in &sockets {
                socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
                sent += u64::from(
                    socket
                        .send_to(b"\xff\xff\xff\xffgetstatus\n", ("127.0.0.1", port))
                        .is_ok(),
                );
                let mut buffer = [0u8; 4_096];
                if let Ok((length, _)) = socket.recv_from(&mut buffer) {
                    assert!(buffer[..length].starts_with(b"\xff\xff\xff\xffstatusResponse"));
                    answered += 1;
                }
            }
            // The server limits how often one address is answered.
            thread::sleep(Duration::from_millis(1_200));
        }
        (sent, answered)
    })
    .join()
    .unwrap()
}

#[test]
fn openarena_with_bots_is_measured_in_its_own_namespace() {
    if !root_or_skip() || !program_or_skip("openarena-server", "openarena-server") {
        return;
    }
    let netns = Netns::new("oa").unwrap();
    let home = tempfile::tempdir().unwrap();
    let port = 27_961;
    let arguments = "+set dedicated 1 +set net_ip 127.0.0.1 +set sv_maxclients 16 +set sv_pure 0 +set g_gametype 0 \
        +set bot_enable 1 +set bot_minplayers 4 +set ttycon 0 +map oa_dm1";
    let log = std::fs::File::create(home.path().join("log")).unwrap();
    let mut command = Command::new("ip");
    command
        .args([
            "netns",
            "exec",
            &netns.name,
            "/usr/games/openarena-server",
            "+set",
            "net_port",
            &port.to_string(),
        ])
        .args(arguments.split_ascii_whitespace())
        .env("HOME", home.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    let _server = Server(command.spawn().unwrap());
    let monitor = GameServerMonitor::builder()
        .interval(Duration::from_millis(500))
        .add_game_server(
            GameServer::new("oa", Game::Quake3)
                .port(port)
                .protocol(Protocol::Udp)
                .executable("ioq3ded")
                .without_query()
                .netns(netns.path()),
        )
        .start()
        .unwrap();
    wait_for(&monitor, Duration::from_secs(60), |snapshot| {
        snapshot.servers[0].state == ServerState::Up
    })
    .unwrap();
    // Bots join one after the other; then the level runs at sv_fps 20.
    let ready = Instant::now() + Duration::from_secs(40);
    while !std::fs::read_to_string(home.path().join("log"))
        .unwrap_or_default()
        .contains("ClientBegin")
    {
        assert!(Instant::now() < ready, "no bot came in");
        thread::sleep(Duration::from_millis(200));
    }
    let before = counted(server(&settled(&monitor).unwrap(), "oa").unwrap());
    let (sent, answered) = ask(&netns, port, 3, 4);
    assert!(answered > 0);
    let snapshot = settled(&monitor).unwrap();
    let oa = server(&snapshot, "oa").unwrap();
    let after = counted(oa);
    assert_eq!(after[0].0 - before[0].0, sent, "every query is counted once");
    assert_eq!(after[1].0 - before[1].0, answered, "every answer is counted once");
    assert_eq!(oa.flows, Some(3));
    assert!(oa.rates.rss_bytes.unwrap() > 10 << 20 && oa.totals.cpu_ns.unwrap() > 0);
    let found = wait_for(&monitor, Duration::from_secs(20), |snapshot| {
        snapshot.servers[0]
            .tick
            .as_ref()
            .is_some_and(|tick| (tick.rate_hz - 20.0).abs() <= 0.4)
    });
    let tick = found.unwrap().servers[0].tick.clone().unwrap();
    eprintln!(
        "openarena ticks at {:.2} Hz, median {:?} ns",
        tick.rate_hz, tick.time_p50_ns
    );
}
