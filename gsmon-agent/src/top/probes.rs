//! The pane of a server's probed functions.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::Stylize,
    text::Line,
    widgets::{Paragraph, Row, Table, Wrap},
};

use super::{
    harmless::{fit, harmless},
    units::{milliseconds, number, percent},
};
use crate::world::{
    probe::{ProbeMode, ProbeSnapshot},
    snapshot::ServerSnapshot,
};

/// Names are cut to this.
const NAME: u16 = 12;

/// Draws the table, and below it how ticks differ, and why a probe is not what was asked for.
pub fn draw(frame: &mut Frame<'_>, area: Rect, server: &ServerSnapshot) {
    if server.probes.is_empty() {
        let none = "no [[server.probe]] is configured for this server";
        frame.render_widget(Line::from(none), area);
        return;
    }
    let rows = (server.probes.len() as u16).saturating_add(1);
    let [table, reasons] = Layout::vertical([Constraint::Length(rows), Constraint::Min(0)]).areas(area);
    let header = Row::new([
        "PROBE",
        "MODE",
        "CALLS/s",
        "/TICK",
        "P50ms",
        "P99ms",
        "ms/TICK",
        "us/PLAYER",
        "COST%",
        "LOST",
    ])
    .bold();
    let widths = [NAME, 8, 7, 5, 6, 6, 7, 9, 5, 4].map(Constraint::Length);
    let probes = server.probes.iter().map(row);
    frame.render_widget(Table::new(probes, widths).header(header), table);
    let lines: Vec<Line<'_>> = server
        .probes
        .iter()
        .flat_map(|probe| [ticks(probe), reason(probe)])
        .flatten()
        .map(Line::from)
        .collect();
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }), reasons);
}

/// Distribution over the ticks of the last interval.
fn ticks(probe: &ProbeSnapshot) -> Option<String> {
    let rates = &probe.rates;
    rates.tick_time_p50_ns?;
    Some(format!(
        "{}: ms in a tick p50 {} p99 {}; per player p50 {} p99 {}",
        probe.name,
        milliseconds(rates.tick_time_p50_ns),
        milliseconds(rates.tick_time_p99_ns),
        milliseconds(rates.tick_and_player_time_p50_ns),
        milliseconds(rates.tick_and_player_time_p99_ns),
    ))
}

fn reason(probe: &ProbeSnapshot) -> Option<String> {
    let reason = harmless(probe.reason.as_deref()?).to_string();
    Some(format!("{}: {reason}", probe.name))
}

fn row(probe: &ProbeSnapshot) -> Row<'static> {
    let rates = &probe.rates;
    let about = |cell: String| match rates.estimated && cell != "-" {
        true => format!("~{cell}"),
        false => cell,
    };
    Row::new([
        fit(&probe.name, NAME as usize),
        mode(probe.mode).to_owned(),
        number(rates.calls_per_second, 0),
        number(rates.calls_per_tick, 1),
        milliseconds(rates.time_p50_ns),
        milliseconds(rates.time_p99_ns),
        about(milliseconds(rates.time_per_tick_ns)),
        about(number(
            rates.time_per_tick_and_player_ns.map(|time_ns| time_ns / 1e3),
            1,
        )),
        percent(probe.cost_core_ratio),
        probe.totals.lost.to_string(),
    ])
}

fn mode(mode: ProbeMode) -> &'static str {
    match mode {
        ProbeMode::Waiting => "waiting",
        ProbeMode::Timing => "timing",
        ProbeMode::Sampling => "sampling",
        ProbeMode::Counting => "counting",
        ProbeMode::Detached => "detached",
        ProbeMode::Failed => "failed",
    }
}
