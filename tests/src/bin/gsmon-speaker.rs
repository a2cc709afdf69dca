//! A game server with several UDP ports, each of which speaks another format: `gsmon-speaker source unreal5` prints one
//! port per line and serves until its input ends. A process of its own, since all ports of a process are its server's.

use std::io::{Read, Write};

use anyhow::{Context, Result};
use gsmon_tests::{
    published::{Peer, Talk, enet},
    speakers::{self, Running, Speaks},
};

/// Whatever serves a port until it is dropped.
enum Serving {
    Written(#[expect(dead_code, reason = "it serves until it is dropped")] Running),
    Published(#[expect(dead_code, reason = "it serves until it is dropped")] Peer),
}

fn main() -> Result<()> {
    let mut serving = Vec::new();
    let mut output = std::io::stdout();
    for name in std::env::args().skip(1) {
        let (one, port) = if name == "enet" {
            let peer = enet::server(Talk::Both)?;
            let port = peer.address().port();
            (Serving::Published(peer), port)
        } else {
            let running =
                speakers::server(Speaks::named(&name).with_context(|| format!("nobody speaks {name}"))?)?;
            let port = running.address.port();
            (Serving::Written(running), port)
        };
        serving.push(one);
        writeln!(output, "{port}")?;
    }
    output.flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
