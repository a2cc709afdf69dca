//! Which metric of the agent is which measure: the one table. `serve::metrics` writes these metrics, and its tests hold the
//! table against a real page, so that a metric that is renamed fails. Not here: asking, arithmetic (`frames`).

use crate::history::measure::{Measure, Merge};

/// Series of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Name.
    pub metric: &'static str,
    /// Labels besides `server`: series that differ in nothing else are the same series, scraped twice.
    pub labels: &'static [&'static str],
    /// One label and the values of it that count.
    pub only: Option<(&'static str, &'static [&'static str])>,
}

const fn family(metric: &'static str) -> Family {
    Family {
        metric,
        labels: &[],
        only: None,
    }
}

impl Family {
    const fn only(mut self, label: &'static str, values: &'static [&'static str]) -> Self {
        self.only = Some((label, values));
        self
    }

    /// The same by other labels of it.
    pub const fn by(mut self, labels: &'static [&'static str]) -> Self {
        self.labels = labels;
        self
    }

    /// A selector with its braces still open, for more matchers.
    fn selector(&self, matchers: &str) -> String {
        match self.only {
            None => format!("{}{{{matchers}}}", self.metric),
            // Values of this table need no escaping.
            Some((label, values)) => {
                format!("{}{{{matchers},{label}=~\"{}\"}}", self.metric, values.join("|"))
            }
        }
    }

    /// PromQL: `function` over a window of every series, each series once.
    pub fn each(&self, function: &str, matchers: &str, window_seconds: i64) -> String {
        format!(
            "max by ({}) ({function}({}[{window_seconds}s]))",
            self.labels.join(","),
            self.selector(matchers)
        )
    }
}

/// How a measure comes out of metrics. Several series of a family are added up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum How {
    /// What a gauge shows, times a factor.
    Level(Family, f64),
    /// What a counter grows by per second.
    Rate(Family),
    /// What a counter grows by in the frame.
    Count(Family),
    /// What one counter grows by over what another does, times a factor.
    Mean(Family, Family, f64),
    /// What the counter of all other servers of the host grows by per second.
    Others(Family),
    /// From the phase of the frame and of the one before it.
    PhaseChange,
    /// No metric has it.
    Absent,
}

/// Is the server there, and when was the agent asked.
pub const UP: Family = family("gsmon_server_up");
/// How often it was found with new processes.
pub const STARTS: Family = family("gsmon_server_starts_total");
/// Running sessions by phase.
pub const PHASES: Family = family("gsmon_server_sessions").by(&["phase"]);
/// What players did.
pub const ACTIONS: Family = family("gsmon_server_player_actions_total").by(&["action"]);
/// Mode and map that all running sessions have: one series at a time.
pub const SCENE: Family = family("gsmon_server_scene_info").by(&["mode", "map"]);
/// What stands for the modes and maps of a server that have no label of their own, since there are too many.
pub const OTHER_SCENES: &str = "other";

const CPU: Family = family("gsmon_server_cpu_seconds_total");
const TICK_TIME: Family = family("gsmon_server_tick_time_seconds").by(&["statistic"]);
const PLAYERS: Family = family("gsmon_server_players").by(&["kind"]);
const PLAYER_EVENTS: Family = family("gsmon_server_player_events_total").by(&["kind"]);
const PACKETS: Family = family("gsmon_server_packets_total").by(&["direction", "kind"]);
const BYTES: Family = family("gsmon_server_network_bytes_total").by(&["direction", "kind"]);
const DISK: Family = family("gsmon_server_disk_bytes_total").by(&["operation"]);
const FAULTS: Family = family("gsmon_server_page_faults_total").by(&["kind"]);
const LOSS: Family = family("gsmon_server_loss_ratio").by(&["direction"]);

/// The table.
pub const fn how(measure: Measure) -> How {
    match measure {
        Measure::CpuCores => How::Rate(CPU),
        Measure::RunQueueWaitRatio => How::Rate(family("gsmon_server_run_queue_wait_seconds_total")),
        Measure::TickRateHz => How::Level(family("gsmon_server_tick_rate_hertz"), 1.0),
        Measure::TickTargetHz => How::Level(family("gsmon_server_tick_target_hertz"), 1.0),
        Measure::TickP50Ms => How::Level(TICK_TIME.only("statistic", &["p50"]), 1e3),
        Measure::TickP99Ms => How::Level(TICK_TIME.only("statistic", &["p99"]), 1e3),
        Measure::RxPacketsPerSecond => How::Rate(PACKETS.only("direction", &["receive"])),
        Measure::RxBytesPerSecond => How::Rate(BYTES.only("direction", &["receive"])),
        Measure::TxPacketsPerSecond => How::Rate(PACKETS.only("direction", &["transmit"])),
        Measure::TxBytesPerSecond => How::Rate(BYTES.only("direction", &["transmit"])),
        Measure::Players => How::Level(PLAYERS.only("kind", &["human", "bot", "unknown"]), 1.0),
        Measure::Bots => How::Level(PLAYERS.only("kind", &["bot"]), 1.0),
        Measure::Humans => How::Level(PLAYERS.only("kind", &["human"]), 1.0),
        Measure::Joins => How::Count(PLAYER_EVENTS.only("kind", &["join", "inferred_join"])),
        Measure::Leaves => How::Count(PLAYER_EVENTS.only("kind", &["leave", "inferred_leave"])),
        Measure::PhaseChanges => How::PhaseChange,
        Measure::Actions => How::Count(ACTIONS),
        Measure::OtherServersCpuCores => How::Others(CPU),
        Measure::RssBytes => How::Level(family("gsmon_server_resident_memory_bytes"), 1.0),
        Measure::RssAnonymousBytes => How::Level(
            family("gsmon_server_resident_memory_part_bytes")
                .by(&["kind"])
                .only("kind", &["anonymous"]),
            1.0,
        ),
        Measure::DiskReadBytesPerSecond => How::Rate(DISK.only("operation", &["read"])),
        Measure::DiskWriteBytesPerSecond => How::Rate(DISK.only("operation", &["write"])),
        Measure::MinorFaultsPerSecond => How::Rate(FAULTS.only("kind", &["minor"])),
        Measure::MajorFaultsPerSecond => How::Rate(FAULTS.only("kind", &["major"])),
        Measure::RttP50Ms => How::Level(
            family("gsmon_server_player_rtt_seconds")
                .by(&["statistic"])
                .only("statistic", &["p50"]),
            1e3,
        ),
        // Each line is counted once per reading, so that this is the mean over lines.
        Measure::JitterMs => How::Mean(
            family("gsmon_server_jitter_seconds_sum"),
            family("gsmon_server_jitter_seconds_count"),
            1e3,
        ),
        Measure::LossUpRatio => How::Level(LOSS.only("direction", &["up"]), 1.0),
        Measure::LossDownRatio => How::Level(LOSS.only("direction", &["down"]), 1.0),
        Measure::UdpDropsPerSecond => How::Rate(family("gsmon_server_udp_receive_drops_total").by(&["port"])),
        Measure::NetworkTickHz => How::Level(family("gsmon_server_network_tick_rate_hertz"), 1.0),
        // The histogram of round trips counts packets and not players; the rest is of the host, or an estimate that needs
        // more than its metrics tell.
        Measure::RttMeanMs
        | Measure::OtherProcessesCpuCores
        | Measure::StealRatio
        | Measure::SoftirqCores
        | Measure::ReceiveRatio
        | Measure::LagCompensationCores => How::Absent,
    }
}

/// Families that a measure needs.
pub fn families(how: How) -> Vec<Family> {
    match how {
        How::Level(of, _) | How::Rate(of) | How::Count(of) | How::Others(of) => vec![of],
        How::Mean(sum, count, _) => vec![sum, count],
        How::PhaseChange | How::Absent => Vec::new(),
    }
}

/// Every family that is read.
pub fn all() -> impl Iterator<Item = Family> {
    let told = Measure::ALL.iter().flat_map(|measure| families(how(*measure)));
    told.chain([UP, STARTS, PHASES, ACTIONS, SCENE])
}

/// PromQL of a measure at the end of each step, over a window; `None` where there is none. Counts are per second.
pub fn promql(measure: Measure, host: &str, server: &str, window_seconds: i64) -> Option<String> {
    let own = format!("{host},{server}");
    let rate = |of: Family| format!("sum({})", of.each("rate", &own, window_seconds));
    Some(match how(measure) {
        How::Level(of, factor) => {
            let function = match measure.merge() {
                Merge::Largest => "max_over_time",
                Merge::Mean | Merge::Sum => "avg_over_time",
            };
            format!("sum({}) * {factor}", of.each(function, &own, window_seconds))
        }
        How::Rate(of) | How::Count(of) => rate(of),
        How::Mean(sum, count, factor) => format!("{} / {} * {factor}", rate(sum), rate(count)),
        How::Others(of) => {
            let others = format!("{host},{}", server.replacen('=', "!=", 1));
            format!(
                "sum({})",
                of.by(&["server"]).each("rate", &others, window_seconds)
            )
        }
        How::PhaseChange | How::Absent => return None,
    })
}

/// `label="value"`, whatever the value holds.
pub fn matcher(label: &str, value: &str) -> String {
    let mut text = format!("{label}=\"");
    for sign in value.chars() {
        match sign {
            '\\' | '"' => text.extend(['\\', sign]),
            '\n' => text.push_str("\\n"),
            sign => text.push(sign),
        }
    }
    text.push('"');
    text
}

/// A mode or map as its label has it; nothing where nobody told, or where it has no label of its own.
pub fn scene_named(label: &str) -> Option<&str> {
    Some(label).filter(|label| !label.is_empty() && *label != OTHER_SCENES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_written_as_promql() {
        let host = matcher("instance", "h\"\\\n:1");
        assert_eq!(host, r#"instance="h\"\\\n:1""#);
        let ask = |measure| promql(measure, r#"instance="h""#, r#"server="a=b""#, 60);
        assert_eq!(
            ask(Measure::RxPacketsPerSecond).unwrap(),
            r#"sum(max by (direction,kind) (rate(gsmon_server_packets_total{instance="h",server="a=b",direction=~"receive"}[60s])))"#
        );
        assert_eq!(
            ask(Measure::TickP99Ms).unwrap(),
            r#"sum(max by (statistic) (max_over_time(gsmon_server_tick_time_seconds{instance="h",server="a=b",statistic=~"p99"}[60s]))) * 1000"#
        );
        assert_eq!(
            ask(Measure::OtherServersCpuCores).unwrap(),
            r#"sum(max by (server) (rate(gsmon_server_cpu_seconds_total{instance="h",server!="a=b"}[60s])))"#
        );
        assert_eq!(ask(Measure::StealRatio), None);
    }

    #[test]
    fn a_family_that_takes_some_values_knows_the_label() {
        for family in all() {
            if let Some((label, values)) = family.only {
                assert!(family.labels.contains(&label) && !values.is_empty(), "{family:?}");
            }
        }
    }
}
