//! The picture of `gsmon analyze players`: for each metric the rows, the curve and its band. SVG, drawn without any font of
//! the system.

use plotters::{
    coord::Shift,
    prelude::{
        BLUE, ChartBuilder, Circle, Color, DrawingArea, DrawingAreaErrorKind, IntoDrawingArea, PathElement,
        Polygon, RED, SVGBackend, Text, WHITE,
    },
};

use crate::{
    analysis::{
        scaling::{MetricScaling, ScalingMetric, ScalingReport, Scope},
        series::Series,
        stats::robust::quantile,
    },
    history::Measure,
    top::harmless::harmless,
};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type DrawError = DrawingAreaErrorKind<std::io::Error>;

/// Points drawn at most.
const MOST_POINTS: usize = 1_500;
const WIDTH: u32 = 960;
const HEIGHT_EACH: u32 = 360;

/// The picture as text.
pub(super) fn svg(report: &ScalingReport, servers: &[Series<'_>]) -> anyhow::Result<String> {
    let known: Vec<&MetricScaling> = report
        .metrics
        .iter()
        .filter_map(|answer| answer.scaling.as_ref())
        .collect();
    if known.is_empty() {
        let reasons: Vec<&str> = report
            .metrics
            .iter()
            .filter_map(|answer| answer.refused.as_deref())
            .collect();
        anyhow::bail!("there is nothing to draw: {}", reasons.join("; "));
    }
    let mut text = String::new();
    {
        let size = (WIDTH, HEIGHT_EACH * known.len() as u32);
        let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
        let title = match &report.scope {
            Scope::Server(name) => harmless(name).into_owned(),
            Scope::Mode(mode) => format!("mode {}", harmless(mode)),
            Scope::All => "all servers".to_owned(),
        };
        draw(&root, &title, &known, servers).map_err(|error| anyhow::anyhow!("cannot draw: {error}"))?;
    }
    Ok(text)
}

fn draw(
    root: &Area<'_>,
    title: &str,
    known: &[&MetricScaling],
    servers: &[Series<'_>],
) -> Result<(), DrawError> {
    root.fill(&WHITE)?;
    for (area, scaling) in root.split_evenly((known.len(), 1)).iter().zip(known) {
        one(area, title, scaling, servers)?;
    }
    root.present()
}

fn one(
    area: &Area<'_>,
    title: &str,
    scaling: &MetricScaling,
    servers: &[Series<'_>],
) -> Result<(), DrawError> {
    let (factor, unit) = scaling.metric.unit();
    let points: Vec<(f64, f64)> = match scaling.metric {
        ScalingMetric::Stored(measure) => {
            let frames = || servers.iter().flat_map(|server| server.frames);
            let every = frames().count().div_ceil(MOST_POINTS).max(1);
            frames()
                .step_by(every)
                .filter_map(|frame| Some((frame.get(Measure::Players)?, frame.get(measure)? * factor)))
                .collect()
        }
        // Growth is a difference of rows, not a figure of a frame: the curve stands alone.
        ScalingMetric::MemoryGrowth => Vec::new(),
    };
    let curve: Vec<(f64, f64, f64, f64)> = scaling
        .curve
        .iter()
        .map(|at| {
            let value = at.value.scaled(factor);
            (at.players, value.low, value.value, value.high)
        })
        .collect();
    let values: Vec<f64> = points
        .iter()
        .map(|point| point.1)
        .chain(curve.iter().flat_map(|(_, low, _, high)| [*low, *high]))
        .collect();
    // One outlier must not flatten everything.
    let (low, high) = (
        quantile(&values, 0.002).unwrap_or(0.0).min(0.0),
        quantile(&values, 0.998).unwrap_or(1.0),
    );
    let high = (low + 1e-6).max(high + 0.05 * (high - low));
    let right = (scaling.observed.most * 1.05).max(1.0);
    let mut chart = ChartBuilder::on(area)
        .caption(
            format!("{title}: {} ({})", scaling.metric, scaling.shape.words()),
            ("sans-serif", 16),
        )
        .margin(10)
        .x_label_area_size(34)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..right, low..high)?;
    chart.configure_mesh().x_desc("players").y_desc(unit).draw()?;
    let inside = points.iter().filter(|(_, y)| (low..=high).contains(y));
    chart.draw_series(inside.map(|point| Circle::new(*point, 2, BLUE.mix(0.3).filled())))?;
    let clamp = |y: f64| y.clamp(low, high);
    let mut band: Vec<(f64, f64)> = curve.iter().map(|(x, _, _, top)| (*x, clamp(*top))).collect();
    band.extend(curve.iter().rev().map(|(x, bottom, _, _)| (*x, clamp(*bottom))));
    chart.draw_series([Polygon::new(band, RED.mix(0.2))])?;
    let line: Vec<(f64, f64)> = curve.iter().map(|(x, _, y, _)| (*x, clamp(*y))).collect();
    chart.draw_series([PathElement::new(line, RED.stroke_width(2))])?;
    let told = scaling.per_player.scaled(factor);
    let words = format!(
        "each player: {:.4} ({:.4} to {:.4}) {unit}",
        told.value, told.low, told.high
    );
    let place = (right * 0.02, high - 0.06 * (high - low));
    chart.draw_series([Text::new(words, place, ("sans-serif", 13))])?;
    Ok(())
}
