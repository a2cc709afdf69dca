//! Configuration: TOML with serde, and the same things as a builder for library users.
//!
//! `file` reads and checks a file; `server` says what a game server is and how it is found; `sources` how to listen to
//! what it says; `netcode` which wire format its players speak; `probe` which of its functions are probed; `discovery`
//! finding servers that nobody configured; `advice` what advice on servers cannot measure; `queue` who waits for a match;
//! `forecast` seasons and events; `regions` where players are; `remote` a
//! listener for other hosts; `fleet` the file of `gsmon fleet`.

mod advice;
mod agones;
mod check;
mod discovery;
mod file;
mod fleet;
mod fleet_source;
mod forecast;
mod history;
mod netcode;
mod probe;
mod queue;
mod regions;
mod remote;
mod server;
#[cfg(test)]
mod shipped;
mod sources;

pub use advice::{AdviceGroup, AdviceRegion, AdviceSettings, PriceSettings};
pub use agones::{AgonesEntry, ScalingSettings, WantedExperience};
pub use discovery::{DiscoveryMode, DiscoverySettings};
pub use file::{
    AgentSettings, ApiSettings, Config, ConfigError, FieldError, InterfaceSettings, Limits, MetricsSettings,
    NetRxTime, PrivacySettings, PushSettings, SessionSeries, StatsMode, TierTimeouts, XdpMode, duration,
};
pub use fleet::{
    AgentEntry, AgentPlace, DEFAULT_FLEET_SOCKET, DEFAULT_REMOTE_PORT, FleetConfig, FleetListen,
    FleetSettings, MOST_AGENTS,
};
pub use fleet_source::FleetSourceSettings;
pub use forecast::{AnnouncedEvent, ForecastSettings};
pub use history::{HistorySettings, HistoryWriting};
pub use netcode::{
    ByteOrder, CustomNetcode, Expected, FromClient, NetcodeSampling, NetcodeSetting, Place, PortKey, ToClient,
};
pub use probe::{ProbeMeasure, ProbePlace, ProbeSettings};
pub use queue::{QueueFields, QueueMode, QueueSettings};
pub use regions::{
    LatencyBand, NetworkListError, RegionSettings, check_name as check_region_name, parse_networks,
};
pub use remote::RemoteSettings;
pub use server::{Game, GameServer, PortMatch, Protocol};
pub use sources::{
    Companion, GrammarRule, GrammarSettings, HttpFields, LogSettings, LogStart, QueryProtocol, QuerySettings,
    RuleEvent, RuleKind, SessionBounds, SessionSettings, Stdin,
};
