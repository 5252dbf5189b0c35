//! TLS towards receivers: whom we trust, and what is wrong in words.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{CertificateError, ClientConfig, RootCertStore};

/// Receivers whose sessions are remembered, so that the next handshake is a short one.
const MAX_SESSIONS: usize = 1024;

/// A file of authorities that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the CA file `{}` cannot be used: {reason}", path.display())]
pub struct InvalidCaFile {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: CaProblem,
}

/// What is wrong with a file of authorities.
#[derive(Debug, thiserror::Error)]
pub enum CaProblem {
    /// It cannot be read, or is not PEM.
    #[error("{0}")]
    Pem(#[source] pem::Error),
    /// A certificate in it is not one.
    #[error("{0}")]
    Certificate(#[source] rustls::Error),
    /// There is no certificate in it.
    #[error("it holds no certificate")]
    Empty,
}

/// A handshake that failed.
#[derive(Debug, thiserror::Error)]
#[error("TLS: {}", words(.0))]
pub struct TlsError(#[source] pub(super) io::Error);

/// The configuration of every connection.
pub(super) fn client_config(ca_files: &[PathBuf]) -> Result<Arc<ClientConfig>, InvalidCaFile> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(native.certs);
    for path in ca_files {
        add_file(&mut roots, path).map_err(|reason| InvalidCaFile { path: path.clone(), reason })?;
    }
    if roots.is_empty() {
        tracing::warn!("no trusted authorities were found: deliveries over https will fail");
    }
    // The provider is named: with two of them compiled in, rustls refuses to guess.
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring supports the default protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.resumption = Resumption::in_memory_sessions(MAX_SESSIONS);
    Ok(Arc::new(config))
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), CaProblem> {
    let mut any = false;
    for certificate in CertificateDer::pem_file_iter(path).map_err(CaProblem::Pem)? {
        roots.add(certificate.map_err(CaProblem::Pem)?).map_err(CaProblem::Certificate)?;
        any = true;
    }
    if any { Ok(()) } else { Err(CaProblem::Empty) }
}

fn words(error: &io::Error) -> String {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return format!("the connection broke during the handshake: {error}");
    };
    match tls {
        rustls::Error::InvalidCertificate(problem) => match problem {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the receiver's certificate has expired".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the receiver's certificate is not valid yet".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the receiver's certificate is for another name".to_owned()
            }
            CertificateError::UnknownIssuer => {
                "the receiver's certificate is not signed by an authority that is trusted here".to_owned()
            }
            other => format!("the receiver's certificate is refused: {other}"),
        },
        rustls::Error::InvalidMessage(_) => "the receiver does not speak TLS on this port".to_owned(),
        rustls::Error::AlertReceived(alert) => format!("the receiver ended the handshake: {alert:?}"),
        other => other.to_string(),
    }
}
