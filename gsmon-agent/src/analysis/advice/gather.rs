//! Groups of servers, who will come to each, and all that is known of it, out of frames, running servers and the
//! configuration. Not here: what a group is seen to be (`seen`), and reading frames (the cli and monitor rooms).

use std::collections::{BTreeMap, BTreeSet};

use super::{
    GroupFacts, LeftAlone,
    cost::Prices,
    demand::{Demand, Group},
    experience::Targets,
    foreseen::{Calendar, by_forecast, hours_to_ask},
    profile::Profile,
    seen::SeenGroup,
};
use crate::{
    config::{AdviceSettings, Config, PriceSettings},
    history::{Frame, Measure},
    world::{
        session::transitions::LifeKind,
        snapshot::{ServerSnapshot, ServerState},
    },
};

/// Quantiles that advice is made of.
pub const LEVELS: [f64; 9] = [0.05, 0.1, 0.25, 0.5, 0.75, 0.8, 0.9, 0.95, 0.99];
/// Steps of the timetable.
pub(super) const STEP_MS: i64 = 300_000;
pub(super) const HOUR_MS: i64 = 3_600_000;

/// Does a server run?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Runs {
    /// No.
    #[default]
    No,
    /// Yes.
    Yes,
    /// Its host is silent: whatever it plays gets no advice, since nobody knows how many servers there are of it.
    Unknown,
}

/// A server that was seen.
#[derive(Clone, Debug, Default)]
pub struct SeenServer {
    /// Name.
    pub name: String,
    /// Does it run?
    pub runs: Runs,
    /// Mode that it plays now.
    pub mode: Option<String>,
    /// Region that it is in.
    pub region: Option<String>,
    /// Players on it now.
    pub players: Option<u32>,
    /// Players that it lets in.
    pub most_players: Option<u32>,
    /// Times that starts took, seconds.
    pub warm_ups: Vec<f64>,
    /// Times from the last leave to the exit, seconds.
    pub cool_downs: Vec<f64>,
    /// Its history, oldest first.
    pub frames: Vec<Frame>,
}

impl From<&ServerSnapshot> for SeenServer {
    /// Without its history.
    fn from(server: &ServerSnapshot) -> Self {
        let game = &server.game_state;
        let counts = [
            game.player_counts.humans,
            game.player_counts.bots,
            game.player_counts.unknown,
        ];
        let mut modes = game.sessions.iter().map(|session| session.mode.as_deref());
        let first = modes.next().flatten();
        let took = |kind: LifeKind| {
            let lives = game.starts_and_stops.iter().filter(|life| life.kind == kind);
            lives.map(|life| life.took_ms as f64 / 1e3).collect()
        };
        let known = counts.iter().any(Option::is_some);
        SeenServer {
            name: server.name.clone(),
            runs: match server.state {
                ServerState::Up => Runs::Yes,
                _ => Runs::No,
            },
            mode: first
                .filter(|first| modes.all(|mode| mode == Some(first)))
                .map(str::to_owned),
            region: server.region.clone(),
            players: known.then(|| u32::try_from(counts.iter().flatten().sum::<u64>()).unwrap_or(u32::MAX)),
            most_players: server.max_players,
            warm_ups: took(LifeKind::WarmUp),
            cool_downs: took(LifeKind::CoolDown),
            frames: Vec::new(),
        }
    }
}

impl SeenServer {
    /// Of a server of which nobody tells anything at the moment.
    pub fn silent(name: String) -> Self {
        Self {
            name,
            runs: Runs::Unknown,
            ..Self::default()
        }
    }

    /// Has it played this, in any region? That of a silent one is not known.
    fn plays(&self, mode: Option<&str>) -> bool {
        let mut played = self.frames.iter();
        played.any(|frame| frame.mode.as_deref().or(self.mode.as_deref()) == mode)
    }
}

impl From<PriceSettings> for Prices {
    fn from(prices: PriceSettings) -> Self {
        Self {
            currency: prices.currency,
            server_hour: prices.server_hour,
            host_hour: prices.host_hour,
            egress_gb: prices.egress_gb,
            lost_player_hour: prices.lost_player_hour,
        }
    }
}

/// What the configuration says.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// `[advice]`
    pub advice: &'a AdviceSettings,
    /// `[forecast]` and `[[event]]`
    pub calendar: Calendar<'a>,
}

impl<'a> Settings<'a> {
    /// Of a whole configuration.
    pub fn of(config: &'a Config) -> Self {
        Self {
            advice: &config.advice,
            calendar: Calendar {
                forecast: &config.forecast,
                events: &config.events,
            },
        }
    }
}

/// The time that advice is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hours {
    /// When it begins.
    pub now_unix_ms: i64,
    /// Its length, hours.
    pub ahead: f64,
}

/// Shall costs be told?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Costs {
    /// No.
    LeftOut,
    /// As far as there are prices.
    Told,
}

/// Every group that is played or was.
pub fn see(servers: &[SeenServer], advice: &AdviceSettings, targets: &Targets) -> Vec<SeenGroup> {
    let mut groups: BTreeSet<Group> = BTreeSet::new();
    for server in servers {
        let region = server.region.as_deref();
        groups.extend((server.runs == Runs::Yes).then(|| Group::new(server.mode.as_deref(), region)));
        for frame in &server.frames {
            let mode = frame.mode.as_deref().or(server.mode.as_deref());
            // Most frames are of the same: no new name for each of them.
            let known = groups
                .iter()
                .any(|group| group.mode.as_deref() == mode && group.region.as_deref() == region);
            if !known {
                groups.insert(Group::new(mode, region));
            }
        }
    }
    let seen = groups.into_iter();
    seen.map(|group| SeenGroup::of(group, servers, advice, targets))
        .collect()
}

/// What is known of every group that is played, and the groups of which it is not enough.
pub fn gather(
    servers: &[SeenServer],
    settings: &Settings<'_>,
    hours: Hours,
    targets: &Targets,
    costs: Costs,
) -> (Vec<GroupFacts>, Vec<LeftAlone>) {
    let (mut told, mut left) = (Vec::new(), Vec::new());
    for seen in see(servers, settings.advice, targets) {
        let group = seen.group.clone();
        let silent: Vec<&str> = servers
            .iter()
            .filter(|server| server.runs == Runs::Unknown && server.plays(group.mode.as_deref()))
            .map(|server| server.name.as_str())
            .collect();
        if !silent.is_empty() {
            let why = format!(
                "whether these run is not known, since their hosts are silent: {}",
                silent.join(", ")
            );
            left.push(LeftAlone { group, why });
            continue;
        }
        match seen.facts(settings, hours, costs) {
            Ok(facts) => told.push(facts),
            Err(why) => left.push(LeftAlone { group, why }),
        }
    }
    (told, left)
}

/// Players of a group over time: means of each server within a step, summed over servers.
pub fn players(group: &Group, servers: &[SeenServer], step_ms: i64) -> Vec<(i64, f64)> {
    let mut sums: BTreeMap<i64, f64> = BTreeMap::new();
    for server in servers
        .iter()
        .filter(|server| server.region.as_deref() == group.region.as_deref())
    {
        let mut own: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
        for frame in &server.frames {
            let Some(players) = frame.get(Measure::Players) else {
                continue;
            };
            let cell = own
                .entry((frame.unix_ms - 1).div_euclid(step_ms) * step_ms)
                .or_default();
            let counts = frame.mode.as_deref().or(server.mode.as_deref()) == group.mode.as_deref();
            cell.0 += if counts { players * frame.seconds } else { 0.0 };
            cell.1 += frame.seconds;
        }
        for (at, (players, seconds)) in own {
            *sums.entry(at).or_default() += if seconds > 0.0 { players / seconds } else { 0.0 };
        }
    }
    sums.into_iter().collect()
}

/// Who will come: by a forecast where history is long enough for one, else by the profile.
///
/// # Errors
/// When there is too little of it, or it is too old, in words.
pub fn demand_of(
    group: &Group,
    seen: &[(i64, f64)],
    step_ms: i64,
    calendar: &Calendar<'_>,
    hours: Hours,
) -> Result<Demand, String> {
    let profile = Profile::of(seen, step_ms).map_err(|error| error.to_string())?;
    let steps = (hours.ahead.max(0.0) * 3.6e6 / step_ms as f64).ceil() as usize + 3;
    let own = profile
        .demand(group.clone(), steps, &LEVELS)
        .map_err(|error| error.to_string())?
        .finer(STEP_MS);
    // Beyond a week no forecast reaches: the profile tells of all of it then.
    let foreseen = hours_to_ask(hours.ahead).and_then(|asked| {
        let region = group.region.as_deref();
        let told = calendar.forecast(seen, step_ms, hours.now_unix_ms, asked, region);
        by_forecast(&own, &profile, &told.ok()?)
    });
    foreseen.unwrap_or(own).since(hours.now_unix_ms).ok_or_else(|| {
        "the newest history is older than a forecast reaches: is the agent recording, and are its clock and this one right?".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::advice::{demand::DemandBasis, experience::Experience, plan::TimeBasis, recommend_scaling},
        config::AdviceGroup,
    };

    const HOURS: Hours = Hours {
        now_unix_ms: 20 * 24 * HOUR_MS,
        ahead: 6.0,
    };

    fn server(name: &str, days: i64, most_players: Option<u32>) -> SeenServer {
        let frames = (0..days * 24).map(|hour| {
            let players = 20.0 + 10.0 * (hour as f64 / 24.0 * std::f64::consts::TAU).sin();
            let mut frame = Frame::new((hour + 1) * HOUR_MS, 3_600.0).with(Measure::Players, players);
            frame.mode = Some("duel".into());
            frame
        });
        SeenServer {
            name: name.into(),
            runs: Runs::Yes,
            mode: Some("duel".into()),
            region: Some("eu".into()),
            players: Some(20),
            most_players,
            warm_ups: vec![30.0, 50.0],
            frames: frames.collect(),
            ..SeenServer::default()
        }
    }

    #[test]
    fn groups_are_found_summed_and_advised() {
        let servers = [server("a", 20, Some(30)), server("b", 20, Some(40))];
        let targets = Experience::Responsive.targets();
        let config = Config::default();
        let settings = Settings::of(&config);
        let (facts, left) = gather(&servers, &settings, HOURS, &targets, Costs::Told);
        assert_eq!((facts.len(), left.len()), (1, 0), "{left:?}");
        assert_eq!(facts[0].size.players, 30);
        assert_eq!(facts[0].warm_up.basis, TimeBasis::Measured);
        assert_eq!(facts[0].cool_down.basis, TimeBasis::Assumed);
        assert!(
            (facts[0].demand.at(0.5, 0) - 2.0 * 18.7).abs() < 5.0,
            "{}",
            facts[0].demand.at(0.5, 0)
        );
        let advice = recommend_scaling(&facts, 6.0, Experience::Responsive);
        let group = &advice.groups[0];
        assert_eq!(group.basis, DemandBasis::Forecast);
        assert_eq!(group.demand.steps(), 72);
        assert!((2..=3).contains(&group.wanted_now), "{}", group.wanted_now);
        let costs = group.costs.as_ref().unwrap();
        assert_eq!(costs.plan.cost, None);
        assert_eq!(costs.missing, ["server_hour or host_hour", "egress_gb"]);
        assert!(costs.plan.server_hours > 10.0);
    }

    #[test]
    fn what_runs_on_silent_hosts_is_not_known_and_so_not_advised() {
        let targets = Experience::Responsive.targets();
        let config = Config::default();
        let settings = Settings::of(&config);
        let mut silent = server("c/arena", 20, None);
        (silent.runs, silent.region) = (Runs::Unknown, None);
        let mut other = server("b/race", 20, Some(30));
        other.mode = Some("race".into());
        for frame in &mut other.frames {
            frame.mode = Some("race".into());
        }
        let servers = [server("a/arena", 20, Some(30)), silent, other];
        let (facts, left) = gather(&servers, &settings, HOURS, &targets, Costs::LeftOut);
        assert_eq!(facts.len(), 1, "{left:?}");
        assert_eq!(facts[0].demand.group.mode.as_deref(), Some("race"));
        assert!(!left.is_empty() && left.iter().all(|left| left.why.contains("silent: c/arena")));
    }

    #[test]
    fn what_is_not_known_is_left_alone_with_its_reason() {
        let targets = Experience::Smooth.targets();
        let config = Config::default();
        let settings = Settings::of(&config);
        let mut new = server("a", 20, Some(30));
        new.frames.clear();
        let (_, left) = gather(&[new], &settings, HOURS, &targets, Costs::LeftOut);
        assert!(left[0].why.contains("no players were counted"), "{left:?}");
        let old = [server("a", 9, Some(30))];
        let (_, left) = gather(&old, &settings, HOURS, &targets, Costs::LeftOut);
        assert!(left[0].why.contains("newest history is older"), "{left:?}");
        let (_, left) = gather(
            &[server("a", 20, None)],
            &settings,
            HOURS,
            &targets,
            Costs::LeftOut,
        );
        assert!(left[0].why.contains("players_per_server"), "{left:?}");
        // A gap, and an hour in which nothing was measured, are no reason.
        let mut gaps = server("a", 20, Some(30));
        gaps.frames.drain(100..160);
        gaps.frames[200].set(Measure::Players, None);
        let (facts, _) = gather(&[gaps], &settings, HOURS, &targets, Costs::LeftOut);
        assert_eq!(facts.len(), 1);
        let bounds = Config {
            advice: AdviceSettings {
                groups: vec![AdviceGroup {
                    mode: None,
                    region: None,
                    players_per_server: Some(5),
                    warm_up: None,
                    cool_down: None,
                    least: 9,
                    most: 3,
                }],
                ..AdviceSettings::default()
            },
            ..Config::default()
        };
        let (facts, _) = gather(
            &[server("a", 20, None)],
            &Settings::of(&bounds),
            HOURS,
            &targets,
            Costs::LeftOut,
        );
        let advice = recommend_scaling(&facts, 6.0, Experience::Smooth);
        assert!(advice.left_alone[0].why.contains("correct `least` and `most`"));
    }
}
