//! What will come, as gauges: recommended servers, what one holds, quantiles of players, and cost. Not here: working it out.

use prometheus::{Encoder, GaugeVec, Opts, Registry, TextEncoder};

/// One mode in one region.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupFigures {
    /// Mode; empty where modes are not told apart.
    pub mode: String,
    /// Region; empty where regions are not told apart.
    pub region: String,
    /// Servers that are wanted now.
    pub servers: u32,
    /// Players that a server holds.
    pub capacity_players: u32,
    /// Cost of the advised servers over the hours ahead, where there are prices.
    pub cost: Option<f64>,
    /// Players an hour from now, by quantile.
    pub players_in_an_hour: Vec<(f64, f64)>,
}

/// All of them, and when they were worked out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutlookFigures {
    /// Seconds since 1970.
    pub told_unix_s: f64,
    /// Groups.
    pub groups: Vec<GroupFigures>,
}

/// As Prometheus text; without groups there are no series but the time.
///
/// # Errors
/// When a name is malformed, which none is.
pub fn encode(figures: &OutlookFigures) -> Result<String, prometheus::Error> {
    let registry = Registry::new();
    let gauge = |name: &str, help: &str, labels: &[&str]| -> Result<GaugeVec, prometheus::Error> {
        let gauge = GaugeVec::new(Opts::new(name, help), labels)?;
        registry.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    };
    let labels = ["mode", "region"];
    let wanted = gauge(
        "gsmon_recommended_servers",
        "Servers that are wanted now.",
        &labels,
    )?;
    let seats = gauge(
        "gsmon_server_capacity_players",
        "Players that a server holds.",
        &labels,
    )?;
    let cost = gauge(
        "gsmon_recommended_cost",
        "Cost of the advised servers over the hours ahead.",
        &labels,
    )?;
    let players = gauge(
        "gsmon_forecast_players",
        "Players an hour from now, by quantile.",
        &["mode", "region", "quantile"],
    )?;
    let told = gauge("gsmon_recommended_timestamp_seconds", "When this was told.", &[])?;
    told.with_label_values::<&str>(&[]).set(figures.told_unix_s);
    for group in &figures.groups {
        let names = [group.mode.as_str(), group.region.as_str()];
        wanted.with_label_values(&names).set(f64::from(group.servers));
        seats
            .with_label_values(&names)
            .set(f64::from(group.capacity_players));
        if let Some(total) = group.cost {
            cost.with_label_values(&names).set(total);
        }
        for (quantile, count) in &group.players_in_an_hour {
            let quantile = quantile.to_string();
            players
                .with_label_values(&[names[0], names[1], quantile.as_str()])
                .set(*count);
        }
    }
    let mut body = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut body)?;
    String::from_utf8(body).map_err(|error| prometheus::Error::Msg(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_has_no_series() {
        let group = GroupFigures {
            mode: "duel".into(),
            servers: 3,
            capacity_players: 16,
            players_in_an_hour: vec![(0.5, 20.0), (0.95, 31.5)],
            ..GroupFigures::default()
        };
        let text = encode(&OutlookFigures {
            told_unix_s: 5.0,
            groups: vec![group],
        })
        .unwrap();
        for line in [
            "gsmon_recommended_servers{mode=\"duel\",region=\"\"} 3",
            "gsmon_server_capacity_players{mode=\"duel\",region=\"\"} 16",
            "gsmon_forecast_players{mode=\"duel\",quantile=\"0.95\",region=\"\"} 31.5",
            "gsmon_recommended_timestamp_seconds 5",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        assert!(!text.contains("gsmon_recommended_cost"), "{text}");
    }
}
