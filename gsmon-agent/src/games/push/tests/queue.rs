//! Requests whole or not at all, bounds, and many senders.

use std::{fmt::Write as _, time::Instant};

use serde_json::{Value, json};

use super::{super::*, NOW, read};
use crate::games::event::*;

fn offer(sink: &PushSink, body: &Value) -> Result<usize, Refused> {
    sink.offer(read(body).unwrap())
}

fn small_queue(events: usize, bytes: usize) -> (PushSink, PushQueue) {
    let (sink, queue) = channel(QueueLimits { events, bytes });
    sink.set_servers(["a", "b"]);
    (sink, queue)
}

fn refused(counts: &PushCounts, reason: RefusedFor) -> u64 {
    counts
        .refused_requests
        .iter()
        .find(|(known, _)| *known == reason)
        .map_or(0, |(_, count)| *count)
}

#[test]
fn a_request_is_taken_whole_or_not_at_all() {
    let (sink, queue) = small_queue(3, 1 << 20);
    let ready = json!({"server": "a", "type": "server_ready"});
    assert_eq!(offer(&sink, &json!([ready, ready])), Ok(2));
    assert_eq!(
        offer(&sink, &json!([ready, ready])),
        Err(Refused::Full { waiting: 2 })
    );
    assert_eq!(offer(&sink, &ready), Ok(1));
    assert_eq!(queue.drain().count(), 3);
    assert_eq!(queue.drain().count(), 0);
    let mixed = json!([ready, {"server": "no", "type": "server_ready"}]);
    match offer(&sink, &mixed) {
        Err(Refused::UnknownServer(problems)) => {
            assert_eq!(problems.first[0].pointer, "/1/server");
            assert_eq!(problems.first[0].found, "\"no\"");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(queue.drain().count(), 0);
    let counts = sink.counts();
    assert_eq!(
        (
            counts.accepted_events,
            counts.dropped_events,
            counts.waiting_events
        ),
        (3, 2, 0)
    );
    assert_eq!(refused(&counts, RefusedFor::UnknownServer), 1);
    assert_eq!(refused(&counts, RefusedFor::Busy), 1);
    drop(queue);
    assert_eq!(offer(&sink, &ready), Err(Refused::Closed));
}

#[test]
fn a_refused_request_leaves_no_session_behind() {
    let (sink, queue) = small_queue(2, 1 << 20);
    let begun = json!({"server": "a", "type": "session_started", "session": "s", "room": "r"});
    let joined = json!({"server": "a", "type": "player_joined", "session": "s", "player": {"slot": 1}});
    let unknown = offer(&sink, &joined).unwrap_err();
    assert!(
        unknown.to_string().contains("/session") && unknown.to_string().contains("\"s\""),
        "{unknown}"
    );
    // Too many for the queue: the session has not begun either.
    assert!(matches!(
        offer(&sink, &json!([begun, joined, joined])),
        Err(Refused::Full { .. })
    ));
    assert!(matches!(offer(&sink, &joined), Err(Refused::UnknownSession(_))));
    assert_eq!(offer(&sink, &json!([begun, joined])), Ok(2));
    let rooms: Vec<_> = queue.drain().map(|event| event.room).collect();
    assert_eq!(rooms, [Some("r".into()), Some("r".into())]);
    assert_eq!(offer(&sink, &joined), Ok(1));
    // A session belongs to its server.
    let elsewhere = json!({"server": "b", "type": "session_ended", "session": "s"});
    assert!(matches!(
        offer(&sink, &elsewhere),
        Err(Refused::UnknownSession(_))
    ));
    // A server that goes takes its sessions along.
    sink.set_servers(["b"]);
    queue.set_servers(["a"]);
    assert!(matches!(offer(&sink, &joined), Err(Refused::UnknownSession(_))));
}

#[test]
fn bytes_are_bounded_and_the_largest_request_fits_an_empty_queue() {
    let (sink, queue) = small_queue(1_000, 800);
    let large = json!({"server": "a", "type": "session_ended", "reason": "r".repeat(250), "room": "r"});
    let mut taken = 0;
    while offer(&sink, &large).is_ok() {
        taken += 1;
    }
    assert_eq!(taken, 1, "an event of over 400 bytes in memory");
    assert_eq!(queue.drain().count(), 1);
    assert_eq!(offer(&sink, &large), Ok(1));
    // What grows most from JSON to memory: as many players as fit.
    for player in [r#"{"slot":1}"#, r#"{"name":"n"}"#, r#"{"id":"i","name":"n"}"#] {
        let mut body = String::from("[");
        while body.len() + 10_100 * (player.len() + 1) < MOST_BYTES {
            let separator = if body.len() > 1 { "," } else { "" };
            let players = vec![player; 10_000].join(",");
            write!(
                body,
                r#"{separator}{{"server":"a","type":"players","players":[{players}]}}"#
            )
            .unwrap();
        }
        body.push(']');
        let (fresh, _queue) = channel(QueueLimits::default());
        fresh.set_servers(["a"]);
        fresh.offer(parse(body.as_bytes(), NOW).unwrap()).unwrap();
    }
}

#[test]
fn senders_on_many_threads_lose_and_double_nothing() {
    let (sink, queue) = channel(QueueLimits::default());
    sink.set_servers(["a"]);
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let sink = sink.clone();
            std::thread::spawn(move || {
                for index in 0..500_u64 {
                    let slot = sender * 1_000 + index;
                    let body = json!({"server": "a", "type": "player_joined", "player": {"slot": slot}});
                    offer(&sink, &body).unwrap();
                }
            })
        })
        .collect();
    let mut slots = Vec::new();
    let started = Instant::now();
    while slots.len() < 2_000 && started.elapsed().as_secs() < 20 {
        for event in queue.drain() {
            match event.fact {
                Fact::PlayerJoined(player) => slots.extend(player.slot),
                other => panic!("{other:?}"),
            }
        }
    }
    for sender in senders {
        sender.join().unwrap();
    }
    for sender in 0..4 {
        let own: Vec<u64> = slots
            .iter()
            .copied()
            .filter(|slot| slot / 1_000 == sender)
            .collect();
        assert_eq!(
            own,
            (sender * 1_000..sender * 1_000 + 500).collect::<Vec<_>>(),
            "each in its order"
        );
    }
}
