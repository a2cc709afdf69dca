//! What runs on all hosts, as a Prometheus-compatible server has it. A host that it scrapes and that does not answer is
//! silent: what runs there is not known. One that it does not scrape any more is gone.

use std::collections::BTreeMap;

use super::{Failure, unix_ms};
use crate::{
    analysis::queue::{Holds, Running},
    history::{
        HistorySource,
        prometheus::{
            PrometheusSource, Row,
            table::{OTHER_SCENES, SCENE},
        },
    },
};

/// How a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// It tells of its servers.
    Heard,
    /// It is scraped, and does not answer.
    Silent,
}

/// One server, now.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// host:port/server
    pub name: String,
    /// It runs.
    pub up: bool,
    /// Mode, where all its sessions have one.
    pub mode: Option<String>,
    /// Region.
    pub region: Option<String>,
    /// Players on it.
    pub players: Option<f64>,
    /// Players that it lets in.
    pub most_players: Option<f64>,
}

/// All servers, now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Everywhere {
    /// Of hosts that tell.
    pub servers: Vec<Server>,
    /// Names of servers that silent hosts had in the last 35 days.
    pub silent: Vec<String>,
    /// Hosts, by what the scraper calls them.
    pub hosts: BTreeMap<String, Host>,
}

impl Everywhere {
    /// Servers that run.
    pub fn running(&self) -> Vec<Running> {
        let up = self.servers.iter().filter(|server| server.up);
        up.map(|server| Running {
            server: server.name.clone(),
            mode: server.mode.as_deref().map(Into::into),
            region: server.region.as_deref().map(Into::into),
            players: server.players,
            capacity: server.most_players.map(Holds::exactly),
        })
        .collect()
    }

    /// Hosts that are silent.
    pub fn silent_hosts(&self) -> Vec<String> {
        let silent = self.hosts.iter().filter(|(_, host)| **host == Host::Silent);
        silent.map(|(name, _)| name.clone()).collect()
    }
}

/// Asks for them.
pub fn servers(source: &PrometheusSource) -> Result<Everywhere, Failure> {
    let now_ms = unix_ms();
    let ask = |query: &str| source.instant(query.to_owned(), now_ms);
    let told = Told {
        up: ask("max by (instance, server) (gsmon_server_up)")?,
        players: ask(
            "sum by (instance, server) (max by (instance, server, kind) (gsmon_server_players{kind=~\"human|bot|unknown\"}))",
        )?,
        most: ask("max by (instance, server) (gsmon_server_max_players)")?,
        regions: ask("max by (instance, server, region) (gsmon_server_region_info)")?,
        scenes: ask(&format!("max by (instance, server, mode) ({})", SCENE.metric))?,
        scraped: ask("max by (instance) (up)")?,
    };
    Ok(told.together(&HistorySource::servers(source)?))
}

struct Told {
    up: Vec<Row>,
    players: Vec<Row>,
    most: Vec<Row>,
    regions: Vec<Row>,
    scenes: Vec<Row>,
    scraped: Vec<Row>,
}

fn newest(row: &Row) -> Option<f64> {
    let value = row.samples.last()?.value;
    value.is_finite().then_some(value)
}

/// The row of a server, where there is one and no other.
fn of<'a>(rows: &'a [Row], server: &Row) -> Option<&'a Row> {
    let mut same = rows.iter().filter(|row| {
        let mut labels = ["instance", "server"].iter();
        labels.all(|label| row.label(label) == server.label(label))
    });
    same.next().filter(|_| same.next().is_none())
}

impl Told {
    fn together(&self, known: &[String]) -> Everywhere {
        let mut all = Everywhere::default();
        for row in &self.up {
            all.hosts.insert(row.label("instance").to_owned(), Host::Heard);
            let word =
                |row: &Row, label: &str| Some(row.label(label).to_owned()).filter(|word| !word.is_empty());
            all.servers.push(Server {
                name: format!("{}/{}", row.label("instance"), row.label("server")),
                up: newest(row) == Some(1.0),
                mode: of(&self.scenes, row)
                    .and_then(|row| word(row, "mode"))
                    .filter(|mode| mode != OTHER_SCENES),
                region: of(&self.regions, row).and_then(|row| word(row, "region")),
                players: of(&self.players, row).and_then(newest),
                most_players: of(&self.most, row).and_then(newest),
            });
        }
        for row in &self.scraped {
            let instance = row.label("instance");
            let prefix = format!("{instance}/");
            let had: Vec<String> = known
                .iter()
                .filter(|name| name.starts_with(&prefix))
                .cloned()
                .collect();
            // Other programs are scraped as well: a host of ours has had servers.
            if newest(row) == Some(0.0) && !had.is_empty() && !all.hosts.contains_key(instance) {
                all.hosts.insert(instance.to_owned(), Host::Silent);
                all.silent.extend(had);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::prometheus::rows;

    fn told(result: &str) -> Vec<Row> {
        let body = format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{result}]}}}}"#);
        rows(body.as_bytes()).unwrap()
    }

    fn row(labels: &str, value: &str) -> String {
        format!(r#"{{"metric":{{{labels}}},"value":[1700000000.0,"{value}"]}}"#)
    }

    #[test]
    fn hosts_are_heard_silent_or_gone() {
        let of_a = r#""instance":"a:1","server":"arena""#;
        let scene = |mode: &str| row(&format!(r#"{of_a},"mode":"{mode}""#), "1");
        let mut said = Told {
            up: told(&[row(of_a, "1"), row(r#""instance":"a:1","server":"lobby""#, "0")].join(",")),
            players: told(&row(of_a, "7")),
            most: told(&row(of_a, "16")),
            regions: told(&row(&format!(r#"{of_a},"region":"eu""#), "1")),
            scenes: told(&scene("duel")),
            scraped: told(
                &[
                    row(r#""instance":"a:1""#, "1"),
                    row(r#""instance":"b:1""#, "0"),
                    row(r#""instance":"node:9100""#, "0"),
                ]
                .join(","),
            ),
        };
        let known = ["a:1/arena", "a:1/lobby", "b:1/arena", "c:1/arena"].map(str::to_owned);
        let all = said.together(&known);
        assert_eq!(all.silent_hosts(), ["b:1"]);
        assert_eq!(all.silent, ["b:1/arena"]);
        let running = all.running();
        assert_eq!(running.len(), 1);
        assert_eq!(
            (running[0].mode.as_deref(), running[0].region.as_deref()),
            (Some("duel"), Some("eu"))
        );
        assert_eq!(
            (running[0].players, running[0].capacity.map(|holds| holds.players)),
            (Some(7.0), Some(16.0))
        );
        // Two scenes at once, or one that stands for others, name no mode.
        said.scenes = told(&[scene("duel"), scene("race")].join(","));
        assert_eq!(said.together(&known).running()[0].mode, None);
        said.scenes = told(&scene("other"));
        assert_eq!(said.together(&known).running()[0].mode, None);
    }
}
