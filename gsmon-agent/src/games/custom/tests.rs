use proptest::prelude::*;

use super::{CustomGrammarError, Log, check};
use crate::{
    config::{GrammarRule, GrammarSettings, RuleEvent, RuleKind},
    games::{
        event::{Fact, KindEvidence, Phase, PlayerCount, PlayerKind, PlayerRef},
        fields::hostile_name,
        grammar::{Grammar, Spoken},
    },
};

fn rule(event: RuleEvent, pattern: &str) -> GrammarRule {
    GrammarRule {
        event,
        pattern: pattern.into(),
        separator: ", ".into(),
        kind: None,
    }
}

fn settings(prefix: Option<&str>, rules: Vec<GrammarRule>) -> GrammarSettings {
    GrammarSettings {
        prefix: prefix.map(Into::into),
        rules,
    }
}

fn log(prefix: Option<&str>, rules: Vec<GrammarRule>) -> Log {
    Log::new(&settings(prefix, rules)).unwrap()
}

fn said(log: &mut Log, lines: &[&str]) -> Vec<Spoken> {
    let mut said = Vec::new();
    for line in lines {
        log.line(line, &mut said);
    }
    said
}

fn facts(log: &mut Log, lines: &[&str]) -> Vec<Fact> {
    said(log, lines).into_iter().map(|spoken| spoken.fact).collect()
}

fn one(event: RuleEvent, pattern: &str, line: &str) -> Option<Fact> {
    facts(&mut log(None, vec![rule(event, pattern)]), &[line]).pop()
}

fn error(rules: Vec<GrammarRule>) -> String {
    check(&settings(None, rules)).unwrap_err().to_string()
}

#[test]
fn flying_squid() {
    let mut log = log(
        Some(r"\w+ \d+\w+ \d{4}, \d\d:\d\d:\d\d \[INFO\]: "),
        vec![
            rule(
                RuleEvent::ServerReady,
                r"Server listening on port \d+, version .+",
            ),
            rule(RuleEvent::Join, r"(?<name>\S+) \((?<address>\S+)\) connected"),
            rule(RuleEvent::Leave, r"(?<name>\S+) disconnected"),
        ],
    );
    let at = "November 23rd 2026, 15:55:14 [INFO]: ";
    assert_eq!(
        facts(
            &mut log,
            &[
                &format!("{at}Server listening on port 25565, version 1.16.5"),
                &format!("{at}bot0 (127.0.0.1) connected"),
                &format!("{at}<bot0> bot1 disconnected"),
                &format!("<bot0> {at}bot1 disconnected"),
                "bot1 disconnected",
                &format!("{at}bot0 disconnected"),
            ]
        ),
        [
            Fact::ServerReady,
            Fact::PlayerJoined(PlayerRef::named("bot0").with_address("127.0.0.1".parse().unwrap(), None)),
            Fact::PlayerLeft {
                player: PlayerRef::named("bot0"),
                reason: None
            },
        ]
    );
}

#[test]
fn every_event_makes_its_fact() {
    use RuleEvent as E;
    let named = PlayerRef::named("a");
    for (event, pattern, line, fact) in [
        (E::ServerStarting, "boot", "boot", Fact::ServerStarting),
        (E::ServerReady, "up", "up", Fact::ServerReady),
        (E::ServerStopping, "down", "down", Fact::ServerStopping),
        (
            E::MatchBegun,
            "(?<map>\\w+) (?<mode>\\w+) (?<session>\\w+)",
            "dm1 ffa 7",
            Fact::MatchBegun {
                map: Some("dm1".into()),
                mode: Some("ffa".into()),
                id: Some("7".into()),
            },
        ),
        (
            E::Phase,
            "phase (?<phase>\\w+)",
            "phase ACTIVE",
            Fact::Phase(Phase::Active),
        ),
        (E::Lobby, "l", "l", Fact::Phase(Phase::Lobby)),
        (E::Loading, "l", "l", Fact::Phase(Phase::Loading)),
        (E::Active, "l", "l", Fact::Phase(Phase::Active)),
        (E::Ended, "l", "l", Fact::Phase(Phase::Ended)),
        (
            E::MatchEnded,
            "end: (?<reason>.*)",
            "end: time",
            Fact::MatchEnded {
                reason: Some("time".into()),
            },
        ),
        (
            E::Connecting,
            "(?<name>.)",
            "a",
            Fact::PlayerConnecting(named.clone()),
        ),
        (E::Known, "(?<name>.)", "a", Fact::PlayerKnown(named.clone())),
        (E::Join, "(?<name>.)", "a", Fact::PlayerJoined(named.clone())),
        (
            E::Leave,
            "(?<name>.) (?<reason>.+)",
            "a kicked",
            Fact::PlayerLeft {
                player: named.clone(),
                reason: Some("kicked".into()),
            },
        ),
        (
            E::Roster,
            "list: (?<players>.*)",
            "list: a, b, c d",
            Fact::Roster(["a", "b", "c d"].map(PlayerRef::named).to_vec()),
        ),
        (
            E::Roster,
            "list: (?<players>.*)",
            "list: ",
            Fact::Roster(Vec::new()),
        ),
        (
            E::Count,
            "(?<count>\\d+)/(?<max>\\d+)( \\((?<bots>\\d+) bots\\))?",
            "4/16",
            Fact::PlayerCount(PlayerCount {
                online: 4,
                bots: None,
                max: Some(16),
            }),
        ),
        (
            E::Action,
            "(?<name>.) does (?<action>\\w+)",
            "a does explosion",
            Fact::PlayerAction {
                player: Some(named),
                action: "explosion".into(),
            },
        ),
        (
            E::Tick,
            "(?<rate>\\S+) Hz, (?<milliseconds>\\S+) ms",
            "20 Hz, 1.5 ms",
            Fact::Tick {
                rate_hz: Some(20.0),
                time_ns: Some(1.5e6),
            },
        ),
        (
            E::Behind,
            "(?<milliseconds>\\S+) late",
            "2861.7 late",
            Fact::Behind { milliseconds: 2861 },
        ),
    ] {
        assert_eq!(one(event, pattern, line), Some(fact), "{pattern}");
    }
}

#[test]
fn values_that_do_not_parse_are_left_out() {
    let pattern = "(?<name>.*?)\\|(?<id>.*?)\\|(?<slot>.*?)\\|(?<address>.*?)\\|(?<port>.*)";
    let join = |line: &str| one(RuleEvent::Join, pattern, line);
    let v6 = "2001:db8::1".parse().unwrap();
    assert_eq!(
        join("a|x|-1|[2001:db8::1]:9|10"),
        Some(Fact::PlayerJoined(
            PlayerRef {
                platform_id: Some("x".into()),
                slot: Some(u64::MAX),
                ..PlayerRef::named("a")
            }
            .with_address(v6, Some(10))
        ))
    );
    assert_eq!(
        join("a||seven|[2001:db8::1]:9|99999"),
        Some(Fact::PlayerJoined(
            PlayerRef::named("a").with_address(v6, Some(9))
        ))
    );
    assert_eq!(
        join("a|||nowhere|10"),
        Some(Fact::PlayerJoined(PlayerRef::named("a")))
    );
    assert_eq!(join("||x|y|z"), None);
    assert_eq!(one(RuleEvent::Phase, "(?<phase>.*)", "overtime"), None);
    assert_eq!(one(RuleEvent::Count, "(?<count>.*)", "many"), None);
    assert_eq!(one(RuleEvent::Tick, "(?<rate>.*)", "NaN"), None);
    assert_eq!(one(RuleEvent::Tick, "(?<rate>.*)", "-3"), None);
    assert_eq!(one(RuleEvent::Behind, "(?<milliseconds>.*)", "-3"), None);
    assert_eq!(one(RuleEvent::Behind, "(?<milliseconds>.*)", "1.x"), None);
}

#[test]
fn rooms_kinds_and_order() {
    let mut bots = rule(RuleEvent::Join, r"\[(?<room>\w+)\] bot (?<name>\w+) in");
    bots.kind = Some(RuleKind::Bot);
    let mut log = log(
        None,
        vec![bots, rule(RuleEvent::Join, r"\[(?<room>\w+)\] (?<name>.+) in")],
    );
    let said = said(&mut log, &["[r1] bot Max in", "[r2] Anna in"]);
    assert_eq!(said[0].room.as_deref(), Some("r1"));
    assert_eq!(
        said[0].fact,
        Fact::PlayerJoined(PlayerRef::named("Max").with_kind(PlayerKind::Bot, KindEvidence::Identity))
    );
    assert_eq!(said[1].room.as_deref(), Some("r2"));
    assert_eq!(said[1].fact, Fact::PlayerJoined(PlayerRef::named("Anna")));
    assert_eq!(said.len(), 2);
}

#[test]
fn rules_are_anchored_whatever_they_hold() {
    assert_eq!(one(RuleEvent::ServerReady, "up", "xup"), None);
    assert_eq!(one(RuleEvent::ServerReady, "up", "upx"), None);
    assert_eq!(one(RuleEvent::ServerReady, "up", "up\n"), None);
    assert_eq!(one(RuleEvent::ServerReady, "a|up", "chat: up"), None);
    assert_eq!(one(RuleEvent::ServerReady, "(?m)^up$", "chat\nup"), None);
    assert_eq!(
        one(RuleEvent::ServerReady, "(?x) u p ", "up"),
        Some(Fact::ServerReady)
    );
    for escape in ["up)|(up", "(?x)up #", "up\\"] {
        assert!(
            check(&settings(None, vec![rule(RuleEvent::ServerReady, escape)])).is_err(),
            "{escape}"
        );
    }
    // The prefix is found first, by itself: rules cannot make it longer.
    let mut log = log(Some(r"\S+: "), vec![rule(RuleEvent::Leave, "(?<name>\\w+) left")]);
    assert_eq!(
        facts(&mut log, &["server: chat: bob left", "chat server: bob left"]),
        []
    );
    assert_eq!(facts(&mut log, &["server: bob left"]).len(), 1);
}

#[test]
fn errors_name_the_rule_and_what_would_work() {
    let good = || rule(RuleEvent::Join, "(?<name>.+) in");
    let second = |event, pattern: &str| error(vec![good(), rule(event, pattern)]);
    assert_eq!(
        second(RuleEvent::Join, "(?<nick>.+)"),
        "rule 2: unknown capture `nick`; known are name, id, slot, address, port, reason, map, mode, session, room, \
         phase, players, count, bots, max, action, rate, milliseconds"
    );
    assert_eq!(
        second(RuleEvent::Join, "(?<name>.+) (?<map>.+)"),
        "rule 2: `join` cannot use the capture `map`; it uses name, id, slot, address, port, room"
    );
    assert_eq!(
        second(RuleEvent::ServerReady, "(?<room>.+)"),
        "rule 2: `server-ready` cannot use the capture `room`; it uses none"
    );
    assert_eq!(
        second(RuleEvent::Leave, "(?<reason>.+)"),
        "rule 2: `leave` needs one of the captures name, id, slot, address, as in (?<name>...)"
    );
    assert_eq!(
        second(RuleEvent::Count, "3"),
        "rule 2: `count` needs the capture `count`, as in (?<count>...)"
    );
    assert_eq!(
        second(RuleEvent::Join, "(?<name>.+):(?<port>.+)"),
        "rule 2: `join` needs the capture `address`, as in (?<address>...)"
    );
    assert!(second(RuleEvent::Join, "(").starts_with("the pattern of rule 2 is not usable: "));
    assert!(second(RuleEvent::Join, &"x".repeat(5000)).starts_with("the pattern of rule 2 is longer"));
    let mut kind = rule(RuleEvent::ServerReady, "x");
    kind.kind = Some(RuleKind::Bot);
    assert!(error(vec![kind]).starts_with("rule 1: `server-ready` speaks of no player"));
    let mut list = rule(RuleEvent::Roster, "(?<players>.*)");
    list.separator.clear();
    assert!(error(vec![list]).starts_with("rule 1: `separator` is empty"));
    assert!(error(Vec::new()).starts_with("a grammar needs at least one"));
    assert!(error(vec![good(); 257]).starts_with("a grammar of 257 rules"));
    let prefix = check(&settings(Some("["), vec![good()])).unwrap_err();
    assert!(matches!(prefix, CustomGrammarError::Pattern { .. }), "{prefix}");
    assert!(prefix.to_string().starts_with("the prefix is not usable: "));
}

#[test]
fn hostile_expressions_are_refused_or_linear() {
    assert!(
        check(&settings(
            None,
            vec![rule(RuleEvent::ServerReady, "(((a{50}){50}){50}){50}")]
        ))
        .is_err()
    );
    assert!(
        check(&settings(
            None,
            vec![rule(RuleEvent::ServerReady, &"(".repeat(500))]
        ))
        .is_err()
    );
    // Exponential in backtracking engines.
    let mut log = log(None, vec![rule(RuleEvent::ServerReady, "(a*)*(a*)*b")]);
    assert_eq!(facts(&mut log, &[&"a".repeat(50_000)]), []);
}

#[test]
fn a_grammar_from_a_configuration() {
    let settings: GrammarSettings = toml::from_str(
        r#"
        prefix = '\[\d\d:\d\d\] '
        [[rule]]
        event = "join"
        pattern = '(?P<name>\w+) has joined from (?P<address>\S+)'
        kind = "human"
        "#,
    )
    .unwrap();
    let mut log = Log::new(&settings).unwrap();
    let expected = PlayerRef::named("bob")
        .with_address("192.0.2.1".parse().unwrap(), Some(99))
        .with_kind(PlayerKind::Human, KindEvidence::Identity);
    assert_eq!(
        facts(&mut log, &["[12:30] bob has joined from 192.0.2.1:99"]),
        [Fact::PlayerJoined(expected)]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn patterns_and_lines_never_panic(pattern in "\\PC{0,30}", line in "\\PC{0,60}") {
        if let Ok(mut log) = Log::new(&settings(Some(&pattern), vec![rule(RuleEvent::ServerReady, &pattern)])) {
            let _ = facts(&mut log, &[&line]);
        }
    }

    #[test]
    fn names_change_nothing_for_others(name in hostile_name()) {
        let mut log = log(Some("LOG: "), vec![
            rule(RuleEvent::Join, "(?<name>.+) joined \\(id (?<id>\\d+)\\)"),
            rule(RuleEvent::Leave, "(?<name>.+) left \\(id (?<id>\\d+)\\)"),
        ]);
        let expected = PlayerRef { platform_id: Some("7".into()), ..PlayerRef::named(&name) };
        prop_assert_eq!(
            facts(&mut log, &[&format!("LOG: {name} joined (id 7)"), &format!("CHAT: {name} left (id 1)")]),
            [Fact::PlayerJoined(expected)]
        );
    }
}
