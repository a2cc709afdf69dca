//! As many datagrams as one thread can really send over a veth pair, through native XDP: how many a second, and that none
//! that arrived was lost.

use std::{
    fs::File,
    net::{IpAddr, Ipv4Addr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use gsmon_agent::{
    config::{InterfaceSettings, StatsMode, XdpMode},
    kernel::KernelOptions,
};
use gsmon_tests::{Bench, PORT, netns::Netns, options};
use nix::sched::{CloneFlags, setns};

use crate::Row;

const OUTER: &str = "gsmon-bv0";
const INNER: &str = "gsmon-bv1";
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const SENDS_FOR: Duration = Duration::from_secs(3);
const RUNS: usize = 3;

/// Sends from inside a namespace for a while. How many went out, and how long it took.
fn send(netns: &str) -> Result<(u64, Duration)> {
    let file = File::open(netns).context("the namespace is gone")?;
    let sender = thread::spawn(move || -> Result<(u64, Duration)> {
        setns(file, CloneFlags::CLONE_NEWNET)?;
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((SERVER, PORT))?;
        let datagram = [0x5a; 58];
        let (begun, mut sent) = (Instant::now(), 0);
        while begun.elapsed() < SENDS_FOR {
            for _ in 0..256 {
                socket.send(&datagram)?;
                sent += 1;
            }
        }
        Ok((sent, begun.elapsed()))
    });
    sender
        .join()
        .map_err(|_| anyhow::anyhow!("the sender panicked"))?
}

/// Thousands of packets a second.
pub fn veth() -> Result<Vec<Row>> {
    let netns = Netns::new("bench")?;
    netns.connect(OUTER, &format!("{SERVER}/24"), INNER, "10.77.0.2/24")?;
    let mut bench = Bench::new(&KernelOptions {
        run_time: StatsMode::Off,
        interfaces: vec![InterfaceSettings {
            name: OUTER.into(),
            xdp: XdpMode::Native,
        }],
        ..options()
    })?;
    bench.kernel.set_local_addresses(&[IpAddr::V4(SERVER)])?;
    // Somebody listens, so that nothing is answered by the stack; nothing is read.
    let _listening = UdpSocket::bind((SERVER, PORT))?;
    let dropped = || -> Result<u64> {
        let text = netns.exec(&format!("cat /sys/class/net/{INNER}/statistics/tx_dropped"))?;
        Ok(text.trim().parse()?)
    };
    let (mut fastest, mut drops) = (0.0f64, 0);
    for _ in 0..RUNS {
        bench.kernel.drain();
        let before = dropped()?;
        let (sent, time) = send(&netns.path())?;
        thread::sleep(Duration::from_millis(300));
        let lost = dropped()? - before;
        let counted = bench
            .kernel
            .drain()
            .servers
            .remove(&bench.server)
            .unwrap_or_default();
        let packets = counted.flows.rx.packets + counted.rx.candidate.packets + counted.rx.overflow.packets;
        ensure!(
            packets == sent - lost,
            "{packets} counted of {sent} sent, {lost} of them dropped by the device"
        );
        drops += lost;
        fastest = fastest.max(sent as f64 / time.as_secs_f64());
    }
    Ok(vec![Row::net(
        format!("veth: thousands a second from one sender, all counted ({drops} dropped by the device)"),
        fastest / 1e3,
        0.0,
        None,
        "k/s",
    )])
}
