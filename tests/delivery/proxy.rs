//! Deliveries through an HTTP proxy.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringback::delivery::client::Proxy;
use ringback::delivery::{Client, ClientSettings};
use ringback::store::OutcomeKind;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;

use super::receiver::{Receiver, answer, attempt, closed, loopback, read_request};

const AMPLE: Duration = Duration::from_mins(1);

/// A proxy that answers each CONNECT so and, if that is 200, opens the tunnel; and the heads of
/// what it was asked.
async fn proxy(status: &'static str) -> (Receiver, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&asked);
    let proxy = Receiver::raw(move |mut stream, _| {
        let kept = Arc::clone(&kept);
        async move {
            let request = read_request(&mut stream).await;
            kept.lock().unwrap().push(request.clone());
            let answer = format!("HTTP/1.1 {status}\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            if status.starts_with("200") {
                let target = request.split(' ').nth(1).unwrap();
                let mut target = TcpStream::connect(target).await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut target).await;
            }
        }
    })
    .await;
    (proxy, asked)
}

fn client_through(proxy: &str) -> Client {
    let settings = ClientSettings {
        policy: loopback(),
        proxy: Some(Proxy::parse(proxy).unwrap()),
        ..ClientSettings::default()
    };
    Client::new(settings).unwrap()
}

#[tokio::test]
async fn the_proxy_is_asked_for_the_checked_address() {
    let receiver = Receiver::http(|_| answer(200, "through")).await;
    let (proxy, asked) = proxy("200 Connection established").await;
    let client = client_through(&format!("http://user:p%40ss@{}", proxy.address));
    for _ in 0..2 {
        let url = format!("http://localhost:{}/hook?q=1", receiver.address.port());
        let attempt = attempt(&client, &url, AMPLE).await;
        assert_eq!((attempt.outcome, attempt.error), (OutcomeKind::Delivered, None));
        assert_eq!(attempt.response, "through");
    }
    let asked = asked.lock().unwrap();
    let [request] = &asked[..] else { panic!("the tunnel is used again: {asked:?}") };
    assert!(request.starts_with(&format!("CONNECT {} HTTP/1.1\r\n", receiver.address)), "{request}");
    assert!(request.contains("proxy-authorization: Basic dXNlcjpwQHNz\r\n"), "{request}");
    // The receiver sees an ordinary request, and nothing of the proxy's credentials.
    let seen = receiver.seen();
    assert_eq!(seen[0].uri, "/hook?q=1");
    assert_eq!(seen[0].header("host"), format!("localhost:{}", receiver.address.port()));
    assert!(!seen[0].headers.contains_key("proxy-authorization"));
}

#[tokio::test]
async fn a_refused_address_is_not_asked_for() {
    let (proxy, _) = proxy("200 Connection established").await;
    let client = client_through(&format!("http://{}", proxy.address));
    let attempt = attempt(&client, "http://169.254.169.254/latest/", AMPLE).await;
    assert_eq!(attempt.outcome, OutcomeKind::AddressRefused);
    assert_eq!(proxy.connections(), 0);
}

#[tokio::test]
async fn a_proxy_that_refuses_is_a_connection_error() {
    let (proxy, _) = proxy("407 Proxy Authentication Required").await;
    let client = client_through(&format!("http://user:hunter2@{}", proxy.address));
    let attempt = attempt(&client, "http://127.0.0.1:9/", AMPLE).await;
    // Port 9 is refused before anything else.
    assert_eq!(attempt.outcome, OutcomeKind::Unsendable);
    assert_eq!(proxy.connections(), 0);

    let attempt = super::receiver::attempt(&client, "http://127.0.0.1:9999/", AMPLE).await;
    assert_eq!((attempt.outcome, attempt.status), (OutcomeKind::Connection, None));
    let error = attempt.error.unwrap();
    assert_eq!(error, "the proxy refused the connection with 407 Proxy Authentication Required");
}

#[tokio::test]
async fn a_proxy_that_is_away_or_stalls_is_told_from_the_receiver() {
    // Bound, so that nobody else gets the port meanwhile, and not listening.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let client = client_through(&format!("http://user:hunter2@{address}"));
    let attempt = attempt(&client, "http://127.0.0.1:9999/", AMPLE).await;
    assert_eq!(attempt.outcome, OutcomeKind::Connection);
    let error = attempt.error.unwrap();
    assert!(error.starts_with("no connection to the proxy: ") && !error.contains("hunter2"), "{error}");

    let stalled = Receiver::raw(|mut stream, _| async move { closed(&mut stream).await }).await;
    let client = client_through(&format!("http://{}", stalled.address));
    let attempt =
        super::receiver::attempt(&client, "http://127.0.0.1:9999/", Duration::from_millis(400)).await;
    assert_eq!(attempt.outcome, OutcomeKind::Timeout);
}
