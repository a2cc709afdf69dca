//! The picture of `gsmon recommend`: for each group who will come (median and 5 to 95 %), and the seats of the servers that
//! are advised. SVG.

use plotters::prelude::{
    BLACK, BLUE, ChartBuilder, Color, IntoDrawingArea, PathElement, Polygon, RED, SVGBackend, WHITE,
};

use crate::{
    analysis::advice::{GroupAdvice, ScalingAdvice},
    top::harmless::harmless,
};

/// Groups in one picture.
const MOST: usize = 40;
const HEIGHT: u32 = 260;

/// The picture as text.
pub(super) fn svg(advice: &ScalingAdvice) -> anyhow::Result<String> {
    let groups = &advice.groups[..advice.groups.len().min(MOST)];
    if groups.is_empty() {
        let why = advice
            .left_alone
            .first()
            .map_or("no servers are known", |left| &left.why);
        anyhow::bail!("there is nothing to draw: {why}");
    }
    let wrong = |error: &dyn std::fmt::Display| anyhow::anyhow!("cannot draw: {error}");
    let mut text = String::new();
    {
        let size = (960, HEIGHT * u32::try_from(groups.len()).unwrap_or(1));
        let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
        root.fill(&WHITE).map_err(|error| wrong(&error))?;
        for (area, group) in root.split_evenly((groups.len(), 1)).iter().zip(groups) {
            let demand = &group.demand;
            let hours = |step: usize| step as f64 * demand.step_ms as f64 / 3.6e6;
            let at =
                |quantile: f64| (0..demand.steps()).map(move |step| (hours(step), demand.at(quantile, step)));
            let seats = seats(group, &hours);
            let most = at(0.95)
                .chain(seats.iter().copied())
                .fold(1.0, |most, point| point.1.max(most));
            let mut chart = ChartBuilder::on(area)
                .caption(title(group), ("sans-serif", 15))
                .margin(8)
                .x_label_area_size(30)
                .y_label_area_size(60)
                .build_cartesian_2d(0.0..hours(demand.steps()), 0.0..most * 1.05)
                .map_err(|error| wrong(&error))?;
            chart
                .configure_mesh()
                .x_desc("hours from now")
                .y_desc("players, seats")
                .draw()
                .map_err(|error| wrong(&error))?;
            let mut band: Vec<(f64, f64)> = at(0.95).collect();
            band.extend(at(0.05).collect::<Vec<_>>().into_iter().rev());
            chart
                .draw_series([Polygon::new(band, RED.mix(0.2))])
                .map_err(|error| wrong(&error))?;
            chart
                .draw_series([PathElement::new(at(0.5).collect::<Vec<_>>(), RED.stroke_width(2))])
                .map_err(|error| wrong(&error))?;
            chart
                .draw_series([PathElement::new(seats, BLUE.stroke_width(2))])
                .map_err(|error| wrong(&error))?;
            let now = f64::from(group.running) * f64::from(group.size.players);
            chart
                .draw_series([PathElement::new(
                    vec![(0.0, now), (hours(1), now)],
                    BLACK.stroke_width(3),
                )])
                .map_err(|error| wrong(&error))?;
        }
        root.present().map_err(|error| wrong(&error))?;
    }
    Ok(text)
}

fn title(group: &GroupAdvice) -> String {
    let name = group.group.words();
    format!(
        "{}: seats of {} servers now (black), as advised (blue), players (red)",
        harmless(&name),
        group.running
    )
}

/// Seats over time, as steps.
fn seats(group: &GroupAdvice, hours: &impl Fn(usize) -> f64) -> Vec<(f64, f64)> {
    let each = f64::from(group.size.players);
    let servers = group.timetable.servers.iter().enumerate();
    servers
        .flat_map(|(step, count)| {
            let seats = f64::from(*count) * each;
            [(hours(step), seats), (hours(step + 1), seats)]
        })
        .collect()
}
