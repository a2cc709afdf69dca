//! The picture of `gsmon forecast`: the last days, what is expected, and its 90 % interval. SVG.

use plotters::prelude::{
    BLUE, ChartBuilder, Color, IntoDrawingArea, PathElement, Polygon, RED, SVGBackend, WHITE,
};

use crate::{
    analysis::forecast::{Forecast, Grid},
    top::harmless::harmless,
};

/// The picture as text.
pub(super) fn svg(title: &str, grid: &Grid, told: &Forecast) -> anyhow::Result<String> {
    let hours_of = |unix_s: i64| (unix_s - told.origin_unix_s) as f64 / 3_600.0;
    let first = grid
        .len()
        .saturating_sub((2 * told.points.len() * grid.hour()).max(2 * grid.day()));
    let past: Vec<(f64, f64)> = (first..grid.len())
        .map(|step| (hours_of(grid.begin_unix_s(step)), grid.at(step)))
        .filter(|(_, players)| players.is_finite())
        .collect();
    let points = &told.points;
    let most = past
        .iter()
        .map(|(_, players)| *players)
        .chain(points.iter().map(|point| point.high()))
        .fold(1.0, f64::max);
    let left = past.first().map_or(0.0, |(hours, _)| *hours);
    let right = points.len() as f64 + 1.0;
    let mut text = String::new();
    let wrong = |error: &dyn std::fmt::Display| anyhow::anyhow!("cannot draw: {error}");
    {
        let root = SVGBackend::with_string(&mut text, (960, 420)).into_drawing_area();
        root.fill(&WHITE).map_err(|error| wrong(&error))?;
        let mut chart = ChartBuilder::on(&root)
            .caption(harmless(title), ("sans-serif", 16))
            .margin(10)
            .x_label_area_size(34)
            .y_label_area_size(70)
            .build_cartesian_2d(left..right, 0.0..most * 1.05)
            .map_err(|error| wrong(&error))?;
        chart
            .configure_mesh()
            .x_desc("hours from now")
            .y_desc("players")
            .draw()
            .map_err(|error| wrong(&error))?;
        let at = |point: &crate::analysis::forecast::Point| hours_of(point.begin_unix_s);
        let mut band: Vec<(f64, f64)> = points.iter().map(|point| (at(point), point.high())).collect();
        band.extend(points.iter().rev().map(|point| (at(point), point.low())));
        chart
            .draw_series([Polygon::new(band, RED.mix(0.2))])
            .map_err(|error| wrong(&error))?;
        chart
            .draw_series([PathElement::new(past, BLUE.stroke_width(1))])
            .map_err(|error| wrong(&error))?;
        let line: Vec<(f64, f64)> = points.iter().map(|point| (at(point), point.players)).collect();
        chart
            .draw_series([PathElement::new(line, RED.stroke_width(2))])
            .map_err(|error| wrong(&error))?;
        root.present().map_err(|error| wrong(&error))?;
    }
    Ok(text)
}
