//! Rooms whose costs are planted: threads that carry their names, and one thread for all of them.

use std::{thread, time::Duration};

use gsmon_agent::{
    config::SessionBounds,
    world::{
        session::{picture::SessionSnapshot, rooms::CpuBasis},
        snapshot::ServerSnapshot,
    },
};
use gsmon_tests::{
    planted::{World, entry, monitor, near, planted, tell, tell_all, up},
    root_or_skip, server, settled,
};

fn room<'a>(server: &'a ServerSnapshot, name: &str) -> &'a SessionSnapshot {
    let state = &server.game_state;
    state
        .sessions
        .iter()
        .chain(state.ended_sessions.iter())
        .find(|session| session.room.as_deref() == Some(name))
        .unwrap_or_else(|| panic!("no session in room {name}: {state:#?}"))
}

fn session_started(room: &str) -> String {
    format!("\"type\":\"session_started\",\"room\":\"{room}\"")
}

fn session_ended(room: &str) -> String {
    format!("\"type\":\"session_ended\",\"room\":\"{room}\"")
}

#[test]
fn rooms_with_named_threads_are_exact() {
    if !root_or_skip() {
        return;
    }
    let mut world = planted("rooms-named");
    let mut entry = entry("rooms-named");
    entry.session.bounds = SessionBounds::Rooms;
    entry.session.room_threads = Some("^room-(?<room>.+)$".into());
    let monitor = monitor(1_000, vec![entry]);
    up(&monitor, &["rooms-named"]);
    let begin = |world: &mut World, name: &str, cores: f64| {
        tell(&monitor, "rooms-named", &session_started(name));
        world.process.tell(&format!("room {name} {cores}")).unwrap();
    };
    let mut truth = Vec::new();
    let mut end = |world: &mut World, name: &'static str| {
        let paid = world.process.tell(&format!("end {name}")).unwrap();
        tell(&monitor, "rooms-named", &session_ended(name));
        truth.push((name, paid.cpu_ns));
    };
    begin(&mut world, "red", 0.20);
    begin(&mut world, "blue", 0.06);
    begin(&mut world, "early", 0.12);
    thread::sleep(Duration::from_millis(5_300));
    end(&mut world, "early");
    begin(&mut world, "late", 0.15);
    thread::sleep(Duration::from_millis(5_450));
    end(&mut world, "late");
    end(&mut world, "red");
    end(&mut world, "blue");
    settled(&monitor).unwrap();
    let snapshot = settled(&monitor).unwrap();
    let measured = server(&snapshot, "rooms-named").unwrap();
    for (name, cpu_ns) in truth {
        let session = room(measured, name);
        assert_eq!(session.cpu_basis, CpuBasis::NamedThreads, "{name}");
        assert_eq!(session.cpu_interval_ns, None, "{name}");
        assert!(session.ended_unix_ms.is_some());
        near(
            &format!("room {name}"),
            session.used.cpu_ns.unwrap() as f64,
            cpu_ns as f64,
            0.01,
        );
    }
}

/// Threads of a pool go on when a match ends; the next one has the same room.
#[test]
fn matches_that_follow_one_another_in_a_room_are_cut_where_they_end() {
    if !root_or_skip() {
        return;
    }
    let mut world = planted("rooms-pool");
    let mut entry = entry("rooms-pool");
    entry.session.room_threads = Some("^room-(?<room>.+)$".into());
    let monitor = monitor(1_000, vec![entry]);
    up(&monitor, &["rooms-pool"]);
    world.process.tell("room hall 0.25").unwrap();
    thread::sleep(Duration::from_millis(2_300));
    // The thread does not wait for the match: what it has used when a match is told lies between two readings.
    let cut = |world: &mut World, said: &str| {
        let mut read = || world.process.tell("read hall").unwrap().cpu_ns;
        let before = read();
        tell(&monitor, "rooms-pool", said);
        (before, read())
    };
    let mut cuts = Vec::new();
    for _ in 0..3 {
        cuts.push(cut(&mut world, &session_started("hall")));
        thread::sleep(Duration::from_millis(5_700));
    }
    cuts.push(cut(&mut world, &session_ended("hall")));
    settled(&monitor).unwrap();
    let snapshot = settled(&monitor).unwrap();
    let ended = &server(&snapshot, "rooms-pool").unwrap().game_state.ended_sessions;
    let sessions: Vec<&SessionSnapshot> = ended.iter().filter(|session| session.room.is_some()).collect();
    assert_eq!(sessions.len(), 3);
    for (session, cuts) in sessions.into_iter().zip(cuts.windows(2)) {
        assert_eq!(session.cpu_basis, CpuBasis::NamedThreads);
        let measured = session.used.cpu_ns.unwrap();
        let [(begun_low, begun_high), (ended_low, ended_high)] = [cuts[0], cuts[1]];
        let (least, most) = (ended_low - begun_high, ended_high - begun_low);
        println!(
            "match in a hall: measured {measured}, {:?}, planted {least}..={most}",
            session.cpu_interval_ns
        );
        match session.cpu_interval_ns {
            // A burst of 5 ms is on one side of the cut or the other.
            None => near(
                "match in a hall",
                measured as f64,
                measured.clamp(least, most) as f64,
                0.01,
            ),
            Some((low, high)) => assert!(
                low <= most && least <= high && (low..=high).contains(&measured),
                "{measured} in {low}..={high}, planted {least}..={most}"
            ),
        }
    }
}

#[test]
fn rooms_of_one_thread_lie_inside_their_intervals() {
    if !root_or_skip() {
        return;
    }
    let mut world = planted("rooms-shared");
    let monitor = monitor(1_000, vec![entry("rooms-shared")]);
    up(&monitor, &["rooms-shared"]);
    let rooms = [("small", 1), ("even", 4), ("odd", 4), ("crowd", 9)];
    // In one request: between two of them an interval may end, in which one room seems to be all there is.
    let mut said = Vec::new();
    for (name, players) in rooms {
        said.push(session_started(name));
        for n in 0..players {
            said.push(format!(
                "\"type\":\"player_joined\",\"room\":\"{name}\",\"player\":{{\"id\":\"{name}{n}\"}}"
            ));
        }
    }
    tell_all(&monitor, "rooms-shared", &said);
    let words: Vec<String> = rooms
        .iter()
        .map(|(name, players)| format!("{name}={players}"))
        .collect();
    world.process.tell(&format!("serve {}", words.join(","))).unwrap();
    thread::sleep(Duration::from_millis(8_400));
    // One room is done; what the others cost goes on.
    let at_end = world.process.tell("serve even=4,odd=4,crowd=9").unwrap();
    tell(&monitor, "rooms-shared", &session_ended("small"));
    thread::sleep(Duration::from_secs(4));
    let mut truth = world.process.tell("serve none=0").unwrap();
    truth
        .rooms
        .insert("small".into(), at_end.rooms["small"].max(truth.rooms["small"]));
    let snapshot = settled(&monitor).unwrap();
    let measured = server(&snapshot, "rooms-shared").unwrap();
    let mut sum = 0;
    for (name, _) in rooms {
        let session = room(measured, name);
        let (low, high) = session.cpu_interval_ns.unwrap();
        let (used, planted) = (session.used.cpu_ns.unwrap(), truth.rooms[name]);
        println!("room {name}: planted {planted}, measured {used} in {low}..={high}");
        assert_eq!(session.cpu_basis, CpuBasis::Shared);
        assert!(
            (low..=high).contains(&planted),
            "{name}: {planted} in {low}..={high}"
        );
        assert!((low..=high).contains(&used), "{name}: {used} in {low}..={high}");
        // What was planted is in proportion to players; what a room costs before an interval has seen it is missing.
        near(&format!("room {name}"), used as f64, planted as f64, 0.2);
        sum += used;
    }
    let process = measured.totals.cpu_ns.unwrap();
    assert!(sum <= process, "rooms used {sum}, their process {process}");
}
