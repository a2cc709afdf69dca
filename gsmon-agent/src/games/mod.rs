//! Game families: what each one's log, query and network tell. One file per family; everything that a game says becomes
//! a [`event::GameEvent`].
//!
//! Not here: what events mean for sessions and players (world), packets and CPU (kernel).

pub mod ark;
pub mod bedrock;
pub mod bell;
pub mod bounded;
pub mod custom;
pub mod event;
pub mod factorio;
pub mod family;
mod fields;
pub mod grammar;
pub mod log;
pub mod luanti;
pub mod minecraft;
pub mod netcode;
pub mod palworld;
pub mod push;
pub mod quake3;
pub mod query;
pub mod queue;
pub mod rust;
pub mod scan;
pub mod signature;
pub mod source;
pub mod teeworlds;
#[cfg(test)]
mod transcript;
pub mod unity;
pub mod unreal;
pub mod valheim;
pub mod voices;

pub use self::{
    event::{Fact, GameEvent, PlayerRef, Witness},
    family::{Family, StableKey, family},
    grammar::{Grammar, LineTime, Spoken},
    netcode::NetcodeLayout,
};
