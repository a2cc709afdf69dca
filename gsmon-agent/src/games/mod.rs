//! Game families: what each one's log, query and network tell. One file per family; everything that a game says becomes
//! a [`event::GameEvent`].
//!
//! Not here: what events mean for sessions and players (world), packets and CPU (kernel).

pub mod event;
pub mod grammar;

pub use self::{
    event::{Fact, GameEvent, PlayerRef, Witness},
    grammar::{Grammar, LineTime, Spoken},
};
