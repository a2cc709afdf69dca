//! Drawing: pure functions from a snapshot and what the user has chosen to widgets. Here are the choice, the table of
//! servers and the frame around everything; `detail` draws the pane of one server.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style, Stylize},
    text::Line,
    widgets::{Block, Cell, Paragraph, Row, Table, TableState, Wrap},
};

use super::{
    columns::{COLUMNS, Column},
    detail::{self, Pane},
    units::bytes,
};
use crate::world::snapshot::{ServerSnapshot, ServerState, Snapshot};

/// Values kept per server for sparklines.
const HISTORY: usize = 240;

/// What a server did in the last intervals.
#[derive(Default)]
pub(super) struct History {
    /// Thousandths of a core.
    pub(super) cpu: VecDeque<u64>,
    /// Median tick time, microseconds.
    pub(super) tick: VecDeque<u64>,
    /// Packets per second, both ways.
    pub(super) packets: VecDeque<u64>,
}

/// What the user has chosen and what has been seen.
#[derive(Default)]
pub struct ViewState {
    snapshot: Option<Arc<Snapshot>>,
    history: HashMap<String, History>,
    sort: usize,
    reversed: bool,
    selected: usize,
    detail: bool,
    pane: Pane,
    help: bool,
    complaint: Option<(String, Instant)>,
}

impl ViewState {
    /// Takes a snapshot, once each.
    pub fn take(&mut self, snapshot: Arc<Snapshot>) {
        self.complaint = None;
        if self
            .snapshot
            .as_ref()
            .is_some_and(|known| known.sequence == snapshot.sequence)
        {
            return;
        }
        self.history
            .retain(|name, _| snapshot.servers.iter().any(|server| server.name == *name));
        for server in &snapshot.servers {
            let history = self.history.entry(server.name.clone()).or_default();
            let rates = &server.rates;
            let packets =
                rates.rx_packets_per_second.unwrap_or(0.0) + rates.tx_packets_per_second.unwrap_or(0.0);
            push(&mut history.cpu, rates.cpu_cores.unwrap_or(0.0) * 1000.0);
            push(
                &mut history.tick,
                server
                    .tick
                    .as_ref()
                    .and_then(|tick| tick.time_p50_ns)
                    .unwrap_or(0.0)
                    / 1e3,
            );
            push(&mut history.packets, packets);
        }
        self.snapshot = Some(snapshot);
    }

    /// Remembers that no snapshot came.
    pub fn complain(&mut self, message: String) {
        let since = self
            .complaint
            .take()
            .map_or_else(Instant::now, |(_, since)| since);
        self.complaint = Some((message, since));
    }

    /// Sorts by the next column.
    pub fn sort_by_next(&mut self) {
        self.sort = (self.sort + 1) % COLUMNS.len();
    }

    /// Turns the order around.
    pub fn reverse(&mut self) {
        self.reversed = !self.reversed;
    }

    /// Moves the selection.
    pub fn select(&mut self, by: isize) {
        let servers = self
            .snapshot
            .as_ref()
            .map_or(0, |snapshot| snapshot.servers.len());
        self.selected = self
            .selected
            .saturating_add_signed(by)
            .min(servers.saturating_sub(1));
    }

    /// Opens or closes the detail pane.
    pub fn toggle_detail(&mut self) {
        self.detail = !self.detail;
    }

    /// Shows the next pane, the detail opened where it was closed.
    pub fn next_pane(&mut self) {
        if self.detail {
            self.pane = self.pane.next();
        }
        self.detail = true;
    }

    /// Opens or closes the help.
    pub fn toggle_help(&mut self) {
        self.help = !self.help;
    }

    /// Closes what is open; false when nothing was.
    pub fn close(&mut self) -> bool {
        let open = self.detail || self.help;
        self.detail = false;
        self.help = false;
        open
    }

    fn ordered(&self) -> Vec<&ServerSnapshot> {
        let mut servers: Vec<&ServerSnapshot> = self
            .snapshot
            .iter()
            .flat_map(|snapshot| &snapshot.servers)
            .collect();
        let column = COLUMNS[self.sort % COLUMNS.len()];
        match column {
            Column::Name | Column::State | Column::Phase => {
                servers.sort_by_cached_key(|server| (column.cell(server), server.name.clone()));
            }
            _ => servers.sort_by(|a, b| {
                let value = |server: &ServerSnapshot| column.value(server).unwrap_or(f64::NEG_INFINITY);
                value(b).total_cmp(&value(a)).then_with(|| a.name.cmp(&b.name))
            }),
        }
        if self.reversed {
            servers.reverse();
        }
        servers
    }
}

fn push(values: &mut VecDeque<u64>, value: f64) {
    if values.len() == HISTORY {
        values.pop_front();
    }
    values.push_back(value.max(0.0) as u64);
}

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, state: &mut ViewState) {
    let area = frame.area();
    let [header, body, footer] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)]).areas(area);
    let Some(snapshot) = state.snapshot.clone() else {
        let message = state
            .complaint
            .as_ref()
            .map_or("waiting for the first interval ...", |(message, _)| message);
        frame.render_widget(Paragraph::new(message).wrap(Wrap { trim: true }), area);
        return;
    };
    let up = snapshot
        .servers
        .iter()
        .filter(|server| server.state == ServerState::Up)
        .count();
    let mut title = Line::from(format!("gsmon  {up} of {} servers up   ", snapshot.servers.len())).bold();
    title.push_span("q quit  s sort  r reverse  enter detail  tab pane  ? help".dim());
    frame.render_widget(title, header);
    let last = match &state.complaint {
        Some((message, since)) => Line::from(format!(
            "no answer for {} s: {message}",
            since.elapsed().as_secs()
        ))
        .fg(Color::Red),
        None => Line::from(agent_line(&snapshot)).dim(),
    };
    frame.render_widget(last, footer);
    if state.help {
        frame.render_widget(
            Paragraph::new(HELP).block(Block::bordered().title(" help ")),
            body,
        );
        return;
    }
    if state.detail && body.height >= 12 {
        let [upper, lower] = Layout::vertical([Constraint::Percentage(40), Constraint::Min(0)]).areas(body);
        table(frame, upper, state);
        selected_detail(frame, lower, state, &snapshot);
    } else if state.detail {
        selected_detail(frame, body, state, &snapshot);
    } else {
        table(frame, body, state);
    }
}

const HELP: &str = "up/down j/k  choose a server      enter      detail pane\n\
    s            sort by next column  tab        flows, players, sessions\n\
    r            reverse order        esc        close\n\
    q Ctrl-C     quit\n\n\
    CPU%    percent of one core       WAIT%   runnable but not running, % of one core\n\
    HZ      ticks per second          P50/P99 busy time of a tick, milliseconds\n\
    PLAYERS people, or people+bots b  PHASE   idle lobby loading active ended crashed\n\
    FLOWS   remote endpoints with traffic both ways\n\
    -       not known here (never zero)   ~ an estimate";

fn selected_detail(frame: &mut Frame<'_>, area: Rect, state: &ViewState, snapshot: &Snapshot) {
    let ordered = state.ordered();
    if let Some(server) = ordered.get(state.selected.min(ordered.len().saturating_sub(1))) {
        let now_ms = (snapshot.unix_time_seconds * 1e3) as i64;
        detail::draw(
            frame,
            area,
            server,
            state.history.get(&server.name),
            state.pane,
            now_ms,
        );
    }
}

fn table(frame: &mut Frame<'_>, area: Rect, state: &ViewState) {
    let mut columns: Vec<Column> = Vec::new();
    let mut used = 0;
    for column in COLUMNS {
        let width = column.width() + 1;
        if used + width > area.width && !columns.is_empty() {
            break;
        }
        used += width;
        columns.push(column);
    }
    let sorted = COLUMNS[state.sort % COLUMNS.len()];
    let header = Row::new(columns.iter().map(|column| {
        let style = if *column == sorted {
            Style::new().add_modifier(Modifier::UNDERLINED)
        } else {
            Style::new()
        };
        Cell::from(aligned(*column, column.title().to_owned())).style(style)
    }))
    .bold();
    let rows = state.ordered().into_iter().map(|server| {
        let style = match server.state {
            ServerState::Up => Style::new(),
            ServerState::Waiting => Style::new().add_modifier(Modifier::DIM),
            ServerState::Gone => Style::new().fg(Color::Red),
        };
        Row::new(
            columns
                .iter()
                .map(|column| Cell::from(aligned(*column, column.cell(server)))),
        )
        .style(style)
    });
    let widths = columns.iter().map(|column| Constraint::Length(column.width()));
    let table = Table::new(rows, widths)
        .header(header)
        .column_spacing(1)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut selection = TableState::new().with_selected(state.selected);
    frame.render_stateful_widget(table, area, &mut selection);
}

fn aligned(column: Column, text: String) -> Line<'static> {
    if column.is_words() {
        Line::from(text)
    } else {
        Line::from(text).right_aligned()
    }
}

/// One line about gsmon itself: cost, and losses when there are any.
pub fn agent_line(snapshot: &Snapshot) -> String {
    let agent = &snapshot.agent;
    let lost: Vec<String> = snapshot
        .losses
        .iter()
        .filter(|loss| loss.total > 0 && loss.kind != "flow_created")
        .map(|loss| format!("{} {}", loss.kind, loss.total))
        .collect();
    format!(
        "agent {:.1} s CPU, {} RSS, drain {:.2} ms{}",
        agent.cpu_seconds,
        bytes(Some(agent.rss_bytes as f64)),
        agent.drain_seconds * 1e3,
        if lost.is_empty() {
            String::new()
        } else {
            format!(" | {}", lost.join(", "))
        }
    )
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};

    use super::*;
    use crate::{
        serve::metrics::tests::sample,
        world::session::{ask::tests::a_snapshot, rooms::CpuBasis},
    };

    fn screen(width: u16, height: u16, state: &mut ViewState) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, state)).unwrap();
        terminal.backend().to_string()
    }

    fn state(servers: usize) -> ViewState {
        let mut snapshot = sample(true);
        let one = snapshot.servers.remove(0);
        snapshot.servers = (0..servers)
            .map(|n| ServerSnapshot {
                name: format!("server-{n:03}"),
                ..one.clone()
            })
            .collect();
        let mut state = ViewState::default();
        state.take(Arc::new(snapshot));
        state
    }

    #[test]
    fn at_80_by_24_the_table_shows_what_matters() {
        let text = screen(80, 24, &mut state(3));
        for part in [
            "SERVER",
            "CPU%",
            "HZ",
            "P50ms",
            "P99ms",
            "PLAYERS",
            "PHASE",
            "FLOWS",
            "server-002",
            "20.0",
            "2.00",
            "agent",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn no_size_and_no_number_of_servers_panics() {
        for servers in [0, 1, 500] {
            for (width, height) in [(1, 1), (2, 1), (5, 3), (20, 5), (80, 24), (200, 50)] {
                let mut state = state(servers);
                for step in 0..7 {
                    match step {
                        1..=4 => state.next_pane(),
                        5 => state.toggle_help(),
                        6 => state.select(1_000),
                        _ => {}
                    }
                    screen(width, height, &mut state);
                }
            }
        }
    }

    /// A server of which everything is known, its detail open at the given pane.
    fn arena(pane: usize) -> ViewState {
        let mut state = ViewState::default();
        state.take(Arc::new(a_snapshot()));
        for _ in 0..=pane {
            state.next_pane();
        }
        state
    }

    #[test]
    fn the_table_has_players_and_phase() {
        let mut state = ViewState::default();
        state.take(Arc::new(a_snapshot()));
        let text = screen(80, 24, &mut state);
        assert!(text.contains("2+1b") && text.contains("active"), "{text}");
    }

    #[test]
    fn panes_are_switched_and_show_what_they_are_named_for_at_80_by_24() {
        let flows = screen(80, 24, &mut arena(0));
        assert!(
            flows.contains("REMOTE") && flows.contains("session 1-2"),
            "{flows}"
        );
        let players = screen(80, 24, &mut arena(1));
        for part in ["NAME", "Ann", "human", "Sarge", "bot", "1m30s", "900", "1800"] {
            assert!(players.contains(part), "{part} in\n{players}");
        }
        let network = screen(80, 24, &mut arena(2));
        assert!(network.contains("RTTms"), "{network}");
        let sessions = screen(80, 24, &mut arena(3));
        for part in [
            "SESSION",
            "1-2",
            "q3dm17",
            "active",
            "10m00s",
            "3.5",
            "64.0M",
            "anticheat",
            "20.0",
            "lobby -> active",
            "2.0s",
            "1.2",
        ] {
            assert!(sessions.contains(part), "{part} in\n{sessions}");
        }
        let probes = screen(80, 24, &mut arena(4));
        assert!(probes.contains("no [[server.probe]]"), "{probes}");
        assert!(
            screen(80, 24, &mut arena(5)).contains("REMOTE"),
            "round and round"
        );
    }

    #[test]
    fn a_name_cannot_drive_the_terminal() {
        for pane in 0..5 {
            let text = screen(120, 40, &mut arena(pane));
            assert!(
                !text.chars().any(|sign| sign.is_control() && sign != '\n'),
                "{text}"
            );
            assert_eq!(text.contains("\\u{1b}[2Jx\\u{202e}\\n"), pane == 1, "{text}");
        }
    }

    #[test]
    fn probes_are_shown_with_why_they_are_not_what_was_asked_for() {
        let mut state = state(1);
        for _ in 0..=4 {
            state.next_pane();
        }
        let text = screen(80, 24, &mut state);
        for part in [
            "PROBE",
            "us/PLAYER",
            "LOST",
            "lag",
            "sampling",
            "2.6",
            "~4.50",
            "lag: ms in a tick p50 4.40 p99 5.10; per player p50 -",
            "lag: more calls",
            "\\u{1b}",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn an_estimate_is_marked() {
        let mut snapshot = a_snapshot();
        snapshot.servers[0].game_state.sessions[0].cpu_basis = CpuBasis::Shared;
        let mut state = arena(3);
        snapshot.sequence += 1;
        state.take(Arc::new(snapshot));
        let text = screen(80, 24, &mut state);
        assert!(text.contains("~3.5"), "{text}");
    }

    #[test]
    fn sorting_puts_absent_last() {
        let mut state = state(2);
        let mut snapshot = (*state.snapshot.clone().unwrap()).clone();
        snapshot.sequence += 1;
        snapshot.servers[1].rates.cpu_cores = Some(0.5);
        snapshot.servers[0].rates.cpu_cores = None;
        state.take(Arc::new(snapshot));
        state.sort = 2;
        assert_eq!(state.ordered()[0].name, "server-001");
    }

    #[test]
    fn a_silent_agent_is_said_so_and_the_last_picture_stays() {
        let mut state = state(1);
        state.complain("nobody answers".into());
        let text = screen(100, 10, &mut state);
        assert!(
            text.contains("no answer for") && text.contains("server-000"),
            "{text}"
        );
    }
}
