//! Verdicts on the processes of `rows`, and on what is special.

use super::{
    rows::{OTHERS, SERVERS, T, U},
    *,
};

fn evidence(executable: &str, arguments: &str, listening: &[(Protocol, u16)]) -> Evidence {
    Evidence {
        executable: Some(executable.into()),
        arguments: arguments.split('|').map(str::to_owned).collect(),
        cwd: Some("/srv/game".into()),
        listening: listening.to_vec(),
        ..Evidence::default()
    }
}

#[test]
fn servers_are_recognised_and_others_are_not() {
    const { assert!(SERVERS.len() + OTHERS.len() >= 60) };
    for (executable, arguments, listening, expected) in SERVERS.iter().chain(OTHERS) {
        let mut evidence = evidence(executable, arguments, listening);
        // What a reader of /proc would find beside a Unity editor.
        evidence.nearby.unity = arguments.contains("-batchmode");
        let found = recognise(&evidence);
        assert_eq!(
            found.as_ref().map(|found| found.title),
            *expected,
            "{executable} {arguments}: {found:#?}"
        );
        if let Some(found) = found {
            assert!(
                found.confidence >= 0.6 && found.confidence < 1.0,
                "{arguments}: {}",
                found.confidence
            );
            assert_eq!(found.ports.first(), listening.first(), "{arguments}");
        }
        if expected.is_some() {
            assert!(
                worth_a_look(evidence.executable.as_deref(), &arguments.replace('|', " ")),
                "{arguments}"
            );
        }
    }
}

fn of(row: usize) -> Recognised {
    let (executable, arguments, listening, _) = SERVERS[row];
    recognise(&evidence(executable, arguments, listening)).unwrap()
}

fn named(title: &str) -> Vec<(Option<String>, Option<PathBuf>)> {
    (0..SERVERS.len())
        .map(of)
        .filter(|found| found.title == title)
        .map(|found| (found.name, found.log))
        .collect()
}

#[test]
fn names_and_logs_are_where_servers_put_them() {
    let log = |path: &str| Some(PathBuf::from(path));
    let name = |name: &str| Some(name.to_owned());
    assert_eq!(named("Team Fortress 2")[0], (name("Granary 24/7"), None));
    assert_eq!(named("Paper")[0], (None, log("/srv/game/logs/latest.log")));
    assert_eq!(named("Teeworlds")[0].0, name("My Tees"));
    assert_eq!(
        named("Luanti")[0],
        (name("alps"), log("/var/log/minetest/minetest.log"))
    );
    assert_eq!(
        named("Factorio"),
        [(name("belt"), None), (None, log("/factorio/console.log"))]
    );
    assert_eq!(
        named("ARK")[0],
        (
            name("My Ark"),
            log("/srv/ark/ShooterGame/Saved/Logs/ShooterGame.log")
        )
    );
    assert_eq!(named("ARK Ascended")[0], (name("Asa"), None));
    assert_eq!(named("Palworld")[0].0, name("Friends"));
    assert_eq!(named("Valheim")[0].0, name("North Sea"));
    assert_eq!(named("Rust")[0], (name("Weekly"), log("/srv/rust/out.log")));
    assert_eq!(named("7 Days to Die")[0].1, log("/srv/game/out.txt"));
    assert_eq!(
        named("OpenArena")[0],
        (name("test-oa"), None),
        "without HOME nobody knows"
    );
    let (executable, arguments, listening, _) =
        SERVERS.iter().find(|row| row.3 == Some("OpenArena")).unwrap();
    let mut with_home = evidence(executable, arguments, listening);
    with_home.environ.insert("HOME".into(), "/home/oa".into());
    assert_eq!(
        recognise(&with_home).unwrap().log,
        log("/home/oa/.openarena/baseoa/games.log")
    );
}

#[test]
fn proxies_are_told_from_servers() {
    for row in 0..SERVERS.len() {
        let found = of_checked(row);
        let is_proxy = matches!(found, Some(("Velocity" | "BungeeCord", _)));
        assert_eq!(found.map(|found| found.1) == Some(Role::Proxy), is_proxy);
    }
}

fn of_checked(row: usize) -> Option<(&'static str, Role)> {
    let (executable, arguments, listening, _) = SERVERS[row];
    recognise(&evidence(executable, arguments, listening)).map(|found| (found.title, found.role))
}

#[test]
fn a_port_that_is_stated_is_waited_for_but_not_for_ever() {
    let mut young = evidence("/usr/bin/java", "java|-jar|paper.jar|--port|25600", &[(T, 9010)]);
    let found = recognise(&young).unwrap();
    assert!(found.ports.is_empty() && found.confidence >= 0.6);
    young.age = Duration::from_secs(600);
    assert_eq!(recognise(&young).unwrap().ports, [(T, 9010)]);
    young.listening.push((T, 25_600));
    assert_eq!(recognise(&young).unwrap().ports, [(T, 25_600)]);
}

#[test]
fn settings_beside_a_vague_jar_decide() {
    let mut vague = evidence("/usr/bin/java", "java|-jar|server.jar", &[(T, 25_901)]);
    assert_eq!(recognise(&vague), None);
    vague.nearby.properties = ServerProperties::parse("server-port=25901\nlevel-name=alps\n");
    let found = recognise(&vague).unwrap();
    assert_eq!((found.title, found.name.as_deref()), ("Minecraft", Some("alps")));
    assert!(found.reasons.contains(&Reason::StatedPort(T, 25_901)));
}

#[test]
fn unity_needs_its_player_and_no_screen() {
    let mut server = evidence(
        "/srv/x/arena.x86_64",
        "./arena.x86_64|-batchmode|-nographics|-port|9000",
        &[(U, 9000)],
    );
    assert_eq!(recognise(&server), None);
    server.nearby.unity = true;
    assert_eq!(recognise(&server).unwrap().game, Game::Unity);
    server.arguments.remove(2);
    assert_eq!(recognise(&server), None);
}

#[test]
fn hosts_of_game_servers_vouch_for_programs_of_any_name() {
    let mut unknown = evidence("/server", "./server", &[(U, 7654), (T, 8080)]);
    assert_eq!(recognise(&unknown), None);
    unknown.hosted = Some(Hosted {
        by: "Agones",
        port: None,
    });
    let found = recognise(&unknown).unwrap();
    assert_eq!(
        (found.game, found.ports.as_slice()),
        (Game::Custom, &[(U, 7654)][..])
    );
    unknown.hosted = Some(Hosted {
        by: "Pterodactyl",
        port: Some(25_599),
    });
    assert_eq!(
        recognise(&unknown),
        None,
        "it does not listen on the port that it was given"
    );
    unknown.listening.push((U, 25_599));
    assert_eq!(recognise(&unknown).unwrap().ports, [(U, 25_599)]);
    let bot = Evidence {
        executable: Some("/usr/bin/python3".into()),
        ..unknown
    };
    assert_eq!(recognise(&bot), None);
}

#[test]
fn an_answer_makes_a_stranger_a_server_and_a_server_surer() {
    let mut stranger = evidence("/srv/x/thing", "./thing", &[(U, 27_015), (U, 50_000)]);
    assert_eq!(recognise(&stranger), None);
    let suspected = suspect(&stranger).unwrap();
    assert_eq!(
        (suspected.game, suspected.ports.as_slice()),
        (Game::Source, &[(U, 27_015)][..])
    );
    assert!(suspected.confidence < LEAST_SAID);
    stranger.answer = Some(Game::Source);
    assert!(recognise(&stranger).unwrap().confidence > 0.9);
    let mut server = evidence("/srv/q3/ioq3ded", "./ioq3ded", &[(U, 29_000)]);
    let before = recognise(&server).unwrap().confidence;
    server.answer = Some(Game::Source);
    assert_eq!(
        recognise(&server).unwrap().confidence,
        before,
        "another family's answer is no reason"
    );
    server.answer = Some(Game::Quake3);
    assert!(recognise(&server).unwrap().confidence > before);
    for (executable, arguments, listening, _) in OTHERS.iter().filter(|row| row.0.starts_with("/usr/bin/nc"))
    {
        let mut tool = evidence(executable, arguments, listening);
        tool.answer = Some(Game::Quake3);
        assert_eq!((recognise(&tool), suspect(&tool)), (None, None));
    }
}

#[test]
fn without_an_executable_a_process_is_believed_less() {
    let mut claimed = evidence(
        "/srv/valheim_server.x86_64",
        "./valheim_server.x86_64|-port|2456",
        &[(U, 2456)],
    );
    let sure = recognise(&claimed).unwrap().confidence;
    claimed.executable = None;
    let found = recognise(&claimed).unwrap();
    assert!(
        found.confidence < sure && found.confidence > 0.6,
        "{}",
        found.confidence
    );
    claimed.listening.clear();
    assert_eq!(recognise(&claimed), None);
}

proptest::proptest! {
    #[test]
    fn any_process_is_no_panic_and_confidence_is_one(
        executable in proptest::option::of("[a-zA-Z0-9_./ ä-]{0,40}"),
        arguments in proptest::collection::vec("[ -~ä\u{202e}\u{1b}]{0,40}", 0..12),
        listening in proptest::collection::vec((proptest::bool::ANY, 0u16..), 0..6),
        answer in proptest::sample::select(vec![None, Some(Game::Quake3), Some(Game::Minecraft)]),
    ) {
        let evidence = Evidence {
            executable: executable.map(PathBuf::from),
            arguments,
            listening: listening.into_iter().map(|(tcp, port)| (if tcp { T } else { U }, port)).collect(),
            answer,
            ..Evidence::default()
        };
        for found in [recognise(&evidence), suspect(&evidence)].into_iter().flatten() {
            proptest::prop_assert!((0.0..=1.0).contains(&found.confidence));
            proptest::prop_assert!(found.ports.iter().all(|port| evidence.listening.contains(port)));
        }
    }

    /// More of the same never makes a server less likely, and words in another program's arguments never make it one.
    #[test]
    fn arguments_of_a_tool_make_no_server(
        tool in proptest::sample::select(vec!["/usr/bin/bash", "/usr/bin/grep", "/usr/bin/sleep", "/usr/bin/tmux", "/usr/bin/nc"]),
        row in 0..SERVERS.len(),
        joined in proptest::bool::ANY,
    ) {
        let (_, arguments, listening, _) = SERVERS[row];
        let mut evidence = evidence(tool, arguments, listening);
        if joined {
            evidence.arguments = vec!["tool".into(), "-c".into(), arguments.replace('|', " ")];
        } else {
            evidence.arguments.insert(0, "tool".into());
        }
        proptest::prop_assert_eq!(recognise(&evidence), None);
    }

    #[test]
    fn names_of_servers_are_clean(name in "\\PC{0,100}|[\\x00-\\x1f]{0,9}") {
        let mut evidence = evidence("/srv/valheim_server", "./valheim_server|-name", &[(U, 2456)]);
        evidence.arguments.push(name);
        if let Some(name) = recognise(&evidence).unwrap().name {
            proptest::prop_assert!(name.chars().count() <= NAME_CHARS && !name.chars().any(char::is_control));
        }
    }
}
