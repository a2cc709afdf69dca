//! The live view of a fleet: a table of hosts, and the servers of the chosen one. What an agent does not tell and the
//! source does is marked with `~`; what nobody tells is `-`. Not here: asking, sums.

use std::{cmp::Ordering, path::PathBuf, time::Duration};

use ratatui::{
    DefaultTerminal, Frame,
    crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style, Stylize},
    text::Line,
    widgets::{Block, Cell, Paragraph, Row, Table, TableState, Wrap},
};

use super::{
    TerminalGuard,
    harmless::{fit, harmless},
    units::{bytes, duration, number},
};
use crate::{
    fleet::{
        HostState, Verdict,
        view::{AgentDocument, FleetDocument},
    },
    serve::{Route, fetch},
};

/// How long the view waits for a key.
const KEY: Duration = Duration::from_millis(250);
/// Keys' waits between two readings of the fleet.
const KEYS_PER_READING: u32 = 4;

/// A column of hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostColumn {
    /// Name.
    Host,
    /// Verdict.
    Verdict,
    /// How much is known.
    State,
    /// Age of what is known.
    Age,
    /// Servers up of all.
    Up,
    /// Humans.
    Players,
    /// Percent of one core.
    Cpu,
    /// Resident memory of servers.
    Memory,
    /// Resident memory of the agent.
    Agent,
    /// CPU over the last half hour, from the source.
    HalfHour,
}

/// The columns of a table as text; the view has the half hour as well.
pub const HOSTS: [HostColumn; 9] = [
    HostColumn::Host,
    HostColumn::Verdict,
    HostColumn::State,
    HostColumn::Age,
    HostColumn::Up,
    HostColumn::Players,
    HostColumn::Cpu,
    HostColumn::Memory,
    HostColumn::Agent,
];

/// What an agent tells, else what the source tells, marked as such.
pub fn either(told: Option<f64>, sourced: Option<f64>, words: impl Fn(f64) -> String) -> String {
    match (told, sourced) {
        (Some(told), _) => words(told),
        (None, Some(sourced)) => format!("~{}", words(sourced)),
        (None, None) => "-".to_owned(),
    }
}

impl HostColumn {
    fn title(self) -> &'static str {
        match self {
            Self::Host => "HOST",
            Self::Verdict => "VERDICT",
            Self::State => "STATE",
            Self::Age => "AGE",
            Self::Up => "UP",
            Self::Players => "PLAYERS",
            Self::Cpu => "CPU%",
            Self::Memory => "MEM",
            Self::Agent => "AGENT",
            Self::HalfHour => "CPU OF 30 MIN",
        }
    }

    fn width(self) -> u16 {
        match self {
            Self::Host => 20,
            Self::HalfHour => 30,
            Self::Verdict | Self::State | Self::Players | Self::Cpu | Self::Memory => 8,
            Self::Age | Self::Up | Self::Agent => 7,
        }
    }

    fn is_words(self) -> bool {
        matches!(self, Self::Host | Self::Verdict | Self::State | Self::HalfHour)
    }

    /// What it shows of a host. Names are as they came.
    pub fn cell(self, host: &AgentDocument) -> String {
        let (told, sourced) = self.values(host);
        match self {
            Self::Host => host.host.to_string(),
            Self::Verdict => host.verdict.name().to_owned(),
            Self::State => host.state.name().to_owned(),
            Self::Age => either(told, sourced, |seconds| duration(Some((seconds * 1e3) as i64))),
            Self::Up => match (&host.totals, &host.from_source) {
                (Some(totals), _) => format!("{}/{}", totals.servers_up, totals.servers),
                (None, Some(source)) => format!("~{}", source.servers_up),
                (None, None) => "-".to_owned(),
            },
            Self::Players => either(told, sourced, |players| number(Some(players), 0)),
            Self::Cpu => either(told, sourced, |cores| number(Some(cores * 100.0), 1)),
            Self::Memory | Self::Agent => either(told, sourced, |size| bytes(Some(size))),
            Self::HalfHour => spark(
                host.from_source
                    .as_ref()
                    .map_or(&[], |source| source.cpu_cores_by_minute.as_slice()),
            ),
        }
    }

    /// What it sorts by: from the agent, and from the source.
    fn values(self, host: &AgentDocument) -> (Option<f64>, Option<f64>) {
        let totals = host.totals.as_ref();
        let source = host.from_source.as_ref();
        match self {
            Self::Host | Self::State => (None, None),
            Self::Verdict => (
                Some(match host.verdict {
                    Verdict::Ok => 0.0,
                    Verdict::Warning => 1.0,
                    Verdict::Unknown => 2.0,
                    Verdict::Critical => 3.0,
                }),
                None,
            ),
            Self::Age => (host.age_seconds, source.map(|source| source.age_seconds)),
            Self::Up => (
                totals.map(|totals| totals.servers_up as f64),
                source.map(|source| source.servers_up as f64),
            ),
            Self::Players => (
                totals
                    .and_then(|totals| totals.humans)
                    .map(|humans| humans as f64),
                source.and_then(|source| source.humans),
            ),
            Self::Cpu | Self::HalfHour => (
                totals.and_then(|totals| totals.cpu_cores),
                source.and_then(|source| source.cpu_cores),
            ),
            Self::Memory => (
                totals.and_then(|totals| totals.rss_bytes).map(|size| size as f64),
                source.and_then(|source| source.rss_bytes),
            ),
            Self::Agent => (host.agent_rss_bytes.map(|size| size as f64), None),
        }
    }

    fn order(self, a: &AgentDocument, b: &AgentDocument) -> Ordering {
        let value = |host: &AgentDocument| {
            let (told, sourced) = self.values(host);
            told.or(sourced).unwrap_or(f64::NEG_INFINITY)
        };
        let by_name = a.host.cmp(&b.host);
        match self {
            Self::Host => by_name,
            Self::State => b.state.cmp(&a.state).then(by_name),
            _ => value(b).total_cmp(&value(a)).then(by_name),
        }
    }
}

/// Eighths of the largest value; a blank where nobody measured.
fn spark(values: &[Option<f64>]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values
        .iter()
        .flatten()
        .fold(0.0f64, |most, value| most.max(*value));
    values
        .iter()
        .map(|value| match value {
            None => ' ',
            Some(_) if most <= 0.0 => BARS[0],
            Some(value) => BARS[((value / most * 7.0).round().clamp(0.0, 7.0)) as usize],
        })
        .collect()
}

/// What all hosts come to, in a line.
pub fn sums(fleet: &FleetDocument) -> String {
    let totals = &fleet.totals;
    let known = Some(totals).filter(|totals| totals.of_hosts > 0);
    let stale = match totals.stale_hosts {
        0 => String::new(),
        stale => format!(" ({stale} stale)"),
    };
    let up = known.map_or_else(
        || "-".to_owned(),
        |totals| format!("{}/{}", totals.servers_up, totals.servers),
    );
    let source = match fleet.source.as_ref().map(|source| source.state) {
        None | Some(HostState::Fresh) => String::new(),
        Some(state) => format!("; the source is {}", state.name()),
    };
    format!(
        "{} of {} hosts{stale}: {up} servers up, {} players, {} % of a core, {} of memory{source}",
        totals.of_hosts,
        totals.hosts,
        either(totals.humans.map(|humans| humans as f64), None, |humans| number(
            Some(humans),
            0
        )),
        number(totals.cpu_cores.map(|cores| cores * 100.0), 1),
        bytes(totals.rss_bytes.map(|size| size as f64)),
    )
}

/// What the user has chosen and what has been seen.
#[derive(Default)]
struct FleetState {
    fleet: Option<FleetDocument>,
    sort: usize,
    reversed: bool,
    /// By name, so that the choice stays when the order changes.
    selected: Option<String>,
    detail: bool,
    help: bool,
    complaint: Option<String>,
}

const COLUMNS: [HostColumn; 10] = [
    HostColumn::Host,
    HostColumn::Verdict,
    HostColumn::State,
    HostColumn::Age,
    HostColumn::Up,
    HostColumn::Players,
    HostColumn::Cpu,
    HostColumn::Memory,
    HostColumn::Agent,
    HostColumn::HalfHour,
];

impl FleetState {
    fn ordered(&self) -> Vec<&AgentDocument> {
        let mut hosts: Vec<&AgentDocument> = self.fleet.iter().flat_map(|fleet| &fleet.agents).collect();
        let column = COLUMNS[self.sort % COLUMNS.len()];
        hosts.sort_by(|a, b| column.order(a, b));
        if self.reversed {
            hosts.reverse();
        }
        hosts
    }

    fn index(&self, ordered: &[&AgentDocument]) -> usize {
        let chosen = |host: &&AgentDocument| Some(&*host.host) == self.selected.as_deref();
        ordered.iter().position(chosen).unwrap_or(0)
    }

    fn select(&mut self, by: isize) {
        let ordered = self.ordered();
        let last = ordered.len().saturating_sub(1);
        let index = self.index(&ordered).saturating_add_signed(by).min(last);
        self.selected = ordered.get(index).map(|host| host.host.to_string());
    }

    /// False to end.
    fn obey(&mut self, event: &Event) -> bool {
        let Event::Key(key) = event else { return true };
        if key.kind != KeyEventKind::Press {
            return true;
        }
        match key.code {
            KeyCode::Char('q') => return false,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return false,
            KeyCode::Esc if !(self.detail || self.help) => return false,
            KeyCode::Esc => (self.detail, self.help) = (false, false),
            KeyCode::Char('s') => self.sort = (self.sort + 1) % COLUMNS.len(),
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Char('?') => self.help = !self.help,
            KeyCode::Enter => self.detail = !self.detail,
            KeyCode::Down | KeyCode::Char('j') => self.select(1),
            KeyCode::Up | KeyCode::Char('k') => self.select(-1),
            _ => {}
        }
        true
    }
}

/// Shows the fleet on this socket until `q` or Ctrl-C.
///
/// # Errors
/// When the terminal cannot be used.
pub async fn run(socket: PathBuf) -> std::io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let _guard = TerminalGuard;
    show(&mut terminal, &socket).await
}

async fn show(terminal: &mut DefaultTerminal, socket: &std::path::Path) -> std::io::Result<()> {
    let mut state = FleetState::default();
    let mut waits = 0;
    loop {
        if waits % KEYS_PER_READING == 0 {
            match fetch::<FleetDocument>(socket, &Route::to(&["fleet"])).await {
                Ok(fleet) => (state.fleet, state.complaint) = (Some(fleet), None),
                Err(error) => state.complaint = Some(error.to_string()),
            }
        }
        terminal.draw(|frame| draw(frame, &state))?;
        // Reading the terminal blocks.
        let pressed = tokio::task::spawn_blocking(|| event::poll(KEY))
            .await
            .map_err(std::io::Error::other)??;
        match pressed {
            true if !state.obey(&event::read()?) => return Ok(()),
            true => {}
            false => waits += 1,
        }
    }
}

fn draw(frame: &mut Frame<'_>, state: &FleetState) {
    let area = frame.area();
    let [header, body, footer] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)]).areas(area);
    let Some(fleet) = &state.fleet else {
        let message = state.complaint.as_deref().unwrap_or("waiting for the fleet ...");
        frame.render_widget(Paragraph::new(harmless(message)).wrap(Wrap { trim: true }), area);
        return;
    };
    let mut title = Line::from(format!("gsmon fleet  {}   ", fleet.verdict.name())).bold();
    title.push_span("q quit  s sort  r reverse  enter reasons  ? help".dim());
    frame.render_widget(title, header);
    let last = match &state.complaint {
        Some(message) => Line::from(format!("no answer: {}", harmless(message))).fg(Color::Red),
        None => Line::from(sums(fleet)).dim(),
    };
    frame.render_widget(last, footer);
    if state.help {
        let help = Paragraph::new(HELP).block(Block::bordered().title(" help "));
        frame.render_widget(help, body);
        return;
    }
    if state.detail {
        let [upper, lower] = Layout::vertical([Constraint::Percentage(60), Constraint::Min(0)]).areas(body);
        table(frame, upper, state);
        reasons(frame, lower, state);
    } else {
        table(frame, body, state);
    }
}

const HELP: &str = "up/down j/k  choose a host        enter      why it has its verdict\n\
    s            sort by next column  r          reverse order\n\
    esc          close                q Ctrl-C   quit\n\n\
    -    not known here (never zero)\n\
    ~    the agent does not tell it, the source of the past does";

fn reasons(frame: &mut Frame<'_>, area: Rect, state: &FleetState) {
    let ordered = state.ordered();
    let Some(host) = ordered.get(state.index(&ordered)) else {
        return;
    };
    let mut lines: Vec<Line<'_>> = host
        .reasons
        .iter()
        .map(|reason| Line::from(harmless(reason).into_owned()))
        .collect();
    if let Some(source) = &host.from_source {
        let age = duration(Some((source.age_seconds * 1e3) as i64));
        lines.push(Line::from(format!(
            "the source: {} servers up, {} % of a core, {} of memory, {age} ago",
            source.servers_up,
            number(source.cpu_cores.map(|cores| cores * 100.0), 1),
            bytes(source.rss_bytes)
        )));
    }
    if lines.is_empty() {
        lines.push(Line::from("nothing to say"));
    }
    let title = format!(" {} ", harmless(&host.host));
    let pane = Paragraph::new(lines).wrap(Wrap { trim: true });
    frame.render_widget(pane.block(Block::bordered().title(title)), area);
}

fn table(frame: &mut Frame<'_>, area: Rect, state: &FleetState) {
    let mut used = 0;
    let columns: Vec<HostColumn> = COLUMNS
        .into_iter()
        .take_while(|column| {
            let first = used == 0;
            used += column.width() + 1;
            first || used <= area.width
        })
        .collect();
    let sorted = COLUMNS[state.sort % COLUMNS.len()];
    let aligned = |column: HostColumn, text: String| match column.is_words() {
        true => Line::from(fit(&text, usize::from(column.width()))),
        false => Line::from(text).right_aligned(),
    };
    let header = Row::new(columns.iter().map(|column| {
        let style = match *column == sorted {
            true => Style::new().add_modifier(Modifier::UNDERLINED),
            false => Style::new(),
        };
        Cell::from(aligned(*column, column.title().to_owned())).style(style)
    }))
    .bold();
    let ordered = state.ordered();
    let rows = ordered.iter().map(|host| {
        let style = match host.verdict {
            Verdict::Ok => Style::new(),
            Verdict::Warning => Style::new().fg(Color::Yellow),
            Verdict::Critical => Style::new().fg(Color::Red),
            Verdict::Unknown => Style::new().add_modifier(Modifier::DIM),
        };
        Row::new(
            columns
                .iter()
                .map(|column| Cell::from(aligned(*column, column.cell(host)))),
        )
        .style(style)
    });
    let widths = columns.iter().map(|column| Constraint::Length(column.width()));
    let table = Table::new(rows, widths)
        .header(header)
        .column_spacing(1)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut selection = TableState::new().with_selected(state.index(&ordered));
    frame.render_stateful_widget(table, area, &mut selection);
}

#[cfg(test)]
mod tests {
    use ratatui::{
        Terminal,
        backend::TestBackend,
        crossterm::event::{KeyEvent, KeyModifiers},
    };
    use serde_json::json;

    use super::*;

    fn fleet() -> FleetDocument {
        let totals = json!({
            "hosts": 1, "of_hosts": 1, "stale_hosts": 0, "servers": 2, "servers_up": 1, "humans": 7,
            "humans_of_servers": 1, "cpu_cores": 0.5, "cpu_of_servers": 1, "rss_bytes": null, "rss_of_servers": 0
        });
        let agent = |name: &str, totals: &serde_json::Value, source: serde_json::Value| {
            let known = !totals.is_null();
            json!({
                "host": name, "state": if known { "fresh" } else { "unknown" },
                "age_seconds": if known { json!(2.0) } else { json!(null) },
                "verdict": if known { "ok" } else { "unknown" }, "reasons": ["silent\u{1b}[2J"],
                "totals": totals, "error": null, "failures_in_a_row": 0, "readings": 1, "errors": {},
                "from_source": source
            })
        };
        let source = json!({
            "age_seconds": 3.0, "servers_up": 4, "cpu_cores": 0.75, "rss_bytes": 1048576.0, "humans": null,
            "cpu_cores_by_minute": [null, 0.0, 0.5, 1.0]
        });
        serde_json::from_value(json!({
            "verdict": "unknown", "totals": totals, "source": null,
            "agents": [
                agent("a", &totals, json!(null)),
                agent("b", &json!(null), source),
                agent("c", &json!(null), json!(null))
            ]
        }))
        .unwrap()
    }

    fn screen(width: u16, height: u16, state: &FleetState) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, state)).unwrap();
        terminal.backend().to_string()
    }

    fn press(state: &mut FleetState, code: KeyCode) -> bool {
        state.obey(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
    }

    #[test]
    fn what_only_the_source_tells_is_marked_and_what_nobody_tells_is_absent() {
        let state = FleetState {
            fleet: Some(fleet()),
            ..FleetState::default()
        };
        let text = screen(130, 12, &state);
        let line = |name: &str| {
            let line = text
                .lines()
                .find(|line| line.trim_start_matches('"').starts_with(name));
            line.unwrap().to_owned()
        };
        for part in ["fresh", "1/2", "50.0"] {
            assert!(line("a ").contains(part), "{part} in\n{text}");
        }
        for part in ["unknown", "~4", "~75.0", "~1.0M", "▁▅█"] {
            assert!(line("b ").contains(part), "{part} in\n{text}");
        }
        assert!(!line("c ").contains('~') && line("c ").contains('-'), "{text}");
        assert!(
            !text.chars().any(|sign| sign.is_control() && sign != '\n'),
            "{text}"
        );
    }

    #[test]
    fn keys_sort_turn_choose_and_end() {
        let mut state = FleetState {
            fleet: Some(fleet()),
            ..FleetState::default()
        };
        let names = |state: &FleetState| {
            let ordered = state.ordered();
            ordered
                .iter()
                .map(|host| host.host.to_string())
                .collect::<String>()
        };
        assert_eq!(names(&state), "abc");
        press(&mut state, KeyCode::Char('r'));
        assert_eq!(names(&state), "cba");
        press(&mut state, KeyCode::Char('r'));
        press(&mut state, KeyCode::Down);
        while COLUMNS[state.sort] != HostColumn::Cpu {
            press(&mut state, KeyCode::Char('s'));
        }
        assert_eq!(names(&state), "bac");
        assert_eq!(state.selected.as_deref(), Some("b"));
        press(&mut state, KeyCode::Enter);
        let text = screen(100, 20, &state);
        assert!(
            text.contains("silent\\u{1b}[2J") && text.contains("the source: 4 servers up"),
            "{text}"
        );
        assert!(press(&mut state, KeyCode::Esc) && !press(&mut state, KeyCode::Esc));
        assert!(!press(&mut state, KeyCode::Char('q')));
    }

    #[test]
    fn no_size_panics() {
        for (width, height) in [(1, 1), (3, 2), (20, 5), (80, 24), (200, 50)] {
            let mut state = FleetState::default();
            screen(width, height, &state);
            state.fleet = Some(fleet());
            for key in [
                KeyCode::Enter,
                KeyCode::Char('?'),
                KeyCode::Char('?'),
                KeyCode::Up,
            ] {
                press(&mut state, key);
                screen(width, height, &state);
            }
        }
    }
}
