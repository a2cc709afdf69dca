//! A fleet over three agents, each in a network and mount namespace of its own with a private /run, so that the lock of
//! one host does not meet that of another. Agents and fleet run as `nobody`: three kernel sides at the root of one
//! machine's cgroups would count one another's packets, so agents measure by /proc here. TLS, tokens, logs and players
//! are real.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use gsmon_tests::{
    gsmon,
    netns::{Netns, run},
    root_or_skip,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;

const TOKEN: &str = "fleet-test-fleet-test-fleet-test-fleet";
const METRICS_PORT: u16 = 9_466;
const PATIENCE: Duration = Duration::from_secs(90);

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Three hosts and the site that reads them.
struct Site {
    directory: tempfile::TempDir,
    site: Netns,
    hosts: Vec<Netns>,
}

const HOSTS: [&str; 3] = ["a", "b", "c"];

impl Site {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let site = Netns::new("site").unwrap();
        let hosts: Vec<Netns> = HOSTS
            .iter()
            .map(|name| Netns::new(&format!("host-{name}")).unwrap())
            .collect();
        for (index, host) in hosts.iter().enumerate() {
            // Both ends are inside: nothing of the machine's own network is touched.
            run(&format!(
                "ip link add to{index} netns {} type veth peer name uplink netns {}",
                site.name, host.name
            ))
            .unwrap();
            site.exec(&format!("ip addr add 10.93.{index}.1/24 dev to{index}"))
                .unwrap();
            site.exec(&format!("ip link set to{index} up")).unwrap();
            host.exec(&format!("ip addr add 10.93.{index}.2/24 dev uplink"))
                .unwrap();
            host.exec("ip link set uplink up").unwrap();
        }
        let this = Self {
            directory,
            site,
            hosts,
        };
        fs::copy(gsmon().unwrap(), this.path("gsmon")).unwrap();
        this.certificates();
        this.write("token", &format!("{TOKEN}\n"));
        fs::write(this.path("shared.key"), [42; 32]).unwrap();
        for (index, name) in HOSTS.iter().enumerate() {
            fs::create_dir(this.path(&format!("state-{name}"))).unwrap();
            this.write(&format!("{name}.log"), "");
            this.write(&format!("{name}.toml"), &this.agent_configuration(index));
        }
        this.write("fleet.toml", &this.fleet_configuration());
        let at = this.directory.path().display();
        run(&format!("chown -R 65534:65534 {at}")).unwrap();
        run(&format!("chmod 755 {at}")).unwrap();
        run(&format!("chmod 600 {at}/shared.key {at}/token")).unwrap();
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn certificates(&self) {
        let mut authority = CertificateParams::new(Vec::<String>::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        self.write("ca.pem", &issuer.as_ref().pem());
        for (index, name) in HOSTS.iter().enumerate() {
            let key = KeyPair::generate().unwrap();
            let own = CertificateParams::new(vec![format!("10.93.{index}.2")]).unwrap();
            let certificate = own.signed_by(&key, &issuer).unwrap();
            self.write(&format!("{name}.pem"), &certificate.pem());
            self.write(&format!("{name}.key"), &key.serialize_pem());
            let path = self.path(&format!("{name}.key"));
            run(&format!("chmod 600 {}", path.display())).unwrap();
        }
    }

    fn agent_configuration(&self, index: usize) -> String {
        let name = HOSTS[index];
        let at = self.directory.path().display();
        format!(
            r#"
[api]
listen = "127.0.0.1:9464"
socket = "/run/gsmon/api.sock"
[api.remote]
listen = "10.93.{index}.2:9467"
certificate_file = "{at}/{name}.pem"
key_file = "{at}/{name}.key"
token_file = "{at}/token"
shared_key_file = "{at}/shared.key"
[[server]]
name = "arena"
game = "custom"
command_line = "demo-server .*--port 2850{index}"
region = "region-{name}"
[server.log]
file = "{at}/{name}.log"
from = "beginning"
[server.grammar]
[[server.grammar.rule]]
event = "join"
kind = "human"
pattern = 'join (?<name>\w+) (?<id>\w+)'
[[server.grammar.rule]]
event = "leave"
pattern = 'leave (?<name>\w+) (?<id>\w+)'
"#
        )
    }

    fn fleet_configuration(&self) -> String {
        let at = self.directory.path().display();
        let mut text = format!(
            r#"
[fleet]
interval = "1s"
timeout = "1s"
stale_after = "4s"
unknown_after = "6s"
[listen]
socket = "{at}/fleet/api.sock"
metrics = "127.0.0.1:{METRICS_PORT}"
"#
        );
        for (index, name) in HOSTS.iter().enumerate() {
            text += &format!(
                r#"
[[agent]]
name = "{name}"
url = "https://10.93.{index}.2"
token_file = "{at}/token"
ca_file = "{at}/ca.pem"
"#
            );
        }
        text
    }

    /// As `nobody`, inside a namespace of its own /run.
    fn start(&self, netns: &Netns, words: &str) -> Running {
        let script = format!(
            "mount -t tmpfs tmpfs /run && mkdir -m 777 /run/gsmon && exec setpriv --reuid 65534 --regid 65534 --clear-groups {} {words}",
            self.path("gsmon").display()
        );
        let child = Command::new("ip")
            .args(["netns", "exec", &netns.name, "sh", "-c", &script])
            // A demo server ends with its input.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Running(child)
    }

    fn agent(&self, index: usize) -> Running {
        let at = self.directory.path().display();
        let name = HOSTS[index];
        let mut agent = self.start(
            &self.hosts[index],
            &format!("run --allow-unprivileged --config {at}/{name}.toml --state-dir {at}/state-{name}"),
        );
        says(&mut agent, "is measuring");
        agent
    }

    /// A client of the fleet, as `nobody`.
    fn ask(&self, words: &[&str]) -> Output {
        Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(self.path("gsmon"))
            .arg("fleet")
            .args(words)
            .arg("--socket")
            .arg(self.path("fleet/api.sock"))
            .output()
            .unwrap()
    }

    fn json(&self, words: &[&str]) -> Value {
        let output = self.ask(words);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{words:?}: {error}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Asks until it is so.
    fn wait(&self, words: &[&str], what: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let said = self.json(words);
            if what(&said) {
                return said;
            }
            assert!(Instant::now() < end, "{words:?} never came to be: {said:#}");
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Asks what moves came to, until it is so.
    fn migrations(&self, what: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let output = Command::new(self.path("gsmon"))
                .args(["analyze", "migrations", "--json", "--fleet"])
                .arg(self.path("fleet/api.sock"))
                .output()
                .unwrap();
            let said: Value = serde_json::from_slice(&output.stdout)
                .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
            if what(&said) {
                return said;
            }
            assert!(Instant::now() < end, "it never came to be: {said:#}");
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Announces a move; what was answered.
    fn announce(&self, body: &str) -> String {
        let mut stream = std::os::unix::net::UnixStream::connect(self.path("fleet/api.sock")).unwrap();
        let request = format!(
            "POST /api/v1/migrations HTTP/1.1\r\nHost: fleet\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    fn metrics(&self) -> String {
        self.site.inside(|| {
            let mut stream = TcpStream::connect(("127.0.0.1", METRICS_PORT)).unwrap();
            let request = "GET /metrics HTTP/1.1\r\nHost: fleet\r\nConnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        })
    }
}

/// Reads on until a process has said something; keeps its pipe from filling up afterwards.
fn says(process: &mut Running, what: &str) {
    let mut lines = BufReader::new(process.0.stderr.take().unwrap()).lines();
    let mut said = String::new();
    loop {
        let Some(line) = lines.next() else {
            panic!("it ended before it said {what:?}: {said}");
        };
        said += &line.unwrap();
        said.push('\n');
        if said.contains(what) {
            break;
        }
    }
    thread::spawn(move || lines.for_each(drop));
}

fn append(path: &Path, line: &str) {
    let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
    writeln!(file, "{line}").unwrap();
}

fn state_of<'a>(fleet: &'a Value, host: &str) -> &'a Value {
    let agents = fleet["agents"].as_array().unwrap();
    let agent = agents.iter().find(|agent| agent["host"] == host).unwrap();
    &agent["state"]
}

#[test]
fn three_agents_are_read_as_one_and_a_silent_one_is_unknown() {
    if !root_or_skip() {
        return;
    }
    let site = Site::new();
    let _servers: Vec<Running> = (0..HOSTS.len())
        .map(|index| {
            let words = format!("demo-server --port 2850{index} --lifetime-seconds 300");
            site.start(&site.hosts[index], &words)
        })
        .collect();
    let mut agents: Vec<Running> = (0..HOSTS.len()).map(|index| site.agent(index)).collect();
    let fleet_file = site.path("fleet.toml").display().to_string();
    let mut fleet = site.start(&site.site, &format!("fleet --config {fleet_file}"));
    says(&mut fleet, "reads its agents");

    let all = site.wait(&["top", "--once", "--json"], |said| {
        said["totals"]["of_hosts"] == 3 && said["totals"]["servers_up"] == 3
    });
    assert!(all["totals"]["rss_bytes"].as_u64().unwrap() > 0, "{all:#}");
    assert_eq!(all["totals"]["rss_of_servers"], 3);

    // Ann is on two hosts at once; her name is another on each, her id is not.
    append(&site.path("a.log"), "join Ann id1");
    append(&site.path("a.log"), "join Bob id2");
    append(&site.path("b.log"), "join Anna id1");
    append(&site.path("c.log"), "join Cid id3");
    let players = site.wait(&["players", "--json"], |said| {
        let places = said["players"].as_array().unwrap().iter();
        let count = places
            .map(|player| player["places"].as_array().unwrap().len())
            .sum::<usize>();
        count == 4
    });
    let joined = players["players"].as_array().unwrap();
    assert_eq!(joined.len(), 3, "{players:#}");
    let hosts: Vec<Vec<&str>> = joined
        .iter()
        .map(|player| {
            let places = player["places"].as_array().unwrap().iter();
            places.map(|place| place["host"].as_str().unwrap()).collect()
        })
        .collect();
    for wanted in [vec!["a", "b"], vec!["a"], vec!["c"]] {
        assert!(hosts.contains(&wanted), "{wanted:?} is not in {hosts:?}");
    }
    let text = players.to_string();
    assert!(!text.contains("Ann") && !text.contains("id1"), "{text}");
    assert_eq!(players["keys"].as_object().unwrap().len(), 1);

    // Whoever came to a just now and leaves b has moved; Ann has been on both for longer than the fleet is unsure about.
    thread::sleep(Duration::from_secs(6));
    // Bob goes from a to c, Cid from c to b; Ann only leaves b, and stays on a.
    append(&site.path("a.log"), "leave Bob id2");
    append(&site.path("b.log"), "leave Anna id1");
    append(&site.path("c.log"), "leave Cid id3");
    append(&site.path("c.log"), "join Bobby id2");
    append(&site.path("b.log"), "join Cid id3");
    let moved = site.migrations(|said| said["migrations"].as_array().unwrap().len() >= 2);
    let of = |player: &Value| {
        let places = player["places"].as_array().unwrap().iter();
        let hosts: Vec<&str> = places.map(|place| place["host"].as_str().unwrap()).collect();
        (player["pseudonym"].as_str().unwrap().to_owned(), hosts)
    };
    let before: Vec<(String, Vec<&str>)> = joined.iter().map(of).collect();
    let who = |hosts: &[&str]| &before.iter().find(|(_, at)| at == hosts).unwrap().0;
    let mut pairs: Vec<[&str; 3]> = moved["migrations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|migration| ["player", "from", "to"].map(|field| migration[field].as_str().unwrap()))
        .collect();
    pairs.sort_by_key(|pair| pair[1]);
    assert_eq!(
        pairs,
        [
            [who(&["a"]), "a/arena", "c/arena"],
            [who(&["c"]), "c/arena", "b/arena"]
        ],
        "{moved:#}"
    );
    assert!(
        moved["migrations"]
            .as_array()
            .unwrap()
            .iter()
            .all(|migration| migration["by"] == "seen")
    );
    let ghost = site.announce(r#"{"from":"a/arena","to":"moon/arena"}"#);
    assert!(ghost.contains("there is no server `moon/arena`"), "{ghost}");
    let backwards = site.announce(r#"{"from":"a/arena","to":"a/arena"}"#);
    assert!(backwards.contains("are one server"), "{backwards}");
    assert!(site.announce(r#"{"from":"b/arena"}"#).contains("missing field"));
    let accepted = site.announce(r#"{"from":"b/arena","to":"a/arena"}"#);
    assert_eq!(accepted, r#"{"accepted":1}"#);
    site.migrations(|said| said["announced_unseen"] == 1);

    // One falls silent.
    agents[2].0.kill().unwrap();
    agents[2].0.wait().unwrap();
    let silent = site.wait(&["top", "--once", "--json"], |said| {
        *state_of(said, "c") == "unknown"
    });
    assert_eq!(*state_of(&silent, "a"), "fresh");
    assert_eq!(silent["totals"]["hosts"], 3);
    assert_eq!(silent["totals"]["of_hosts"], 2);
    assert_eq!(silent["totals"]["servers"], 2);
    let of_c = &silent["agents"][2];
    assert!(
        of_c["totals"].is_null() && of_c["age_seconds"].is_null(),
        "{of_c:#}"
    );
    assert!(
        of_c["error"].as_str().unwrap().contains("cannot connect"),
        "{of_c:#}"
    );
    let servers = site.json(&["servers", "--json"]);
    let server = servers
        .as_array()
        .unwrap()
        .iter()
        .find(|server| server["host"] == "c")
        .unwrap();
    assert_eq!(
        *server,
        serde_json::json!({ "host": "c", "host_state": "unknown", "name": "arena" }),
        "a server of a silent host has no figures"
    );
    let players = site.json(&["players", "--json"]);
    assert_eq!(
        (&players["of_hosts"], players["players"].as_array().unwrap().len()),
        (&2.into(), 2)
    );
    let health = site.ask(&["health"]);
    let said = String::from_utf8_lossy(&health.stdout).into_owned();
    assert_eq!(health.status.code(), Some(3), "{said}");
    assert!(said.contains("c: UNKNOWN: cannot connect"), "{said}");
    let of_a = site.ask(&["health", "a"]);
    let said = String::from_utf8_lossy(&of_a.stdout).into_owned();
    assert_eq!(
        of_a.status.code(),
        Some(1),
        "it measures by /proc, and says so: {said}"
    );
    let metrics = site.metrics();
    for line in [
        "gsmon_fleet_agents{state=\"unknown\"} 1",
        "gsmon_fleet_agent_state{agent=\"c\",state=\"unknown\"} 1",
        "gsmon_fleet_agent_servers{agent=\"a\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    assert!(
        !metrics.contains("gsmon_fleet_agent_servers{agent=\"c\"}"),
        "{metrics}"
    );

    // And comes back.
    agents[2] = site.agent(2);
    let back = site.wait(&["top", "--once", "--json"], |said| {
        said["totals"]["of_hosts"] == 3
    });
    assert_eq!(*state_of(&back, "c"), "fresh");
}
