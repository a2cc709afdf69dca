//! What games say of each server: players, sessions, phases, and what did not fit.

use super::{
    Page, float,
    histogram::{Counted, Histograms},
};
use crate::{
    games::event::Phase,
    world::{
        session::{
            GameSnapshot, phase,
            transitions::{BOUNDS_MS, Durations, LifeKind},
        },
        snapshot::{ServerSnapshot, ServerState, Snapshot},
    },
};

/// Phases that a session which runs can be in.
const RUNNING: [Phase; 5] = [
    Phase::Idle,
    Phase::Lobby,
    Phase::Loading,
    Phase::Active,
    Phase::Ended,
];

/// A counter of a server that has been up, else nothing: before that its zeros would mean nothing.
fn counted(server: &ServerSnapshot, value: u64) -> Option<f64> {
    (server.starts > 0).then_some(value as f64)
}

impl Page {
    pub(super) fn games(&self, snapshot: &Snapshot) -> Result<(), prometheus::Error> {
        self.players(snapshot)?;
        self.session_counts(snapshot)?;
        self.durations(snapshot)?;
        let actions = self.counter(
            "gsmon_server_player_actions_total",
            "Actions of players that the game told, by its own name for them; at most 64 names per server, the rest is other.",
            &["server", "action"],
        )?;
        for server in &snapshot.servers {
            for (action, count) in &server.game_state.actions {
                actions
                    .with_label_values(&[server.name.as_str(), action])
                    .inc_by(*count as f64);
            }
        }
        Ok(())
    }

    fn players(&self, s: &Snapshot) -> Result<(), prometheus::Error> {
        let players = self.gauge(
            "gsmon_server_players",
            "Players of the server: human, bot, unknown (nobody says which), connecting (not in the game yet).",
            &["server", "kind"],
        )?;
        for server in &s.servers {
            let counts = &server.game_state.player_counts;
            for (kind, count) in [
                ("human", counts.humans),
                ("bot", counts.bots),
                ("unknown", counts.unknown),
                ("connecting", counts.connecting),
            ] {
                if let Some(count) = float(count) {
                    players.with_label_values(&[&server.name, kind]).set(count);
                }
            }
        }
        self.server_gauge(
            s,
            "gsmon_server_player_disagreement",
            "Players known by name less the newest count that log or query told.",
            |server| {
                let difference = server.game_state.player_counts.disagreement?;
                Some(difference as f64)
            },
        )?;
        self.server_counters(
            s,
            "gsmon_server_player_events_total",
            "Joins and leaves of players: told, told again, of nobody known, inferred, and beyond the bound.",
            "kind",
            |server| {
                let game = &server.game_state.counters;
                [
                    ("join", game.joins),
                    ("leave", game.leaves),
                    ("repeated_join", game.repeated_joins),
                    ("unknown_leave", game.unknown_leaves),
                    ("inferred_join", game.inferred_joins),
                    ("inferred_leave", game.inferred_leaves),
                    ("overflow", game.roster_overflow),
                ]
                .map(|(kind, count)| (kind, counted(server, count)))
            },
        )
    }

    fn session_counts(&self, s: &Snapshot) -> Result<(), prometheus::Error> {
        let sessions = self.gauge(
            "gsmon_server_sessions",
            "Running sessions of the server by phase; rooms are sessions of their own.",
            &["server", "phase"],
        )?;
        for server in s.servers.iter().filter(|server| server.state == ServerState::Up) {
            for phase in RUNNING {
                let running = &server.game_state.sessions;
                let count = running.iter().filter(|session| session.phase == phase).count();
                sessions
                    .with_label_values(&[&server.name, phase::name(phase)])
                    .set(count as f64);
            }
        }
        let total = |name, help, value: fn(&GameSnapshot) -> u64| {
            self.server_counter(s, name, help, |server| counted(server, value(&server.game_state)))
        };
        total(
            "gsmon_server_sessions_total",
            "Sessions that began on the server.",
            |game| game.counters.sessions,
        )?;
        total(
            "gsmon_server_session_crashes_total",
            "Sessions that ended since their process died of a fault.",
            |game| game.counters.crashes,
        )?;
        total(
            "gsmon_server_game_events_total",
            "Statements of the game that were taken, by log, query or push.",
            |game| game.counters.events,
        )?;
        total(
            "gsmon_server_behind_total",
            "Times that the game said it was behind its schedule.",
            |game| game.counters.behind,
        )?;
        self.server_counter(
            s,
            "gsmon_server_behind_seconds_total",
            "By how much the game said it was behind, all in all.",
            |server| counted(server, server.game_state.counters.behind_ms).map(|ms| ms / 1e3),
        )?;
        total(
            "gsmon_server_rooms_refused_total",
            "Statements about rooms beyond the bound, left out.",
            |game| game.counters.rooms_refused,
        )?;
        self.server_counters(
            s,
            "gsmon_server_phase_steps_total",
            "Steps between phases that did not fit: illegal (refused) and missing (put in).",
            "kind",
            |server| {
                let game = &server.game_state.counters;
                [
                    ("illegal", counted(server, game.illegal_steps)),
                    ("missing", counted(server, game.missing_steps)),
                ]
            },
        )
    }

    fn durations(&self, snapshot: &Snapshot) -> Result<(), prometheus::Error> {
        let transitions = snapshot.servers.iter().flat_map(|server| {
            server.game_state.transition_durations.iter().map(|of| {
                let labels = [&server.name, phase::name(of.from), phase::name(of.to)];
                histogram(&labels, &of.durations)
            })
        });
        self.registry.register(Box::new(Histograms::new(
            "gsmon_server_phase_transition_seconds",
            "Time from the end of one settled phase to the beginning of the next; those of rooms are left out.",
            &["server", "from", "to"],
            transitions,
        )?))?;
        for (name, help, kind) in [
            (
                "gsmon_server_warm_up_seconds",
                "Time from the start of the process until players can join.",
                LifeKind::WarmUp,
            ),
            (
                "gsmon_server_cool_down_seconds",
                "Time from the last leave to the end of the process.",
                LifeKind::CoolDown,
            ),
        ] {
            let lives = snapshot.servers.iter().flat_map(|server| {
                let of_kind = server
                    .game_state
                    .life_durations
                    .iter()
                    .filter(move |of| of.kind == kind);
                of_kind.map(|of| histogram(&[&server.name], &of.durations))
            });
            self.registry
                .register(Box::new(Histograms::new(name, help, &["server"], lives)?))?;
        }
        Ok(())
    }
}

fn histogram(labels: &[&str], durations: &Durations) -> Counted {
    let mut below = 0;
    let cumulative = BOUNDS_MS.iter().zip(&durations.buckets).map(|(bound_ms, count)| {
        below += count;
        (*bound_ms as f64 / 1e3, below)
    });
    Counted {
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        cumulative: cumulative.collect(),
        count: durations.count,
        sum_seconds: durations.sum_ms as f64 / 1e3,
    }
}
