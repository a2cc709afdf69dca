//! Test helper: reads a transcript with a grammar and writes down what was said, one short line per fact.

use super::{
    Grammar, LineTime, PlayerRef, Spoken,
    event::{Fact, PlayerKind},
};

/// What a whole transcript says.
pub fn read<G: Grammar + Default>(transcript: &str) -> Vec<String> {
    spoken::<G>(transcript)
        .iter()
        .map(|spoken| fact(&spoken.fact))
        .collect()
}

/// What a whole transcript says, with times.
pub fn spoken<G: Grammar + Default>(transcript: &str) -> Vec<Spoken> {
    let mut log = G::default();
    let mut said = Vec::new();
    for line in transcript.lines() {
        log.line(line, &mut said);
    }
    said
}

/// The time of the only thing that a line says.
pub fn time<G: Grammar + Default>(line: &str) -> Option<LineTime> {
    let said = spoken::<G>(line);
    assert!(!said.is_empty(), "{line:?} says nothing");
    said[0].time
}

/// Asserts that each of these lines alone, and all in a row, say nothing.
pub fn assert_silent<G: Grammar + Default>(lines: &str) {
    for line in lines.lines() {
        assert_eq!(read::<G>(line), Vec::<String>::new(), "{line:?}");
    }
    assert_eq!(read::<G>(lines), Vec::<String>::new());
}

fn player(who: &PlayerRef) -> String {
    let mut text = String::new();
    if let Some(slot) = who.slot {
        text += &format!(" #{slot}");
    }
    if let Some(name) = &who.name {
        text += &format!(" {name}");
    }
    if let Some(id) = &who.platform_id {
        text += &format!(" ={id}");
    }
    if let Some(address) = who.address {
        text += &format!(" @{address}");
    }
    if let Some(port) = who.port {
        text += &format!("/{port}");
    }
    match who.kind.map(|known| known.kind) {
        Some(PlayerKind::Bot) => text += " bot",
        Some(PlayerKind::Human) => text += " human",
        None => {}
    }
    text
}

fn fact(fact: &Fact) -> String {
    let tail =
        |text: &Option<std::sync::Arc<str>>| text.as_ref().map_or(String::new(), |text| format!(": {text}"));
    match fact {
        Fact::ServerStarting => "starting".into(),
        Fact::ServerReady => "ready".into(),
        Fact::ServerStopping => "stopping".into(),
        Fact::MatchBegun { map, mode, id } => {
            assert_eq!(*id, None);
            format!(
                "begun {} {}",
                map.as_deref().unwrap_or("-"),
                mode.as_deref().unwrap_or("-")
            )
        }
        Fact::Phase(phase) => format!("phase {phase:?}").to_lowercase(),
        Fact::MatchEnded { reason } => format!("ended{}", tail(reason)),
        Fact::PlayerConnecting(who) => format!("connecting{}", player(who)),
        Fact::PlayerKnown(who) => format!("known{}", player(who)),
        Fact::PlayerJoined(who) => format!("joined{}", player(who)),
        Fact::PlayerLeft { player: who, reason } => format!("left{}{}", player(who), tail(reason)),
        Fact::Roster(all) => format!("roster{}", all.iter().map(player).collect::<String>()),
        Fact::PlayerCount(count) => format!("count {} of {:?}", count.online, count.max),
        Fact::PlayerAction { action, .. } => format!("action {action}"),
        Fact::Tick { rate_hz, .. } => format!("tick {rate_hz:?}"),
        Fact::Behind { milliseconds } => format!("behind {milliseconds}"),
    }
}
