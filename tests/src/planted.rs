//! Servers whose costs are planted, for tests that hold the agent against them.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use gsmon_agent::{
    Game, GameServer, GameServerMonitor,
    demo::{DemoProcess, planted::PlantedArgs},
    games::push,
    world::snapshot::ServerState,
};

use crate::{gsmon, server, wait_for};

/// How long something may take to show up.
pub const LIMIT: Duration = Duration::from_secs(20);

/// A planted server and what it writes to.
pub struct World {
    /// It.
    pub process: DemoProcess,
    /// Gone with it.
    pub directory: tempfile::TempDir,
}

/// Its arguments.
pub fn arguments(name: &str, load: &str, directory: &Path) -> PlantedArgs {
    PlantedArgs {
        name: name.to_owned(),
        load: load.to_owned(),
        directory: directory.to_owned(),
        lifetime_seconds: 180,
    }
}

/// Beside the sources, on a disk: what is written to memory alone is not written.
pub fn directory() -> tempfile::TempDir {
    let base = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target");
    tempfile::Builder::new()
        .prefix("planted-")
        .tempdir_in(base)
        .unwrap()
}

/// Starts one that does nothing until it is told.
pub fn planted(name: &str) -> World {
    let directory = directory();
    let process =
        DemoProcess::planted(&gsmon().unwrap(), &[], &arguments(name, "", directory.path())).unwrap();
    World { process, directory }
}

/// How it is found.
pub fn entry(name: &str) -> GameServer {
    GameServer::new(name, Game::Demo).command_line(format!("demo-planted --name {name} "))
}

/// An agent of the test's own.
pub fn monitor(interval_ms: u64, servers: Vec<GameServer>) -> GameServerMonitor {
    let state = directory();
    let mut builder = GameServerMonitor::builder()
        .interval(Duration::from_millis(interval_ms))
        .state_directory(state.path());
    for server in servers {
        builder = builder.add_game_server(server);
    }
    builder.start().unwrap()
}

/// Waits until these have been found.
pub fn up(monitor: &GameServerMonitor, names: &[&str]) {
    wait_for(monitor, LIMIT, |snapshot| {
        names.iter().all(|name| {
            server(snapshot, name)
                .is_ok_and(|server| server.state == ServerState::Up && !server.endpoints.is_empty())
        })
    })
    .unwrap();
}

/// Now.
pub fn unix_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap().as_millis() as i64
}

/// Pushes one event; `fields` follow its server.
pub fn tell(monitor: &GameServerMonitor, server: &str, fields: &str) {
    tell_all(monitor, server, &[fields.to_owned()]);
}

/// Pushes several in one request.
pub fn tell_all(monitor: &GameServerMonitor, server: &str, events: &[String]) {
    let events: Vec<String> = events
        .iter()
        .map(|fields| format!("{{\"server\":\"{server}\",{fields}}}"))
        .collect();
    let body = format!("[{}]", events.join(","));
    let events = push::parse(body.as_bytes(), unix_ms()).unwrap();
    monitor.push_sink().offer(events).unwrap();
}

/// Holds a figure against the truth; `ratio` is how far off it may be.
pub fn near(what: &str, measured: f64, planted: f64, ratio: f64) {
    let off = (measured - planted).abs() / planted;
    println!(
        "{what}: measured {measured:.4}, planted {planted:.4}, off by {:.2} %",
        off * 100.0
    );
    assert!(
        off <= ratio,
        "{what}: measured {measured}, planted {planted}: off by {off}"
    );
}
