//! Sessions, phases and players of one server: what its games' events and the kernel's counts mean together.
//!
//! `machine` moves sessions and phases, `roster` knows who plays, `phase` which step may follow which, `resources` what
//! was used between two moments, `transitions` what it costs to get from one phase to the next, `traffic` which flow is
//! whose, `players` is the list of them that readers get, `rooms` how a process is shared among rooms, `model` feeds them, `picture` shows them, `ask`
//! answers questions about pictures. Pure: events and figures in, pictures out; no I/O and no clock.

pub mod ask;
pub mod machine;
pub mod model;
pub mod phase;
pub mod picture;
pub mod players;
pub mod resources;
pub mod rooms;
pub mod roster;
pub mod traffic;
pub mod transitions;

pub use self::{
    machine::{Life, Machine, Step},
    model::{GameInterval, SessionModel},
    picture::GameSnapshot,
    players::PlayerList,
    resources::{Course, Moment, Resources},
    roster::{Player, PlayerNumber, Roster},
};
