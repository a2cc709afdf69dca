//! Three hosts in network and mount namespaces of their own with a private /run, so that the lock of one host does not meet
//! that of another, and the site whose fleet reads them. Agents and fleet run as `nobody`: three kernel sides at the root
//! of one machine's cgroups would count one another's packets, so agents measure by /proc here. TLS, tokens, logs and
//! players are real.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;

use crate::{
    gsmon,
    netns::{Netns, run},
};

const TOKEN: &str = "fleet-test-fleet-test-fleet-test-fleet";
const METRICS_PORT: u16 = 9_466;
const PATIENCE: Duration = Duration::from_secs(90);

/// A process that ends with the test.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Three hosts and the site that reads them.
pub struct Site {
    directory: tempfile::TempDir,
    /// Where the fleet is.
    pub site: Netns,
    /// Where agents are, in the order of [`HOSTS`].
    pub hosts: Vec<Netns>,
}

/// Their names.
pub const HOSTS: [&str; 3] = ["a", "b", "c"];

impl Site {
    /// With a fleet that has more in its configuration than its agents.
    pub fn new(more: &str) -> Self {
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
        this.write("fleet.toml", &(this.fleet_configuration() + more));
        let at = this.directory.path().display();
        run(&format!("chown -R 65534:65534 {at}")).unwrap();
        run(&format!("chmod 755 {at}")).unwrap();
        run(&format!("chmod 600 {at}/shared.key {at}/token")).unwrap();
        this
    }

    /// A file of the site.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes one.
    pub fn write(&self, name: &str, text: &str) {
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
listen = "10.93.{index}.2:9464"
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
max_players = 16
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
    pub fn start(&self, netns: &Netns, words: &str) -> Running {
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

    /// Starts the agent of a host, and waits until it measures.
    pub fn agent(&self, index: usize) -> Running {
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
    pub fn ask(&self, words: &[&str]) -> Output {
        let mut client = self.client();
        client.arg("fleet").args(words).arg("--socket").arg(self.socket());
        client.output().unwrap()
    }

    /// gsmon as `nobody`.
    pub fn client(&self) -> Command {
        let mut client = Command::new("setpriv");
        client
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(self.path("gsmon"))
            .stdin(Stdio::null());
        client
    }

    /// The socket of the fleet.
    pub fn socket(&self) -> PathBuf {
        self.path("fleet/api.sock")
    }

    /// What the fleet answers.
    pub fn json(&self, words: &[&str]) -> Value {
        let output = self.ask(words);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{words:?}: {error}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Asks until it is so.
    pub fn wait(&self, words: &[&str], what: impl Fn(&Value) -> bool) -> Value {
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
    pub fn migrations(&self, what: impl Fn(&Value) -> bool) -> Value {
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
    pub fn announce(&self, body: &str) -> String {
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

    /// The page of the fleet.
    pub fn metrics(&self) -> String {
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
pub fn says(process: &mut Running, what: &str) {
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

/// Adds a line to a file.
pub fn append(path: &Path, line: &str) {
    let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
    writeln!(file, "{line}").unwrap();
}
