//! What looking for spikes all the time costs: 100 made-up servers, second by second, as the agent's loop does it. Every
//! minute one of them in ten has a spike; the rest of the time there is nothing to find, as on real ones.

use std::collections::BTreeMap;

use anyhow::Result;
use gsmon_agent::{
    config::{Game, HistorySettings},
    history::{History, HistorySource, HostFigures, TimeRange, disk::HistoryWriter},
    monitor::SpikeSearch,
    world::{
        session::picture::GameSnapshot,
        snapshot::{CountingPoints, ServerRates, ServerSnapshot, ServerState, ServerTotals, Snapshot},
    },
};

use crate::{
    Row,
    history::{Noise, cpu_seconds},
};

const SERVERS: usize = 100;
/// Until every server has frames enough, and has been looked at once.
const WARM_UP_SECONDS: u32 = 480;
const MEASURED_SECONDS: u32 = 600;
const BEGIN_SECONDS: f64 = 1_728_000_000.0;

fn server(number: usize) -> ServerSnapshot {
    ServerSnapshot {
        name: format!("server-{number}"),
        game: Game::Custom,
        state: ServerState::Up,
        pids: Vec::new(),
        starts: 1,
        endpoints: Vec::new(),
        max_players: None,
        tick_target_hz: None,
        counting: CountingPoints::default(),
        totals: ServerTotals::default(),
        rates: ServerRates::default(),
        tick: None,
        network_tick: None,
        flows: None,
        top_flows: Vec::new(),
        network: None,
        sockets: None,
        region: None,
        flows_by_region: BTreeMap::new(),
        game_state: GameSnapshot::default(),
        companions: Vec::new(),
        probes: Vec::new(),
        discovered: None,
        log: None,
        query: None,
    }
}

/// CPU of the search alone, and how many spikes it found.
pub fn run() -> Result<Vec<Row>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("history.db");
    let history = History::written_by(HistoryWriter::start(&path, &HistorySettings::default())?);
    let mut search = SpikeSearch::default();
    let mut noise = Noise::new(11);
    let mut snapshot = Snapshot {
        unix_time_seconds: BEGIN_SECONDS,
        interval_seconds: 1.0,
        servers: (0..SERVERS).map(server).collect(),
        ..Snapshot::default()
    };
    let (mut spent, mut longest) = (0.0, 0.0f64);
    for second in 1..=WARM_UP_SECONDS + MEASURED_SECONDS {
        snapshot.unix_time_seconds += 1.0;
        for (number, server) in snapshot.servers.iter_mut().enumerate() {
            let spikes = number.is_multiple_of(10) && (second as usize + number).is_multiple_of(60);
            let height = if spikes { 3.0 } else { 1.0 };
            server.rates = ServerRates {
                cpu_cores: Some(0.2 * height * (1.0 + 0.03 * noise.normal())),
                run_queue_wait_ratio: Some(0.01 * (1.0 + 0.1 * noise.normal())),
                rx_packets_per_second: Some(900.0 * (1.0 + 0.03 * noise.normal())),
                major_faults_per_second: Some(0.0),
                ..ServerRates::default()
            };
        }
        let host = HostFigures {
            steal_ratio: Some(0.0),
            busy_cores: Some(21.0),
        };
        history.record(&snapshot, host);
        let before = cpu_seconds()?;
        search.go_on(&snapshot, &history);
        let one = cpu_seconds()? - before;
        if second > WARM_UP_SECONDS {
            spent += one;
            longest = longest.max(one);
        }
        // The writer is given time: no agent is so fast.
        while history
            .on_disk()
            .is_some_and(|told| told.intervals_written + 60 < u64::from(second))
        {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
    let found = history.spikes(None, TimeRange::ALL)?.len();
    anyhow::ensure!(found > 0, "no spike was found");
    let share = spent / f64::from(MEASURED_SECONDS) * 100.0;
    Ok(vec![
        Row::net(
            format!("spikes of 100 servers, {found} found: CPU"),
            share,
            0.0,
            Some(0.1),
            "%core",
        ),
        Row::net(
            "spikes, longest single interval: CPU",
            longest * 1e3,
            0.0,
            None,
            "ms",
        ),
    ])
}
