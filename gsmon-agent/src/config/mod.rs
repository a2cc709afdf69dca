//! Configuration: TOML with serde, and the same things as a builder for library users.
//!
//! `file` reads and checks a file; `server` says what a game server is and how it is found.

mod file;
mod server;
#[cfg(test)]
mod shipped;

pub use file::{
    AgentSettings, ApiSettings, Config, ConfigError, FieldError, InterfaceSettings, Limits, StatsMode,
    TierTimeouts, XdpMode, duration,
};
pub use server::{Game, GameServer, PortMatch, Protocol};
