//! QUIC by `quinn`.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use anyhow::Result;
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig, TransportConfig, rustls::RootCertStore,
};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::time::MissedTickBehavior;

use super::{MESSAGE, Peer};

const NAME: &str = "arena.test";
/// The spin bit turns with what is sent: a server that sends seldom lengthens every turn by its tick.
pub const TICK: Duration = Duration::from_millis(2);

/// A certificate for the server, and what its clients trust.
pub struct Identity {
    server: ServerConfig,
    client: ClientConfig,
}

impl Identity {
    /// Both sides with the spin bit allowed.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn new() -> Result<Self> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([NAME.to_string()])?;
        let mut transport = TransportConfig::default();
        transport.allow_spin(true);
        let transport = Arc::new(transport);
        let key = signing_key
            .serialize_der()
            .try_into()
            .map_err(anyhow::Error::msg)?;
        let mut server = ServerConfig::with_single_cert(vec![cert.der().clone()], key)?;
        server.transport_config(Arc::clone(&transport));
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone())?;
        let mut client = ClientConfig::with_root_certificates(Arc::new(roots))?;
        client.transport_config(transport);
        Ok(Self { server, client })
    }

    /// A server that sends each client a datagram every [`TICK`]. RFC 9000 has every endpoint leave the spin bit to
    /// chance on some of its connections: `seed` decides on which.
    ///
    /// # Errors
    /// When its port cannot be opened.
    pub fn server(&self, seed: u8) -> Result<Peer> {
        let config = self.server.clone();
        Peer::start_async("quic-server", move |said| {
            Box::pin(async move {
                let endpoint = endpoint(Some(config), seed)?;
                said.send(endpoint.local_addr()?)?;
                while let Some(incoming) = endpoint.accept().await {
                    tokio::spawn(async move {
                        if let Ok(connection) = incoming.await {
                            speak(&connection).await;
                        }
                    });
                }
                Ok(())
            })
        })
    }

    /// A client that answers each datagram at once.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn client(&self, to: SocketAddr, seed: u8) -> Result<Peer> {
        let config = self.client.clone();
        Peer::start_async("quic-client", move |said| {
            Box::pin(async move {
                let endpoint = endpoint(None, seed)?;
                said.send(endpoint.local_addr()?)?;
                let connection = endpoint.connect_with(config, to, NAME)?.await?;
                while connection.read_datagram().await.is_ok() {
                    connection.send_datagram(MESSAGE.into())?;
                }
                Ok(())
            })
        })
    }
}

fn endpoint(server: Option<ServerConfig>, seed: u8) -> Result<Endpoint> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut config = EndpointConfig::default();
    config.rng_seed(Some([seed; 32]));
    let runtime = quinn::default_runtime().ok_or_else(|| anyhow::anyhow!("no runtime"))?;
    Ok(Endpoint::new(config, server, socket, runtime)?)
}

async fn speak(connection: &Connection) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while connection.send_datagram(MESSAGE.into()).is_ok() {
        tick.tick().await;
    }
}
