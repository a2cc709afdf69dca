//! Questions to a fleet of three agents (`gsmon_tests::site`) whose past is in a real Prometheus: analyses, the prediction
//! for a queue and advice over all hosts. A host that falls silent is named and never counted as empty.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use gsmon_tests::{
    program_or_skip, root_or_skip,
    site::{HOSTS, Running, Site, append, says},
};
use serde_json::{Value, json};

/// Prometheus inside the namespace of the site; ends with the test.
fn scraper(site: &Site) -> Running {
    let targets: Vec<String> = (0..HOSTS.len()).map(|n| format!("'10.93.{n}.2:9464'")).collect();
    site.write(
        "scrape.yml",
        &format!(
            "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n- job_name: gsmon\n  static_configs:\n  - targets: [{}]\n",
            targets.join(", ")
        ),
    );
    let child: Child = Command::new("ip")
        .args(["netns", "exec", &site.site.name, "prometheus"])
        .arg(format!("--config.file={}", site.path("scrape.yml").display()))
        .arg(format!("--storage.tsdb.path={}", site.path("store").display()))
        .arg("--web.listen-address=127.0.0.1:9090")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Running(child)
}

/// One request to the fleet's API.
fn request(site: &Site, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect(site.socket()).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: fleet\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

/// A command that asks the fleet, and its document.
fn command(site: &Site, words: &[&str]) -> Value {
    let mut client = site.client();
    client.args(words).arg("--json");
    client.arg(format!("--fleet={}", site.socket().display()));
    let output = client.output().unwrap();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{words:?}: {error}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn until<T>(what: &str, ask: impl Fn() -> T, done: impl Fn(&T) -> bool) -> T
where
    T: std::fmt::Debug,
{
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        let told = ask();
        if done(&told) {
            return told;
        }
        assert!(Instant::now() < end, "{what} never came to be: {told:?}");
        thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn questions_are_answered_over_all_hosts_and_silent_ones_are_named() {
    if !root_or_skip() || !program_or_skip("prometheus", "prometheus") {
        return;
    }
    let site = Site::new("[source]\nurl = \"http://127.0.0.1:9090\"\ninterval = \"1s\"\n");
    let _servers: Vec<Running> = (0..HOSTS.len())
        .map(|index| {
            let words = format!("demo-server --port 2850{index} --lifetime-seconds 600");
            site.start(&site.hosts[index], &words)
        })
        .collect();
    let mut agents: Vec<Running> = (0..HOSTS.len()).map(|index| site.agent(index)).collect();
    let _scraper = scraper(&site);
    let file = site.path("fleet.toml").display().to_string();
    let mut fleet = site.start(&site.site, &format!("fleet --config {file}"));
    says(&mut fleet, "reads its agents");
    append(&site.path("a.log"), "join Ann id1");
    append(&site.path("b.log"), "join Bob id2");
    append(&site.path("c.log"), "join Cid id3");

    // Every server of every host, under the names of the configuration.
    let of_all = until(
        "frames of all hosts",
        || request(&site, "GET", "/api/v1/analyze/network", "").1,
        |told| {
            let servers = told.as_array().map_or(&[][..], Vec::as_slice);
            servers.len() == 3
                && servers.iter().all(|server| {
                    server["report"]["seconds"]
                        .as_f64()
                        .is_some_and(|there| there > 5.0)
                })
        },
    );
    let names: Vec<&str> = of_all
        .as_array()
        .unwrap()
        .iter()
        .map(|server| server["server"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["a/arena", "b/arena", "c/arena"]);
    let memory = "/api/v1/analyze/memory?server=b%2Farena&range=15m";
    let (status, told) = request(&site, "GET", memory, "");
    assert_eq!(
        (status, &told["verdict"]["is"]),
        (200, &json!("cannot_tell")),
        "{told:#}"
    );
    for (path, status, word) in [
        ("/api/v1/analyze/memory?server=d%2Farena", 404, "a/arena"),
        ("/api/v1/analyze/players?metrics=cpu_usge", 400, "cpu_usage"),
        ("/api/v1/analyze/mark?server=a%2Farena", 422, "keeps no marks"),
        ("/api/v1/queue/prediction", 404, "POST"),
    ] {
        let (told, said) = request(&site, "GET", path, "");
        assert_eq!(told, status, "{path}: {said:#}");
        assert!(said.to_string().contains(word), "{path}: {said:#}");
    }

    // A queue, and who can take it; advice counts the servers of all hosts.
    let queue = r#"{"queue":[{"players":40}]}"#;
    let predict = || request(&site, "POST", "/api/v1/queue/prediction?range=15m", queue).1;
    let three = until("players of all hosts", predict, |told| {
        told["forecast"]["entries"][0]["placed"]
            .as_array()
            .is_some_and(|placed| placed.len() == 3)
    });
    let placed = three["forecast"]["entries"][0]["placed"].as_array().unwrap();
    let taken: u64 = placed
        .iter()
        .map(|placed| placed["players"].as_u64().unwrap())
        .sum();
    assert_eq!(taken, 40, "three servers of 16 with one player each: {three:#}");
    assert!(three["unknown_hosts"].is_null(), "{three:#}");
    let advise = || command(&site, &["recommend", "--range", "15m"]);
    // Each host is in a region of its own.
    let advice = until("advice", advise, |told| {
        let groups = told["groups"].as_array().unwrap();
        groups.len() == 3 && groups.iter().all(|group| group["running"] == 1)
    });
    assert_eq!(advice["groups"][0]["size"]["players"], 16, "{advice:#}");

    // One host falls silent: it is named, and what it played gets no advice.
    agents[2].0.kill().unwrap();
    agents[2].0.wait().unwrap();
    site.wait(&["top", "--once", "--json"], |told| {
        told["agents"][2]["state"] == "unknown"
    });
    let two = predict();
    assert_eq!(two["unknown_hosts"], json!(["c"]), "{two:#}");
    assert_eq!(
        two["forecast"]["entries"][0]["placed"].as_array().unwrap().len(),
        2,
        "{two:#}"
    );
    site.write("queue.json", queue);
    let file = site.path("queue.json").display().to_string();
    let by_command = command(&site, &["analyze", "queue", "--range", "15m", "--queue", &file]);
    assert_eq!(by_command["unknown_hosts"], json!(["c"]), "{by_command:#}");
    assert_eq!(
        by_command["forecast"]["entries"][0]["placed"],
        two["forecast"]["entries"][0]["placed"]
    );
    let advice = advise();
    assert_eq!(advice["unknown_hosts"], json!(["c"]), "{advice:#}");
    assert_eq!(advice["groups"], json!([]), "{advice:#}");
    let why = advice["left_alone"][0]["why"].as_str().unwrap();
    assert!(why.contains("silent: c/arena"), "{why}");
}
