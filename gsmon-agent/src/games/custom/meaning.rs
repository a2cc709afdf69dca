//! What a rule's match means: which captures an event uses, which it needs, and the fact that they make.

use std::sync::Arc;

use regex::{Captures, Regex};

use super::{CustomGrammarError, spelled};
use crate::{
    config::{GrammarRule, RuleEvent, RuleKind},
    games::{
        event::{Fact, KindEvidence, Phase, PlayerCount, PlayerKind, PlayerRef},
        fields::{endpoint, label, whole},
        grammar::Spoken,
    },
};

/// Most players of a list.
const MOST_PLAYERS: usize = 4096;

/// Every capture that some event uses.
const KNOWN: [&str; 18] = [
    "name",
    "id",
    "slot",
    "address",
    "port",
    "reason",
    "map",
    "mode",
    "session",
    "room",
    "phase",
    "players",
    "count",
    "bots",
    "max",
    "action",
    "rate",
    "milliseconds",
];
const PLAYER: [&str; 5] = ["name", "id", "slot", "address", "port"];

/// A rule without its expression.
pub(super) struct Meaning {
    event: RuleEvent,
    separator: String,
    kind: Option<PlayerKind>,
}

/// What an event does with captures.
struct Use {
    usable: Vec<&'static str>,
    /// One of these must be captured.
    needed: &'static [&'static str],
}

fn use_of(event: RuleEvent) -> Use {
    let with = |usable: &[&'static str], needed| Use {
        usable: usable.iter().copied().chain(["room"]).collect(),
        needed,
    };
    let player = |more: &[&'static str], needed| with(&[&PLAYER, more].concat(), needed);
    match event {
        // They are about the process, not about a room of it.
        RuleEvent::ServerStarting | RuleEvent::ServerReady | RuleEvent::ServerStopping => Use {
            usable: Vec::new(),
            needed: &[],
        },
        RuleEvent::MatchBegun => with(&["map", "mode", "session"], &[]),
        RuleEvent::Phase => with(&["phase"], &["phase"]),
        RuleEvent::Lobby | RuleEvent::Loading | RuleEvent::Active | RuleEvent::Ended => with(&[], &[]),
        RuleEvent::MatchEnded => with(&["reason"], &[]),
        RuleEvent::Connecting | RuleEvent::Known | RuleEvent::Join => {
            player(&[], &["name", "id", "slot", "address"])
        }
        RuleEvent::Leave => player(&["reason"], &["name", "id", "slot", "address"]),
        RuleEvent::Roster => with(&["players"], &["players"]),
        RuleEvent::Count => with(&["count", "bots", "max"], &["count"]),
        RuleEvent::Action => player(&["action"], &["action"]),
        RuleEvent::Tick => with(&["rate", "milliseconds"], &["rate", "milliseconds"]),
        RuleEvent::Behind => with(&["milliseconds"], &["milliseconds"]),
    }
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() {
        return "none".into();
    }
    names.join(", ")
}

impl Meaning {
    /// Checks a rule. `number` counts from 1.
    pub(super) fn of(rule: &GrammarRule, number: usize, regex: &Regex) -> Result<Self, CustomGrammarError> {
        let Use { usable, needed } = use_of(rule.event);
        let event = spelled(rule.event);
        let captured: Vec<&str> = regex.capture_names().flatten().collect();
        for &capture in &captured {
            if !KNOWN.contains(&capture) {
                return Err(CustomGrammarError::UnknownCapture {
                    rule: number,
                    capture: capture.into(),
                    known: listed(&KNOWN),
                });
            }
            if !usable.contains(&capture) {
                return Err(CustomGrammarError::UselessCapture {
                    rule: number,
                    event,
                    capture: capture.into(),
                    usable: listed(&usable),
                });
            }
        }
        let missing = |needed: &'static [&'static str]| CustomGrammarError::MissingCapture {
            rule: number,
            event,
            needed: match needed {
                [one] => format!("the capture `{one}`"),
                several => format!("one of the captures {}", listed(several)),
            },
            example: needed.first().copied().unwrap_or_default(),
        };
        if !needed.is_empty() && !needed.iter().any(|name| captured.contains(name)) {
            return Err(missing(needed));
        }
        if captured.contains(&"port") && !captured.contains(&"address") {
            return Err(missing(&["address"]));
        }
        let of_players = usable.contains(&"name") || rule.event == RuleEvent::Roster;
        if rule.kind.is_some() && !of_players {
            return Err(CustomGrammarError::UselessKind { rule: number, event });
        }
        if rule.event == RuleEvent::Roster && rule.separator.is_empty() {
            return Err(CustomGrammarError::EmptySeparator { rule: number });
        }
        Ok(Self {
            event: rule.event,
            separator: rule.separator.clone(),
            kind: rule.kind.map(|kind| match kind {
                RuleKind::Human => PlayerKind::Human,
                RuleKind::Bot => PlayerKind::Bot,
            }),
        })
    }

    /// What a match says.
    pub(super) fn spoken(&self, captures: &Captures<'_>) -> Option<Spoken> {
        let text = |name: &str| captures.name(name).map(|found| found.as_str());
        Some(Spoken {
            time: None,
            room: text("room").and_then(label),
            fact: self.fact(&text)?,
        })
    }

    fn fact<'a>(&self, text: &dyn Fn(&str) -> Option<&'a str>) -> Option<Fact> {
        let kept = |name: &str| text(name).and_then(label);
        let number = |name: &str| text(name).and_then(whole::<u32>);
        Some(match self.event {
            RuleEvent::ServerStarting => Fact::ServerStarting,
            RuleEvent::ServerReady => Fact::ServerReady,
            RuleEvent::ServerStopping => Fact::ServerStopping,
            RuleEvent::MatchBegun => Fact::MatchBegun {
                map: kept("map"),
                mode: kept("mode"),
                id: kept("session"),
            },
            RuleEvent::Phase => Fact::Phase(phase(text("phase")?)?),
            RuleEvent::Lobby => Fact::Phase(Phase::Lobby),
            RuleEvent::Loading => Fact::Phase(Phase::Loading),
            RuleEvent::Active => Fact::Phase(Phase::Active),
            RuleEvent::Ended => Fact::Phase(Phase::Ended),
            RuleEvent::MatchEnded => Fact::MatchEnded {
                reason: kept("reason"),
            },
            RuleEvent::Connecting => Fact::PlayerConnecting(self.player(text)?),
            RuleEvent::Known => Fact::PlayerKnown(self.player(text)?),
            RuleEvent::Join => Fact::PlayerJoined(self.player(text)?),
            RuleEvent::Leave => Fact::PlayerLeft {
                player: self.player(text)?,
                reason: kept("reason"),
            },
            RuleEvent::Roster => Fact::Roster(self.players(text("players")?)),
            RuleEvent::Count => Fact::PlayerCount(PlayerCount {
                online: number("count")?,
                bots: number("bots"),
                max: number("max"),
            }),
            RuleEvent::Action => Fact::PlayerAction {
                player: self.player(text),
                action: kept("action")?,
            },
            RuleEvent::Tick => {
                let rate_hz = text("rate").and_then(positive);
                let time_ns = text("milliseconds").and_then(positive).map(|ms| ms * 1e6);
                if rate_hz.is_none() && time_ns.is_none() {
                    return None;
                }
                Fact::Tick { rate_hz, time_ns }
            }
            RuleEvent::Behind => Fact::Behind {
                milliseconds: whole_milliseconds(text("milliseconds")?)?,
            },
        })
    }

    /// Who; `None` when nothing of it parses.
    fn player<'a>(&self, text: &dyn Fn(&str) -> Option<&'a str>) -> Option<PlayerRef> {
        let kept = |name: &str| -> Option<Arc<str>> { text(name).and_then(label) };
        let mut player = PlayerRef {
            platform_id: kept("id"),
            slot: text("slot").and_then(slot),
            name: kept("name"),
            ..PlayerRef::default()
        };
        if let Some((address, port)) = text("address").and_then(endpoint) {
            player = player.with_address(address, text("port").and_then(whole::<u16>).or(port));
        }
        if player == PlayerRef::default() {
            return None;
        }
        Some(self.with_kind(player))
    }

    fn players(&self, list: &str) -> Vec<PlayerRef> {
        list.split(self.separator.as_str())
            .filter(|name| !name.is_empty())
            .take(MOST_PLAYERS)
            .filter_map(label)
            .map(|name| self.with_kind(PlayerRef::named(&name)))
            .collect()
    }

    fn with_kind(&self, player: PlayerRef) -> PlayerRef {
        match self.kind {
            Some(kind) => player.with_kind(kind, KindEvidence::Identity),
            None => player,
        }
    }
}

fn phase(text: &str) -> Option<Phase> {
    let phases = [
        ("idle", Phase::Idle),
        ("lobby", Phase::Lobby),
        ("loading", Phase::Loading),
        ("active", Phase::Active),
        ("ended", Phase::Ended),
        ("crashed", Phase::Crashed),
    ];
    let (_, phase) = phases.iter().find(|(name, _)| name.eq_ignore_ascii_case(text))?;
    Some(*phase)
}

/// Slots are unsigned; a negative number keeps its bits.
fn slot(text: &str) -> Option<u64> {
    text.parse::<u64>()
        .ok()
        .or_else(|| text.parse::<i64>().ok().map(i64::cast_unsigned))
}

fn positive(text: &str) -> Option<f64> {
    text.parse::<f64>()
        .ok()
        .filter(|value| value.is_finite() && *value > 0.0)
}

/// Whole milliseconds of a decimal number.
fn whole_milliseconds(text: &str) -> Option<u64> {
    let whole_part = text.split_once('.').map_or(text, |(whole_part, _)| whole_part);
    text.parse::<f64>().ok()?;
    whole::<u64>(whole_part)
}
