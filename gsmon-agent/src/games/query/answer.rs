//! What a server answers, whatever the protocol, and what that says as facts.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::super::event::{Fact, KindEvidence, KnownKind, Phase, PlayerCount, PlayerKind, PlayerRef};

/// An answer. Whatever the protocol does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueryAnswer {
    /// Name that the server gives itself, raw.
    pub name: Option<Arc<str>>,
    /// Version of the game.
    pub version: Option<Arc<str>>,
    /// Map or level.
    pub map: Option<Arc<str>>,
    /// Game mode.
    pub mode: Option<Arc<str>>,
    /// Phase, where stated.
    pub phase: Option<Phase>,
    /// Who is in the game.
    pub players: Option<Listed>,
    /// How many are in the game, bots included where `bots` is known.
    pub online: Option<u32>,
    /// Bots among them.
    pub bots: Option<u32>,
    /// Limit.
    pub max: Option<u32>,
    /// Ticks per second, where stated.
    pub tick_rate_hz: Option<f64>,
    /// From the first request to the first answer to it.
    pub round_trip: Duration,
    /// Round trips of players by name, milliseconds, as the server itself measures them; bots and those that it has not
    /// measured are left out.
    pub player_round_trips: StatedRoundTrips,
}

/// Round trips by name, milliseconds.
pub type StatedRoundTrips = Vec<(Arc<str>, u16)>;

/// A list of players.
#[derive(Clone, Debug, PartialEq)]
pub enum Listed {
    /// Everybody who is in the game.
    Everybody(Vec<PlayerRef>),
    /// Some of them, or names that may not be players' names.
    Some(Vec<PlayerRef>),
}

impl Listed {
    /// Everybody when as many are listed as are said to be there, else only some.
    pub(super) fn by_count(players: Vec<PlayerRef>, online: Option<u32>) -> Option<Self> {
        let listed = u32::try_from(players.len()).unwrap_or(u32::MAX);
        match online {
            Some(online) if online == listed => Some(Self::Everybody(players)),
            _ if players.is_empty() => None,
            _ => Some(Self::Some(players)),
        }
    }

    /// The players.
    pub fn players(&self) -> &[PlayerRef] {
        match self {
            Self::Everybody(players) | Self::Some(players) => players,
        }
    }
}

impl QueryAnswer {
    /// Removes what contradicts itself, and tells kinds where the counts alone tell them.
    pub(super) fn tidy(&mut self) {
        if self.bots > self.online {
            // Some titles do not count bots among players; which ones is not known, so the number is not used.
            self.bots = None;
        }
        if self.online == Some(0) {
            self.bots = Some(0);
        }
        if self
            .tick_rate_hz
            .is_some_and(|rate| !rate.is_finite() || rate <= 0.0)
        {
            self.tick_rate_hz = None;
        }
        let Some(Listed::Everybody(players)) = &mut self.players else {
            return;
        };
        let kind = match self.bots {
            Some(0) => PlayerKind::Human,
            Some(bots) if Some(bots) == self.online => PlayerKind::Bot,
            _ => return,
        };
        for player in players.iter_mut().filter(|player| player.kind.is_none()) {
            player.kind = Some(KnownKind {
                kind,
                by: KindEvidence::Query,
            });
        }
    }

    /// What the answer says. `before` is the same server's previous answer: another map than then is a match begun.
    ///
    /// A roster is stated only where the list is complete and everybody in it can be told apart; else only counts.
    pub fn facts(&self, before: Option<&QueryAnswer>) -> Vec<Fact> {
        let mut facts = Vec::new();
        let map_before = before.and_then(|before| before.map.as_ref());
        if let (Some(then), Some(now)) = (map_before, &self.map)
            && then != now
        {
            facts.push(Fact::MatchBegun {
                map: Some(now.clone()),
                mode: self.mode.clone(),
                id: None,
            });
        }
        facts.extend(self.phase.map(Fact::Phase));
        if let Some(Listed::Everybody(players)) = &self.players
            && told_apart(players)
        {
            facts.push(Fact::Roster(players.clone()));
        }
        if let Some(online) = self.online {
            facts.push(Fact::PlayerCount(PlayerCount {
                online,
                bots: self.bots,
                max: self.max,
            }));
        }
        if self.tick_rate_hz.is_some() {
            facts.push(Fact::Tick {
                rate_hz: self.tick_rate_hz,
                time_ns: None,
            });
        }
        facts
    }
}

/// Has everybody an id or a name that nobody else has?
fn told_apart(players: &[PlayerRef]) -> bool {
    let mut seen = HashSet::new();
    players.iter().all(|player| {
        // Bots share their id ("BOT") in some lists; their names are what tells them apart.
        let bot = player.kind.is_some_and(|known| known.kind == PlayerKind::Bot);
        let id = player.platform_id.as_deref().filter(|id| !bot && !id.is_empty());
        let name = player.name.as_deref().filter(|name| !name.is_empty());
        match (id, name) {
            (Some(id), _) => seen.insert((true, id)),
            (None, Some(name)) => seen.insert((false, name)),
            (None, None) => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(names: &[&str], online: u32, bots: Option<u32>) -> QueryAnswer {
        let players = names.iter().map(|name| PlayerRef::named(name)).collect();
        let mut answer = QueryAnswer {
            players: Listed::by_count(players, Some(online)),
            online: Some(online),
            bots,
            max: Some(16),
            map: Some("dm1".into()),
            ..QueryAnswer::default()
        };
        answer.tidy();
        answer
    }

    fn roster(answer: &QueryAnswer) -> Option<Vec<PlayerRef>> {
        answer.facts(None).into_iter().find_map(|fact| match fact {
            Fact::Roster(players) => Some(players),
            _ => None,
        })
    }

    #[test]
    fn a_complete_list_of_distinct_names_is_a_roster() {
        let players = roster(&answer(&["a", "b"], 2, None)).unwrap();
        assert_eq!(players, [PlayerRef::named("a"), PlayerRef::named("b")]);
        assert_eq!(
            roster(&answer(&[], 0, None)),
            Some(Vec::new()),
            "nobody is a list too"
        );
        assert_eq!(answer(&[], 0, None).bots, Some(0), "and has no bots");
    }

    #[test]
    fn anything_less_is_a_count_only() {
        for (names, online) in [
            (&["a"][..], 2),
            (&["a", "a"], 2),
            (&["a", ""], 2),
            (&["a", "b"], 1),
        ] {
            let answer = answer(names, online, None);
            assert_eq!(roster(&answer), None, "{names:?} of {online}");
            let expected = PlayerCount {
                online,
                bots: None,
                max: Some(16),
            };
            assert_eq!(answer.facts(None), [Fact::PlayerCount(expected)]);
        }
    }

    #[test]
    fn counts_tell_kinds_where_they_can() {
        let kinds = |answer: &QueryAnswer| -> Vec<_> {
            let players = answer.players.as_ref().unwrap().players();
            players
                .iter()
                .map(|player| player.kind.map(|known| known.kind))
                .collect()
        };
        assert_eq!(
            kinds(&answer(&["a", "b"], 2, Some(0))),
            [Some(PlayerKind::Human); 2]
        );
        assert_eq!(
            kinds(&answer(&["a", "b"], 2, Some(2))),
            [Some(PlayerKind::Bot); 2]
        );
        assert_eq!(kinds(&answer(&["a", "b"], 2, Some(1))), [None; 2]);
        let contradiction = answer(&["a", "b"], 2, Some(3));
        assert_eq!((contradiction.bots, kinds(&contradiction)), (None, vec![None; 2]));
    }

    #[test]
    fn another_map_is_a_match_begun_and_the_same_is_not() {
        let first = answer(&[], 0, None);
        let mut second = first.clone();
        let begun = |answer: &QueryAnswer, before: &QueryAnswer| {
            answer
                .facts(Some(before))
                .iter()
                .any(|fact| matches!(fact, Fact::MatchBegun { .. }))
        };
        assert!(!begun(&second, &first));
        second.map = Some("dm2".into());
        assert!(begun(&second, &first));
        second.map = None;
        assert!(!begun(&second, &first) && !begun(&first, &second));
    }
}
