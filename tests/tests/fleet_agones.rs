//! An agent whose server is played on, a fleet that plans by what it tells, and the webhook of Agones over TLS, as Agones
//! calls it: curl with the token as the password of the URL. Everything is on loopback and runs as `nobody`, so that the
//! agent measures by /proc.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use gsmon_tests::{gsmon, netns::run, root_or_skip};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};

const TOKEN: &str = "agones-test-agones-test-agones-test-agones";
const PATIENCE: Duration = Duration::from_secs(120);

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Site {
    directory: tempfile::TempDir,
    fleet_port: u16,
    game_port: u16,
}

/// Ports that are free now.
fn free_ports<const N: usize>() -> [u16; N] {
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

impl Site {
    fn new() -> Self {
        let [agent_port, fleet_port, game_port] = free_ports();
        let site = Self {
            directory: tempfile::tempdir().unwrap(),
            fleet_port,
            game_port,
        };
        let at = site.directory.path().display().to_string();
        fs::copy(gsmon().unwrap(), site.path("gsmon")).unwrap();
        let mut authority = CertificateParams::new(Vec::<String>::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Of another name than the certificate that it signs, which looks self-signed to OpenSSL otherwise.
        authority.distinguished_name.push(DnType::CommonName, "authority");
        let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = own.signed_by(&key, &issuer).unwrap();
        site.write("ca.pem", &issuer.as_ref().pem());
        site.write("tls.pem", &certificate.pem());
        site.write("tls.key", &key.serialize_pem());
        site.write("token", &format!("{TOKEN}\n"));
        site.write("game.log", "");
        fs::create_dir(site.path("state")).unwrap();
        let tls = format!(
            "certificate_file = \"{at}/tls.pem\"\nkey_file = \"{at}/tls.key\"\ntoken_file = \"{at}/token\"\n"
        );
        site.write(
            "agent.toml",
            &format!(
                r#"
[api]
listen = "127.0.0.1:0"
socket = "{at}/agent/api.sock"
[api.remote]
listen = "127.0.0.1:{agent_port}"
{tls}
[[server]]
name = "arena"
game = "custom"
command_line = "demo-server .*--port {game_port}"
max_players = 2
region = "eu"
[server.log]
file = "{at}/game.log"
from = "beginning"
[server.grammar]
[[server.grammar.rule]]
event = "join"
kind = "human"
pattern = 'join (?<name>\w+) (?<id>\w+)'
"#
            ),
        );
        site.write(
            "fleet.toml",
            &format!(
                r#"
[fleet]
interval = "1s"
[listen]
socket = "{at}/fleet/api.sock"
metrics = "127.0.0.1:0"
[listen.remote]
listen = "127.0.0.1:{fleet_port}"
{tls}
[scaling]
every = "1s"
[[agent]]
name = "a"
url = "https://127.0.0.1:{agent_port}"
token_file = "{at}/token"
ca_file = "{at}/ca.pem"
[[agones]]
fleet = "arena-eu"
namespace = "games"
region = "eu"
minimum = 1
maximum = 3
[[agones]]
fleet = "moon"
region = "moon"
minimum = 0
maximum = 9
"#
            ),
        );
        run(&format!("chown -R 65534:65534 {at}")).unwrap();
        run(&format!("chmod 755 {at}")).unwrap();
        run(&format!("chmod 600 {at}/token {at}/tls.key")).unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// As `nobody`.
    fn start(&self, words: &str) -> Running {
        let child = Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(self.path("gsmon"))
            .args(words.split_whitespace())
            // A demo server ends with its input.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Running(child)
    }

    /// Posts a body to the webhook; status and answer.
    fn post(&self, token: &str, body: &str) -> (u16, Value) {
        let output = Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--noproxy",
                "*",
                "--max-time",
                "10",
                "--cacert",
            ])
            .arg(self.path("ca.pem"))
            .args(["--write-out", "\n%{http_code}", "--data-binary", body])
            .args(["--header", "Content-Type: application/json"])
            .arg(format!(
                "https://agones:{token}@127.0.0.1:{}/agones/v1/fleetautoscaler",
                self.fleet_port
            ))
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let (body, status) = said.rsplit_once('\n').unwrap_or_else(|| {
            panic!("no answer: {}", String::from_utf8_lossy(&output.stderr));
        });
        assert_ne!(status, "000", "{}", String::from_utf8_lossy(&output.stderr));
        (
            status.parse().unwrap(),
            serde_json::from_str(body).unwrap_or(Value::Null),
        )
    }

    /// Asks the agent over its socket; status and answer.
    fn ask_agent(&self, path: &str) -> (u16, Value) {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "60", "--unix-socket"])
            .arg(self.path("agent/api.sock"))
            .args(["--write-out", "\n%{http_code}"])
            .arg(format!("http://agent{path}"))
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let (body, status) = said.rsplit_once('\n').unwrap();
        (
            status.parse().unwrap(),
            serde_json::from_str(body).unwrap_or(Value::Null),
        )
    }

    fn review(&self, fleet: &str, replicas: u32, allocated: u32) -> Value {
        let asked = json!({
            "request": {
                "uid": "0a-1b", "name": fleet, "namespace": "games",
                "status": {
                    "replicas": replicas, "readyReplicas": replicas - allocated,
                    "reservedReplicas": 0, "allocatedReplicas": allocated
                }
            },
            "response": null
        });
        let (status, answer) = self.post(TOKEN, &asked.to_string());
        assert_eq!(status, 200, "{answer:#}");
        assert_eq!(answer["request"], asked["request"]);
        assert_eq!(answer["response"]["uid"], "0a-1b");
        let told = answer["response"]["replicas"].as_u64().unwrap();
        assert_eq!(
            answer["response"]["scale"],
            told != u64::from(replicas),
            "{answer:#}"
        );
        answer["response"].clone()
    }
}

/// Reads on until a process has said something; keeps its pipe from filling up afterwards.
fn says(process: &mut Running, what: &str) {
    let mut lines = BufReader::new(process.0.stderr.take().unwrap()).lines();
    let mut said = String::new();
    while !said.contains(what) {
        let Some(line) = lines.next() else {
            panic!("it ended before it said {what:?}: {said}");
        };
        said += &line.unwrap();
        said.push('\n');
    }
    thread::spawn(move || lines.for_each(drop));
}

#[test]
fn agones_is_answered_from_the_plan_and_keeps_what_runs_without_one() {
    if !root_or_skip() {
        return;
    }
    let site = Site::new();
    let at = site.directory.path().display().to_string();
    let _server = site.start(&format!(
        "demo-server --port {} --lifetime-seconds 300",
        site.game_port
    ));
    let mut fleet = site.start(&format!("fleet --config {at}/fleet.toml"));
    says(&mut fleet, "reads its agents");

    // Nobody was heard yet: whatever runs stays, and the minimum is kept.
    assert_eq!(site.review("arena-eu", 2, 0)["replicas"], 2);
    assert_eq!(site.review("arena-eu", 0, 0)["replicas"], 1);
    assert_eq!(site.review("moon", 5, 0)["replicas"], 5);

    let mut agent = site.start(&format!(
        "run --allow-unprivileged --config {at}/agent.toml --state-dir {at}/state"
    ));
    says(&mut agent, "is measuring");
    let mut log = fs::OpenOptions::new()
        .append(true)
        .open(site.path("game.log"))
        .unwrap();
    for player in ["Ann id1", "Bob id2", "Cid id3"] {
        writeln!(log, "join {player}").unwrap();
    }
    // Three players on servers of two seats need two of them.
    let end = Instant::now() + PATIENCE;
    while site.review("arena-eu", 1, 1)["replicas"].as_u64().unwrap() < 2
        || site.review("arena-eu", 1, 0)["replicas"].as_u64().unwrap() < 2
    {
        assert!(Instant::now() < end, "no plan ever wanted a second server");
        thread::sleep(Duration::from_millis(300));
    }
    // Within bounds, and never down before the delay is over.
    assert_eq!(
        site.review("arena-eu", 1, 1)["replicas"].as_u64().unwrap().max(3),
        3
    );
    assert_eq!(site.review("arena-eu", 3, 0)["replicas"], 3);
    assert_eq!(
        site.review("moon", 5, 0)["replicas"],
        5,
        "nobody plays there: no plan"
    );

    // The agent tells the same of its own servers.
    let (status, advice) = site.ask_agent(
        "/api/v1/recommendation?forecast_hours=2&target_player_experience=smooth&include_cost_analysis=true",
    );
    assert_eq!(status, 200, "{advice:#}");
    let group = &advice["groups"][0];
    assert_eq!(
        (&advice["experience"], &group["size"]["players"]),
        (&"smooth".into(), &2.into())
    );
    assert!(group["wanted_now"].as_u64().unwrap() >= 2, "{group:#}");
    assert_eq!(group["costs"]["plan"]["cost"], Value::Null, "no price is made up");
    for (path, status, part) in [
        (
            "recommendation?target_player_experience=perfect",
            400,
            "is no experience",
        ),
        ("recommendation?forecast_hours=900", 400, "1 to 168"),
        ("recommendation?include_cost_analysis=maybe", 400, "true or false"),
        ("recommendation?speed=1", 400, "is no parameter"),
        ("forecast?server=moon", 404, "moon"),
        ("forecast?region=moon", 404, "no server is in region"),
        ("forecast?region=eu&mode=duel", 400, "only one"),
        ("forecast", 503, "no count of players yet"),
    ] {
        let (answered, said) = site.ask_agent(&format!("/api/v1/{path}"));
        assert_eq!(answered, status, "{path}: {said}");
        assert!(said["error"].as_str().unwrap().contains(part), "{path}: {said}");
    }

    // What cannot be meant is refused, and so is a stranger.
    for (body, part) in [
        ("{", "cannot be read"),
        ("{}", "no `request`"),
        (
            "{\"request\":{\"uid\":\"1\",\"name\":\"arena-eu\",\"namespace\":\"games\",\"status\":{\"replicas\":-4}}}",
            "cannot be meant",
        ),
    ] {
        let (status, answer) = site.post(TOKEN, body);
        assert_eq!(status, 400, "{body}");
        assert!(answer["error"].as_str().unwrap().contains(part), "{answer}");
        assert!(answer.get("response").is_none());
    }
    let unknown = json!({ "request": { "uid": "1", "name": "other", "namespace": "games", "status": { "replicas": 3 } } });
    let (status, answer) = site.post(TOKEN, &unknown.to_string());
    assert_eq!(status, 404);
    assert!(
        answer["known"].as_array().unwrap().contains(&"arena-eu".into()),
        "{answer}"
    );
    assert_eq!(
        site.post("wrong-wrong-wrong-wrong-wrong-wrong-wrong", "{}").0,
        401
    );

    // The agent falls silent: what runs stays.
    agent.0.kill().unwrap();
    agent.0.wait().unwrap();
    assert_eq!(site.review("arena-eu", 3, 0)["replicas"], 3);
}

/// Every document of every example; YAML that cannot be read fails.
fn documents(file: &str) -> Vec<Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../examples/kubernetes")
        .join(file);
    let text = fs::read_to_string(path).unwrap();
    serde_saphyr::from_multiple(&text).unwrap()
}

#[test]
fn the_manifests_are_yaml_that_says_what_is_meant() {
    let autoscaler = &documents("fleetautoscaler.yaml")[0];
    assert_eq!(autoscaler["kind"], "FleetAutoscaler");
    assert_eq!(autoscaler["spec"]["policy"]["type"], "Webhook");
    let url = autoscaler["spec"]["policy"]["webhook"]["url"].as_str().unwrap();
    assert!(url.starts_with("https://") && url.ends_with("/agones/v1/fleetautoscaler"));
    let keda = &documents("keda.yaml")[0];
    assert_eq!(keda["kind"], "ScaledObject");
    let query = keda["spec"]["triggers"][0]["metadata"]["query"].as_str().unwrap();
    assert!(query.contains("gsmon_recommended_servers"));
    let hpa = documents("hpa.yaml");
    assert_eq!(
        (&hpa[0]["kind"], &hpa[1]["kind"]),
        (&"ConfigMap".into(), &"HorizontalPodAutoscaler".into())
    );
    let rules: Value = serde_saphyr::from_str(hpa[0]["data"]["config.yaml"].as_str().unwrap()).unwrap();
    let name = &rules["externalRules"][0]["name"]["as"];
    assert_eq!(*name, hpa[1]["spec"]["metrics"][0]["external"]["metric"]["name"]);
}
