//! The picture of `gsmon analyze network`: CPU per player against round trips, and what goes with what. SVG, drawn without
//! any font of the system.

use plotters::{
    coord::Shift,
    prelude::{
        BLUE, ChartBuilder, Circle, Color, DrawingArea, DrawingAreaErrorKind, ErrorBar, IntoDrawingArea, RED,
        SVGBackend, WHITE,
    },
};

use crate::{
    analysis::{network::NetworkReport, stats::robust::quantile},
    history::{Frame, Measure},
    top::harmless::harmless,
};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type DrawError = DrawingAreaErrorKind<std::io::Error>;

/// Points drawn at most: an hour of seconds says no more than every few of them.
const MOST_POINTS: usize = 1_500;

/// The picture as text.
pub(super) fn svg(server: &str, frames: &[Frame], report: &NetworkReport) -> anyhow::Result<String> {
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, (960, 760)).into_drawing_area();
        draw(&root, server, frames, report).map_err(|error| anyhow::anyhow!("cannot draw: {error}"))?;
    }
    Ok(text)
}

fn draw(root: &Area<'_>, server: &str, frames: &[Frame], report: &NetworkReport) -> Result<(), DrawError> {
    root.fill(&WHITE)?;
    let halves = root.split_evenly((2, 1));
    cost(&halves[0], server, frames, report)?;
    effects(&halves[1], report)?;
    root.present()
}

/// CPU per player against round trips, or against players where nobody measures round trips.
fn cost(area: &Area<'_>, server: &str, frames: &[Frame], report: &NetworkReport) -> Result<(), DrawError> {
    let (against, label) = match report.round_trips_seconds > 0.0 {
        true => (Measure::RttP50Ms, "median round trip, ms"),
        false => (Measure::Players, "players"),
    };
    let every = frames.len().div_ceil(MOST_POINTS).max(1);
    let points: Vec<(f64, f64)> = frames
        .iter()
        .step_by(every)
        .filter_map(|frame| {
            let players = frame.get(Measure::Players).filter(|players| *players > 0.0)?;
            Some((frame.get(against)?, frame.get(Measure::CpuCores)? / players * 1e3))
        })
        .collect();
    let end = |of: fn(&(f64, f64)) -> f64| {
        let values: Vec<f64> = points.iter().map(of).collect();
        // One outlier must not flatten everything.
        quantile(&values, 0.999).unwrap_or(1.0).max(1e-3) * 1.1
    };
    let (right, top) = (end(|point| point.0), end(|point| point.1));
    let mut chart = ChartBuilder::on(area)
        .caption(
            format!("{}: CPU per player", harmless(server)),
            ("sans-serif", 18),
        )
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..right, 0.0..top)?;
    chart
        .configure_mesh()
        .x_desc(label)
        .y_desc("ms of CPU per second and player")
        .draw()?;
    let inside = points.iter().filter(|(x, y)| *x <= right && *y <= top);
    chart.draw_series(inside.map(|point| Circle::new(*point, 2, BLUE.mix(0.35).filled())))?;
    let bars = report.buckets.iter().filter_map(|row| {
        let told = row.server.as_ref()?.cpu_cores_per_player?.scaled(1e3);
        let to = row.to_ms.unwrap_or(right).min(right);
        let centre = (row.from_ms + to) / 2.0;
        (against == Measure::RttP50Ms && to > row.from_ms && told.high <= top).then(|| {
            ErrorBar::new_vertical(centre, told.low.max(0.0), told.value, told.high, RED.filled(), 12)
        })
    });
    chart.draw_series(bars)?;
    Ok(())
}

/// Partial correlations with their intervals, each at the delay where it is strongest.
fn effects(area: &Area<'_>, report: &NetworkReport) -> Result<(), DrawError> {
    let count = report.effects.len();
    let names: Vec<String> = report
        .effects
        .iter()
        .map(|effect| format!("{} / {}", effect.of.name(), effect.on.name()))
        .collect();
    let mut chart = ChartBuilder::on(area)
        .caption(
            "partial correlation with its 95 % interval, players and phase taken away",
            ("sans-serif", 16),
        )
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(290)
        .build_cartesian_2d(-1.0..1.0, -0.5..(count.max(1) as f64 - 0.5))?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(2 * count + 1)
        .y_label_formatter(&|at: &f64| {
            let near = at.round();
            let named = (at - near).abs() < 1e-6 && near >= 0.0;
            named
                .then(|| names.get(near as usize).cloned())
                .flatten()
                .unwrap_or_default()
        })
        .x_desc("r")
        .draw()?;
    for (index, effect) in report.effects.iter().enumerate() {
        let strongest = effect
            .correlations
            .iter()
            .find(|at| at.lag_seconds == effect.strongest_lag_seconds)
            .map(|at| at.correlation);
        let colour = if effect.corrected_p_value < 0.05 {
            RED
        } else {
            BLUE
        };
        chart
            .draw_series(strongest.map(|r| {
                ErrorBar::new_horizontal(index as f64, r.low, r.value, r.high, colour.filled(), 8)
            }))?;
    }
    Ok(())
}
