//! TLS towards receivers: whom we trust, and what is wrong in words.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};

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
#[error("{}", handshake_words(.0))]
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

fn handshake_words(error: &io::Error) -> String {
    match cause(error) {
        Some(cause) => words(cause),
        None => format!("TLS: the connection broke during the handshake: {error}"),
    }
}

/// The TLS error that an error of reading or writing carries.
pub(super) fn cause(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// What is wrong, without rustls' terms where there are plain ones.
pub(super) fn words(error: &rustls::Error) -> String {
    let words = match error {
        rustls::Error::InvalidCertificate(problem) => match problem {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the receiver's certificate has expired"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the receiver's certificate is not valid yet"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the receiver's certificate is for another name"
            }
            CertificateError::UnknownIssuer => {
                "the receiver's certificate is not signed by an authority that is trusted here"
            }
            other => return format!("TLS: the receiver's certificate is refused: {other}"),
        },
        rustls::Error::InvalidMessage(_) => "the receiver does not speak TLS on this port",
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the receiver demands a certificate of its client, and Ringback has none"
        }
        rustls::Error::AlertReceived(alert) => return format!("TLS: the receiver refused: {alert:?}"),
        other => return format!("TLS: {other}"),
    };
    format!("TLS: {words}")
}
