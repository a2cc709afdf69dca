//! Bytes and JSON of every shape.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{super::*, NOW, read, schema};
use crate::games::event::*;

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        (0..40_u64).prop_map(|value| json!(value)),
        (0..100_000_i32).prop_map(|value| json!(f64::from(value) / 8.0)),
        any::<f64>().prop_map(|value| json!(value)),
        Just(json!(NOW)),
        "\\PC{0,20}".prop_map(|value| json!(value)),
        prop::sample::select(vec![
            "a",
            "",
            "tick",
            "phase",
            "active",
            "human",
            "bot",
            "192.0.2.1",
            "[2001:db8::1]:9",
            "action",
            "player_joined",
            "2025-01-02T03:04:05Z",
            "\u{1}",
            "\u{85}",
        ])
        .prop_map(|value| json!(value)),
        Just(json!("w".repeat(129))),
        Just(json!("w".repeat(257))),
    ]
}

const FIELDS: &[&str] = &[
    "server", "type", "time", "room", "session", "map", "mode", "reason", "phase", "player", "players",
    "online", "bots", "max", "action", "rate_hz", "time_ms", "id", "name", "slot", "address", "kind",
    "odd/~",
];

fn document() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec((prop::sample::select(FIELDS), inner), 0..8).prop_map(|fields| {
                Value::Object(
                    fields
                        .into_iter()
                        .map(|(name, value)| (name.to_owned(), value))
                        .collect(),
                )
            }),
        ]
    })
}

fn player() -> impl Strategy<Value = Value> {
    let id = prop::option::of("[0-9a-z]{1,20}");
    let name = prop::option::of("\\PC{1,64}");
    let address =
        prop::option::of(any::<std::net::SocketAddr>().prop_filter("port", |address| address.port() > 0));
    let kind = prop::option::of(prop::sample::select(vec!["human", "bot"]));
    (id, name, 0..(1_u64 << 53), address, kind).prop_map(|(id, name, slot, address, kind)| {
        let mut player = json!({"slot": slot});
        for (field, value) in [
            ("id", id),
            ("name", name),
            (
                "address",
                address.map(|address| std::net::SocketAddr::new(address.ip(), address.port()).to_string()),
            ),
            ("kind", kind.map(str::to_owned)),
        ] {
            if let Some(value) = value {
                player[field] = json!(value);
            }
        }
        player
    })
}

fn event() -> impl Strategy<Value = Value> {
    let own = prop_oneof![
        prop::sample::select(vec![
            "server_starting",
            "server_ready",
            "server_stopping",
            "session_started",
            "session_ended"
        ])
        .prop_map(|kind| json!({"type": kind})),
        prop::sample::select(vec!["idle", "lobby", "loading", "active", "ended"])
            .prop_map(|phase| json!({"type": "phase", "phase": phase})),
        (
            prop::sample::select(vec!["player_connecting", "player_joined", "player_left"]),
            player()
        )
            .prop_map(|(kind, player)| json!({"type": kind, "player": player})),
        prop::collection::vec(player(), 0..8)
            .prop_map(|players| json!({"type": "players", "players": players})),
        (0..1_000_u32, 0..1_000_u32).prop_map(|(humans, bots)| {
            json!({"type": "player_count", "online": humans + bots, "bots": bots, "max": humans})
        }),
        ("\\PC{1,40}", player())
            .prop_map(|(action, player)| json!({"type": "action", "action": action, "player": player})),
        (1e-3..1e5_f64).prop_map(|rate| json!({"type": "tick", "rate_hz": rate, "time_ms": 1e3 / rate})),
    ];
    let time = prop::option::of(946_684_800_000..4_102_444_800_000_i64);
    (own, "\\PC{1,40}", prop::option::of("\\PC{1,40}"), time).prop_map(|(mut event, server, room, time)| {
        event["server"] = json!(server);
        if let Some(room) = room {
            event["room"] = json!(room);
        }
        if let Some(time) = time {
            event["time"] = json!(time);
        }
        event
    })
}

proptest! {
    #[test]
    fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&body, NOW);
    }

    #[test]
    fn no_json_panics_and_what_the_schema_refuses_is_refused(body in document()) {
        thread_local!(static SCHEMA: jsonschema::Validator = schema());
        let valid = SCHEMA.with(|schema| schema.is_valid(&body));
        match read(&body) {
            Ok(_) => prop_assert!(valid, "taken against the schema: {body}"),
            Err(ParseError::Invalid(problems)) => {
                prop_assert!(!problems.is_empty());
                for problem in &problems.first {
                    // The place exists, or its object does.
                    let parent = problem.pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
                    prop_assert!(body.pointer(parent).is_some(), "{body}: {problem:?}");
                }
            }
            Err(other) => prop_assert!(false, "{body}: {other}"),
        }
    }

    #[test]
    fn a_valid_event_survives_and_breaking_it_is_noticed(event in event(), other in scalar(), field in prop::sample::select(FIELDS)) {
        thread_local!(static SCHEMA: jsonschema::Validator = schema());
        let valid = |event: &Value| SCHEMA.with(|schema| schema.is_valid(event));
        prop_assert!(valid(&event), "{event}");
        let taken = read(&json!([event, event])).unwrap();
        prop_assert_eq!(taken.len(), 2);
        prop_assert_eq!(&taken[0].event, &taken[1].event);
        prop_assert_eq!(Some(&*taken[0].event.server), event["server"].as_str());
        prop_assert_eq!(taken[0].event.room.as_deref(), event.get("room").and_then(Value::as_str));
        prop_assert_eq!(
            taken[0].event.unix_ms,
            event.get("time").map_or(NOW, |time| time.as_i64().unwrap())
        );
        let names = |player: &Value| player.get("name").and_then(Value::as_str).map(str::to_owned);
        match &taken[0].event.fact {
            Fact::PlayerConnecting(player) | Fact::PlayerJoined(player) | Fact::PlayerLeft { player, .. } => {
                prop_assert_eq!(player.slot, event["player"]["slot"].as_u64());
                prop_assert_eq!(player.name.as_deref().map(str::to_owned), names(&event["player"]));
            }
            Fact::Roster(players) => {
                let there: Vec<_> = event["players"].as_array().unwrap().iter().map(names).collect();
                let read: Vec<_> = players.iter().map(|player| player.name.as_deref().map(str::to_owned)).collect();
                prop_assert_eq!(there, read);
            }
            _ => {}
        }
        // One field replaced: parser and schema agree, but for what a schema cannot say.
        let mut changed = event.clone();
        changed[field] = other;
        let beyond_schema = ["time", "address", "bots", "online"].contains(&field);
        if !beyond_schema {
            prop_assert_eq!(read(&changed).is_ok(), valid(&changed), "{}", changed);
        } else if !valid(&changed) {
            prop_assert!(read(&changed).is_err(), "{}", changed);
        }
    }
}
