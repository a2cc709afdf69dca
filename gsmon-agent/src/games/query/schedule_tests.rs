//! Tests of the schedule, with real sockets where time matters.

use std::{
    net::{SocketAddr, UdpSocket},
    path::PathBuf,
    sync::{
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc::Receiver,
    },
};

use super::{
    super::boxed,
    super::{
        super::event::{TimeSource, Witness},
        FailureKind,
        testing::udp_server,
    },
    *,
};
use crate::config::QuerySettings;

const PONG: &[u8] = b"\xff\xff\xff\xffstatusResponse\n\\sv_hostname\\x\\mapname\\m\n";

fn target(server: &str, address: SocketAddr) -> QueryTarget {
    QueryTarget {
        server: server.into(),
        protocol: QueryProtocol::Quake3,
        address,
        netns: None,
        process: None,
        settings: QuerySettings {
            interval: Duration::from_millis(100),
            timeout: Duration::from_millis(300),
            ..QuerySettings::default()
        },
    }
}

/// An answer that gamedig has read, or that has taught to ask without it.
fn answered(lesson: Option<OwnReason>) -> Asked {
    Asked {
        result: Ok(QueryAnswer::default()),
        reader: lesson.map_or(Reader::Gamedig, Reader::Gsmon),
        lesson,
    }
}

fn started() -> (Queries, Receiver<QueryReport>) {
    let (sink, reports) = bounded(10_000);
    (Queries::new(sink).unwrap(), reports)
}

fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

fn next(reports: &Receiver<QueryReport>) -> QueryReport {
    reports.recv_timeout(Duration::from_secs(5)).unwrap()
}

fn statistics(queries: &Queries, server: &str) -> Option<QueryStatistics> {
    let all = queries.statistics();
    all.into_iter()
        .find(|(name, _)| &**name == server)
        .map(|(_, statistics)| statistics)
}

#[test]
fn silent_servers_do_not_delay_those_that_answer() {
    let silent: Vec<UdpSocket> = (0..30).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let live = udp_server(|_| vec![PONG.to_vec()]);
    let mut targets = vec![target("live", live.address)];
    for (index, socket) in silent.iter().enumerate() {
        targets.push(target(&format!("silent {index}"), socket.local_addr().unwrap()));
    }
    let (queries, reports) = started();
    queries.set(targets);
    let end = Instant::now() + Duration::from_secs(3);
    let (mut last, mut longest) = (None, Duration::ZERO);
    while Instant::now() < end {
        let report = next(&reports);
        if &*report.server == "live" {
            assert!(report.result.is_ok());
            if let Some(last) = last.replace(Instant::now()) {
                longest = longest.max(last.elapsed());
            }
        }
    }
    let live = statistics(&queries, "live").unwrap();
    // 30 questions in 3 s on an idle machine; 30 silent servers hold three threads for 0.3 s each.
    assert!(live.answered >= 20 && live.asked - live.answered <= 1, "{live:?}");
    assert!(longest < Duration::from_millis(800), "{longest:?}");
    let silent = statistics(&queries, "silent 7").unwrap();
    assert!(
        silent.failed(FailureKind::Timeout) >= 1 && silent.failed_in_a_row >= 1,
        "{silent:?}"
    );
}

#[test]
fn pauses_double_up_to_five_minutes() {
    let interval = Duration::from_secs(10);
    let seconds = |failures, random| pause(interval, failures, random).as_secs();
    assert_eq!(
        [1, 2, 3, 4].map(|failures| seconds(failures, 10)),
        [10, 20, 40, 80]
    );
    assert_eq!([0, 20].map(|random| seconds(3, random)), [36, 44]);
    for random in 0..21 {
        for failures in [6, 7, 40, u32::MAX] {
            let pause = pause(interval, failures, random);
            assert!(
                pause >= LONGEST_PAUSE * 9 / 10 && pause <= LONGEST_PAUSE,
                "{pause:?}"
            );
        }
    }
    let hour = Duration::from_secs(3_600);
    assert_eq!(pause(hour, 9, 0), hour, "a longer interval is kept");
}

#[test]
fn a_refusal_is_told_apart_and_the_way_back_is_found() {
    let (queries, reports) = started();
    let address = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    queries.set(vec![target("a", address)]);
    assert!(matches!(next(&reports).result, Err(QueryError::Refused)));
    let socket = UdpSocket::bind(address).unwrap();
    let answering = std::thread::spawn(move || {
        let mut buffer = [0; 100];
        let (_, peer) = socket.recv_from(&mut buffer).unwrap();
        socket.send_to(PONG, peer).unwrap();
    });
    let report = loop {
        let report = next(&reports);
        if report.result.is_ok() {
            break report;
        }
    };
    answering.join().unwrap();
    assert_eq!(
        report.events().count(),
        2,
        "an empty roster and a count: {report:?}"
    );
    assert!(
        report
            .events()
            .all(|event| event.witness == Witness::Query && event.time == TimeSource::Read)
    );
    let statistics = statistics(&queries, "a").unwrap();
    assert!(statistics.failed(FailureKind::Refused) >= 1 && statistics.round_trip.is_some());
}

#[test]
fn a_reload_keeps_what_is_the_same_and_drops_what_is_gone() {
    let server = udp_server(|_| vec![PONG.to_vec()]);
    let (queries, reports) = started();
    queries.set(vec![
        target("kept", server.address),
        target("gone", server.address),
    ]);
    while statistics(&queries, "gone").unwrap().answered < 1
        || statistics(&queries, "kept").unwrap().answered < 3
    {
        next(&reports);
    }
    let before = statistics(&queries, "kept").unwrap();
    let off = QueryTarget {
        protocol: QueryProtocol::Off,
        ..target("off", server.address)
    };
    queries.set(vec![
        off,
        target("kept", server.address),
        target("new", server.address),
    ]);
    while reports.try_recv().is_ok() {}
    let mut seen: Vec<String> = (0..8).map(|_| next(&reports).server.to_string()).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen, ["kept", "new"]);
    assert_eq!(
        (statistics(&queries, "gone"), statistics(&queries, "off")),
        (None, None)
    );
    assert!(statistics(&queries, "kept").unwrap().asked > before.asked);
    let mut changed = target("kept", server.address);
    changed.settings.timeout = Duration::from_millis(200);
    queries.set(vec![changed]);
    assert!(
        statistics(&queries, "kept").unwrap().asked > before.asked,
        "counters go on"
    );
}

#[test]
fn a_panic_is_an_error_and_the_threads_live_on() {
    let (sink, reports) = bounded(1_000);
    let asker = |target: &QueryTarget, _: Option<OwnReason>| {
        assert_ne!(&*target.server, "bad", "on purpose");
        answered(None)
    };
    let queries = Queries::start(Box::new(sink), Box::new(asker), Arc::new(Pool::new())).unwrap();
    let bad = |index| QueryTarget {
        settings: QuerySettings {
            // Distinct targets of one name would replace each other.
            timeout: Duration::from_secs(index),
            ..target("bad", nowhere()).settings
        },
        ..target("bad", nowhere())
    };
    for index in 1..=2 * WORKERS as u64 {
        queries.set(vec![bad(index), target("good", nowhere())]);
        while !matches!(next(&reports).result, Err(QueryError::Panicked)) {}
    }
    while next(&reports).result.is_err() {}
    assert!(statistics(&queries, "bad").unwrap().failed(FailureKind::Panicked) >= 2 * WORKERS as u64);
}

#[test]
fn a_shutdown_does_not_wait_for_the_slow_and_they_are_not_reported() {
    let late = Arc::new(AtomicBool::new(false));
    let (reported, asked) = (late.clone(), Arc::new(AtomicU32::new(0)));
    let asking = asked.clone();
    let asker = move |_: &QueryTarget, _: Option<OwnReason>| {
        asking.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(1_500));
        answered(None)
    };
    let sink = move |_| {
        reported.store(true, Ordering::Relaxed);
        Delivery::Taken
    };
    let queries = Queries::start(Box::new(sink), Box::new(asker), Arc::new(Pool::new())).unwrap();
    queries.set(vec![target("slow", nowhere()), target("slow too", nowhere())]);
    while asked.load(Ordering::Relaxed) < 2 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let start = Instant::now();
    drop(queries);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    std::thread::sleep(Duration::from_millis(1_200));
    assert!(!late.load(Ordering::Relaxed));
}

#[test]
fn an_idle_schedule_ends_at_once() {
    let (queries, reports) = started();
    queries.set(vec![target("a", nowhere())]);
    next(&reports);
    let start = Instant::now();
    drop(queries);
    assert!(start.elapsed() < Duration::from_millis(500));
}

#[test]
fn reports_without_room_are_counted() {
    let server = udp_server(|_| vec![PONG.to_vec()]);
    let (sink, reports) = bounded(1);
    let queries = Queries::new(sink).unwrap();
    queries.set(vec![target("a", server.address)]);
    let end = Instant::now() + Duration::from_secs(5);
    while statistics(&queries, "a").unwrap().lost_reports < 3 {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(10));
    }
    let statistics = statistics(&queries, "a").unwrap();
    assert!(statistics.answered > statistics.lost_reports && reports.try_recv().is_ok());
}

#[test]
fn a_namespace_that_is_not_there_is_told() {
    let (queries, reports) = started();
    let netns = Some(PathBuf::from("/run/netns/none-of-this-name"));
    queries.set(vec![QueryTarget {
        netns,
        ..target("a", nowhere())
    }]);
    let error = next(&reports).result.unwrap_err();
    assert!(error.to_string().contains("none-of-this-name"), "{error}");
}

#[test]
fn a_server_that_kills_workers_costs_its_own_questions_only() {
    let (bad, good) = (boxed::tests::deadly(), boxed::tests::mindustry());
    let plain = udp_server(|_| vec![PONG.to_vec()]);
    let boxed = |server: &str, game: &str, address| QueryTarget {
        protocol: QueryProtocol::Gamedig,
        settings: QuerySettings {
            game: Some(game.to_owned()),
            timeout: Duration::from_secs(2),
            ..target(server, address).settings
        },
        ..target(server, address)
    };
    let (sink, reports) = bounded(10_000);
    let queries = Queries::with_pool(sink, boxed::tests::pool()).unwrap();
    queries.set(vec![
        boxed("bad", "unrealtournament", bad.address),
        boxed("good", "mindustry", good.address),
        target("plain", plain.address),
    ]);
    let end = Instant::now() + Duration::from_secs(30);
    while statistics(&queries, "bad").unwrap().failed(FailureKind::Worker) < 3 {
        assert!(Instant::now() < end);
        let report = next(&reports);
        assert_eq!(report.result.is_ok(), &*report.server != "bad", "{report:?}");
    }
    for server in ["good", "plain"] {
        let statistics = statistics(&queries, server).unwrap();
        assert!(statistics.answered >= 3, "{server}: {statistics:?}");
        assert_eq!(statistics.failed_in_a_row, 0, "{server}: {statistics:?}");
    }
    let workers = queries.workers();
    assert!(
        workers.died >= 3 && workers.started >= workers.died,
        "{workers:?}"
    );
}

/// Asks the only server there is at that time, and tells what was remembered of it.
fn ask_at(state: &mut State, now: Instant, lesson: Option<OwnReason>) -> Option<OwnReason> {
    let Next::Ask(job) = state.next(now) else {
        panic!("nobody is to be asked");
    };
    let own = job.own;
    assert!(state.settle(&job, answered(lesson), now).is_some());
    own
}

#[test]
fn who_reads_a_server_is_remembered_for_an_hour_and_not_beyond_its_process() {
    let (sink, _reports) = bounded(10);
    let asker = |_: &QueryTarget, _: Option<OwnReason>| answered(None);
    let mut queries = Queries::start(Box::new(sink), Box::new(asker), Arc::new(Pool::new())).unwrap();
    // Time is this test's from here on.
    let mut state = queries.shared.lock();
    state.stopping = true;
    queries.shared.changed.notify_all();
    drop(state);
    queries
        .workers
        .drain(..)
        .for_each(|worker| worker.join().unwrap());
    queries.shared.lock().stopping = false;
    let minutely = |process| QueryTarget {
        process: Some(process),
        settings: QuerySettings {
            interval: Duration::from_secs(60),
            ..target("a", nowhere()).settings
        },
        ..target("a", nowhere())
    };
    queries.set(vec![minutely(7)]);
    let mut now = Instant::now() + Duration::from_secs(1);
    let mut ask = |lesson| {
        let own = ask_at(&mut queries.shared.lock(), now, lesson);
        now += Duration::from_secs(61);
        own
    };
    let players = Some(OwnReason::Players);
    assert_eq!(ask(None), None);
    assert_eq!(ask(players), None);
    for _ in 0..59 {
        assert_eq!(ask(None), players);
    }
    assert_eq!(ask(None), None, "an hour is over");
    assert_eq!(ask(players), None, "and nothing has been learnt since");
    assert_eq!(ask(None), players);
    queries.set(vec![minutely(7)]);
    assert_eq!(ask(None), players, "the same process");
    let asked = statistics(&queries, "a").unwrap().asked;
    queries.set(vec![minutely(8)]);
    assert_eq!(ask(None), None, "another process");
    assert_eq!(statistics(&queries, "a").unwrap().asked, asked + 1);
    assert_eq!(statistics(&queries, "a").unwrap().reader, Some(Reader::Gamedig));
}

#[test]
fn what_one_process_teaches_is_not_held_against_the_next() {
    let mut state = State::default();
    let now = Instant::now();
    let of = |process| {
        Arc::new(QueryTarget {
            process: Some(process),
            ..target("a", nowhere())
        })
    };
    let name: Arc<str> = "a".into();
    state.servers.insert(
        name.clone(),
        Entry {
            target: of(1),
            generation: 0,
            before: None,
            statistics: QueryStatistics::default(),
            memory: Memory::default(),
            sound: true,
        },
    );
    state.sound.push(Reverse(Due {
        at: now,
        generation: 0,
        server: name.clone(),
    }));
    let Next::Ask(job) = state.next(now) else {
        panic!("it is due");
    };
    state.servers.get_mut(&name).unwrap().target = of(2);
    assert!(
        state
            .settle(&job, answered(Some(OwnReason::Worker)), now)
            .is_some()
    );
    assert_eq!(state.servers[&name].memory.own(now), None);
}

#[test]
fn gamedig_is_asked_once_where_gsmon_has_to_read_and_again_after_a_restart() {
    let asked = Arc::new(AtomicU32::new(0));
    let counted = asked.clone();
    let status =
        b"\xff\xff\xff\xffstatusResponse\n\\sv_hostname\\q\\sv_maxclients\\8\\mapname\\q3dm1\n3 48 \"Ann\"\n";
    let server = udp_server(move |request| {
        // gamedig's question ends with a zero byte.
        if request == b"\xff\xff\xff\xffgetstatus\0" {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        let wanted = request.starts_with(b"\xff\xff\xff\xffgetstatus");
        wanted.then(|| status.to_vec()).into_iter().collect()
    });
    let (sink, reports) = bounded(10_000);
    let queries = Queries::with_pool(sink, boxed::tests::pool()).unwrap();
    let of = |process| QueryTarget {
        process: Some(process),
        settings: QuerySettings {
            timeout: Duration::from_secs(4),
            ..target("a", server.address).settings
        },
        ..target("a", server.address)
    };
    for process in 1..=2 {
        queries.set(vec![of(process)]);
        for _ in 0..4 {
            let answer = next(&reports).result.unwrap();
            assert_eq!(answer.online, Some(1));
        }
        assert_eq!(asked.load(Ordering::Relaxed), process);
        let reader = statistics(&queries, "a").unwrap().reader;
        assert_eq!(reader, Some(Reader::Gsmon(OwnReason::Players)));
    }
}

#[test]
fn a_server_that_kills_workers_is_read_without_them() {
    let bad = boxed::tests::deadly();
    let (sink, reports) = bounded(10_000);
    let queries = Queries::with_pool(sink, boxed::tests::pool()).unwrap();
    queries.set(vec![QueryTarget {
        protocol: QueryProtocol::Gamespy1,
        settings: QuerySettings {
            timeout: Duration::from_secs(4),
            ..target("bad", bad.address).settings
        },
        ..target("bad", bad.address)
    }]);
    for _ in 0..5 {
        assert_eq!(next(&reports).result.unwrap().max, Some(1));
    }
    let reader = statistics(&queries, "bad").unwrap().reader;
    assert_eq!(reader, Some(Reader::Gsmon(OwnReason::Worker)));
    let workers = queries.workers();
    assert_eq!((workers.started, workers.died), (1, 1), "{workers:?}");
}
