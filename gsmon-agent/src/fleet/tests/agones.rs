//! What Agones is told: from a plan, from none, and what it is refused.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    config::AgonesEntry,
    fleet::{
        agones::{FleetStatus, ReviewError, decide, parse},
        plan::{Heard, Plan, PlanBoard, Plans},
    },
};

const MINUTE_MS: i64 = 60_000;
const AGE: Duration = Duration::from_secs(1_800);

fn config(more: &str) -> FleetConfig {
    let text = format!(
        "[[agent]]\nname = \"a\"\nurl = \"https://a\"\ntoken_file = \"/t\"\nca_file = \"/c\"\n[[agones]]\nfleet = \"duel\"\nminimum = 2\nmaximum = 20\n{more}"
    );
    FleetConfig::parse(&text, Path::new("fleet.toml")).unwrap()
}

fn entry() -> AgonesEntry {
    config("").agones.remove(0)
}

fn plan(made_minute: i64, servers: u32, heard: Heard) -> Plan {
    Plan {
        made_unix_ms: made_minute * MINUTE_MS,
        start_unix_ms: made_minute * MINUTE_MS,
        step_ms: 5 * MINUTE_MS,
        servers: vec![servers; 24],
        least_ready: 1,
        heard,
    }
}

fn plans(made: &[Plan]) -> Plans {
    let config = config("");
    let board = PlanBoard::new(&config);
    for plan in made {
        board.put(&config.agones[0], Ok(plan.clone()));
    }
    board.of("any", "duel").unwrap().1
}

fn runs(replicas: u32, allocated: u32) -> FleetStatus {
    FleetStatus {
        replicas,
        ready_replicas: replicas.saturating_sub(allocated),
        reserved_replicas: 0,
        allocated_replicas: allocated,
    }
}

#[test]
fn a_plan_is_followed_within_bounds_and_what_is_played_on_stays() {
    let told = |plans: &Plans, status, minute: i64| decide(&entry(), status, plans, minute * MINUTE_MS, AGE);
    let seven = plans(&[plan(0, 7, Heard::All)]);
    assert_eq!(told(&seven, runs(3, 1), 1), 7);
    // Down only after ten minutes of plans that wanted fewer.
    assert_eq!(told(&seven, runs(12, 1), 5), 12);
    assert_eq!(told(&seven, runs(12, 1), 10), 7);
    assert_eq!(
        told(&seven, runs(12, 9), 10),
        10,
        "nine are played on, one is kept ready"
    );
    let fell = plans(&[
        plan(0, 9, Heard::All),
        plan(5, 4, Heard::All),
        plan(10, 4, Heard::All),
    ]);
    assert_eq!(told(&fell, runs(12, 0), 12), 9);
    assert_eq!(told(&fell, runs(12, 0), 16), 4);
    assert_eq!(told(&plans(&[plan(0, 90, Heard::All)]), runs(3, 0), 1), 20);
    assert_eq!(told(&plans(&[plan(0, 0, Heard::All)]), runs(3, 0), 15), 2);
    // An agent that was not heard may have players: nothing is taken away, and more may come.
    let some = plans(&[plan(0, 4, Heard::Some)]);
    assert_eq!(
        (told(&some, runs(12, 0), 15), told(&some, runs(3, 0), 15)),
        (12, 4)
    );
}

#[test]
fn without_a_plan_what_runs_stays() {
    let told = |plans: &Plans, minute: i64| decide(&entry(), runs(12, 3), plans, minute * MINUTE_MS, AGE);
    assert_eq!(told(&Plans::default(), 0), 12);
    let old = plans(&[plan(0, 4, Heard::All)]);
    assert_eq!(told(&old, 31), 12, "too old");
    assert_eq!(told(&old, -5), 12, "of the future: the clock was set back");
    assert_eq!(decide(&entry(), runs(0, 0), &Plans::default(), 0, AGE), 2);
}

fn review(status: &Value) -> Value {
    json!({
        "request": { "uid": "u-1", "name": "duel", "namespace": "games", "status": status },
        "response": null
    })
}

#[test]
fn what_is_no_review_is_refused_with_a_reason() {
    let good = review(
        &json!({ "replicas": 3, "readyReplicas": 1, "reservedReplicas": 0, "allocatedReplicas": 2, "players": { "count": 5 } }),
    );
    let (kept, request) = parse(good.to_string().as_bytes()).unwrap();
    assert_eq!((kept, request.status), (good, runs(3, 2)));
    for (body, part) in [
        (String::new(), "cannot be read"),
        ("[]".to_owned(), "no `request`"),
        ("{\"request\": null}".to_owned(), "no `request`"),
        (json!({ "request": { "uid": "1" } }).to_string(), "missing field"),
        (review(&json!({})).to_string(), "replicas"),
        (review(&json!({ "replicas": -1 })).to_string(), "invalid value"),
        (review(&json!({ "replicas": "3" })).to_string(), "invalid type"),
        (
            review(&json!({ "replicas": 1, "allocatedReplicas": 4_000 })).to_string(),
            "contradicts",
        ),
        (
            json!({ "request": { "uid": "", "name": "a", "namespace": "b", "status": { "replicas": 1 } } })
                .to_string(),
            "`uid` is empty",
        ),
    ] {
        let error = parse(body.as_bytes()).unwrap_err();
        assert!(error.to_string().contains(part), "{body}: {error}");
        assert!(!matches!(error, ReviewError::Unknown { .. }));
    }
}

proptest! {
    #[test]
    fn no_body_makes_it_panic_and_bounds_always_hold(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        replicas in 0u32..200, allocated in 0u32..200, wanted in 0u32..200, minute in -10i64..200, all in any::<bool>(),
    ) {
        let _ = parse(&bytes);
        let heard = if all { Heard::All } else { Heard::Some };
        let status = runs(replicas, allocated.min(replicas));
        let plans = plans(&[plan(0, wanted, heard)]);
        let told = decide(&entry(), status, &plans, minute * MINUTE_MS, AGE);
        let planned = plans.newest(minute * MINUTE_MS, AGE).is_some();
        prop_assert!(told >= 2 && (!planned || told <= 20));
        prop_assert!(planned || told == replicas.max(2));
        prop_assert!(told >= (status.allocated_replicas + 1).min(20) || !planned);
    }
}
