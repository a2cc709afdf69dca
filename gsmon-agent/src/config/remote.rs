//! A listener that other hosts may reach: TLS and tokens, always both. The agent has one as `[api.remote]`, the fleet as
//! `[listen.remote]`.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

/// `[api.remote]` of an agent, `[listen.remote]` of a fleet. Everything but the shared key must be given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteSettings {
    /// TCP address.
    pub listen: SocketAddr,
    /// Certificate chain in PEM, the listener's own first.
    pub certificate_file: PathBuf,
    /// Its private key in PEM.
    pub key_file: PathBuf,
    /// File with the tokens of those who may read, in the format of `docs/push.md`.
    pub token_file: PathBuf,
    /// Key of the pseudonyms under which all agents of a fleet tell of players: 32 bytes, the same on every host. Agents
    /// only; without it an agent counts its players for others and does not name them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_key_file: Option<PathBuf>,
}
