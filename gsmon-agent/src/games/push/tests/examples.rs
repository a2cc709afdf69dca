//! One event of each type, one mistake of each kind, and the examples of the documentation.

use serde_json::{Value, json};

use super::{super::*, NOW, read, schema};
use crate::games::event::*;

fn one(body: Value) -> GameEvent {
    let mut events = read(&body).unwrap();
    assert_eq!(events.len(), 1);
    events.remove(0).event
}

fn problems(body: Value) -> Vec<(String, String, String)> {
    match read(&body) {
        Err(ParseError::Invalid(problems)) => problems
            .first
            .into_iter()
            .map(|problem| (problem.pointer, problem.expected, problem.found))
            .collect(),
        other => panic!("{body}: {other:?}"),
    }
}

#[test]
fn every_type_becomes_its_fact() {
    let player = json!({"id": "7656", "name": "^1 a", "slot": 3, "address": "192.0.2.7:5000", "kind": "bot"});
    let who = PlayerRef::identified("7656")
        .with_name("^1 a")
        .with_address("192.0.2.7".parse().unwrap(), Some(5000))
        .with_kind(PlayerKind::Bot, KindEvidence::Push);
    let who = PlayerRef { slot: Some(3), ..who };
    let cases = [
        (json!({"type": "server_starting"}), Fact::ServerStarting),
        (json!({"type": "server_ready"}), Fact::ServerReady),
        (json!({"type": "server_stopping"}), Fact::ServerStopping),
        (
            json!({"type": "session_started", "session": "m1", "map": "q3dm17", "mode": "ffa"}),
            Fact::MatchBegun {
                map: Some("q3dm17".into()),
                mode: Some("ffa".into()),
                id: Some("m1".into()),
            },
        ),
        (
            json!({"type": "session_ended", "reason": "Timelimit hit."}),
            Fact::MatchEnded {
                reason: Some("Timelimit hit.".into()),
            },
        ),
        (
            json!({"type": "phase", "phase": "loading"}),
            Fact::Phase(Phase::Loading),
        ),
        (
            json!({"type": "player_connecting", "player": player}),
            Fact::PlayerConnecting(who.clone()),
        ),
        (
            json!({"type": "player_joined", "player": player}),
            Fact::PlayerJoined(who.clone()),
        ),
        (
            json!({"type": "player_left", "player": {"slot": 3.0}, "reason": "timed out"}),
            Fact::PlayerLeft {
                player: PlayerRef::in_slot(3),
                reason: Some("timed out".into()),
            },
        ),
        (
            json!({"type": "players", "players": [player, {"name": "b"}]}),
            Fact::Roster(vec![who.clone(), PlayerRef::named("b")]),
        ),
        (
            json!({"type": "players", "players": []}),
            Fact::Roster(Vec::new()),
        ),
        (
            json!({"type": "player_count", "online": 5, "bots": 2, "max": 16}),
            Fact::PlayerCount(PlayerCount {
                online: 5,
                bots: Some(2),
                max: Some(16),
            }),
        ),
        (
            json!({"type": "action", "action": "explosion", "player": {"id": "7656"}}),
            Fact::PlayerAction {
                player: Some(PlayerRef::identified("7656")),
                action: "explosion".into(),
            },
        ),
        (
            json!({"type": "tick", "rate_hz": 19.5, "time_ms": 12.5}),
            Fact::Tick {
                rate_hz: Some(19.5),
                time_ns: Some(12_500_000.0),
            },
        ),
    ];
    let schema = schema();
    for (mut body, fact) in cases {
        body["server"] = json!("arena");
        assert!(schema.is_valid(&body), "{body}");
        let event = one(body);
        assert_eq!(event.fact, fact);
        assert_eq!((event.witness, &*event.server), (Witness::Push, "arena"));
        assert_eq!((event.unix_ms, event.time), (NOW, TimeSource::Read));
    }
}

#[test]
fn stated_times_are_taken_in_both_spellings() {
    let at = |time: Value| {
        let event = one(json!({"server": "a", "type": "server_ready", "time": time, "room": "r"}));
        assert_eq!(event.time, TimeSource::Stated);
        assert_eq!(event.room.as_deref(), Some("r"));
        event.unix_ms
    };
    assert_eq!(at(json!("2025-01-02T03:04:05Z")), 1_735_787_045_000);
    assert_eq!(at(json!("2025-01-02T03:04:05.6789Z")), 1_735_787_045_678);
    assert_eq!(at(json!("2025-01-02T04:04:05.5+01:00")), 1_735_787_045_500);
    assert_eq!(at(json!(1_735_787_045_678_i64)), 1_735_787_045_678);
    assert_eq!(at(json!(1_735_787_045_678.0)), 1_735_787_045_678);
    for wrong in [
        json!(1_735_787_045),
        json!("2025-01-02"),
        json!("2025-02-30T00:00:00Z"),
        json!("1999-12-31T23:59:59Z"),
        json!("2100-01-01T00:00:00Z"),
        json!("2025-01-02T03:04:05"),
        json!(-1),
        json!(1e300),
        json!(null),
        json!({}),
    ] {
        let found = problems(json!({"server": "a", "type": "server_ready", "time": wrong}));
        assert_eq!(found[0].0, "/time", "{wrong}");
        assert!(found[0].1.contains("RFC 3339"));
    }
}

#[test]
fn a_problem_has_place_expectation_and_finding() {
    let good = json!({"server": "a", "type": "server_ready"});
    for (body, pointer, expected, found) in [
        (json!(5), "", "an event", "5"),
        (json!([good, 7]), "/1", "an event", "the number 7"),
        (
            json!({"server": "a"}),
            "/type",
            "one of server_starting",
            "nothing",
        ),
        (
            json!({"server": "a", "type": "joined"}),
            "/type",
            "player_joined",
            "\"joined\"",
        ),
        (json!({"type": "server_ready"}), "/server", "1 to 128", "nothing"),
        (
            json!({"server": "", "type": "server_ready"}),
            "/server",
            "1 to 128",
            "\"\"",
        ),
        (
            json!({"server": "a\n", "type": "server_ready"}),
            "/server",
            "control",
            "\"a\\n\"",
        ),
        (
            json!({"server": "a", "type": "server_ready", "x/y~z": 1}),
            "/x~1y~0z",
            "no such field",
            "unknown",
        ),
        (
            json!({"server": "a", "type": "server_ready", "map": "m"}),
            "/map",
            "type, server, time",
            "unknown",
        ),
        (
            json!({"server": "a", "type": "phase"}),
            "/phase",
            "idle, lobby",
            "nothing",
        ),
        (
            json!({"server": "a", "type": "phase", "phase": "crashed"}),
            "/phase",
            "lobby",
            "crashed",
        ),
        (
            json!({"server": "a", "type": "player_joined"}),
            "/player",
            "an object",
            "nothing",
        ),
        (
            json!({"server": "a", "type": "player_joined", "player": "Bob"}),
            "/player",
            "an object",
            "Bob",
        ),
        (
            json!({"server": "a", "type": "player_joined", "player": {}}),
            "/player",
            "at least one",
            "none",
        ),
        (
            json!({"server": "a", "type": "player_joined", "player": {"kind": "bot"}}),
            "/player",
            "at least one",
            "none",
        ),
        (
            json!({"server": "a", "type": "player_joined", "player": {"slot": -1}}),
            "/player/slot",
            "whole number",
            "-1",
        ),
        (
            json!({"server": "a", "type": "player_joined", "player": {"slot": 1.5}}),
            "/player/slot",
            "whole number",
            "1.5",
        ),
        (
            json!({"server": "a", "type": "player_joined", "player": {"slot": 1_u64 << 53}}),
            "/player/slot",
            "whole",
            "9007199254740992",
        ),
        (
            json!({"server": "a", "type": "player_joined", "player": {"name": null}}),
            "/player/name",
            "a string",
            "null",
        ),
        (
            json!({"server": "a", "type": "player_joined", "player": {"name": "n".repeat(257)}}),
            "/player/name",
            "256",
            "and more",
        ),
        (
            json!({"server": "a", "type": "player_joined", "player": {"id": "i", "kind": "npc"}}),
            "/player/kind",
            "human or bot",
            "npc",
        ),
        (
            json!({"server": "a", "type": "player_joined", "player": {"address": "host:1"}}),
            "/player/address",
            "an address",
            "host:1",
        ),
        (
            json!({"server": "a", "type": "player_joined", "player": {"address": "1.2.3.4:0"}}),
            "/player/address",
            "an address",
            "1.2.3.4:0",
        ),
        (
            json!([good, {"server": "a", "type": "players", "players": [{"slot": 1}, {"slot": true}]}]),
            "/1/players/1/slot",
            "whole number",
            "true",
        ),
        (
            json!({"server": "a", "type": "players", "players": {}}),
            "/players",
            "an array",
            "an object",
        ),
        (
            json!({"server": "a", "type": "player_count", "online": 1, "bots": 2}),
            "/bots",
            "at most `online`",
            "2",
        ),
        (
            json!({"server": "a", "type": "player_count"}),
            "/online",
            "number of players",
            "nothing",
        ),
        (
            json!({"server": "a", "type": "player_count", "online": 4_294_967_296_u64}),
            "/online",
            "4294967295",
            "4294967296",
        ),
        (
            json!({"server": "a", "type": "action"}),
            "/action",
            "a string",
            "nothing",
        ),
        (json!({"server": "a", "type": "tick"}), "", "rate_hz", "neither"),
        (
            json!({"server": "a", "type": "tick", "rate_hz": 0}),
            "/rate_hz",
            "above 0",
            "0",
        ),
        (
            json!({"server": "a", "type": "tick", "time_ms": "1"}),
            "/time_ms",
            "above 0",
            "\"1\"",
        ),
    ] {
        let all = problems(body.clone());
        assert_eq!(all.len(), 1, "{body}: {all:?}");
        assert_eq!(all[0].0, pointer, "{body}");
        assert!(all[0].1.contains(expected), "{body}: {all:?}");
        assert!(all[0].2.contains(found), "{body}: {all:?}");
    }
}

#[test]
fn what_is_no_json_is_said_with_its_line() {
    for body in [
        "",
        "{",
        "[1,",
        "{\"server\": \"a\"}}",
        "\u{feff}[]",
        "[1] 2",
        "{\"a\":1e999}",
    ] {
        assert!(
            matches!(parse(body.as_bytes(), NOW), Err(ParseError::NotJson { .. })),
            "{body}"
        );
    }
    let message = parse(b"[\n{\"a\" 1}]", NOW).unwrap_err().to_string();
    assert!(message.contains("line 2"), "{message}");
    assert!(matches!(
        parse(b"[\"\xff\"]", NOW),
        Err(ParseError::NotJson { .. })
    ));
    let deep = "[".repeat(100_000);
    assert!(matches!(
        parse(deep.as_bytes(), NOW),
        Err(ParseError::NotJson { .. })
    ));
}

#[test]
fn sizes_are_bounded() {
    let event = json!({"server": "a", "type": "server_ready"});
    assert_eq!(
        read(&Value::Array(vec![event.clone(); MOST_EVENTS]))
            .unwrap()
            .len(),
        MOST_EVENTS
    );
    assert_eq!(
        read(&Value::Array(vec![event; MOST_EVENTS + 1])),
        Err(ParseError::TooManyEvents)
    );
    assert_eq!(read(&json!([])), Ok(Vec::new()));
    let large = vec![b' '; MOST_BYTES + 1];
    assert!(matches!(parse(&large, NOW), Err(ParseError::TooLarge { .. })));
    let wrong = Value::Array(vec![json!(0); 500]);
    match read(&wrong) {
        Err(ParseError::Invalid(problems)) => {
            assert_eq!((problems.first.len(), problems.more), (MOST_PROBLEMS, 480));
        }
        other => panic!("{other:?}"),
    }
    // The longest field name does not come back whole.
    let long = format!(
        r#"{{"server":"a","type":"tick","time_ms":1,"{}":1}}"#,
        "x".repeat(1_000_000)
    );
    match parse(long.as_bytes(), NOW) {
        Err(ParseError::Invalid(problems)) => assert!(problems.first[0].pointer.len() < 100),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_example_of_the_documentation_is_taken() {
    let schema = schema();
    let mut seen = 0;
    let text = include_str!("../../../../../docs/push.md");
    for block in text.split("```json\n").skip(1) {
        let block = block.split("```").next().unwrap();
        let value: Value = serde_json::from_str(block).unwrap();
        if value.get("accepted").is_some() || value.get("error").is_some() {
            continue;
        }
        let broken: Vec<_> = schema
            .iter_errors(&value)
            .map(|error| error.to_string())
            .collect();
        assert!(broken.is_empty(), "{block}\n{broken:?}");
        read(&value).unwrap();
        seen += 1;
    }
    assert!(seen >= 3, "{seen} examples");
    for example in serde_json::from_str::<Value>(include_str!("../../../../../docs/push.schema.json"))
        .unwrap()["examples"]
        .as_array()
        .unwrap()
    {
        assert!(schema.is_valid(example), "{example}");
        read(example).unwrap();
    }
}
