//! A fleet over three agents, each in a network and mount namespace of its own (`gsmon_tests::site`).

use std::{thread, time::Duration};

use gsmon_tests::{
    root_or_skip,
    site::{HOSTS, Running, Site, append, says},
};
use serde_json::Value;

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
    let site = Site::new("");
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
    let who = |on: &[&str]| {
        let place = hosts.iter().position(|hosts| hosts == on).unwrap();
        joined[place]["pseudonym"].as_str().unwrap()
    };
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
