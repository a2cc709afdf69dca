//! Drawing: pure functions from a snapshot and what the user has chosen to widgets.

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
    widgets::{Block, Cell, Paragraph, Row, Sparkline, Table, TableState, Wrap},
};

use super::units::{bytes, milliseconds, number, percent};
use crate::world::snapshot::{ServerSnapshot, ServerState, Snapshot};

/// A column of the table of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Name.
    Name,
    /// waiting, up, gone.
    State,
    /// Percent of one core.
    Cpu,
    /// Hertz.
    Tick,
    /// Median tick time, milliseconds.
    TickP50,
    /// 99th percentile.
    TickP99,
    /// Live flows.
    Flows,
    /// Packets in per second.
    PacketsIn,
    /// Packets out per second.
    PacketsOut,
    /// Resident memory.
    Memory,
    /// Run-queue wait, percent of one core.
    Wait,
    /// Live threads.
    Threads,
    /// Bytes in per second.
    BytesIn,
    /// Bytes out per second.
    BytesOut,
}

/// All columns; narrow terminals drop them from the right.
pub const COLUMNS: [Column; 14] = [
    Column::Name,
    Column::State,
    Column::Cpu,
    Column::Tick,
    Column::TickP50,
    Column::TickP99,
    Column::Flows,
    Column::PacketsIn,
    Column::PacketsOut,
    Column::Memory,
    Column::Wait,
    Column::Threads,
    Column::BytesIn,
    Column::BytesOut,
];

impl Column {
    /// Heading.
    pub fn title(self) -> &'static str {
        match self {
            Column::Name => "SERVER",
            Column::State => "STATE",
            Column::Cpu => "CPU%",
            Column::Tick => "HZ",
            Column::TickP50 => "P50ms",
            Column::TickP99 => "P99ms",
            Column::Flows => "FLOWS",
            Column::PacketsIn => "IN/s",
            Column::PacketsOut => "OUT/s",
            Column::Memory => "MEM",
            Column::Wait => "WAIT%",
            Column::Threads => "THR",
            Column::BytesIn => "INB/s",
            Column::BytesOut => "OUTB/s",
        }
    }

    fn width(self) -> u16 {
        match self {
            Column::Name => 18,
            Column::State | Column::Memory | Column::PacketsOut | Column::BytesIn | Column::BytesOut => 7,
            _ => 6,
        }
    }

    /// What stands in the table.
    pub fn cell(self, server: &ServerSnapshot) -> String {
        let rates = &server.rates;
        match self {
            Column::Name => server.name.clone(),
            Column::State => match server.state {
                ServerState::Waiting => "waiting",
                ServerState::Up => "up",
                ServerState::Gone => "gone",
            }
            .to_owned(),
            Column::Cpu => percent(rates.cpu_cores),
            Column::Tick => number(self.value(server), 1),
            Column::TickP50 | Column::TickP99 => milliseconds(self.value(server)),
            Column::Flows => number(self.value(server), 0),
            Column::PacketsIn | Column::PacketsOut | Column::Threads => number(self.value(server), 0),
            Column::Memory | Column::BytesIn | Column::BytesOut => bytes(self.value(server)),
            Column::Wait => percent(rates.run_queue_wait_ratio),
        }
    }

    /// What the table is sorted by; absent sorts last.
    fn value(self, server: &ServerSnapshot) -> Option<f64> {
        let rates = &server.rates;
        let tick = server.tick.as_ref();
        match self {
            Column::Name | Column::State => None,
            Column::Cpu => rates.cpu_cores,
            Column::Tick => tick.map(|tick| tick.rate_hz),
            Column::TickP50 => tick.and_then(|tick| tick.time_p50_ns),
            Column::TickP99 => tick.and_then(|tick| tick.time_p99_ns),
            Column::Flows => server.flows.map(|flows| flows as f64),
            Column::PacketsIn => rates.rx_packets_per_second,
            Column::PacketsOut => rates.tx_packets_per_second,
            Column::Memory => rates.rss_bytes.map(|bytes| bytes as f64),
            Column::Wait => rates.run_queue_wait_ratio,
            Column::Threads => rates.threads.map(f64::from),
            Column::BytesIn => rates.rx_bytes_per_second,
            Column::BytesOut => rates.tx_bytes_per_second,
        }
    }
}

/// Values kept per server for sparklines.
const HISTORY: usize = 240;

#[derive(Default)]
struct History {
    cpu: VecDeque<u64>,
    tick: VecDeque<u64>,
    packets: VecDeque<u64>,
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
            Column::Name | Column::State => {
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
    title.push_span("q quit  s sort  r reverse  enter detail  ? help".dim());
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
        detail(frame, lower, state);
    } else if state.detail {
        detail(frame, body, state);
    } else {
        table(frame, body, state);
    }
}

const HELP: &str = "up/down j/k  choose a server      enter tab  detail pane\n\
    s            sort by next column  r          reverse order\n\
    q Ctrl-C     quit                 esc        close\n\n\
    CPU%   percent of one core        WAIT%   runnable but not running, percent of one core\n\
    HZ     ticks per second           P50/P99 busy time of a tick, milliseconds\n\
    FLOWS  remote endpoints with traffic both ways\n\
    -      not known here (never zero)";

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
    match column {
        Column::Name | Column::State => Line::from(text),
        _ => Line::from(text).right_aligned(),
    }
}

fn detail(frame: &mut Frame<'_>, area: Rect, state: &ViewState) {
    let ordered = state.ordered();
    let Some(server) = ordered.get(state.selected.min(ordered.len().saturating_sub(1))) else {
        return;
    };
    let block = Block::bordered().title(format!(" {} ", server.name));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [facts, graphs, flows] =
        Layout::vertical([Constraint::Length(3), Constraint::Length(3), Constraint::Min(0)]).areas(inner);
    frame.render_widget(Paragraph::new(fact_lines(server)), facts);
    if let Some(history) = state.history.get(&server.name) {
        let areas: [Rect; 3] = Layout::horizontal([Constraint::Fill(1); 3])
            .spacing(1)
            .areas(graphs);
        let series = [
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
    frame.render_widget(Table::new(rows, widths).header(header), flows);
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
        Line::from(format!("tick {tick}")),
        Line::from(format!(
            "counted in {} out {}",
            point(&server.counting.ingress),
            point(&server.counting.egress)
        )),
    ]
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
    use crate::serve::metrics::tests::sample;

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
                for step in 0..4 {
                    match step {
                        1 => state.toggle_detail(),
                        2 => state.toggle_help(),
                        3 => state.select(1_000),
                        _ => {}
                    }
                    screen(width, height, &mut state);
                }
            }
        }
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
