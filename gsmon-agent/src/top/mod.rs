//! The live terminal view: a table of servers, a detail pane with flows, players, their lines, or sessions. `view` draws
//! a snapshot, `text` prints one, `lines` has players' lines as rows, `table` prints lists of anything, `fleet` shows many hosts, `harmless` keeps names from driving the terminal; here are the
//! terminal, the keys and where snapshots come from.

pub mod columns;
mod detail;
pub mod fleet;
pub mod harmless;
pub mod lines;
mod probes;
pub mod table;
pub mod text;
pub mod units;
pub mod view;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
};

use self::view::ViewState;
use crate::{
    serve::fetch_snapshot,
    world::{cell::SnapshotCell, snapshot::Snapshot},
};

/// Where snapshots come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A monitor in this process.
    Cell(Arc<SnapshotCell>),
    /// The running agent.
    Socket(PathBuf),
}

/// How long the view waits for a key before it looks for a new snapshot.
const REFRESH: Duration = Duration::from_millis(250);

/// Gives the terminal back however the view ends; `ratatui::init` also hooks panics.
struct TerminalGuard;

impl Drop for TerminalGuard {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Shows snapshots until `q`, Ctrl-C or `limit`.
pub async fn run(source: Source, limit: Option<Duration>) -> std::io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let _guard = TerminalGuard;
    show(&mut terminal, &source, limit).await
}

async fn show(
    terminal: &mut DefaultTerminal,
    source: &Source,
    limit: Option<Duration>,
) -> std::io::Result<()> {
    let mut state = ViewState::default();
    let start = Instant::now();
    while limit.is_none_or(|limit| start.elapsed() < limit) {
        match newest(source).await {
            Ok(Some(snapshot)) => state.take(snapshot),
            Ok(None) => {}
            Err(message) => state.complain(message),
        }
        terminal.draw(|frame| view::draw(frame, &mut state))?;
        // Keys are waited for on a thread of their own kind: reading the terminal blocks.
        let pressed = tokio::task::spawn_blocking(|| event::poll(REFRESH))
            .await
            .map_err(std::io::Error::other)??;
        if pressed && !obey(&event::read()?, &mut state) {
            return Ok(());
        }
    }
    Ok(())
}

async fn newest(source: &Source) -> Result<Option<Arc<Snapshot>>, String> {
    match source {
        Source::Cell(cell) => Ok(cell.load()),
        Source::Socket(path) => fetch_snapshot(path)
            .await
            .map(|snapshot| Some(Arc::new(snapshot)))
            .map_err(|error| error.to_string()),
    }
}

/// False to end.
fn obey(event: &Event, state: &mut ViewState) -> bool {
    let Event::Key(key) = event else { return true };
    if key.kind != KeyEventKind::Press {
        return true;
    }
    match key.code {
        KeyCode::Char('q') => return false,
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return false,
        KeyCode::Esc if !state.close() => return false,
        KeyCode::Char('s') => state.sort_by_next(),
        KeyCode::Char('r') => state.reverse(),
        KeyCode::Char('?') => state.toggle_help(),
        KeyCode::Enter => state.toggle_detail(),
        KeyCode::Tab => state.next_pane(),
        KeyCode::Down | KeyCode::Char('j') => state.select(1),
        KeyCode::Up | KeyCode::Char('k') => state.select(-1),
        _ => {}
    }
    true
}
