//! The agent itself with 100 server processes and 10,000 flows on real sockets. The players' sockets are in a network
//! namespace of their own, behind a veth pair: players are not on the host, and an agent that looks for sockets there
//! does not meet theirs.

use std::{
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use gsmon_agent::demo::{
    DemoProcess, bots::BotsArgs, game_loop::LoopKind, protocol::Header, server::ServerArgs,
};
use gsmon_tests::{gsmon, netns::Netns};

use crate::Row;

const SERVERS: u16 = 100;
const FLOWS_PER_SERVER: u32 = 100;
const WINDOW: Duration = Duration::from_secs(15);

/// CPU seconds and resident MiB of a process.
pub fn usage(pid: u32) -> Result<(f64, f64)> {
    let schedstat: u64 = std::fs::read_dir(format!("/proc/{pid}/task"))?
        .flatten()
        .filter_map(|task| {
            std::fs::read_to_string(task.path().join("schedstat"))
                .ok()?
                .split(' ')
                .next()?
                .parse::<u64>()
                .ok()
        })
        .sum();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let rss = status
        .lines()
        .find_map(|line| {
            line.strip_prefix("VmRSS:")?
                .trim()
                .strip_suffix(" kB")?
                .trim()
                .parse::<f64>()
                .ok()
        })
        .context("no VmRSS")?;
    Ok((schedstat as f64 / 1e9, rss / 1024.0))
}

/// Percent of one core and MiB.
pub fn run() -> Result<Vec<Row>> {
    let binary = gsmon()?;
    let players = Netns::new("bench")?;
    players.connect("gsmonbench", "10.83.7.1/24", "players", "10.83.7.2/24")?;
    let launcher = players.launcher();
    let mut servers = Vec::new();
    let mut bots = Vec::new();
    let mut text = String::new();
    for n in 0..SERVERS {
        let address = std::net::Ipv4Addr::new(10, 83, 7, 1).into();
        let server = DemoProcess::server(
            &binary,
            &[],
            &ServerArgs {
                kind: LoopKind::Sleeping,
                header: Header::Quake3,
                address,
                port: 0,
                tick_hz: 10.0,
                base_work_us: 50,
                work_per_player_us: 0,
                ticks_per_snapshot: 20,
                max_players: 256,
                lifetime_seconds: 300,
                diary: gsmon_agent::demo::diary::DiaryArgs::default(),
                lag: gsmon_agent::demo::lag::LagArgs::default(),
            },
        )?;
        let port = server.ready.port;
        text += &format!("[[server]]\nname = \"s{n}\"\nport = {port}\nprotocol = \"udp\"\n");
        bots.push(DemoProcess::bots(
            &binary,
            &launcher,
            &BotsArgs {
                header: Header::Quake3,
                address,
                port,
                count: FLOWS_PER_SERVER,
                input_hz: 0.5,
                stay_seconds: 0,
                seed: u64::from(n) + 1,
                lifetime_seconds: 300,
                homes: gsmon_agent::demo::bots::Homes::Shared,
            },
        )?);
        servers.push(server);
    }
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("gsmon.toml");
    let socket = directory.path().join("api.sock");
    let head = format!(
        "[api]\nlisten = \"127.0.0.1:0\"\nsocket = \"{}\"\n",
        socket.display()
    );
    std::fs::write(&config, head + &text)?;
    let mut agent = Command::new(&binary)
        .arg("run")
        .arg("--config")
        .arg(&config)
        .env("GSMON_STATE_DIR", directory.path())
        .stderr(Stdio::null())
        .spawn()?;
    thread::sleep(Duration::from_secs(10));
    let before = usage(agent.id())?;
    thread::sleep(WINDOW);
    let after = usage(agent.id())?;
    let top = Command::new(&binary)
        .args(["top", "--once", "--json", "--socket"])
        .arg(&socket)
        .output()?;
    // SIGTERM, not SIGKILL: it detaches and removes its socket.
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(agent.id() as i32),
        nix::sys::signal::Signal::SIGTERM,
    )?;
    agent.wait()?;
    let snapshot: serde_json::Value = serde_json::from_slice(&top.stdout)?;
    let list = snapshot["servers"].as_array().context("no servers")?;
    let flows: u64 = list.iter().filter_map(|server| server["flows"].as_u64()).sum();
    let up = list.iter().filter(|server| server["state"] == "up").count();
    let cpu = (after.0 - before.0) / WINDOW.as_secs_f64() * 100.0;
    Ok(vec![
        Row::net(
            format!("agent: {up} servers, {flows} flows, 1 s interval: CPU"),
            cpu,
            0.0,
            Some(1.0),
            "%core",
        ),
        Row::net("agent: resident memory", after.1, 0.0, Some(64.0), "MiB"),
    ])
}
