//! ENet by `rusty_enet`, the C library in Rust.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering::Acquire},
    thread,
    time::Instant,
};

use anyhow::Result;
use rusty_enet::{Event, Host, HostSettings, Packet};

use super::{MESSAGE, POLL, Peer, TICK, Talk};

fn host(peers: usize) -> Result<(Host<UdpSocket>, SocketAddr)> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = socket.local_addr()?;
    let settings = HostSettings {
        peer_limit: peers,
        channel_limit: 2,
        ..HostSettings::default()
    };
    let host = Host::new(socket, settings).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    Ok((host, address))
}

/// A server that looks at its socket every tick.
///
/// # Errors
/// When its port cannot be opened.
pub fn server(talk: Talk) -> Result<Peer> {
    let (mut host, address) = host(64)?;
    Peer::start("enet-server", address, move |ended| {
        let mut next = Instant::now();
        while !ended.load(Acquire) {
            if talk.by_server() {
                for peer in host.connected_peers_mut() {
                    peer.send(0, &Packet::reliable(MESSAGE)).unwrap();
                }
            }
            while host.service().unwrap().is_some() {}
            next += TICK;
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    })
}

/// A client that looks at its socket every [`POLL`].
///
/// # Errors
/// When its port cannot be opened.
pub fn client(talk: Talk, to: SocketAddr) -> Result<Peer> {
    let (mut host, address) = host(1)?;
    Peer::start("enet-client", address, move |ended| {
        run(talk, to, &mut host, ended)
    })
}

fn run(talk: Talk, to: SocketAddr, host: &mut Host<UdpSocket>, ended: &AtomicBool) {
    host.connect(to, 2, 0).unwrap();
    let mut next = Instant::now();
    while !ended.load(Acquire) {
        let mut came = 0;
        while let Some(event) = host.service().unwrap() {
            if matches!(event, Event::Receive { .. }) {
                came += 1;
            }
        }
        let mut say = if talk == Talk::Both { came } else { 0 };
        if talk.by_clients() && Instant::now() >= next {
            next += TICK;
            say = 1;
        }
        for peer in host.connected_peers_mut() {
            for _ in 0..say {
                peer.send(0, &Packet::reliable(MESSAGE)).unwrap();
            }
        }
        host.flush();
        thread::sleep(POLL);
    }
}
