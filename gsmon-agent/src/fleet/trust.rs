//! Who an agent is: certificates that the configuration trusts, one way or the other.

use std::{path::Path, sync::Arc};

use tokio_rustls::rustls::{
    self, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::reader::ReadError;
use crate::{
    config::AgentEntry,
    serve::tls::{TlsError, provider, read_certificates},
};

/// The client's side of TLS for one agent; its files are read anew, so that a renewed one is noticed.
pub fn client_config(agent: &AgentEntry) -> Result<Arc<ClientConfig>, ReadError> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| ReadError::Tls(error.to_string()))?;
    let mut config = match (&agent.ca_file, &agent.pinned_certificate_file) {
        (_, Some(path)) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned::read(path, provider)?))
            .with_no_client_auth(),
        (Some(path), None) => builder.with_root_certificates(roots(path)?).with_no_client_auth(),
        (None, None) => return Err(ReadError::NoTrust),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn roots(path: &Path) -> Result<RootCertStore, ReadError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(path)? {
        roots.add(certificate).map_err(|error| {
            ReadError::Certificates(TlsError::Certificates {
                path: path.to_owned(),
                message: error.to_string(),
            })
        })?;
    }
    Ok(roots)
}

/// One certificate and no other, whoever signed it and until when it is good: trust is in the file.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    fn read(path: &Path, provider: Arc<CryptoProvider>) -> Result<Self, ReadError> {
        let mut certificates = read_certificates(path)?;
        Ok(Self {
            certificate: certificates.swap_remove(0),
            provider,
        })
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.certificate {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    // That the other side has the certificate's key is shown by these signatures alone.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// What a failed handshake means, and what to do.
pub fn explain(error: &std::io::Error, host: &str) -> String {
    let certificate = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match certificate {
        Some(rustls::Error::InvalidCertificate(problem)) => match problem {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired: renew it (certificate_file of the agent) and send the agent SIGHUP".into()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet: compare the clocks of both hosts".into()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("its certificate is not for `{host}`: use the name in the certificate in url, or pin the certificate")
            }
            CertificateError::ApplicationVerificationFailure => {
                "it shows another certificate than pinned_certificate_file: was it renewed, or is it somebody else?".into()
            }
            CertificateError::UnknownIssuer => {
                "nobody in ca_file has signed its certificate; pin a self-signed one with pinned_certificate_file".into()
            }
            other => format!("its certificate is not trusted ({other:?}); pin a self-signed one with pinned_certificate_file"),
        },
        _ => error.to_string(),
    }
}
