//! The console: that it is served where operators are, that it asks for what the API answers, and that
//! nothing it is told can become markup or script.

use std::collections::BTreeSet;
use std::process::Command;

use hyper::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use hyper::{Method, StatusCode};
use ringback::console;
use ringback::http::Client;

use crate::support::{Home, TOKEN, free_port};

const SCRIPT: &str = include_str!("../../src/console/console.js");
const PAGE: &str = include_str!("../../src/console/page.html");

#[test]
fn each_file_that_the_page_names_is_served_under_a_policy_that_forbids_all_others() {
    let named = PAGE.split(['"']).filter(|part| [".css", ".js"].iter().any(|end| part.ends_with(end)));
    let paths: BTreeSet<String> = named.map(|name| format!("/{name}")).chain(["/".to_owned()]).collect();
    assert_eq!(paths.len(), 3, "{paths:?}");
    for path in paths {
        let answer = console::answer(&Method::GET, &path).expect("it is served");
        assert_eq!(answer.status(), StatusCode::OK);
        let header = |name| answer.headers()[&name].to_str().unwrap().to_owned();
        let expected = match path.rsplit_once('.').map(|(_, end)| end) {
            Some("css") => "text/css",
            Some("js") => "text/javascript",
            _ => "text/html",
        };
        assert_eq!(header(CONTENT_TYPE), format!("{expected}; charset=utf-8"), "{path}");
        let policy = header(CONTENT_SECURITY_POLICY);
        for rule in
            ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"]
        {
            assert!(policy.split("; ").any(|part| part == rule), "{policy}");
        }
        let refused = console::answer(&Method::POST, &path).expect("it is known");
        assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
    assert!(console::answer(&Method::GET, "/page.html").is_none());
    // What such a policy would stop is not there either.
    for forbidden in ["<script>", " style=", " onclick=", "http://", "https://"] {
        assert!(!PAGE.contains(forbidden), "{forbidden}");
    }
}

#[test]
fn the_script_makes_text_of_what_it_is_told() {
    for markup in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        "javascript:",
    ] {
        assert!(!SCRIPT.contains(markup), "{markup}");
    }
}

/// The paths that the script asks for are in pieces of text: what is between them is variable.
#[test]
fn what_the_script_asks_for_is_answered() {
    let routes: Vec<Vec<&str>> =
        ringback::api::routes().map(|route| route.path.split('/').collect()).collect();
    let mut asked = 0;
    for (at, _) in SCRIPT.match_indices("/v1/") {
        let quote = SCRIPT[..at].chars().next_back().unwrap();
        let path = SCRIPT[at..].split(quote).next().unwrap();
        let segments: Vec<&str> = path.split('/').collect();
        let fits = |route: &Vec<&str>| {
            route.len() == segments.len()
                && route.iter().zip(&segments).all(|(known, asked)| {
                    // `${what}` stands for the last segments of several routes.
                    known == asked || (asked.starts_with("${") && asked.ends_with('}'))
                })
        };
        assert!(routes.iter().any(fits), "{path} is no route");
        asked += 1;
    }
    assert!(asked >= 12, "{asked}");
}

#[test]
fn the_script_is_one_that_engines_read() {
    let folder = tempfile::tempdir().unwrap();
    // The ending says that it is a module.
    let script = folder.path().join("console.mjs");
    std::fs::write(&script, SCRIPT).unwrap();
    let checked = Command::new("node").arg("--check").arg(&script).output().expect("tests/run installs node");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_where_operators_are_with_what_it_asks_for_and_without_providers() {
    let client = Client::new();
    let authorization = format!("Bearer {TOKEN}");
    let headers = [("authorization", authorization.as_str())];
    let home = Home::new("");
    let process = home.start();
    let get = async |url: String| client.send("GET", &url, &headers, "").await.unwrap();
    assert_eq!(get(home.url("/")).await, (StatusCode::OK, PAGE.into()));
    assert_eq!(get(home.url("/console.js")).await, (StatusCode::OK, SCRIPT.into()));
    drop(process);

    let port = free_port();
    home.configure("");
    let config = std::fs::read_to_string(home.path("ringback.toml")).unwrap();
    let config = format!("operator_listen = \"127.0.0.1:{port}\"\n{config}");
    std::fs::write(home.path("ringback.toml"), config).unwrap();
    let process = home.start();
    let there = |path: &str| format!("http://127.0.0.1:{port}{path}");
    assert_eq!(get(there("/")).await.0, StatusCode::OK);
    assert_eq!(get(there("/v1/deliveries")).await.0, StatusCode::OK);
    assert_eq!(get(there("/openapi.json")).await.0, StatusCode::OK);
    assert_eq!(get(there("/healthz")).await.0, StatusCode::OK);
    let (status, _) = client.send("GET", &there("/v1/deliveries"), &[], "").await.unwrap();
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(get(there("/v1/ingest/dialer")).await.0, StatusCode::NOT_FOUND);
    for path in ["/", "/console.js", "/healthz"] {
        assert_eq!(get(home.url(path)).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(get(home.url("/v1/deliveries")).await.0, StatusCode::OK);
    drop(process);
}
