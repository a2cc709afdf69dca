//! TLS of a listener: certificate chain and private key from files, read again on request.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use super::secret::{self, SecretError};

/// Largest file of certificates or keys.
pub const MOST_PEM_BYTES: u64 = 1 << 20;

/// Why TLS cannot be had as configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The private key.
    #[error("the private key of TLS: {0}")]
    Key(#[from] SecretError),
    /// Certificates that cannot be read.
    #[error("cannot read the certificates in {path}: {message}")]
    Certificates {
        /// Which file.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// No certificate in the file.
    #[error(
        "there is no certificate in {path}: it must be PEM, with -----BEGIN CERTIFICATE----- in front of each"
    )]
    NoCertificate {
        /// Which file.
        path: PathBuf,
    },
    /// No private key in the file.
    #[error("there is no private key in {path}: it must be PEM (PKCS#8, PKCS#1 or SEC1) and not encrypted")]
    NoKey {
        /// Which file.
        path: PathBuf,
    },
    /// They do not go together, or are of a kind that rustls does not take.
    #[error("the certificate in {certificate} cannot be used with the key in {key}: {source}")]
    Unusable {
        /// Which file.
        certificate: PathBuf,
        /// Which file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// The cryptography of TLS, on both sides.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The certificates of a PEM file; at least one.
///
/// # Errors
/// Names the file, and what should be in it.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |message: String| TlsError::Certificates {
        path: path.to_owned(),
        message,
    };
    let metadata = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
    if !metadata.is_file() || metadata.len() > MOST_PEM_BYTES {
        return Err(wrong(format!(
            "no regular file of at most {MOST_PEM_BYTES} bytes"
        )));
    }
    let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(error.to_string()))?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate {
            path: path.to_owned(),
        });
    }
    Ok(certificates)
}

/// A certificate chain and its key, in force.
pub struct ServerTls {
    certificate: PathBuf,
    key: PathBuf,
    config: ArcSwap<ServerConfig>,
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        out.debug_struct("ServerTls")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

impl ServerTls {
    /// Reads both files.
    ///
    /// # Errors
    /// Where one cannot be read, or they do not go together.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            config: ArcSwap::from(read(certificate, key)?),
        })
    }

    /// Reads both again. On an error those from before stay in force.
    ///
    /// # Errors
    /// As of [`Self::load`].
    pub fn reload(&self) -> Result<(), TlsError> {
        self.config.store(read(&self.certificate, &self.key)?);
        Ok(())
    }

    /// Takes connections with what is in force now.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.config.load_full().into()
    }
}

fn read(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = read_certificates(certificate)?;
    let bytes = secret::read(key, MOST_PEM_BYTES)?;
    let private =
        PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| TlsError::NoKey { path: key.to_owned() })?;
    let unusable = |source| TlsError::Unusable {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        source,
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
