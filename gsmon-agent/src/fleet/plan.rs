//! Plans of the fleet's `[[agones]]`: what all agents have seen of a mode and region is summed, forecast and planned every
//! few minutes, and the last plans are kept. An agent that cannot be asked makes a plan incomplete: such a plan adds servers
//! and takes none away. Not here: what is answered to Agones (`agones`).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use super::reader::{AgentReader, Budget};
use crate::{
    analysis::advice::{
        capacity::{BoundBy, HostRoom, ServerSize},
        demand::Group,
        experience::Experience,
        foreseen::Calendar,
        gather::{Costs, Hours, Settings},
        recommend_scaling,
        seen::SeenGroup,
    },
    config::{AdviceSettings, AgonesEntry, FleetConfig, FleetSettings},
    serve::metrics::OutlookFigures,
};

/// Hours that a plan reaches ahead.
const HOURS: f64 = 2.0;
/// An agent may take so long to tell what it has seen: it reads weeks of history for it.
const PATIENCE: Duration = Duration::from_secs(30);
/// What an agent told is used for so long when it cannot be asked again.
const TOLD_MS: i64 = 2 * 3_600_000;
/// As long as no agent has told anything they are asked this often.
const AT_FIRST: Duration = Duration::from_secs(5);
/// Plans that are kept of one fleet.
const MOST_KEPT: usize = 2_000;

/// Were all agents heard?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// All of them.
    All,
    /// Not all: demand may be larger than was seen.
    Some,
}

/// What one Agones fleet needs, step by step.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// When it was made, milliseconds since 1970.
    pub made_unix_ms: i64,
    /// Time of its first step.
    pub start_unix_ms: i64,
    /// Length of a step.
    pub step_ms: i64,
    /// Servers of each step.
    pub servers: Vec<u32>,
    /// Servers that are kept ready whatever demand says.
    pub least_ready: u32,
    /// Of whom it knows.
    pub heard: Heard,
}

impl Plan {
    /// Servers that it wants at a time; `None` where it does not reach.
    pub fn wanted(&self, unix_ms: i64) -> Option<u32> {
        let step = unix_ms.saturating_sub(self.start_unix_ms).max(0) / self.step_ms.max(1);
        self.servers.get(usize::try_from(step).ok()?).copied()
    }

    /// The most that it wants in a time.
    fn most(&self, from_unix_ms: i64, to_unix_ms: i64) -> Option<u32> {
        let mut most = self.wanted(to_unix_ms)?;
        let mut at = from_unix_ms;
        while at < to_unix_ms {
            most = most.max(self.wanted(at)?);
            at = at.saturating_add(self.step_ms.max(1_000));
        }
        Some(most)
    }
}

/// Plans of one entry, the newest last, and why there is no newer one.
#[derive(Clone, Debug, Default)]
pub struct Plans {
    kept: VecDeque<Arc<Plan>>,
    trouble: Option<Arc<str>>,
}

impl Plans {
    /// The newest, where it is not too old. A plan of the future is none: the clock was set back.
    pub fn newest(&self, now_unix_ms: i64, longest_age: Duration) -> Option<&Plan> {
        let plan = self.kept.back()?;
        let age = now_unix_ms.checked_sub(plan.made_unix_ms)?;
        let longest = i64::try_from(longest_age.as_millis()).unwrap_or(i64::MAX);
        ((0..=longest).contains(&age) && plan.wanted(now_unix_ms).is_some()).then_some(plan)
    }

    /// The most that was wanted at any time within a delay; `None` where plans do not reach back so far without a gap.
    pub fn most_within(&self, now_unix_ms: i64, delay: Duration) -> Option<u32> {
        let since = now_unix_ms.saturating_sub(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX));
        let mut until = now_unix_ms;
        let mut most = 0;
        for plan in self.kept.iter().rev() {
            let from = plan.made_unix_ms.max(since);
            most = most.max(plan.most(from.min(until), until)?);
            if plan.made_unix_ms <= since {
                return Some(most);
            }
            until = plan.made_unix_ms;
        }
        None
    }

    /// Why there is no plan, or none that is newer.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    fn take(&mut self, made: Result<Plan, String>) {
        match made {
            Ok(plan) => {
                // After a clock that was set back, what was kept is of the future.
                self.kept.retain(|kept| kept.made_unix_ms <= plan.made_unix_ms);
                self.kept.push_back(Arc::new(plan));
                self.trouble = None;
                while self.kept.len() > MOST_KEPT {
                    self.kept.pop_front();
                }
            }
            Err(why) => self.trouble = Some(why.into()),
        }
    }
}

#[derive(Debug, Default)]
struct Kept {
    entries: Vec<(AgonesEntry, Plans)>,
    longest_age: Duration,
    figures: Option<Arc<OutlookFigures>>,
}

/// Keeps plans.
#[derive(Debug, Default)]
pub struct PlanBoard {
    kept: Mutex<Kept>,
}

impl PlanBoard {
    /// Of a configuration, without plans.
    pub fn new(config: &FleetConfig) -> Self {
        let board = Self::default();
        board.adopt(config);
        board
    }

    /// Takes a changed configuration; plans of entries that are the same stay.
    pub fn adopt(&self, config: &FleetConfig) {
        let mut kept = self.kept();
        let mut before = std::mem::take(&mut kept.entries);
        let entries = config.agones.iter().map(|entry| {
            let place = before.iter().position(|(known, _)| known == entry);
            place.map_or_else(
                || (entry.clone(), Plans::default()),
                |place| before.swap_remove(place),
            )
        });
        kept.entries = entries.collect();
        kept.longest_age = config.scaling.longest_age;
    }

    /// The entry of an Agones fleet, its plans, and how old a plan may be.
    pub fn of(&self, namespace: &str, fleet: &str) -> Option<(AgonesEntry, Plans, Duration)> {
        let kept = self.kept();
        // One with a namespace counts before one without.
        let mut entries: Vec<&(AgonesEntry, Plans)> = kept
            .entries
            .iter()
            .filter(|(entry, _)| entry.is_of(namespace, fleet))
            .collect();
        entries.sort_by_key(|(entry, _)| entry.namespace.is_none());
        let (entry, plans) = entries.first()?;
        Some((entry.clone(), plans.clone(), kept.longest_age))
    }

    /// Names of the fleets that are configured.
    pub fn fleets(&self) -> Vec<String> {
        let kept = self.kept();
        kept.entries
            .iter()
            .map(|(entry, _)| entry.fleet.clone())
            .collect()
    }

    /// The newest figures for metrics.
    pub fn figures(&self) -> Option<Arc<OutlookFigures>> {
        self.kept().figures.clone()
    }

    /// Takes what was made for an entry.
    pub fn put(&self, entry: &AgonesEntry, made: Result<Plan, String>) {
        let mut kept = self.kept();
        if let Some((_, plans)) = kept.entries.iter_mut().find(|(known, _)| known == entry) {
            plans.take(made);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one agent told last.
#[derive(Debug)]
struct Told {
    at_unix_ms: i64,
    groups: Vec<SeenGroup>,
}

/// What was made of everything.
struct Made {
    plans: Vec<(AgonesEntry, Result<Plan, String>)>,
    figures: Option<OutlookFigures>,
}

/// Plans again and again until `stop` turns true.
pub async fn follow(config: FleetConfig, board: Arc<PlanBoard>, mut stop: watch::Receiver<bool>) {
    if config.agones.is_empty() {
        return;
    }
    let settings = FleetSettings {
        timeout: config.fleet.timeout.max(PATIENCE),
        ..config.fleet.clone()
    };
    let budget = Budget::default();
    let readers: Vec<AgentReader> = config
        .agents
        .iter()
        .map(|agent| AgentReader::new(agent.clone(), &settings, budget.clone()))
        .collect();
    let config = Arc::new(config);
    let mut told: BTreeMap<String, Told> = BTreeMap::new();
    loop {
        let mut heard = Heard::All;
        let asked = async {
            for reader in &readers {
                match reader.demand(config.scaling.experience.name()).await {
                    Ok(groups) => {
                        let at_unix_ms = now_unix_ms();
                        told.insert(reader.name().to_owned(), Told { at_unix_ms, groups });
                    }
                    Err(error) => {
                        heard = Heard::Some;
                        tracing::debug!(agent = reader.name(), "does not tell what it has seen: {error}");
                    }
                }
            }
        };
        tokio::select! {
            // An error means that the sender has gone, which is a stop as well.
            _ = stop.wait_for(|stop| *stop) => return,
            () = asked => {}
        }
        let now = now_unix_ms();
        told.retain(|_, told| (0..=TOLD_MS).contains(&(now - told.at_unix_ms)));
        let none = told.is_empty();
        let groups: Vec<SeenGroup> = told
            .iter()
            .flat_map(|(host, told)| of_host(host, &told.groups))
            .collect();
        let by = config.clone();
        let made = tokio::task::spawn_blocking(move || plan_all(&by, &groups, heard, now)).await;
        match made {
            Ok(made) => {
                for (entry, plan) in made.plans {
                    board.put(&entry, plan);
                }
                board.kept().figures = made.figures.map(Arc::new);
            }
            Err(_) => tracing::error!("a plan has failed: this is a fault of gsmon"),
        }
        let wait = if none { AT_FIRST } else { config.scaling.every };
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

fn now_unix_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn of_host(host: &str, groups: &[SeenGroup]) -> Vec<SeenGroup> {
    let mut groups = groups.to_vec();
    for server in groups.iter_mut().flat_map(|group| &mut group.servers) {
        server.name = format!("{host}/{}", server.name);
    }
    groups
}

fn plan_all(config: &FleetConfig, groups: &[SeenGroup], heard: Heard, now_unix_ms: i64) -> Made {
    let mut figures = OutlookFigures {
        told_unix_s: now_unix_ms as f64 / 1e3,
        groups: Vec::new(),
    };
    let plans = config
        .agones
        .iter()
        .map(|entry| {
            let made = plan(config, entry, groups, heard, now_unix_ms).map(|(plan, told)| {
                figures.groups.extend(told.groups);
                plan
            });
            (entry.clone(), made)
        })
        .collect();
    Made {
        plans,
        figures: (!figures.groups.is_empty()).then_some(figures),
    }
}

/// The plan of one entry, out of what was seen of all groups.
fn plan(
    config: &FleetConfig,
    entry: &AgonesEntry,
    groups: &[SeenGroup],
    heard: Heard,
    now_unix_ms: i64,
) -> Result<(Plan, OutlookFigures), String> {
    let fits = |wanted: &Option<String>, is: Option<&str>| wanted.is_none() || wanted.as_deref() == is;
    let parts: Vec<SeenGroup> = groups
        .iter()
        .filter(|seen| {
            fits(&entry.mode, seen.group.mode.as_deref()) && fits(&entry.region, seen.group.region.as_deref())
        })
        .cloned()
        .collect();
    let group = Group::new(entry.mode.as_deref(), entry.region.as_deref());
    let name = group.words();
    let mut seen = SeenGroup::joined(group, &parts).ok_or_else(|| {
        format!("no agent has seen players of {name}: compare mode and region of [[agones]]")
    })?;
    if let Some(players) = entry.players_per_server {
        seen.size = Some(ServerSize {
            players,
            bound_by: BoundBy::Limit,
            takes: seen.size.map_or_else(HostRoom::default, |size| size.takes),
        });
    }
    let settings = Settings {
        // Bounds are those of the entry, and nothing is told of costs.
        advice: &AdviceSettings::default(),
        calendar: Calendar {
            forecast: &config.forecast,
            events: &config.events,
        },
    };
    let span = Hours {
        now_unix_ms,
        ahead: HOURS,
    };
    let facts = seen.facts(&settings, span, Costs::LeftOut)?;
    let experience: Experience = config.scaling.experience.name().parse().unwrap_or_default();
    let advice = recommend_scaling(std::slice::from_ref(&facts), HOURS, experience);
    let figures = crate::monitor::figures_of(&advice, now_unix_ms);
    let Some(told) = advice.groups.into_iter().next() else {
        let why = advice.left_alone.into_iter().next().map(|left| left.why);
        return Err(why.unwrap_or_default());
    };
    Ok((
        Plan {
            made_unix_ms: now_unix_ms,
            start_unix_ms: told.demand.start_unix_ms,
            step_ms: told.demand.step_ms,
            servers: told.timetable.servers,
            least_ready: experience.targets().least_ready_servers,
            heard,
        },
        figures,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: i64 = 60_000;

    fn made(at_minute: i64, servers: &[u32]) -> Plan {
        Plan {
            made_unix_ms: at_minute * MINUTE_MS,
            start_unix_ms: at_minute * MINUTE_MS,
            step_ms: 5 * MINUTE_MS,
            servers: servers.to_vec(),
            least_ready: 1,
            heard: Heard::All,
        }
    }

    #[test]
    fn the_most_of_a_delay_is_known_only_when_plans_reach_back() {
        let mut plans = Plans::default();
        let delay = Duration::from_secs(600);
        let most = |plans: &Plans, minute: i64| plans.most_within(minute * MINUTE_MS, delay);
        assert_eq!(most(&plans, 0), None);
        plans.take(Ok(made(0, &[9, 4, 4, 4])));
        assert_eq!(most(&plans, 3), None, "three minutes tell nothing of ten");
        assert_eq!(most(&plans, 12), Some(9));
        assert_eq!(most(&plans, 16), Some(4));
        plans.take(Ok(made(15, &[2, 2, 2, 2])));
        assert_eq!(most(&plans, 16), Some(4));
        assert_eq!(most(&plans, 26), Some(2));
        assert_eq!(most(&plans, 40), None, "no plan reaches so far");
        let age = Duration::from_secs(1_800);
        assert!(plans.newest(20 * MINUTE_MS, age).is_some());
        assert!(plans.newest(10 * MINUTE_MS, age).is_none(), "of the future");
        plans.take(Err("why".into()));
        assert_eq!(plans.trouble(), Some("why"));
        assert!(plans.newest(20 * MINUTE_MS, age).is_some());
    }
}
