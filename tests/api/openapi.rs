//! The OpenAPI document, held against the routes, and the isolation of accounts, made from them.

use std::collections::BTreeSet;
use std::time::Duration;

use hyper::StatusCode;
use ringback::config::TokenHash;
use ringback::http::Client;
use serde_json::{Map, Value, json};

use super::problems;
use crate::support::{Home, OPEN_DIALER, Receiver, TOKEN, source};

const STRANGER: &str = "rbk_token-of-a-stranger";

/// What the document has beside the customers' routes.
const OTHERS: [(&str, &str); 6] = [
    ("get", "/healthz"),
    ("get", "/metrics"),
    ("get", "/openapi.json"),
    ("get", "/readyz"),
    ("get", "/v1/ingest/{source}"),
    ("post", "/v1/ingest/{source}"),
];

fn document() -> Value {
    serde_json::from_str(ringback::api::DOCUMENT).unwrap()
}

#[test]
fn the_document_has_every_route_with_its_parameters_and_no_other() {
    let document = document();
    let mut documented: BTreeSet<(String, String, Vec<String>)> = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters")
        {
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{operation}");
            if OTHERS.contains(&(method.as_str(), path.as_str())) {
                continue;
            }
            assert!(
                operation["responses"]["401"].is_object() && operation["responses"]["default"].is_object()
            );
            assert!(!path.contains("{id}") || item["parameters"][0]["name"] == "id", "{path}");
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let mut queries: Vec<String> = parameters
                .filter(|parameter| parameter["in"] == "query")
                .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
                .collect();
            queries.sort();
            documented.insert((method.to_uppercase(), path.clone(), queries));
        }
    }
    let routed: BTreeSet<_> = ringback::api::routes()
        .map(|route| {
            let mut queries: Vec<String> = route.parameters.iter().map(|name| (*name).to_owned()).collect();
            queries.sort();
            (route.method.to_owned(), route.path.to_owned(), queries)
        })
        .collect();
    assert_eq!(documented, routed);
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn every_reference_of_the_document_leads_somewhere_and_everything_is_referred_to() {
    fn walk(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    found.insert(reference.clone());
                }
                members.values().for_each(|value| walk(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let document = document();
    let mut references = BTreeSet::new();
    walk(&document, &mut references);
    let mut there = BTreeSet::new();
    for kind in ["schemas", "responses", "parameters"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            there.insert(format!("#/components/{kind}/{name}"));
        }
    }
    assert_eq!(references, there);
}

/// The open dialer, agents that nobody can reach, and an account that owns nothing.
fn with_a_stranger() -> Home {
    Home::new(&format!(
        "{OPEN_DIALER}\n{}[[account]]\nname = \"stranger\"\ntokens = [{{ name = \"t\", sha256 = \"{}\" }}]\n",
        source("agents", "speko", "api = { base_url = \"http://127.0.0.1:1\", token = \"t\" }"),
        TokenHash::of(STRANGER)
    ))
}

async fn send(
    home: &Home,
    client: &Client,
    token: &str,
    method: &str,
    path: &str,
    body: &Value,
) -> (StatusCode, String) {
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str())];
    let body = if method == "GET" { String::new() } else { body.to_string() };
    let (status, answer) = client.send(method, &home.url(path), &headers, body).await.unwrap();
    (status, String::from_utf8(answer.to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_of_the_document_is_known_and_the_document_is_served() {
    let home = with_a_stranger();
    let process = home.start();
    let client = Client::new();
    let (status, served) = client.send("GET", &home.url("/openapi.json"), &[], "").await.unwrap();
    assert_eq!((status, serde_json::from_slice(&served).ok()), (StatusCode::OK, Some(document())));
    let (status, _) = client.send("POST", &home.url("/openapi.json"), &[], "").await.unwrap();
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);

    let callback = json!({
        "callback_url": "https://example.com/", "callback_method": "POST", "callback_data": "{}",
    });
    let registered = home.register(&client, &callback).await;
    let id = registered["id"].as_str().unwrap();
    let event = json!({"call_id": "a-call", "start_at": "2026-03-30 14:27:12"}).to_string();
    client.send("POST", &home.url("/v1/ingest/dialer"), &[], event).await.unwrap();
    for (path, item) in document()["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
            let Some(name) = schema.as_str().and_then(|reference| reference.rsplit('/').next()) else {
                continue;
            };
            let document = document();
            let members = document["components"]["schemas"][name]["properties"].as_object().unwrap();
            // Of nothing, so that nothing else is wrong but what is mandatory; and one that nobody knows.
            let mut body: Map<String, Value> =
                members.keys().map(|name| (name.clone(), Value::Null)).collect();
            body.insert("nobody_knows".to_owned(), Value::Null);
            let id = match path {
                path if path.starts_with("/v1/callbacks") => id,
                path if path.starts_with("/v1/calls") => "a-call",
                _ => "dl_none",
            };
            let path = path.replace("{id}", id).replace("{transfer_id}", "tr_1");
            let (status, answer) =
                home.call(&client, &method.to_uppercase(), &path, Value::Object(body).to_string()).await;
            if status == StatusCode::NOT_FOUND {
                assert!(path.starts_with("/v1/deliveries"), "{method} {path}");
                continue;
            }
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{method} {path}");
            let unknown: Vec<_> =
                problems(&answer).into_iter().filter(|(_, code)| code == "unknown_member").collect();
            assert_eq!(
                unknown,
                [("/nobody_knows".to_owned(), "unknown_member".to_owned())],
                "{method} {path}"
            );
        }
    }
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_anothers_answers_as_what_is_not_there_on_every_route() {
    let home = with_a_stranger();
    let process = home.start();
    let client = Client::new();
    let receiver = Receiver::start(|_, _| StatusCode::OK).await;
    let callback = json!({
        "callback_url": receiver.url(), "callback_method": "POST", "events": ["call.ended"], "callback_data": "{}",
    });
    let registered = home.register(&client, &callback).await;
    let event = json!({"call_id": "their-call", "end_at": "2026-03-30 14:27:12"}).to_string();
    let (_, accepted) = client.send("POST", &home.url("/v1/ingest/dialer"), &[], event).await.unwrap();
    let accepted: Value = serde_json::from_slice(&accepted).unwrap();
    receiver.wait_for(1).await;
    let deliveries = async || home.call(&client, "GET", "/v1/deliveries", "").await.1;
    // The receiver has it before the store knows.
    while deliveries().await["data"][0]["state"] != "delivered" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let delivery = deliveries().await["data"][0]["id"].clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    // Of a day without calls, so that it delivers nothing.
    let request = json!({
        "callback_url": receiver.url(), "callback_method": "POST", "callback_data": "{}", "from": "2999-01-01",
    });
    let (status, requested) = home.call(&client, "POST", "/v1/speech-requests", request.to_string()).await;
    assert_eq!((status, &requested["callIds"]), (StatusCode::CREATED, &json!({})));
    // Of each collection: an id that there is, and one that there never was.
    let ids = [
        ("/v1/callbacks/", text(&registered["id"]), "cb_01JQKZ7T3V6W9X2Y4Z5A6B7C8D"),
        ("/v1/deliveries/", text(&delivery), "dl_01JQKZ7T3V6W9X2Y4Z5A6B7C8D"),
        ("/v1/events/", text(&accepted["event_id"]), "ev_01JQKZ7T3V6W9X2Y4Z5A6B7C8D"),
        ("/v1/calls/", "their-call".to_owned(), "no-call"),
        ("/v1/speech-requests/", text(&requested["speechRequestId"]), "sr_01JQKZ7T3V6W9X2Y4Z5A6B7C8D"),
    ];
    let mut before = Vec::new();
    for (collection, id, _) in &ids {
        let own = send(&home, &client, TOKEN, "GET", &format!("{collection}{id}"), &Value::Null).await;
        assert_eq!(own.0, StatusCode::OK, "{collection}");
        before.push(own);
    }

    for route in ringback::api::routes() {
        let stranger =
            async |path: &str, body: &Value| send(&home, &client, STRANGER, route.method, path, body).await;
        if route.path.contains("{id}") {
            let (_, there, not_there) = ids
                .iter()
                .find(|(collection, ..)| route.path.starts_with(collection))
                .unwrap_or_else(|| panic!("{}: which ids would this path have?", route.path));
            for body in [json!({}), json!({"nobody_knows": 1})] {
                let path = route.path.replace("{transfer_id}", "tr_1");
                let of_another = stranger(&path.replace("{id}", there), &body).await;
                let of_nobody = stranger(&path.replace("{id}", not_there), &body).await;
                assert_eq!(of_another.0, StatusCode::NOT_FOUND, "{} {}", route.method, route.path);
                assert_eq!(of_another, of_nobody, "{} {}", route.method, route.path);
            }
        } else if route.method == "GET" {
            // Without a filter, and with the id of another in each.
            let mut queries = vec![String::new()];
            for (parameter, (_, there, _)) in
                route.parameters.iter().flat_map(|name| ids.iter().map(move |id| (name, id)))
            {
                queries.push(format!("?{parameter}={there}"));
            }
            for query in queries {
                let (_, answer) = stranger(&format!("{}{query}", route.path), &Value::Null).await;
                for (_, there, _) in &ids {
                    assert!(!answer.contains(there.as_str()), "{}{query}: {answer}", route.path);
                }
            }
        }
    }
    for (member, there, not_there) in [("event_id", &ids[2].1, ids[2].2), ("call_id", &ids[3].1, ids[3].2)] {
        let render = async |id: &str| {
            let body = json!({"callback_data": "[{call_id}]", member: id});
            send(&home, &client, STRANGER, "POST", "/v1/templates/render", &body).await
        };
        let of_another = render(there).await;
        assert_eq!(of_another.0, StatusCode::NOT_FOUND);
        assert_eq!(of_another, render(not_there).await);
    }
    // Nothing of it has changed anything.
    for ((collection, id, _), before) in ids.iter().zip(before) {
        let after = send(&home, &client, TOKEN, "GET", &format!("{collection}{id}"), &Value::Null).await;
        assert_eq!(after, before, "{collection}");
    }
    assert_eq!(receiver.seen().len(), 1);
    drop(process);
}
