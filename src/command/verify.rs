//! `ringback verify`: checks a request body as a source would.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use jiff::Timestamp;

use crate::config::{Environment, read_verifier};
use crate::signature::{SignedRequest, Verifier};

/// The request is valid.
const VALID: u8 = 0;
/// It is not.
const REFUSED: u8 = 1;
/// The question cannot be answered: an argument cannot be used.
const UNUSABLE: u8 = 2;

/// Arguments of `ringback verify`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// What stands after `verify =` in the configuration, as in
    /// '{ scheme = "github", secret = "…" }'
    #[arg(long, value_name = "TABLE")]
    pub verify: String,
    /// The request's method
    #[arg(long, default_value = "POST")]
    pub method: String,
    /// The whole URL, for schemes that sign it
    #[arg(long, default_value = "")]
    pub url: String,
    /// The address that the request comes from, for tables with `networks`
    #[arg(long, value_name = "ADDRESS")]
    pub from: Option<IpAddr>,
    /// A header of the request; may be given several times
    #[arg(long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// The time to judge staleness by, in unix seconds [default: now]
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    pub at: Option<i64>,
    /// The file with the request's body; `-` is standard input
    pub file: PathBuf,
}

/// Writes the verdict: `out` says that the request is valid, `err` why it is not. The exit code
/// is 0 for a valid request, 1 for one that is not, and 2 if the arguments cannot be used.
pub fn run(
    arguments: &Arguments,
    environment: &Environment,
    stdin: &mut dyn Read,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let (verifier, request, now) = match read(arguments, environment, stdin) {
        Ok(read) => read,
        Err(problems) => {
            for problem in problems {
                let _ = writeln!(err, "{problem}");
            }
            return UNUSABLE;
        }
    };
    // The exit code is the verdict, whoever reads the line.
    match verifier.verify_from(arguments.from, request, now) {
        Ok(valid) => {
            let id = valid.message_id().map(|id| format!(" (message id {id})"));
            let _ = writeln!(out, "valid{}", id.unwrap_or_default());
            VALID
        }
        Err(refused) => {
            let _ = writeln!(err, "refused: {refused}");
            REFUSED
        }
    }
}

fn read(
    arguments: &Arguments,
    environment: &Environment,
    stdin: &mut dyn Read,
) -> Result<(Verifier, SignedRequest, Timestamp), Vec<String>> {
    let mut problems = Vec::new();
    let verifier = read_verifier("--verify", &arguments.verify, environment)
        .map_err(|found| problems.extend(found.iter().map(ToString::to_string)))
        .ok();
    let mut headers = HeaderMap::new();
    for header in &arguments.headers {
        match read_header(header) {
            Some((name, value)) => {
                headers.append(name, value);
            }
            // The header's value may be a secret.
            None => problems.push("--header: expected a name, a colon and a value".to_owned()),
        }
    }
    let now = match arguments.at.map(Timestamp::from_second) {
        None => Timestamp::now(),
        Some(Ok(now)) => now,
        Some(Err(_)) => {
            problems.push("--at: expected unix seconds".to_owned());
            Timestamp::UNIX_EPOCH
        }
    };
    let body = read_body(&arguments.file, stdin)
        .map_err(|error| problems.push(format!("{}: cannot be read: {error}", arguments.file.display())))
        .ok();
    match (verifier, body) {
        (Some(verifier), Some(body)) if problems.is_empty() => {
            let request = SignedRequest {
                method: arguments.method.to_ascii_uppercase(),
                url: arguments.url.clone(),
                sub_path: sub_path(&arguments.url).to_owned(),
                query: arguments.url.split_once('?').map_or("", |(_, query)| query).to_owned(),
                headers,
                body: body.into(),
            };
            Ok((verifier, request, now))
        }
        _ => Err(problems),
    }
}

/// What stands behind the source's name in the URL of a source.
fn sub_path(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let behind = path.split_once("/v1/ingest/").map_or("", |(_, behind)| behind);
    behind.find('/').map_or("", |at| &behind[at..])
}

fn read_header(text: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = text.split_once(':')?;
    Some((name.trim().parse().ok()?, HeaderValue::from_str(value.trim()).ok()?))
}

fn read_body(file: &Path, stdin: &mut dyn Read) -> io::Result<Vec<u8>> {
    if file == Path::new("-") {
        let mut body = Vec::new();
        stdin.read_to_end(&mut body)?;
        Ok(body)
    } else {
        std::fs::read(file)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Arguments,
    }

    const GITHUB: &str = r#"{ scheme = "github", secret = "It's a Secret to Everybody" }"#;
    const SIGNATURE: &str =
        "X-Hub-Signature-256: sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn verdict(line: &[&str], stdin: &str) -> (u8, String, String) {
        let arguments = Line::try_parse_from(["verify"].iter().chain(line)).unwrap().args;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(&arguments, &Environment::default(), &mut stdin.as_bytes(), &mut out, &mut err);
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn a_valid_body_is_0_and_another_is_1_with_the_reason() {
        let line = ["--verify", GITHUB, "--header", SIGNATURE, "-"];
        assert_eq!(verdict(&line, "Hello, World!"), (0, "valid\n".into(), String::new()));
        let (code, out, err) = verdict(&line, "Hello, World?");
        assert_eq!((code, &*out), (1, ""));
        assert!(err.starts_with("refused: no signature matches"), "{err}");
        let (code, _, err) = verdict(&["--verify", GITHUB, "-"], "Hello, World!");
        assert_eq!((code, &*err), (1, "refused: the header `x-hub-signature-256` is missing\n"));
    }

    #[test]
    fn staleness_is_judged_by_the_time_that_is_given() {
        let table = r#"{ scheme = "standard-webhooks", secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" }"#;
        let headers = [
            "webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek",
            "webhook-timestamp: 1614265330",
            "webhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ];
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("body.json");
        std::fs::write(&file, r#"{"test": 2432232314}"#).unwrap();
        let file = file.to_str().unwrap();
        let mut line = vec!["--verify", table, file];
        for header in headers {
            line.extend(["--header", header]);
        }
        let at = |at| verdict(&[&line[..], &["--at", at]].concat(), "");
        assert_eq!(
            at("1614265629"),
            (0, "valid (message id msg_p5jXN8AQM9LWM0D4loKWxJek)\n".into(), String::new())
        );
        let (code, _, err) = at("1614265631");
        assert_eq!((code, &*err), (1, "refused: the signature is 301 s old, 1 s more than is allowed\n"));
        assert_eq!(verdict(&line, "").0, 1);
    }

    #[test]
    fn method_and_url_reach_schemes_that_sign_them() {
        // printf '%s' 'PUThttps://h/x?y=1body' | openssl dgst -sha256 -hmac s
        let signature = "X-S: ab3f483ef8a26e0398983c2a7d32c1aa750bd1c0595f578119c7d8a01a24b943";
        let table = r#"{ scheme = "hmac", header = "X-S", secret = "s", signed = "{method}{url}{body}" }"#;
        let line =
            ["--verify", table, "--method", "put", "--url", "https://h/x?y=1", "--header", signature, "-"];
        assert_eq!(verdict(&line, "body").0, 0);
        let other = ["--verify", table, "--url", "https://h/x?y=1", "--header", signature, "-"];
        assert_eq!(verdict(&other, "body").0, 1);
    }

    #[test]
    fn a_secret_of_the_url_is_looked_for_where_a_source_has_it() {
        let table = r#"{ scheme = "url-secret", secret = "s3" }"#;
        let code = |url| verdict(&["--verify", table, "--url", url, "-"], "{}").0;
        assert_eq!(code("https://h/hooks/v1/ingest/symbl/s3?a=/x"), 0);
        assert_eq!(code("/v1/ingest/symbl/s3/status"), 0);
        for wrong in ["https://h/v1/ingest/symbl/s4", "https://h/v1/ingest/symbl", "https://h/s3", ""] {
            assert_eq!(code(wrong), 1, "{wrong}");
        }
    }

    #[test]
    fn where_a_request_comes_from_is_judged_where_it_matters() {
        let table = r#"{ scheme = "none", networks = ["192.0.2.0/24"] }"#;
        let code = |line: &[&str]| verdict(&[&["--verify", table, "-"], line].concat(), "{}").0;
        assert_eq!(code(&["--from", "192.0.2.9"]), 0);
        assert_eq!(code(&["--from", "::ffff:192.0.2.9"]), 0);
        assert_eq!(code(&["--from", "192.0.3.9"]), 1);
        assert_eq!(code(&[]), 1);
    }

    #[test]
    fn arguments_that_cannot_be_used_are_2_all_at_once() {
        let line = [
            "--verify",
            "{ scheme = \"x\" }",
            "--header",
            "topsecret",
            "--at",
            "99999999999999",
            "/nowhere/body",
        ];
        let (code, out, err) = verdict(&line, "");
        assert_eq!((code, &*out, err.lines().count()), (2, "", 4), "{err}");
        assert!(err.starts_with("--verify:1: verify.scheme: ") && !err.contains("topsecret"), "{err}");
    }
}
