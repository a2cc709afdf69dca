//! What the board, the documents and the listeners make of agents that come, grow old and go.

use std::time::Instant;

use serde_json::Value;

use super::*;
use crate::{
    config::FleetListen,
    serve::client::{get_tcp, get_unix},
    world::snapshot::{ServerState, SourceReport},
};

const SECOND: Duration = Duration::from_secs(1);

fn refused() -> ReadError {
    ReadError::Unauthorized
}

#[test]
fn an_agent_grows_stale_and_then_unknown_and_is_never_zero() {
    let board = Board::new(&fleet_of(&["a", "b"]));
    let start = Instant::now();
    let before = view::fleet(&board.picture(start));
    assert_eq!(before.verdict, Verdict::Unknown);
    assert_eq!((before.totals.hosts, before.totals.of_hosts), (2, 0));
    assert_eq!((before.totals.humans, before.totals.cpu_cores), (None, None));
    board.note(0, Ok(report_with("1", Some(7), 1)), start);
    for (seconds, state) in [
        (15, HostState::Fresh),
        (16, HostState::Stale),
        (60, HostState::Stale),
        (61, HostState::Unknown),
    ] {
        // Whoever fails to answer, and whoever repeats itself, grows old alike.
        board.note(0, Ok(report_with("1", Some(7), 1)), start + seconds * SECOND);
        let picture = board.picture(start + seconds * SECOND);
        assert_eq!(picture[0].state, state, "{seconds}");
        let document = view::fleet(&picture);
        let known = state != HostState::Unknown;
        assert_eq!(document.totals.of_hosts, u64::from(known));
        assert_eq!(document.agents[0].totals.is_some(), known);
        assert_eq!(document.agents[0].age_seconds.is_some(), known);
        assert_eq!(document.totals.cpu_cores.is_some(), known);
        let servers = serde_json::to_value(view::servers(&picture)).unwrap();
        assert_eq!(servers[0]["name"], "arena one");
        assert_eq!(servers[0]["host"], "a");
        assert_eq!(servers[0]["host_state"], state.name());
        assert_eq!(servers[0].get("rates").is_some(), known, "{servers}");
        assert_eq!(servers.as_array().unwrap().len(), 2, "b was never heard");
    }
    board.note(0, Err(refused()), start + 62 * SECOND);
    let picture = board.picture(start + 63 * SECOND);
    assert!(picture[0].report.is_none());
    assert_eq!(picture[0].servers.len(), 2);
    let (verdict, reasons) = verdict::judge(&picture[0]);
    assert_eq!(verdict, Verdict::Unknown);
    assert!(reasons[0].contains("token"), "{reasons:?}");
    // It comes back.
    board.note(0, Ok(report_with("1", Some(7), 2)), start + 64 * SECOND);
    assert_eq!(board.picture(start + 64 * SECOND)[0].state, HostState::Fresh);
}

#[test]
fn the_age_that_an_agent_tells_counts() {
    let board = Board::new(&fleet_of(&["a"]));
    let start = Instant::now();
    let mut report = report_with("1", None, 1);
    report.age_seconds = 40.0;
    board.note(0, Ok(report), start);
    let picture = board.picture(start + 2 * SECOND);
    assert_eq!(picture[0].state, HostState::Stale);
    assert_eq!(picture[0].age, Some(42 * SECOND));
}

#[test]
fn a_player_on_two_hosts_is_one_only_under_one_key() {
    let board = Board::new(&fleet_of(&["a", "b", "c", "d"]));
    let now = Instant::now();
    board.note(0, Ok(report_with("76561197960287930", Some(7), 1)), now);
    board.note(1, Ok(report_with("76561197960287930", Some(7), 1)), now);
    board.note(2, Ok(report_with("76561197960287930", Some(8), 1)), now);
    board.note(3, Ok(report_with("76561197960287930", None, 1)), now);
    let found = view::players(&board.picture(now));
    assert_eq!((found.hosts, found.of_hosts), (4, 4));
    let places: Vec<Vec<&str>> = found
        .players
        .iter()
        .map(|player| player.places.iter().map(|place| &*place.host).collect())
        .collect();
    assert_eq!(places.len(), 2, "{found:?}");
    assert!(places.contains(&vec!["a", "b"]) && places.contains(&vec!["c"]));
    assert_eq!((found.bots, found.unnamed), (4, 1));
    assert_eq!(found.keys.len(), 2);
    assert_eq!(found.hosts_without_key, ["d".into()]);
    // Of a host that is unknown there is nobody, and it is said of how many hosts this is.
    let later = now + 61 * SECOND;
    board.note(0, Ok(report_with("76561197960287930", Some(7), 2)), later);
    let found = view::players(&board.picture(later));
    assert_eq!((found.hosts, found.of_hosts, found.players.len()), (4, 1, 1));
}

#[test]
fn verdicts_have_reasons() {
    let board = Board::new(&fleet_of(&["a", "b"]));
    let now = Instant::now();
    let judged = |report: AgentReport| {
        board.note(0, Ok(report), now);
        verdict::judge(&board.picture(now)[0])
    };
    let mut report = report_with("1", None, 1);
    let (verdict, reasons) = judged(report.clone());
    assert_eq!(verdict, Verdict::Warning);
    assert!(
        reasons.iter().any(|reason| reason == "not found yet: silent"),
        "{reasons:?}"
    );
    report.snapshot.sequence = 2;
    report.snapshot.servers[0].state = ServerState::Gone;
    let (verdict, reasons) = judged(report.clone());
    assert_eq!(verdict, Verdict::Critical);
    assert!(reasons[0].contains("gone: arena one"), "{reasons:?}");
    report.snapshot.sequence = 3;
    for server in &mut report.snapshot.servers {
        server.state = ServerState::Up;
    }
    report.snapshot.sources = ["sched", "flow_ingress"]
        .map(|source| SourceReport {
            source: source.into(),
            hook: "none".into(),
            reason: "no BTF".into(),
        })
        .to_vec();
    let (verdict, reasons) = judged(report.clone());
    assert_eq!(verdict, Verdict::Warning);
    assert_eq!(reasons, ["sched by none, flow_ingress by none: no BTF"]);
    report.snapshot.sequence = 4;
    report.snapshot.sources.clear();
    assert_eq!(judged(report), (Verdict::Ok, Vec::new()));
    // One of two hosts is silent, and that is no all-clear.
    assert_eq!(view::fleet(&board.picture(now)).verdict, Verdict::Unknown);
    assert_eq!(
        verdict::worst([Verdict::Unknown, Verdict::Critical]),
        Verdict::Critical
    );
    assert_eq!(Verdict::Critical.exit_code(), 2);
}

#[tokio::test]
async fn the_api_is_on_the_socket_and_over_tls_and_metrics_are_for_everybody() {
    let site = Site::new(Validity::Good);
    let directory = tempfile::tempdir().unwrap();
    let listen = FleetListen {
        socket: directory.path().join("run/api.sock"),
        metrics: "127.0.0.1:0".parse().unwrap(),
        remote: Some(site.remote()),
    };
    let servers = FleetServers::bind(&listen).await.unwrap();
    let address = servers.address().unwrap();
    let remote = servers.remote_address().unwrap().unwrap();
    let fleet = Fleet::new(&fleet_of(&["a", "b"]));
    let board = fleet.board.clone();
    board.note(
        0,
        Ok(report_with("76561197960287930", Some(7), 1)),
        Instant::now(),
    );
    board.note(1, Err(refused()), Instant::now());
    let (stop, stopped) = watch::channel(false);
    let serving = tokio::spawn(servers.run(fleet, stopped));
    let get = |path: &'static str| {
        let socket = listen.socket.clone();
        async move {
            let (status, body) = get_unix(&socket, path).await.unwrap();
            (status, serde_json::from_str::<Value>(&body).unwrap())
        }
    };
    let (status, fleet) = get("/api/v1/fleet").await;
    assert_eq!((status, &fleet["agents"][1]["state"]), (200, &"unknown".into()));
    assert_eq!(fleet["totals"]["of_hosts"], 1);
    let (_, servers) = get("/api/v1/servers?host=a").await;
    assert_eq!(servers[0]["rates"]["cpu_cores"], 0.1);
    let (_, players) = get("/api/v1/players").await;
    assert_eq!(players["players"][0]["places"][0]["host"], "a");
    let (status, refusal) = get("/api/v1/servers?host=x").await;
    assert_eq!((status, &refusal["known"]), (404, &serde_json::json!(["a", "b"])));
    assert_eq!(get("/api/v1/servers?hosts=a").await.0, 400);
    assert_eq!(get("/api/v1/nothing").await.0, 404);
    let (status, refusal) = get("/api/v1/frames?server=a/x").await;
    assert!(status == 404 && refusal["error"].as_str().unwrap().contains("[source]"));
    assert_eq!(get("/api/v1/frames?server=a/x&from=noon").await.0, 400);
    assert_eq!(get("/api/v1/frames").await.0, 400);
    let (status, metrics) = get_tcp(address, "/metrics").await.unwrap();
    assert_eq!(status, 200);
    for line in [
        "gsmon_fleet_agents{state=\"unknown\"} 1",
        "gsmon_fleet_agent_state{agent=\"a\",state=\"fresh\"} 1",
        "gsmon_fleet_agent_reading_errors_total{agent=\"b\",reason=\"unauthorized\"} 1",
        "gsmon_fleet_agent_servers{agent=\"a\"} 2",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    assert!(!metrics.contains("gsmon_fleet_agent_age_seconds{agent=\"b\"}"));
    assert!(!metrics.contains("p-") && !metrics.contains("gsmon_fleet_agent_servers{agent=\"b\"}"));
    assert_eq!(get_tcp(address, "/api/v1/fleet").await.unwrap().0, 404);
    // Over TLS a fleet answers its own routes to who has a token: a report is not among them.
    let error = reader(site.entry("fleet", remote)).read().await.unwrap_err();
    assert!(matches!(&error, ReadError::Status { status: 404, said } if said.contains("known")));
    assert!(matches!(
        FleetServers::bind(&FleetListen {
            remote: None,
            metrics: "127.0.0.1:0".parse().unwrap(),
            ..listen.clone()
        })
        .await,
        Err(FleetServeError::Second { .. })
    ));
    stop.send(true).unwrap();
    serving.await.unwrap();
    assert!(!listen.socket.exists());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_an_agent_says_can_be_shown(
        changes in proptest::collection::vec((0usize..100_000, proptest::prelude::any::<u8>()), 0..4),
        age in proptest::num::f64::ANY,
    ) {
        let mut bytes = serde_json::to_vec(&report_with("1", Some(7), 1)).unwrap();
        for (place, byte) in changes {
            let place = place % bytes.len();
            bytes[place] = byte;
        }
        if let Ok(mut report) = serde_json::from_slice::<AgentReport>(&bytes) {
            report.age_seconds = age;
            for server in &mut report.snapshot.servers {
                server.rates.cpu_cores = Some(f64::MAX);
                server.rates.rss_bytes = Some(u64::MAX);
                server.game_state.player_counts.humans = Some(u64::MAX);
            }
            let board = Board::new(&fleet_of(&["a", "b"]));
            let now = Instant::now();
            board.note(0, Ok(report.clone()), now);
            board.note(1, Ok(report), now);
            let picture = board.picture(now + SECOND);
            serde_json::to_string(&view::fleet(&picture)).unwrap();
            serde_json::to_string(&view::servers(&picture)).unwrap();
            serde_json::to_string(&view::players(&picture)).unwrap();
            metrics::encode(&picture, None).unwrap();
        }
    }
}

#[test]
fn an_agent_whose_entry_is_the_same_stays_known() {
    let board = Board::new(&fleet_of(&["a", "b"]));
    let now = Instant::now();
    board.note(0, Ok(report_with("1", None, 1)), now);
    board.note(1, Ok(report_with("2", None, 1)), now);
    let mut changed = fleet_of(&["c", "b", "a"]);
    changed.agents[1].url = "https://elsewhere".into();
    board.adopt(&changed);
    let picture = board.picture(now);
    let told: Vec<_> = picture.iter().map(|host| (&*host.name, host.state)).collect();
    assert_eq!(
        told,
        [
            ("c", HostState::Unknown),
            ("b", HostState::Unknown),
            ("a", HostState::Fresh)
        ]
    );
}
