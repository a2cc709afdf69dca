//! `[advice]`: what advice on servers cannot measure: prices, hosts, distances between regions, and bounds of each group of
//! servers. Not here: advice (the analysis room).

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{FieldError, duration};

/// `[advice]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdviceSettings {
    /// `[advice.prices]`, where a region has none of its own.
    pub prices: PriceSettings,
    /// `[[advice.region]]`
    #[serde(rename = "region")]
    pub regions: Vec<AdviceRegion>,
    /// `[[advice.group]]`
    #[serde(rename = "group")]
    pub groups: Vec<AdviceGroup>,
}

/// Prices. What is not given is not known, and never made up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PriceSettings {
    /// Name of the currency, as in EUR.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// One server for an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_hour: Option<f64>,
    /// One host for an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_hour: Option<f64>,
    /// 10^9 bytes to players.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress_gb: Option<f64>,
    /// What an hour that a player had no seat is worth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_player_hour: Option<f64>,
}

/// `[[advice.region]]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdviceRegion {
    /// Name, as in `region` of `[[server]]`.
    pub name: String,
    /// Cores of one host that servers may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_cores: Option<f64>,
    /// Memory of one host that servers may use, 2^30 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_memory_gib: Option<f64>,
    /// What one host may send, 10^6 bits per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_transmit_mbit: Option<f64>,
    /// Servers that may run there, for the placement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_servers: Option<u32>,
    /// Prices there; what is missing is taken from `[advice.prices]`.
    #[serde(default)]
    pub prices: PriceSettings,
    /// Round trips from regions of players to here, milliseconds.
    #[serde(default)]
    pub rtt_ms: BTreeMap<String, f64>,
}

/// `[[advice.group]]`: the first that fits a mode and a region counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdviceGroup {
    /// Mode; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Region; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Players that a server lets in, 1 to 100000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub players_per_server: Option<u32>,
    /// From the order to the first player, where that is not to be measured.
    #[serde(default, with = "some_duration", skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<Duration>,
    /// From the last need to the stop.
    #[serde(default, with = "some_duration", skip_serializing_if = "Option::is_none")]
    pub cool_down: Option<Duration>,
    /// Servers that must run.
    #[serde(default)]
    pub least: u32,
    /// Servers that may run.
    #[serde(default = "most_servers")]
    pub most: u32,
}

fn most_servers() -> u32 {
    1_000
}

mod some_duration {
    use std::time::Duration;

    use serde::{Deserializer, Serializer};

    use super::duration;

    pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Duration>, D::Error> {
        duration::deserialize(input).map(Some)
    }

    pub fn serialize<S: Serializer>(value: &Option<Duration>, output: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => duration::serialize(value, output),
            None => output.serialize_none(),
        }
    }
}

impl PriceSettings {
    /// These, and where they have none the others.
    pub fn or(&self, others: &Self) -> Self {
        Self {
            currency: self.currency.clone().or_else(|| others.currency.clone()),
            server_hour: self.server_hour.or(others.server_hour),
            host_hour: self.host_hour.or(others.host_hour),
            egress_gb: self.egress_gb.or(others.egress_gb),
            lost_player_hour: self.lost_player_hour.or(others.lost_player_hour),
        }
    }

    fn check(&self) -> Result<(), FieldError> {
        for (name, price) in [
            ("server_hour", self.server_hour),
            ("host_hour", self.host_hour),
            ("egress_gb", self.egress_gb),
            ("lost_player_hour", self.lost_player_hour),
        ] {
            number(name, price, 0.0)?;
        }
        Ok(())
    }
}

fn bad(message: String) -> FieldError {
    FieldError::BadAdvice { message }
}

fn number(name: &str, value: Option<f64>, above: f64) -> Result<(), FieldError> {
    match value {
        Some(value) if !value.is_finite() || value < above => Err(bad(format!(
            "{name} is {value}: it must be a number, {above} or more"
        ))),
        _ => Ok(()),
    }
}

impl AdviceSettings {
    /// Checks what the types cannot.
    pub(super) fn check(&self) -> Result<(), FieldError> {
        self.prices.check()?;
        let mut names = std::collections::HashSet::new();
        for region in &self.regions {
            super::check_region_name(&region.name).map_err(bad)?;
            if !names.insert(region.name.as_str()) {
                return Err(bad(format!("[[advice.region]] `{}` is there twice", region.name)));
            }
            region.prices.check()?;
            number("host_cores", region.host_cores, 0.01)?;
            number("host_memory_gib", region.host_memory_gib, 0.01)?;
            number("host_transmit_mbit", region.host_transmit_mbit, 0.01)?;
            for (from, rtt_ms) in &region.rtt_ms {
                super::check_region_name(from).map_err(bad)?;
                number(&format!("rtt_ms from `{from}`"), Some(*rtt_ms), 0.0)?;
            }
        }
        for group in &self.groups {
            if group.least > group.most {
                return Err(bad(format!(
                    "[[advice.group]] wants at least {} and at most {} servers: correct least or most",
                    group.least, group.most
                )));
            }
            if group.most > 100_000 {
                return Err(bad("most is 100000 at most".to_owned()));
            }
            if group
                .players_per_server
                .is_some_and(|players| !(1..=100_000).contains(&players))
            {
                return Err(bad("players_per_server is 1 to 100000".to_owned()));
            }
            let week = Duration::from_secs(7 * 86_400);
            if [group.warm_up, group.cool_down]
                .iter()
                .flatten()
                .any(|time| *time > week)
            {
                return Err(bad("warm_up and cool_down are a week at most".to_owned()));
            }
        }
        Ok(())
    }

    /// What holds for a mode in a region.
    pub fn group(&self, mode: Option<&str>, region: Option<&str>) -> Option<&AdviceGroup> {
        let fits = |wanted: &Option<String>, is: Option<&str>| wanted.is_none() || wanted.as_deref() == is;
        let mut groups = self.groups.iter();
        groups.find(|group| fits(&group.mode, mode) && fits(&group.region, region))
    }

    /// A region.
    pub fn region(&self, name: Option<&str>) -> Option<&AdviceRegion> {
        self.regions
            .iter()
            .find(|region| Some(region.name.as_str()) == name)
    }

    /// Prices in a region.
    pub fn prices_in(&self, region: Option<&str>) -> PriceSettings {
        match self.region(region) {
            Some(region) => region.prices.or(&self.prices),
            None => self.prices.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    #[test]
    fn what_cannot_be_meant_is_named() {
        let parse = |text: &str| Config::parse(text, Path::new("gsmon.toml"));
        for (text, part) in [
            ("[advice.prices]\nserver_hour = -1.0\n", "server_hour is -1"),
            ("[advice.prices]\negress_gb = nan\n", "must be a number"),
            ("[[advice.region]]\nname = \"\"\n", "name of a region"),
            (
                "[[advice.region]]\nname = \"a\"\n[[advice.region]]\nname = \"a\"\n",
                "twice",
            ),
            (
                "[[advice.region]]\nname = \"a\"\nhost_cores = 0.0\n",
                "host_cores is 0",
            ),
            (
                "[[advice.region]]\nname = \"a\"\n[advice.region.rtt_ms]\nb = -2.0\n",
                "rtt_ms from `b`",
            ),
            (
                "[[advice.group]]\nleast = 3\nmost = 2\n",
                "at least 3 and at most 2",
            ),
            ("[[advice.group]]\nplayers_per_server = 0\n", "1 to 100000"),
            ("[[advice.group]]\nwarm_up = \"8days\"\n", "a week at most"),
            ("[advice]\nspeed = 1\n", "unknown field"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn the_first_group_that_fits_counts_and_regions_have_prices_of_their_own() {
        let text = "[advice.prices]\nserver_hour = 1.0\negress_gb = 0.1\n\
                    [[advice.region]]\nname = \"eu\"\nprices = { server_hour = 2.0 }\n\
                    [[advice.group]]\nmode = \"duel\"\nwarm_up = \"2m\"\n[[advice.group]]\nleast = 1\n";
        let config = Config::parse(text, Path::new("gsmon.toml")).unwrap();
        let advice = &config.advice;
        assert_eq!(advice.group(Some("duel"), None).unwrap().least, 0);
        assert_eq!(advice.group(Some("race"), Some("eu")).unwrap().least, 1);
        assert_eq!(advice.prices_in(Some("eu")).server_hour, Some(2.0));
        assert_eq!(advice.prices_in(Some("eu")).egress_gb, Some(0.1));
        assert_eq!(advice.prices_in(None).server_hour, Some(1.0));
        let again = toml::to_string(&config).unwrap();
        assert_eq!(Config::parse(&again, Path::new("gsmon.toml")).unwrap(), config);
    }
}
