//! Netcode: how a game numbers, acknowledges and times its packets, as data, and the one decoder for it.
//!
//! [`layout`] says how a format is described, [`layouts`] describes those that games use, [`slot`] is what is kept of a
//! flow, [`decode`] reads a packet into it; `arrivals`, [`trips`] and `timing` count what it says, with `numbers`; [`teeworlds`]
//! finds its messages under their compression, [`huffman`]. Kernel programs and the agent's tests run the same decoder.
//!
//! Not here: which server speaks which format, and how sure that is (the agent's), TCP (the kernel's own figures).

mod arrivals;
pub mod decode;
pub mod huffman;
pub mod layout;
pub mod layouts;
mod numbers;
pub mod replay;
pub mod slot;
pub mod teeworlds;
mod timing;
pub mod trips;

#[cfg(test)]
mod captures;
#[cfg(test)]
mod published;
#[cfg(test)]
mod tests;

pub use self::{
    decode::{Kinds, Outcome, Payload, Way, decode},
    layout::{Case, Field, Guard, Layout, Order, Parts, Side, Test, Walk},
    slot::{NetcodeCounts, NetcodeSlot, RTT_BUCKETS},
};
