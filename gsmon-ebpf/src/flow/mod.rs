//! Flows: packets and bytes of every remote endpoint of every game server.
//!
//! One counting point per server and direction: the cgroup hooks see sockets of every network namespace, with
//! datagrams reassembled; XDP and tc see the agent's own namespace only, where they are asked for. `packet` reads
//! headers, `resolve` finds the server, `recent` and `account` its flow, which counts, `netcode` reads what its payload
//! says, `hooks` are the programs.
//!
//! Not here: fragments (no ports after the first: counted as unparsed at XDP and tc; the cgroup hooks see whole
//! datagrams), tunnels, protocols other than UDP and TCP.

mod account;
mod hooks;
mod netcode;
mod packet;
mod recent;
mod resolve;

/// Which way a packet travels, seen from the server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Client to server.
    Receive,
    /// Server to client.
    Transmit,
}
