//! A Redis that speaks TLS, with a certificate of an authority of one's own.

use std::path::Path;

use hyper::StatusCode;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use ringback::http::Client;

use super::{OPEN_DIALER, callback};
use crate::redis_server::RedisServer;
use crate::support::{Home, Receiver, free_port};

/// Writes an authority's certificate (`ca.pem`), and one for a server on loopback with its key.
fn write_certificates(folder: &Path) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority_key = KeyPair::generate().unwrap();
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let server_certificate = server.signed_by(&key, &issuer).unwrap();
    for (name, text) in [
        ("ca.pem", authority_certificate.pem()),
        ("server.pem", server_certificate.pem()),
        ("key.pem", key.serialize_pem()),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_with_tls_is_trusted_by_its_authority_only() {
    let folder = tempfile::tempdir().unwrap();
    write_certificates(folder.path());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let port = free_port();
    let _server = RedisServer::start(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &path("server.pem"),
        "--tls-key-file",
        &path("key.pem"),
        "--tls-ca-cert-file",
        &path("ca.pem"),
        "--tls-auth-clients",
        "no",
    ]);
    let home = Home::with_store(&format!("rediss://127.0.0.1:{port}/0"), OPEN_DIALER);
    let process = home.start_with(&[("SSL_CERT_FILE", folder.path().join("ca.pem").as_path())]);
    let (receiver, client) = (Receiver::start(|_, _| StatusCode::OK).await, Client::new());
    home.register(&client, &callback(&receiver.url())).await;
    let event = r#"{"call_id": "c1", "end_at": "2026-03-30 14:27:12"}"#;
    let (status, _) = client.send("POST", &home.url("/v1/ingest/dialer"), &[], event).await.unwrap();
    assert_eq!(status, StatusCode::OK);
    receiver.wait_for(1).await;
    drop(process);

    // Without it, the start is refused, in words that say why.
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_ringback"))
        .args(["serve", "--config", home.path("ringback.toml").to_str().unwrap()])
        .env_remove("SSL_CERT_FILE")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("UnknownIssuer"), "{message}");
}
