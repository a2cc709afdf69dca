//! Agents on loopback, honest ones and others, and what the fleet makes of them.

mod agones;
mod reading;
mod showing;

use std::{
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tokio::sync::watch;

use super::*;
use crate::{
    config::{AgentEntry, FleetSettings, RemoteSettings},
    games::event::PlayerKind,
    privacy::PseudonymKey,
    serve::{
        remote::{RemoteListener, report_router},
        report::AgentReport,
    },
    world::{cell::SnapshotCell, session::ask::tests::a_snapshot, snapshot::Snapshot},
};

pub const TOKEN: &str = "token-token-token-token-token-token";

/// How long the certificate of an agent is good.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    Good,
    Expired,
}

/// A certificate authority, an agent's certificate and a token, as files.
pub struct Site {
    directory: tempfile::TempDir,
}

impl Site {
    pub fn new(validity: Validity) -> Self {
        let site = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        let mut authority = CertificateParams::new(Vec::<String>::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        if validity == Validity::Expired {
            own.not_before = date_time_ymd(2001, 1, 1);
            own.not_after = date_time_ymd(2002, 1, 1);
        }
        let certificate = own.signed_by(&key, &issuer).unwrap();
        site.write("ca.pem", &issuer.as_ref().pem());
        site.write("agent.pem", &certificate.pem());
        site.write("agent.key", &key.serialize_pem());
        site.write("tokens", &format!("# ours\n{TOKEN}\n"));
        site
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub fn remote(&self) -> RemoteSettings {
        RemoteSettings {
            listen: "127.0.0.1:0".parse().unwrap(),
            certificate_file: self.path("agent.pem"),
            key_file: self.path("agent.key"),
            token_file: self.path("tokens"),
            shared_key_file: None,
        }
    }

    pub fn entry(&self, name: &str, address: SocketAddr) -> AgentEntry {
        AgentEntry {
            name: name.into(),
            url: format!("https://{address}"),
            token_file: self.path("tokens"),
            ca_file: Some(self.path("ca.pem")),
            pinned_certificate_file: None,
            instance: None,
        }
    }

    /// An honest agent.
    pub async fn agent(&self, snapshot: Option<Snapshot>) -> Agent {
        let listener = RemoteListener::bind(&self.remote()).await.unwrap();
        let address = listener.address().unwrap();
        let cell = Arc::new(SnapshotCell::default());
        if let Some(snapshot) = snapshot {
            cell.store(snapshot);
        }
        let (stop, stopped) = watch::channel(false);
        let router = report_router(cell.clone(), Some(PseudonymKey::from_bytes(&[7; 32])));
        tokio::spawn(listener.serve(router, stopped));
        Agent {
            address,
            _cell: cell,
            _stop: stop,
        }
    }
}

pub struct Agent {
    pub address: SocketAddr,
    _cell: Arc<SnapshotCell>,
    _stop: watch::Sender<bool>,
}

pub fn settings() -> FleetSettings {
    FleetSettings {
        timeout: Duration::from_millis(1_500),
        most_bytes: 1 << 20,
        ..FleetSettings::default()
    }
}

pub fn reader(entry: AgentEntry) -> AgentReader {
    AgentReader::new(entry, &settings(), Budget::default())
}

/// A fleet of agents with these names.
pub fn fleet_of(names: &[&str]) -> FleetConfig {
    let entry = |name: &&str| AgentEntry {
        name: (*name).into(),
        url: "https://localhost".into(),
        token_file: Path::new("/t").into(),
        ca_file: Some(Path::new("/c").into()),
        pinned_certificate_file: None,
        instance: None,
    };
    FleetConfig {
        agents: names.iter().map(entry).collect(),
        ..FleetConfig::default()
    }
}

/// What an agent says whose one player has this platform id, under a key.
pub fn report_with(platform_id: &str, key: Option<u8>, sequence: u64) -> AgentReport {
    let mut snapshot = a_snapshot();
    snapshot.sequence = sequence;
    let mut players = snapshot.servers[0].game_state.players.told().to_vec();
    players.truncate(2);
    players[0].platform_id = Some(platform_id.into());
    players[0].kind = Some(PlayerKind::Human);
    players[1].kind = Some(PlayerKind::Bot);
    snapshot.servers[0].game_state.players = players.into_iter().collect();
    let key = key.map(|byte| PseudonymKey::from_bytes(&[byte; 32]));
    AgentReport::of(&snapshot, key.as_ref(), Duration::from_secs(0))
}
