//! TLS: whom we trust, what is wrong, HTTP/2.

use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame};
use hyper::{Response, Version};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use ringback::delivery::client::CONNECT_LIMIT;
use ringback::delivery::{Client, ClientSettings};
use ringback::store::OutcomeKind;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

use super::receiver::{Receiver, answer, attempt, client, client_trusting, closed};

const AMPLE: Duration = Duration::from_mins(1);

/// An authority of our own, in a file.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    dir: TempDir,
}

impl Authority {
    fn new() -> Self {
        Self::named("ours")
    }

    fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { issuer: Issuer::new(params, key), dir }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A certificate for these names, changed so.
    fn certify(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.der().clone(), PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())))
    }

    fn server(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> ServerConfig {
        let (certificate, key) = self.certify(names, change);
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap()
    }

    fn acceptor(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> TlsAcceptor {
        TlsAcceptor::from(Arc::new(self.server(names, change)))
    }

    /// A server that offers HTTP/2.
    fn h2_acceptor(&self) -> TlsAcceptor {
        let mut config = self.server(&["localhost"], |_| ());
        config.alpn_protocols = vec![b"h2".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

fn localhost(receiver: &Receiver) -> String {
    format!("https://localhost:{}/hook", receiver.address.port())
}

#[tokio::test]
async fn an_authority_of_a_ca_file_is_trusted() {
    let authority = Authority::new();
    let receiver = Receiver::https(authority.acceptor(&["localhost"], |_| ()), |_| answer(200, "ok")).await;
    let client = client_trusting(authority.file());
    let attempt = attempt(&client, &localhost(&receiver), AMPLE).await;
    assert_eq!((attempt.outcome, attempt.error), (OutcomeKind::Delivered, None));
    assert_eq!(receiver.seen()[0].version, Version::HTTP_11);
}

#[tokio::test]
async fn a_certificate_may_name_an_address() {
    let authority = Authority::new();
    let receiver = Receiver::https(authority.acceptor(&["127.0.0.1"], |_| ()), |_| answer(200, "ok")).await;
    let url = format!("https://{}/", receiver.address);
    let attempt = attempt(&client_trusting(authority.file()), &url, AMPLE).await;
    assert_eq!((attempt.outcome, attempt.error), (OutcomeKind::Delivered, None));
}

#[tokio::test]
async fn each_bad_certificate_says_what_is_wrong_and_gets_no_request() {
    let authority = Authority::new();
    let expired = authority.acceptor(&["localhost"], |params| params.not_after = date_time_ymd(2020, 1, 1));
    let early = authority.acceptor(&["localhost"], |params| params.not_before = date_time_ymd(4000, 1, 1));
    let other_name = authority.acceptor(&["other.example"], |_| ());
    let stranger = Authority::named("a stranger").acceptor(&["localhost"], |_| ());
    for (acceptor, words) in [
        (expired, "TLS: the receiver's certificate has expired"),
        (early, "TLS: the receiver's certificate is not valid yet"),
        (other_name, "TLS: the receiver's certificate is for another name"),
        (stranger, "TLS: the receiver's certificate is not signed by an authority that is trusted here"),
    ] {
        let receiver = Receiver::https(acceptor, |_| answer(200, "")).await;
        let attempt = attempt(&client_trusting(authority.file()), &localhost(&receiver), AMPLE).await;
        assert_eq!((attempt.outcome, attempt.status), (OutcomeKind::Tls, None), "{words}");
        assert_eq!(attempt.error.as_deref(), Some(words));
        assert!(receiver.seen().is_empty());
    }
}

#[tokio::test]
async fn what_does_not_speak_tls_is_a_tls_error() {
    for hangs_up in [true, false] {
        let receiver = Receiver::raw(move |mut stream, _| async move {
            if !hangs_up {
                stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
                closed(&mut stream).await;
            }
        })
        .await;
        let attempt = attempt(&client(), &localhost(&receiver), AMPLE).await;
        assert_eq!((attempt.outcome, attempt.status), (OutcomeKind::Tls, None), "{:?}", attempt.error);
    }
    // And the other way round: a TLS server that is spoken to in plain HTTP.
    let authority = Authority::new();
    let receiver = Receiver::https(authority.acceptor(&["localhost"], |_| ()), |_| answer(200, "")).await;
    let attempt = attempt(&client(), &receiver.url("/"), AMPLE).await;
    assert_eq!(attempt.outcome, OutcomeKind::Connection, "{:?}", attempt.error);
}

#[tokio::test]
async fn a_receiver_that_wants_a_client_certificate_says_so() {
    let authority = Authority::new();
    let (certificate, key) = authority.certify(&["localhost"], |_| ());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let receiver = Receiver::https(acceptor, |_| answer(200, "")).await;
    let attempt = attempt(&client_trusting(authority.file()), &localhost(&receiver), AMPLE).await;
    assert_eq!((attempt.outcome, attempt.status), (OutcomeKind::Tls, None), "{:?}", attempt.error);
    let words = "TLS: the receiver demands a certificate of its client, and Ringback has none";
    assert_eq!(attempt.error.as_deref(), Some(words));
}

#[tokio::test]
async fn a_stalled_handshake_costs_the_connect_deadline() {
    let receiver = Receiver::raw(|mut stream, _| async move { closed(&mut stream).await }).await;
    let start = Instant::now();
    let attempt = attempt(&client(), &localhost(&receiver), Duration::from_secs(15)).await;
    let elapsed = start.elapsed();
    assert!(elapsed >= CONNECT_LIMIT && elapsed < Duration::from_secs(14), "{elapsed:?}");
    assert_eq!((attempt.outcome, attempt.status), (OutcomeKind::Timeout, None));
    assert_eq!(attempt.error.unwrap(), "the TLS handshake took longer than 5s");
}

#[tokio::test]
async fn deliveries_over_http2_share_a_connection() {
    let authority = Authority::new();
    let receiver = Receiver::https(authority.h2_acceptor(), |seen| answer(200, seen.body.clone())).await;
    let client = client_trusting(authority.file());
    let url = localhost(&receiver);
    attempt(&client, &url, AMPLE).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (client, url) = (client.clone(), url.clone());
        tasks.spawn(async move { attempt(&client, &url, AMPLE).await });
    }
    for attempt in tasks.join_all().await {
        assert_eq!((attempt.outcome, attempt.error), (OutcomeKind::Delivered, None));
        assert_eq!(attempt.response, "{}");
    }
    let seen = receiver.seen();
    assert_eq!(seen.len(), 51);
    for seen in &seen {
        assert_eq!(seen.version, Version::HTTP_2);
        assert_eq!(seen.uri.path(), "/hook");
        assert_eq!(seen.header("content-length"), "2");
        assert_eq!(seen.header("x-customer"), "7");
        assert!(!seen.headers.contains_key("connection"));
    }
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn an_http2_connection_that_hangs_is_not_met_again() {
    let authority = Authority::new();
    let hang = Arc::new(AtomicBool::new(false));
    let hangs = Arc::clone(&hang);
    let receiver = Receiver::https(authority.h2_acceptor(), move |_| {
        if !hangs.load(Ordering::SeqCst) {
            return answer(200, "");
        }
        Response::new(Endless.boxed())
    })
    .await;
    let client = client_trusting(authority.file());
    let url = localhost(&receiver);
    assert_eq!(attempt(&client, &url, AMPLE).await.outcome, OutcomeKind::Delivered);
    hang.store(true, Ordering::SeqCst);
    assert_eq!(attempt(&client, &url, Duration::from_millis(400)).await.outcome, OutcomeKind::Timeout);
    hang.store(false, Ordering::SeqCst);
    assert_eq!(attempt(&client, &url, AMPLE).await.outcome, OutcomeKind::Delivered);
    let connections: Vec<_> = receiver.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [1, 1, 2]);
}

#[tokio::test]
async fn sessions_are_resumed() {
    let authority = Authority::new();
    let acceptor = authority.acceptor(&["localhost"], |_| ());
    let resumed = Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = Arc::clone(&resumed);
    let receiver = Receiver::raw(move |stream, _| {
        let (acceptor, kept) = (acceptor.clone(), Arc::clone(&kept));
        async move {
            let mut stream = acceptor.accept(stream).await.unwrap();
            kept.lock().unwrap().push(stream.get_ref().1.handshake_kind());
            let mut request = [0; 4096];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut request).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    })
    .await;
    let client = client_trusting(authority.file());
    for _ in 0..2 {
        assert_eq!(attempt(&client, &localhost(&receiver), AMPLE).await.outcome, OutcomeKind::Delivered);
    }
    assert_eq!(
        *resumed.lock().unwrap(),
        [Some(rustls::HandshakeKind::Full), Some(rustls::HandshakeKind::Resumed)]
    );
}

#[test]
fn a_ca_file_that_cannot_be_used_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty.pem");
    std::fs::write(&empty, "no certificate here").unwrap();
    let broken = dir.path().join("broken.pem");
    std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    for (path, words) in
        [(dir.path().join("absent.pem"), ""), (empty, "it holds no certificate"), (broken, "")]
    {
        let settings = ClientSettings { ca_files: vec![path.clone()], ..ClientSettings::default() };
        let error = Client::new(settings).unwrap_err().to_string();
        let start = format!("the CA file `{}` cannot be used: ", path.display());
        assert!(error.starts_with(&start) && error.len() > start.len(), "{error}");
        assert!(error.ends_with(words), "{error}");
    }
}

/// A body that never comes to its end.
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}
