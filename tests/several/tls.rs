//! A Redis that speaks TLS, and a Cluster that does, with a certificate of an authority of one's own.

use hyper::StatusCode;
use ringback::http::Client;

use super::callback;
use crate::redis_cluster::RedisCluster;
use crate::redis_server::RedisServer;
use crate::redis_tls::Authority;
use crate::support::{Home, OPEN_DIALER, Receiver};

/// Delivers over a store at `url` if it is told to trust the authority, and refuses to start if not.
async fn is_trusted_by_its_authority_only(url: &str, authority: &Authority) {
    let home = Home::with_store(url, OPEN_DIALER);
    let process = home.start_with(&[("SSL_CERT_FILE", authority.certificate().as_path())]);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_with_tls_is_trusted_by_its_authority_only() {
    let authority = Authority::new();
    let server = RedisServer::with_tls(|port| authority.settings(port));
    let url = format!("rediss://127.0.0.1:{}/0", server.tls_port());
    is_trusted_by_its_authority_only(&url, &authority).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_with_tls_is_trusted_by_its_authority_only() {
    let authority = Authority::new();
    let cluster = RedisCluster::with_tls(&authority);
    // The others are told of by the one that is named, and spoken to with TLS as well.
    let url = format!("rediss-cluster://127.0.0.1:{}", cluster.masters[1].tls_port());
    is_trusted_by_its_authority_only(&url, &authority).await;
    for master in &cluster.masters {
        assert_ne!(master.ask(&[b"DBSIZE"]), b":0\r\n", "each has its shards");
    }
}
