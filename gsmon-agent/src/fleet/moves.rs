//! Who stays where, over all hosts, by pseudonym: seen in what agents report, kept for some hours, and what moves came to.
//! `GET /api/v1/migrations` tells it, `POST` announces a move. Not here: which stays are a move, and what it did (the
//! analysis room).

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;
use tokio::sync::watch;

use super::{
    board::{Board, HostPicture, HostState},
    source::api::moment,
};
use crate::{
    analysis::migration::{Announced, MigrationReport, Sample, Stay, Windows, report},
    config::{AdviceSettings, FleetConfig},
    games::event::PlayerKind,
    privacy::Pseudonym,
    world::snapshot::ServerSnapshot,
};

/// Stays that have ended are kept for so long.
const KEPT_MS: i64 = 6 * 3_600_000;
/// Samples of one stay are no closer than this, and all of them no more than so many.
const LEAST_EVERY_MS: i64 = 10_000;
const MOST_SAMPLES: usize = 1_000_000;
/// Stays and announced moves that are kept.
const MOST_STAYS: usize = 200_000;
const MOST_ANNOUNCED: usize = 10_000;
/// Bytes of an announced move.
const MOST_BYTES: usize = 4_096;

#[derive(Debug, Default)]
struct Kept {
    ended: VecDeque<Stay>,
    /// By player and server.
    open: HashMap<(Arc<str>, Arc<str>), Open>,
    announced: VecDeque<Announced>,
    samples: usize,
    advice: AdviceSettings,
    windows: Windows,
}

#[derive(Debug)]
struct Open {
    stay: Stay,
    host: Arc<str>,
    last_seen_unix_ms: i64,
}

/// Keeps stays.
#[derive(Debug, Default)]
pub struct MoveBoard {
    kept: Mutex<Kept>,
}

impl MoveBoard {
    /// Of a configuration.
    pub fn new(config: &FleetConfig) -> Self {
        let board = Self::default();
        board.adopt(config);
        board
    }

    /// Takes the prices and the pace of a changed configuration.
    pub fn adopt(&self, config: &FleetConfig) {
        let mut kept = self.kept();
        kept.advice = config.advice.clone();
        // What two agents say is up to an interval old each, and agents have intervals of their own.
        let interval_ms = i64::try_from(config.fleet.interval.as_millis()).unwrap_or(i64::MAX / 4);
        kept.windows.overlap_ms = 2 * interval_ms + 1_000;
    }

    /// Looks who is where. Of a host that is not fresh nothing changes: its players have not left because it is silent.
    pub fn look(&self, picture: &[HostPicture], now_unix_ms: i64) {
        let mut kept = self.kept();
        let mut there: HashSet<(Arc<str>, Arc<str>)> = HashSet::new();
        let mut fresh: HashSet<&str> = HashSet::new();
        for host in picture {
            let (HostState::Fresh, Some(report), Some(age)) = (host.state, &host.report, host.age) else {
                continue;
            };
            fresh.insert(&host.name);
            let at = now_unix_ms - i64::try_from(age.as_millis()).unwrap_or(0);
            for player in &report.players {
                let (Some(pseudonym), None | Some(PlayerKind::Human)) = (player.pseudonym, player.kind)
                else {
                    continue;
                };
                let Some(server) = report
                    .snapshot
                    .servers
                    .iter()
                    .find(|known| known.name == *player.server)
                else {
                    continue;
                };
                let key: (Arc<str>, Arc<str>) = (
                    pseudonym.to_string().into(),
                    format!("{}/{}", host.name, server.name).into(),
                );
                let figures = [
                    player.rtt_ms,
                    player.loss_ratio,
                    tick_ms(server),
                    cost_per_hour(server, &kept.advice),
                ];
                kept.see(
                    &key,
                    host,
                    server,
                    at,
                    figures.map(|figure| figure.map(|figure| figure as f32)),
                );
                there.insert(key);
            }
        }
        kept.end(&there, |host| fresh.contains(host));
        kept.forget(now_unix_ms);
    }

    /// Announces a move.
    pub fn announce(&self, told: Announced) {
        let mut kept = self.kept();
        kept.announced.push_back(told);
        while kept.announced.len() > MOST_ANNOUNCED {
            kept.announced.pop_front();
        }
    }

    /// What moves did.
    pub fn report(&self) -> MigrationReport {
        let kept = self.kept();
        let stays = kept.ended.iter().chain(kept.open.values().map(|open| &open.stay));
        let stays: Vec<Stay> = stays.cloned().collect();
        let announced: Vec<Announced> = kept.announced.iter().cloned().collect();
        let windows = kept.windows;
        drop(kept);
        report(&stays, &announced, windows)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn see(
        &mut self,
        key: &(Arc<str>, Arc<str>),
        host: &HostPicture,
        server: &ServerSnapshot,
        at: i64,
        figures: [Option<f32>; 4],
    ) {
        if self.open.len() + self.ended.len() >= MOST_STAYS && !self.open.contains_key(key) {
            self.drop_oldest();
        }
        let open = self.open.entry(key.clone()).or_insert_with(|| Open {
            stay: Stay {
                player: key.0.clone(),
                server: key.1.clone(),
                region: server.region.as_deref().map(Into::into),
                from_unix_ms: at,
                to_unix_ms: None,
                samples: Vec::new(),
            },
            host: host.name.clone(),
            last_seen_unix_ms: at,
        });
        open.last_seen_unix_ms = open.last_seen_unix_ms.max(at);
        let last = open.stay.samples.last().map_or(i64::MIN, |sample| sample.unix_ms);
        if at.saturating_sub(LEAST_EVERY_MS) >= last && figures.iter().any(Option::is_some) {
            open.stay.samples.push(Sample { unix_ms: at, figures });
            self.samples += 1;
        }
    }

    fn end(&mut self, there: &HashSet<(Arc<str>, Arc<str>)>, fresh: impl Fn(&str) -> bool) {
        let gone: Vec<(Arc<str>, Arc<str>)> = self
            .open
            .iter()
            .filter(|(key, open)| fresh(&open.host) && !there.contains(*key))
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            if let Some(mut open) = self.open.remove(&key) {
                open.stay.to_unix_ms = Some(open.last_seen_unix_ms);
                self.ended.push_back(open.stay);
            }
        }
    }

    fn forget(&mut self, now_unix_ms: i64) {
        let oldest = now_unix_ms - KEPT_MS;
        while self
            .ended
            .front()
            .is_some_and(|stay| stay.to_unix_ms.is_none_or(|to| to < oldest))
            || (self.samples > MOST_SAMPLES && !self.ended.is_empty())
        {
            self.drop_oldest();
        }
        self.announced.retain(|told| told.unix_ms >= oldest);
        // Long stays keep the newest samples.
        let before = |samples: &Vec<Sample>| samples.partition_point(|sample| sample.unix_ms < oldest);
        for open in self.open.values_mut() {
            let old = before(&open.stay.samples);
            let old = match self.samples > MOST_SAMPLES {
                true => old.max(open.stay.samples.len() / 2),
                false => old,
            };
            open.stay.samples.drain(..old);
            self.samples -= old;
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(gone) = self.ended.pop_front() {
            self.samples -= gone.samples.len();
        }
    }
}

fn tick_ms(server: &ServerSnapshot) -> Option<f64> {
    let tick = server.tick.as_ref()?;
    tick.time_p99_ns.map(|ns| ns / 1e6)
}

/// The server's price shared by those who play on it.
fn cost_per_hour(server: &ServerSnapshot, advice: &AdviceSettings) -> Option<f64> {
    let price = advice.prices_in(server.region.as_deref()).server_hour?;
    let counts = &server.game_state.player_counts;
    let players: u64 = [counts.humans, counts.unknown].into_iter().flatten().sum();
    (players > 0).then(|| price / players as f64)
}

/// Looks again and again until `stop` turns true.
pub async fn follow(
    interval: Duration,
    agents: Arc<Board>,
    moves: Arc<MoveBoard>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            // An error means that the sender has gone, which is a stop as well.
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(interval) => {}
        }
        moves.look(
            &agents.picture(Instant::now()),
            jiff::Timestamp::now().as_millisecond(),
        );
    }
}

#[derive(Clone)]
struct Boards {
    agents: Arc<Board>,
    moves: Arc<MoveBoard>,
}

/// The routes.
pub fn router(agents: Arc<Board>, moves: Arc<MoveBoard>) -> Router {
    Router::new()
        .route("/api/v1/migrations", get(tell).post(announce))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .with_state(Boards { agents, moves })
}

async fn tell(State(boards): State<Boards>) -> Response {
    match tokio::task::spawn_blocking(move || boards.moves.report()).await {
        Ok(report) => Json(report).into_response(),
        Err(_) => refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the answer could not be written",
            &[],
        ),
    }
}

/// A move, as it is announced.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Move {
    player: Option<Pseudonym>,
    from: String,
    to: String,
    at: Option<At>,
}

/// Milliseconds since the Unix epoch, or RFC 3339.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum At {
    Number(i64),
    Text(String),
}

async fn announce(State(boards): State<Boards>, body: Bytes) -> Response {
    const FIELDS: [&str; 4] = ["player", "from", "to", "at"];
    let told: Move = match serde_json::from_slice(&body) {
        Ok(told) => told,
        Err(error) => {
            return refuse(
                StatusCode::BAD_REQUEST,
                &format!("this is no move: {error}"),
                &FIELDS.map(str::to_owned),
            );
        }
    };
    let known: Vec<String> = boards
        .agents
        .picture(Instant::now())
        .iter()
        .flat_map(|host| {
            host.servers
                .iter()
                .map(|server| format!("{}/{server}", host.name))
                .collect::<Vec<_>>()
        })
        .collect();
    for place in [&told.from, &told.to] {
        if !known.contains(place) {
            return refuse(
                StatusCode::NOT_FOUND,
                &format!("there is no server `{place}`: write host/server"),
                &known,
            );
        }
    }
    if told.from == told.to {
        return refuse(StatusCode::BAD_REQUEST, "`from` and `to` are one server", &[]);
    }
    let now = jiff::Timestamp::now().as_millisecond();
    let unix_ms = match told.at {
        None => Some(now),
        Some(At::Number(unix_ms)) => Some(unix_ms),
        Some(At::Text(text)) => moment(&text),
    };
    // Of what is older nothing is kept any more.
    let Some(unix_ms) = unix_ms.filter(|at| (now - KEPT_MS..=now + KEPT_MS).contains(at)) else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "`at` must be milliseconds since the Unix epoch or RFC 3339, within six hours of now",
            &["at".to_owned()],
        );
    };
    boards.moves.announce(Announced {
        player: told.player.map(|player| player.to_string().into()),
        from: told.from.into(),
        to: told.to.into(),
        unix_ms,
    });
    Json(serde_json::json!({ "accepted": 1 })).into_response()
}

fn refuse(status: StatusCode, error: &str, known: &[String]) -> Response {
    (
        status,
        Json(serde_json::json!({ "error": error, "known": known })),
    )
        .into_response()
}
