//! Trees as procfs has them, with processes and sockets that come and go.

use std::{collections::BTreeMap, fs, net::Ipv4Addr, os::unix::fs::symlink, path::Path};

use proptest::prelude::*;

use super::{names::LONGEST, *};
use crate::config::Config;

struct Host {
    place: tempfile::TempDir,
    discovery: AutoDiscovery,
    processes: BTreeMap<u32, Process>,
    sockets: Vec<BoundSocket>,
}

impl Host {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let roots = Roots {
            proc: place.path().join("proc"),
            netns: place.path().join("netns"),
            containers: ContainerFiles::below(place.path()),
        };
        Self {
            discovery: AutoDiscovery::with_roots(0.6, roots),
            place,
            processes: BTreeMap::new(),
            sockets: Vec::new(),
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.place.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Starts a process (or lets it call exec).
    fn start(&mut self, pid: u32, executable: &str, arguments: &str) -> &mut Process {
        self.write(
            &format!("proc/{pid}/cmdline"),
            &(arguments.replace(' ', "\0") + "\0"),
        );
        fs::create_dir_all(self.path(&format!("proc/{pid}/fd"))).unwrap();
        fs::create_dir_all(self.path("srv")).unwrap();
        let _ = symlink(self.path("srv"), self.path(&format!("proc/{pid}/cwd")));
        let _ = symlink("/", self.path(&format!("proc/{pid}/root")));
        let process = self.processes.entry(pid).or_default();
        process.pid = pid;
        process.start_ticks = u64::from(pid);
        process.netns = NetnsId::own().ok();
        process.executable = Some(executable.into());
        process.command_line = arguments.to_owned();
        process
    }

    fn bind(&mut self, pid: u32, protocol: Protocol, port: u16, inode: u64) -> &mut BoundSocket {
        self.hold(pid, inode);
        self.sockets.push(BoundSocket {
            protocol,
            address: Ipv4Addr::UNSPECIFIED.into(),
            port,
            inode,
            cookie: inode,
            netns: self.processes[&pid].netns.unwrap(),
        });
        self.sockets.last_mut().unwrap()
    }

    fn hold(&self, pid: u32, inode: u64) {
        symlink(
            format!("socket:[{inode}]"),
            self.path(&format!("proc/{pid}/fd/{inode}")),
        )
        .unwrap();
    }

    fn end(&mut self, pid: u32, inode: u64) {
        self.processes.remove(&pid);
        self.sockets.retain(|socket| socket.inode != inode);
        fs::remove_dir_all(self.path(&format!("proc/{pid}"))).unwrap();
    }

    fn update(&mut self) -> Vec<Candidate> {
        let processes: Vec<&Process> = self.processes.values().collect();
        self.discovery.update_with(&processes, &self.sockets).to_vec()
    }

    fn names(&mut self) -> Vec<String> {
        self.update()
            .into_iter()
            .map(|candidate| candidate.name)
            .collect()
    }
}

const UDP: Protocol = Protocol::Udp;
const TCP: Protocol = Protocol::Tcp;

#[test]
fn a_server_is_found_when_it_listens_and_gone_when_it_ends() {
    let mut host = Host::new();
    host.start(
        50,
        "/srv/q3/ioq3ded",
        "./ioq3ded +set net_port 27961 +set sv_hostname Pit",
    );
    assert_eq!(host.update(), []);
    host.bind(50, UDP, 27_961, 900);
    let found = host.update();
    assert_eq!((found[0].name.as_str(), found[0].pid), ("quake-iii-27961", 50));
    assert_eq!(found[0].recognised.name.as_deref(), Some("Pit"));
    let server = found[0].to_game_server();
    assert_eq!((server.port, server.protocol), (Some(27_961), Some(UDP)));
    assert_eq!(server.executable.as_deref(), Some("/srv/q3/ioq3ded"));
    assert_eq!(host.update(), found, "nothing has changed");
    host.end(50, 900);
    assert_eq!(host.update(), []);
    host.start(77, "/srv/q3/ioq3ded", "./ioq3ded +set net_port 27961");
    host.bind(77, UDP, 27_961, 901);
    assert_eq!(
        host.names(),
        ["quake-iii-27961"],
        "started again, it has its name again"
    );
}

#[test]
fn a_shell_that_becomes_the_server_is_seen() {
    let mut host = Host::new();
    host.start(50, "/usr/bin/dash", "sh /usr/games/openarena-server +map oa_dm1");
    host.bind(50, UDP, 27_960, 900);
    for _ in 0..10 {
        assert_eq!(host.update(), []);
    }
    assert!(host.discovery.suspects().is_empty());
    host.start(
        50,
        "/usr/lib/ioquake3/ioq3ded",
        "ioq3ded +set com_basegame baseoa +map oa_dm1",
    );
    assert_eq!(host.names(), ["openarena-27960"]);
}

#[test]
fn a_socket_belongs_to_the_oldest_that_looks_like_a_server() {
    let mut host = Host::new();
    host.start(10, "/usr/local/bin/waker", "waker");
    host.bind(10, TCP, 25_565, 900);
    for _ in 0..8 {
        host.update();
    }
    assert_eq!(host.discovery.suspects()[0].pid, 10);
    for pid in [21, 20] {
        host.start(pid, "/usr/bin/java", "java -jar paper.jar nogui");
        host.hold(pid, 900);
    }
    let found = host.update();
    assert_eq!((found.len(), found[0].pid), (1, 20));
    assert!(host.discovery.suspects().is_empty());
}

#[test]
fn settings_beside_a_jar_state_the_port_that_is_waited_for() {
    let mut host = Host::new();
    host.write("srv/server.properties", "server-port=25700\nlevel-name=alps\n");
    host.start(50, "/usr/bin/java", "java -jar server.jar nogui");
    host.bind(50, TCP, 9_010, 900);
    assert_eq!(host.update(), []);
    host.bind(50, TCP, 25_700, 901);
    host.update();
    let found = host.update();
    assert_eq!(found[0].name, "minecraft-25700");
    assert_eq!(found[0].recognised.name.as_deref(), Some("alps"));
    assert_eq!(found[0].ports(), [(TCP, 25_700)]);
}

#[test]
fn an_answer_makes_a_candidate_of_a_suspect() {
    let mut host = Host::new();
    host.start(50, "/srv/thing", "./thing");
    host.bind(50, UDP, 27_015, 900);
    for _ in 0..8 {
        assert_eq!(host.update(), []);
    }
    let suspect = host.discovery.suspects()[0].clone();
    assert_eq!(suspect.recognised.game, Game::Source);
    host.discovery.confirm("somebody else", Game::Source);
    assert_eq!(host.update(), []);
    host.discovery.confirm(&suspect.name, Game::Source);
    let found = host.update();
    assert_eq!((found.len(), &found[0].name), (1, &suspect.name));
    assert!(found[0].recognised.confidence > 0.9 && host.discovery.suspects().is_empty());
}

const ID: &str = "4f797c539e6c745de61a93ca3ff892358ecbcaccd8414d5db545c38428142970";

#[test]
fn containers_and_who_manages_them_give_names() {
    let mut host = Host::new();
    let docker = |name: &str| format!("{{\"Name\":\"/{name}\",\"Config\":{{\"Labels\":{{}}}}}}");
    host.write(
        &format!("var/lib/docker/containers/{ID}/config.v2.json"),
        &docker("valheim-1"),
    );
    host.start(50, "/srv/valheim_server.x86_64", "valheim_server -name x")
        .cgroups = vec![format!("/docker/{ID}")];
    host.bind(50, UDP, 2_456, 900);
    // A panel's server of a program that nobody knows.
    host.start(51, "/home/container/thing", "./thing").cgroups = vec![format!("/docker/{}", "b".repeat(64))];
    host.write(
        "proc/51/environ",
        "PATH=/bin\0P_SERVER_UUID=0f8fad5b-d9cb-469f-a165-70867728950e\0SERVER_PORT=25570\0SECRET=x\0",
    );
    let elsewhere = NetnsId(1);
    host.processes.get_mut(&51).unwrap().netns = Some(elsewhere);
    host.bind(51, TCP, 25_570, 901);
    // An Agones game server.
    host.start(52, "/game", "/game").cgroups = vec![format!(
        "/kubepods/pod0f8fad5b-d9cb-469f-a165-70867728950e/{}",
        "c".repeat(64)
    )];
    host.write(
        "proc/52/environ",
        "AGONES_SDK_GRPC_PORT=9357\0HOSTNAME=fleet-x7k2p\0",
    );
    host.processes.get_mut(&52).unwrap().netns = Some(elsewhere);
    host.bind(52, UDP, 7_654, 902);
    let mut names = Vec::new();
    for _ in 0..8 {
        names = host.names();
    }
    assert_eq!(names, ["fleet-x7k2p", "hosted-0f8fad5b", "valheim-1"]);
    let found = host.update();
    assert_eq!(found[1].hosting.as_ref().unwrap().port, Some(25_570));
    assert!(found[1].netns.as_ref().unwrap().ends_with("51/ns/net"));
    assert_eq!(found[2].container.as_ref().unwrap().id, ID);
}

#[test]
fn servers_that_share_a_port_are_told_apart() {
    let mut host = Host::new();
    for (pid, last) in [(50, 1), (51, 2)] {
        host.start(pid, "/srv/ioq3ded", "ioq3ded");
        host.bind(pid, UDP, 27_960, u64::from(pid)).address = Ipv4Addr::new(127, 0, 0, last).into();
    }
    host.start(52, "/srv/ioq3ded", "ioq3ded").netns = Some(NetnsId(1));
    host.bind(52, UDP, 27_960, 902);
    let found = host.update();
    let names: Vec<&str> = found.iter().map(|candidate| candidate.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "quake-iii-27960",
            "quake-iii-27960-127.0.0.2",
            "quake-iii-27960-2"
        ]
    );
    let config = Config {
        servers: found.iter().map(Candidate::to_game_server).collect(),
        ..Config::default()
    };
    config.check().unwrap();
    // Started again in another order, each gets its own name back.
    for pid in [50, 51] {
        host.end(pid, u64::from(pid));
    }
    host.update();
    host.start(60, "/srv/ioq3ded", "ioq3ded");
    host.bind(60, UDP, 27_960, 60).address = Ipv4Addr::new(127, 0, 0, 2).into();
    assert_eq!(host.names(), ["quake-iii-27960-127.0.0.2", "quake-iii-27960-2"]);
}

#[test]
fn a_socket_that_nobody_holds_is_given_up() {
    let mut host = Host::new();
    for pid in 100..300 {
        host.start(pid, "/usr/sbin/thing", "thing");
    }
    // Nobody holds it: a socket of the kernel, for example.
    host.start(99, "/usr/sbin/x", "x");
    host.bind(99, UDP, 27_960, 900);
    host.end(99, 0);
    for _ in 0..20 {
        host.update();
    }
    // Given up: a process that shows up with it later without looking like a server is not searched for.
    host.start(400, "/usr/sbin/late", "late");
    host.hold(400, 900);
    for _ in 0..20 {
        host.update();
    }
    assert!(host.discovery.suspects().is_empty());
    host.start(401, "/srv/ioq3ded", "ioq3ded");
    host.hold(401, 900);
    assert_eq!(host.names(), ["quake-iii-27960"]);
}

#[test]
fn only_a_servers_own_file_is_its_log() {
    let mut host = Host::new();
    host.start(50, "/srv/x", "x");
    host.write("srv/latest.log", "");
    let log = host.path("srv/latest.log");
    let me = nix::unistd::geteuid().as_raw();
    let read = |host: &Host| facts::readable_log(&host.path("proc"), 50, &log);
    assert_eq!(read(&host), None, "nobody knows whose process it is");
    host.write("proc/50/status", &format!("Name:\tx\nUid:\t7\t{me}\t7\t7\n"));
    assert_eq!(read(&host), Some(log.clone()));
    host.write("proc/50/status", &format!("Uid:\t{me}\t{}\t7\t7\n", me + 1));
    assert_eq!(read(&host), None);
    host.write("proc/50/status", &format!("Uid:\t{me}\t{me}\t7\t7\n"));
    fs::remove_file(host.path("proc/50/root")).unwrap();
    symlink(host.path("inside"), host.path("proc/50/root")).unwrap();
    assert_eq!(read(&host), None, "the process sees other files");
    let inside = host.path("inside").join(log.strip_prefix("/").unwrap());
    fs::create_dir_all(inside.parent().unwrap()).unwrap();
    fs::write(&inside, "").unwrap();
    assert_eq!(
        read(&host),
        Some(host.path("proc/50/root").join(log.strip_prefix("/").unwrap()))
    );
}

#[test]
fn a_log_that_is_begun_later_is_found() {
    let mut host = Host::new();
    host.start(50, "/usr/bin/java", "java -jar paper.jar");
    let me = nix::unistd::geteuid().as_raw();
    host.write("proc/50/status", &format!("Uid:\t{me}\t{me}\t{me}\t{me}\n"));
    host.bind(50, TCP, 25_565, 900);
    assert_eq!(host.update()[0].log, None);
    host.write("srv/logs/latest.log", "");
    let mut found = None;
    for _ in 0..LOOK_AGAIN_EVERY {
        found = host.update()[0].log.clone();
    }
    assert_eq!(found, Some(host.path("srv/logs/latest.log")));
    let server = host.discovery.candidates()[0].to_game_server();
    assert_eq!(server.log.and_then(|log| log.file), found);
}

#[test]
fn arguments_are_split_where_the_kernel_ends_them() {
    let split = |text: &str| facts::split_arguments(text.as_bytes());
    assert_eq!(split("a\0b c\0\0d\0"), ["a", "b c", "", "d"]);
    assert!(split("").is_empty());
    let found = facts::pick_variables(b"HOME=/a=b\0P=x\0SERVER_PORT\0AGONES_SDK_HTTP_PORT=\xff\0");
    assert_eq!(found, BTreeMap::from([("HOME".to_owned(), "/a=b".to_owned())]));
}

fn recognised(title_port: u16, name: Option<String>) -> Recognised {
    let mut found = recognise(&Evidence {
        executable: Some("/srv/ioq3ded".into()),
        listening: vec![(UDP, title_port)],
        ..Evidence::default()
    })
    .unwrap();
    found.name = name;
    found
}

proptest! {
    #[test]
    fn any_process_file_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(facts::split_arguments(&bytes).len() <= bytes.len());
        prop_assert!(facts::pick_variables(&bytes).len() <= 7);
    }

    /// Whatever containers and servers call themselves, names are unique, short and plain.
    #[test]
    fn names_are_unique_short_and_plain(
        servers in prop::collection::vec(("\\PC{0,80}|[a-b]{1,2}|[\\x00-\\x1f]{0,5}", 1u16..4, prop::option::of("\\PC{0,80}")), 1..40)
    ) {
        let mut names = Names::default();
        let mut live = HashSet::new();
        for (called, port, own) in &servers {
            let container = super::super::container::Container {
                runtime: super::super::container::Runtime::Docker,
                id: ID.into(),
                pod_uid: None,
                name: Some(called.clone()),
                labels: BTreeMap::new(),
                outer: None,
            };
            let recognised = recognised(*port, own.clone());
            let parts = Parts {
                recognised: &recognised,
                port: *port,
                address: None,
                container: Some(&container),
                hosting: None,
                place: names::Place::Other,
                cwd: Some(Path::new("/srv")),
            };
            let name = names.assign(&parts, &live);
            prop_assert!(!name.is_empty() && name.len() <= LONGEST, "{}", name);
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)), "{}", name);
            prop_assert!(live.insert(name));
        }
    }
}
