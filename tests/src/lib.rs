//! What integration tests and benches share: the kernel side alone, packets, network namespaces, the binary, planted costs;
//! `eval` holds analyses against made-up servers.
//!
//! Everything here but `eval` needs root; a test without it fails in CI and says why elsewhere.

pub mod eval;
pub mod far;
pub mod netns;
pub mod packet;
pub mod planted;
pub mod published;
pub mod site;
pub mod speakers;
pub mod third_party;

use std::{
    net::{IpAddr, UdpSocket},
    os::fd::AsFd,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use gsmon_agent::{
    GameServerMonitor,
    config::{Config, Protocol},
    host::Platform,
    kernel::{Kernel, KernelOptions, NetnsPlace, ServerSlotId, SocketOwner, netns_cookie::netns_cookie},
    monitor::kernel_options,
    world::snapshot::{ServerSnapshot, Snapshot},
};

/// True when the test can run; panics in CI when it cannot.
pub fn root_or_skip() -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "this test needs root");
    eprintln!("skipped: needs root");
    false
}

/// True when `program` is installed; panics in CI when it is not.
pub fn program_or_skip(program: &str, package: &str) -> bool {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path)
            .chain(["/usr/games".into(), "/lib/systemd".into()])
            .any(|dir| dir.join(program).exists())
    });
    assert!(
        found || std::env::var_os("CI").is_none(),
        "this test needs {program} (Debian package {package})"
    );
    if !found {
        eprintln!("skipped: needs {program} (Debian package {package})");
    }
    found
}

/// Default options on this machine.
pub fn options() -> KernelOptions {
    kernel_options(&Config::default(), &Platform::detect())
}

/// The kernel side alone, with one server on one port of this namespace.
pub struct Bench {
    /// The kernel side.
    pub kernel: Kernel,
    /// The server.
    pub server: ServerSlotId,
}

/// Game port of [`Bench`].
pub const PORT: u16 = 27_960;

impl Bench {
    /// Loads with `options`.
    pub fn new(options: &KernelOptions) -> Result<Self> {
        let mut kernel = Kernel::load(options)?;
        let server = kernel.add_server()?;
        let cookie = netns_cookie(UdpSocket::bind("127.0.0.1:0")?.as_fd()).ok();
        let sockets: Vec<SocketOwner> = [Protocol::Udp, Protocol::Tcp]
            .into_iter()
            .map(|protocol| SocketOwner {
                server: Some(server),
                protocol,
                address: IpAddr::from([0, 0, 0, 0]),
                port: PORT,
                cookie: 0,
                netns_cookie: cookie,
                cgroup_id: Some(1),
                place: NetnsPlace::AgentsOwn,
            })
            .collect();
        kernel.set_sockets(&sockets)?;
        kernel.set_local_addresses(&[packet::SERVER_V4.into(), packet::SERVER_V6.into()])?;
        kernel.drain();
        Ok(Self { kernel, server })
    }
}

/// The gsmon binary under test.
pub fn gsmon() -> Result<PathBuf> {
    let path = std::env::var_os("GSMON_BIN")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/release/gsmon"));
    if !path.exists() {
        bail!(
            "{} is not built: run `cargo xtask test`, or cargo build --release -p gsmon-agent",
            path.display()
        );
    }
    Ok(path)
}

/// Lets queries of this test that go through gamedig be asked by the binary under test.
pub fn serve_queries() -> Result<()> {
    gsmon_agent::games::query::worker_program(gsmon()?.canonicalize()?);
    Ok(())
}

/// Waits for a snapshot in which `condition` holds, at most `limit`.
pub fn wait_for(
    monitor: &GameServerMonitor,
    limit: Duration,
    condition: impl Fn(&Snapshot) -> bool,
) -> Result<Arc<Snapshot>> {
    let end = Instant::now() + limit;
    let mut last = None;
    while Instant::now() < end {
        if let Some(snapshot) = monitor.snapshot() {
            if condition(&snapshot) {
                return Ok(snapshot);
            }
            last = Some(snapshot);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("nothing of the kind within {limit:?}; last: {last:#?}")
}

/// The snapshot after the next whole interval.
pub fn settled(monitor: &GameServerMonitor) -> Result<Arc<Snapshot>> {
    let now = monitor.snapshot().map_or(0, |snapshot| snapshot.sequence);
    wait_for(monitor, Duration::from_secs(20), |snapshot| {
        snapshot.sequence >= now + 2
    })
}

/// A server of a snapshot.
pub fn server<'a>(snapshot: &'a Snapshot, name: &str) -> Result<&'a ServerSnapshot> {
    snapshot
        .servers
        .iter()
        .find(|server| server.name == name)
        .with_context(|| format!("no server {name}"))
}

/// Packets and bytes, received and sent, of a server.
pub fn counted(server: &ServerSnapshot) -> [(u64, u64); 2] {
    [server.totals.rx, server.totals.tx].map(|side| {
        let all = side.map(|side| side.all()).unwrap_or_default();
        (all.packets, all.bytes)
    })
}
