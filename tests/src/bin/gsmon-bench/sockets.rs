//! What reading sockets costs: one exact question, beside the dumps that it stands for.

use std::{
    net::{TcpListener, TcpStream, UdpSocket},
    time::Instant,
};

use anyhow::{Context, Result};
use gsmon_agent::{config::Protocol, host::sockets::NetnsHandle};

use crate::Row;

const RUNS: usize = 200;
const SOCKETS: usize = 500;

/// Microseconds per question.
pub fn run() -> Result<Vec<Row>> {
    let mut netns = NetnsHandle::own()?;
    let sockets: Vec<UdpSocket> = (0..SOCKETS)
        .map(|_| UdpSocket::bind("127.0.0.1:0"))
        .collect::<std::io::Result<_>>()?;
    let port = sockets[0].local_addr()?.port();
    let one = netns
        .dump()?
        .into_iter()
        .find(|found| found.protocol == Protocol::Udp && found.port == port)
        .context("the socket is listed")?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let game = listener.local_addr()?;
    let _pairs: Vec<(TcpStream, TcpStream)> = (0..100)
        .map(|_| Ok((TcpStream::connect(game)?, listener.accept()?.0)))
        .collect::<std::io::Result<_>>()?;
    let row = |what: String, micros: f64| Row::net(what, micros, 0.0, None, "us");
    Ok(vec![
        row(
            "one UDP socket, asked for exactly".into(),
            best(|| Ok(netns.udp_state(&one).map(|_| ())?))?,
        ),
        row(
            format!("the same by a dump, {SOCKETS} UDP sockets on the host"),
            best(|| Ok(netns.udp_states(port..=port).map(|_| ())?))?,
        ),
        row(
            "100 TCP connections of one port".into(),
            best(|| Ok(netns.tcp_states(game.port()..=game.port()).map(|_| ())?))?,
        ),
        row(
            "error counters of a namespace".into(),
            best(|| {
                netns.protocol_errors().context("the counters can be read")?;
                Ok(())
            })?,
        ),
    ])
}

fn best(mut ask: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = f64::MAX;
    for _ in 0..RUNS {
        let start = Instant::now();
        ask()?;
        best = best.min(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(best)
}
