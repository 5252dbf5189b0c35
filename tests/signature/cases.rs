//! Near-misses, and what only looks like one: each case changes a valid request in one way. All of
//! them are judged twice, by the verifier of a source and by `ringback verify`.

use std::collections::{BTreeMap, BTreeSet};

use hyper::header::{HeaderName, HeaderValue};
use jiff::Timestamp;
use ringback::command::verify;
use ringback::config::Environment;

use super::Vector;

/// One change of the vector `of`. What is not named stays; `twice` adds a header to those that are
/// there. Either it is `valid` all the same, or the reason holds `refused`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    of: String,
    change: String,
    #[serde(default)]
    valid: bool,
    #[serde(default)]
    refused: String,
    verify: Option<String>,
    method: Option<String>,
    url: Option<String>,
    content_type: Option<String>,
    headers: Option<BTreeMap<String, String>>,
    twice: Option<(String, String)>,
    body: Option<String>,
    /// An address; empty if nobody knows it.
    from: Option<String>,
    #[serde(default)]
    after: i64,
}

impl Case {
    fn all() -> Vec<Self> {
        serde_json::from_str(include_str!("cases.json")).unwrap()
    }

    fn vector(&self) -> Vector {
        let mut vectors = Vector::all().into_iter().chain(Vector::shown());
        let vector = vectors.find(|vector| vector.name == self.of);
        let mut vector = vector.unwrap_or_else(|| panic!("there is no vector {}", self.of));
        let replace = |place: &mut String, with: &Option<String>| {
            if let Some(with) = with {
                place.clone_from(with);
            }
        };
        replace(&mut vector.verify, &self.verify);
        replace(&mut vector.method, &self.method);
        replace(&mut vector.url, &self.url);
        replace(&mut vector.content_type, &self.content_type);
        replace(&mut vector.body, &self.body);
        vector.headers = self.headers.clone().unwrap_or(vector.headers);
        if let Some(from) = &self.from {
            vector.from = from.parse().ok();
        }
        vector
    }
}

/// What `ringback verify` says of the request: its exit code and its line.
fn verdict(vector: &Vector, twice: Option<&(String, String)>, at: i64) -> (u8, String) {
    let header = |(name, value): (&String, &String)| format!("{name}: {value}");
    let mut headers: Vec<String> = vector.headers.iter().map(header).collect();
    headers.extend(twice.map(|(name, value)| format!("{name}: {value}")));
    if !vector.content_type.is_empty() {
        headers.push(format!("content-type: {}", vector.content_type));
    }
    let arguments = verify::Arguments {
        verify: vector.table(),
        method: vector.method.clone(),
        url: vector.url.clone(),
        from: vector.from,
        headers,
        at: Some(at),
        file: "-".into(),
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut body = vector.body.as_bytes();
    let code = verify::run(&arguments, &Environment::default(), &mut body, &mut out, &mut err);
    out.extend(err);
    (code, String::from_utf8(out).unwrap())
}

/// What is wrong with the verdicts on a case.
fn wrong(case: &Case) -> Option<String> {
    let vector = case.vector();
    let mut request = vector.request();
    if let Some((header, value)) = &case.twice {
        let value = HeaderValue::from_str(value).unwrap();
        request.headers.append(header.parse::<HeaderName>().unwrap(), value);
    }
    let now = Timestamp::from_second(vector.at(case.after)).unwrap();
    let verified = vector.verifier().verify_from(vector.from, request, now);
    let (code, line) = verdict(&vector, case.twice.as_ref(), vector.at(case.after));
    let reason = verified.err().map(|refused| refused.to_string());
    let right = match &reason {
        None => case.valid && code == 0 && line.starts_with("valid"),
        Some(reason) => {
            let told = line == format!("refused: {reason}\n") && !reason.contains(&vector.secret);
            !case.valid && code == 1 && told && reason.contains(&case.refused)
        }
    };
    (!right).then(|| format!("{}, {}: {reason:?}; on the command line {code}: {line}", case.of, case.change))
}

#[test]
fn every_case_has_its_verdict() {
    let cases = Case::all();
    for case in &cases {
        assert!(case.valid == case.refused.is_empty(), "{} is to be valid or refused", case.change);
    }
    let wrong: Vec<String> = cases.iter().filter_map(wrong).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_vector_is_valid_on_the_command_line() {
    for vector in Vector::all().into_iter().chain(Vector::shown()) {
        let (code, line) = verdict(&vector, None, vector.at(0));
        assert_eq!(code, 0, "{}: {line}", vector.name);
    }
}

/// A scheme that nothing speaks of here would be one that nobody has tried.
#[test]
fn every_scheme_has_near_misses() {
    let scheme = |table: &str| {
        let (_, behind) = table.split_once("scheme = \"").unwrap();
        behind.split('"').next().unwrap().to_owned()
    };
    let cases = Case::all();
    let missed: BTreeSet<String> =
        cases.iter().filter(|case| !case.valid).map(|case| scheme(&case.vector().verify)).collect();
    let problems =
        ringback::config::read_verifier("v", "{ scheme = \"?\" }", &Environment::default()).unwrap_err();
    let (_, known) = problems[0].reason.split_once("none of ").unwrap();
    let known: BTreeSet<String> =
        known.split(", ").map(str::to_owned).filter(|name| name != "none").collect();
    assert!(known.len() > 12 && known.is_subset(&missed), "{known:?}, {missed:?}");
}
