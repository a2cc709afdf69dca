//! The pane of one server: its facts, and one of flows, players, sessions, probes.

use std::collections::VecDeque;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::Stylize,
    text::Line,
    widgets::{Block, Paragraph, Row, Sparkline, Table},
};

use super::{
    columns::{phase_cell, players},
    harmless::{fit, harmless},
    lines::{LINE_HEADINGS, line_cells, named_lines, netcode_text},
    probes,
    units::{bytes, count, cpu_seconds, duration, milliseconds, number, percent},
    view::History,
};
use crate::{
    games::event::PlayerKind,
    world::{
        session::{
            phase,
            picture::{PlayerSnapshot, PlayerState, SessionSnapshot},
            transitions::{LifeKind, LifeRecord, Transition},
        },
        snapshot::{CompanionSnapshot, ServerSnapshot},
    },
};

/// What the pane shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pane {
    /// Graphs and the busiest flows.
    #[default]
    Flows,
    /// Who plays.
    Players,
    /// Lines of players: round trips, loss, jitter.
    Network,
    /// Sessions, companions, transitions.
    Sessions,
    /// Functions that are probed.
    Probes,
}

impl Pane {
    /// The one after it.
    pub fn next(self) -> Self {
        match self {
            Pane::Flows => Pane::Players,
            Pane::Players => Pane::Network,
            Pane::Network => Pane::Sessions,
            Pane::Sessions => Pane::Probes,
            Pane::Probes => Pane::Flows,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Pane::Flows => "flows",
            Pane::Players => "players",
            Pane::Network => "network",
            Pane::Sessions => "sessions",
            Pane::Probes => "probes",
        }
    }
}

/// Names in tables are cut to this.
const NAME: u16 = 24;

/// Draws the pane.
pub fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    server: &ServerSnapshot,
    history: Option<&History>,
    pane: Pane,
    now_ms: i64,
) {
    let title = format!(" {}: {} ", harmless(&server.name), pane.name());
    let block = Block::bordered().title(title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    match pane {
        Pane::Flows => {
            let [facts, graphs, below] =
                Layout::vertical([Constraint::Length(4), Constraint::Length(3), Constraint::Min(0)])
                    .areas(inner);
            let mut lines = fact_lines(server);
            lines.push(session_line(server, now_ms));
            frame.render_widget(Paragraph::new(lines), facts);
            if let Some(history) = history {
                sparklines(frame, graphs, history);
            }
            flows(frame, below, server);
        }
        Pane::Players => {
            let [facts, below] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(inner);
            frame.render_widget(session_line(server, now_ms), facts);
            player_table(frame, below, server);
        }
        Pane::Network => {
            let [facts, below] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(inner);
            frame.render_widget(Line::from(netcode_text(server.network.as_ref())), facts);
            line_table(frame, below, server);
        }
        Pane::Sessions => session_tables(frame, inner, server, now_ms),
        Pane::Probes => probes::draw(frame, inner, server),
    }
}

fn sparklines(frame: &mut Frame<'_>, area: Rect, history: &History) {
    let areas: [Rect; 3] = Layout::horizontal([Constraint::Fill(1); 3])
        .spacing(1)
        .areas(area);
    let series: [(&str, &VecDeque<u64>); 3] = [
        ("cpu", &history.cpu),
        ("tick p50", &history.tick),
        ("packets", &history.packets),
    ];
    for (area, (title, values)) in areas.into_iter().zip(series) {
        let width = area.width as usize;
        let newest: Vec<u64> = values
            .iter()
            .skip(values.len().saturating_sub(width))
            .copied()
            .collect();
        frame.render_widget(
            Sparkline::default()
                .block(Block::new().title(title))
                .data(&newest),
            area,
        );
    }
}

fn flows(frame: &mut Frame<'_>, area: Rect, server: &ServerSnapshot) {
    let header = Row::new(["REMOTE", "IN/s", "OUT/s", "INB/s", "OUTB/s", "GAPms", "SIZE"]).bold();
    let rows = server.top_flows.iter().map(|flow| {
        let detail = flow.detail.as_ref();
        Row::new([
            flow.remote.to_string(),
            number(Some(flow.rx_packets_per_second), 0),
            number(Some(flow.tx_packets_per_second), 0),
            bytes(Some(flow.rx_bytes_per_second)),
            bytes(Some(flow.tx_bytes_per_second)),
            milliseconds(detail.and_then(|detail| detail.rx_inter_arrival_p50_ns)),
            bytes(detail.and_then(|detail| detail.rx_size_p50_bytes)),
        ])
    });
    let widths = [26, 6, 6, 8, 8, 7, 6].map(Constraint::Length);
    frame.render_widget(Table::new(rows, widths).header(header), area);
}

fn line_table(frame: &mut Frame<'_>, area: Rect, server: &ServerSnapshot) {
    let headings = std::iter::once("PLAYER").chain(LINE_HEADINGS);
    let rows = named_lines(server).into_iter().map(|(name, line)| {
        let name = fit(&name, usize::from(NAME));
        Row::new(std::iter::once(name).chain(line_cells(&line.line)))
    });
    let widths = std::iter::once(NAME).chain([7; 8]).map(Constraint::Length);
    frame.render_widget(Table::new(rows, widths).header(Row::new(headings).bold()), area);
}

fn fact_lines(server: &ServerSnapshot) -> Vec<Line<'static>> {
    let pids = server
        .pids
        .iter()
        .map(u32::to_string)
        .collect::<Vec<_>>()
        .join(" ");
    let endpoints = server
        .endpoints
        .iter()
        .map(|endpoint| {
            format!("{:?} {}:{}", endpoint.protocol, endpoint.address, endpoint.port).to_lowercase()
        })
        .collect::<Vec<_>>()
        .join(", ");
    let tick = server.tick.as_ref().map_or_else(
        || "cannot be told".to_owned(),
        |tick| {
            format!(
                "{:.1} Hz by {:?}, confidence {:.2}",
                tick.rate_hz, tick.method, tick.confidence
            )
        },
    );
    let point = |point: &Option<String>| point.clone().unwrap_or_else(|| "-".to_owned());
    vec![
        Line::from(format!("pids {pids}   {endpoints}")),
        Line::from(format!("tick {tick}{}", sends(server))),
        Line::from(format!(
            "counted in {} out {}",
            point(&server.counting.ingress),
            point(&server.counting.egress)
        )),
    ]
}

/// Its send cadence, and what its sockets dropped, as far as there is anything to say.
fn sends(server: &ServerSnapshot) -> String {
    let cadence = server.network_tick.map(|tick| {
        format!(
            "   sends {:.1} Hz, jitter {:.2} ms",
            tick.rate_hz,
            tick.jitter_ns / 1e6
        )
    });
    let sockets = server.sockets.as_ref();
    let drops = sockets
        .and_then(|sockets| sockets.udp_receive_drops)
        .filter(|drops| *drops > 0)
        .map(|drops| format!("   {drops} datagrams dropped unread"));
    [cadence, drops].into_iter().flatten().collect()
}

/// The session of the server as a whole, or the newest room's.
fn session_line(server: &ServerSnapshot, now_ms: i64) -> Line<'static> {
    let game = &server.game_state;
    let people = players(&game.player_counts);
    let Some(session) = game.sessions.first() else {
        return Line::from(format!(
            "no session   {}   players {people}",
            phase_cell(game.phase)
        ));
    };
    let more = match game.sessions.len() {
        1 => String::new(),
        count => format!(" (+{})", count - 1),
    };
    Line::from(format!(
        "session {}{more}   {}   {} for {}   CPU {} s   peak {}   players {people}",
        fit(&session.id, 20),
        fit(session.map.as_deref().unwrap_or("-"), 16),
        phase::name(session.phase),
        duration(Some(now_ms - session.begun_unix_ms)),
        cpu_cell(session),
        memory(session.peak_rss_bytes),
    ))
}

fn memory(value: Option<u64>) -> String {
    bytes(value.map(|value| value as f64))
}

fn cpu_cell(session: &SessionSnapshot) -> String {
    match (session.cpu_is_estimated(), session.used.cpu_ns) {
        (true, Some(_)) => format!("~{}", cpu_seconds(session.used.cpu_ns)),
        _ => cpu_seconds(session.used.cpu_ns),
    }
}

fn player_table(frame: &mut Frame<'_>, area: Rect, server: &ServerSnapshot) {
    let header = Row::new([
        "NAME", "KIND", "TIME", "PKTIN", "PKTOUT", "IN/s", "OUT/s", "STATE",
    ])
    .bold();
    let game = &server.game_state;
    // The newest of those who have left come first; only as many as there is room for are looked at.
    let rows = game
        .players
        .iter()
        .chain(game.departed_players.iter().rev())
        .take(area.height as usize)
        .map(player_row);
    let widths = [NAME, 5, 7, 7, 7, 6, 6, 10].map(Constraint::Length);
    frame.render_widget(Table::new(rows, widths).header(header), area);
}

fn player_row(player: &PlayerSnapshot) -> Row<'static> {
    let flow = player.flow.as_ref();
    Row::new([
        fit(player.name.as_deref().unwrap_or("-"), NAME as usize),
        match player.kind {
            Some(PlayerKind::Human) => "human",
            Some(PlayerKind::Bot) => "bot",
            None => "-",
        }
        .to_owned(),
        duration(Some(player.in_game_ms)),
        count(flow.map(|flow| flow.rx.packets)),
        count(flow.map(|flow| flow.tx.packets)),
        number(flow.map(|flow| flow.rx_packets_per_second), 0),
        number(flow.map(|flow| flow.tx_packets_per_second), 0),
        match player.state {
            PlayerState::Connecting => "connecting",
            PlayerState::Playing => "playing",
            PlayerState::Left => "left",
        }
        .to_owned(),
    ])
}

fn session_tables(frame: &mut Frame<'_>, area: Rect, server: &ServerSnapshot, now_ms: i64) {
    let game = &server.game_state;
    let companions = &server.companions;
    let transitions = game.transitions.len() + game.starts_and_stops.len();
    // Headings and rows: companions in whole where that leaves half of the room, the rest shared.
    let height = area.height;
    let for_companions = match companions.len() {
        0 => 0,
        some => (some as u16).saturating_add(1).min(height / 3),
    };
    let left = height - for_companions;
    let sessions = game.sessions.len() + game.ended_sessions.len();
    let for_transitions = match transitions {
        0 => 0,
        some => (some as u16)
            .saturating_add(1)
            .min((left / 2).max(left.saturating_sub(sessions as u16 + 1))),
    };
    let [upper, middle, lower] = Layout::vertical([
        Constraint::Min(0),
        Constraint::Length(for_companions),
        Constraint::Length(for_transitions),
    ])
    .areas(area);
    session_table(frame, upper, server, now_ms);
    companion_table(frame, middle, companions);
    transition_table(frame, lower, server, now_ms);
}

fn session_table(frame: &mut Frame<'_>, area: Rect, server: &ServerSnapshot, now_ms: i64) {
    let header = Row::new([
        "SESSION", "ROOM", "MAP", "PHASE", "TIME", "CPUs", "PEAK", "PLAYERS",
    ])
    .bold();
    let game = &server.game_state;
    let rows = game
        .sessions
        .iter()
        .chain(game.ended_sessions.iter().rev())
        .take(area.height as usize)
        .map(|session| {
            let end = session.ended_unix_ms.unwrap_or(now_ms);
            Row::new([
                fit(&session.id, 16),
                fit(session.room.as_deref().unwrap_or("-"), 8),
                fit(session.map.as_deref().unwrap_or("-"), 12),
                phase::name(session.phase).to_owned(),
                duration(Some(end - session.begun_unix_ms)),
                cpu_cell(session),
                memory(session.peak_rss_bytes),
                format!("{}/{}", session.players, session.players_peak),
            ])
        });
    let widths = [16, 8, 12, 7, 7, 8, 7, 7].map(Constraint::Length);
    frame.render_widget(Table::new(rows, widths).header(header), area);
}

fn companion_table(frame: &mut Frame<'_>, area: Rect, companions: &[CompanionSnapshot]) {
    let header = Row::new(["COMPANION", "CPU%", "CPUs", "RSS", "CPU share", "RSS share"]).bold();
    let rows = companions.iter().take(area.height as usize).map(|companion| {
        Row::new([
            fit(&companion.name, NAME as usize),
            percent(companion.rates.cpu_cores),
            cpu_seconds(companion.totals.cpu_ns),
            memory(companion.rates.rss_bytes),
            percent(companion.cpu_share_ratio),
            percent(companion.rss_share_ratio),
        ])
    });
    let widths = [NAME, 6, 8, 7, 9, 9].map(Constraint::Length);
    frame.render_widget(Table::new(rows, widths).header(header), area);
}

/// A change of phase, or a start or a stop.
enum Event<'a> {
    Phase(&'a Transition),
    Life(&'a LifeRecord),
}

fn transition_table(frame: &mut Frame<'_>, area: Rect, server: &ServerSnapshot, now_ms: i64) {
    let header = Row::new(["CHANGE", "AGO", "TOOK", "CPUs", "then CPU%", "then RSS"]).bold();
    let game = &server.game_state;
    let mut events: Vec<(i64, Event<'_>)> = game
        .transitions
        .iter()
        .map(|record| (record.began_unix_ms, Event::Phase(record)))
        .chain(
            game.starts_and_stops
                .iter()
                .map(|record| (record.began_unix_ms, Event::Life(record))),
        )
        .collect();
    events.sort_by_key(|(began_ms, _)| std::cmp::Reverse(*began_ms));
    let rows = events
        .into_iter()
        .take(area.height as usize)
        .map(|(began_ms, event)| {
            let (name, took_ms, cpu_ns, change) = match event {
                Event::Phase(record) => (
                    format!("{} -> {}", phase::name(record.from), phase::name(record.to)),
                    record.took_ms,
                    record.used.cpu_ns,
                    record.change,
                ),
                Event::Life(record) => (
                    match record.kind {
                        LifeKind::WarmUp => "warm-up",
                        LifeKind::CoolDown => "cool-down",
                    }
                    .to_owned(),
                    record.took_ms,
                    record.used.cpu_ns,
                    None,
                ),
            };
            Row::new([
                name,
                duration(Some(now_ms - began_ms)),
                duration(Some(took_ms)),
                cpu_seconds(cpu_ns),
                signed(change.and_then(|change| change.cpu_cores), |cores| {
                    percent(Some(cores))
                }),
                signed(change.and_then(|change| change.rss_bytes), |more| {
                    bytes(Some(more))
                }),
            ])
        });
    let widths = [NAME, 7, 7, 8, 9, 9].map(Constraint::Length);
    frame.render_widget(Table::new(rows, widths).header(header), area);
}

/// With its sign, written by its size.
fn signed(value: Option<f64>, written: impl Fn(f64) -> String) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value < 0.0 => format!("-{}", written(-value)),
        Some(value) => format!("+{}", written(value)),
    }
}
