//! Configurations as files: `x.toml` is read, and the problems that are found are the lines of
//! `x.problems` beside it; without such a file there are none. Dropping files in adds a test.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use ringback::config::{Environment, Overrides, Settings, StoreAddress};
use ringback::signature::Verifier;

const FOLDER: &str = "tests/config";

fn environment() -> Environment {
    Environment::from([
        ("ACME_TOKEN", "rbk_the-token-of-acme"),
        ("DIALER_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("EMPTY", ""),
    ])
}

fn load(path: &Path) -> Result<Settings, Vec<String>> {
    let overrides = Overrides { config: Some(path.to_owned()), ..Overrides::default() };
    Settings::load(&overrides, &environment())
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(FOLDER).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|ext| ext == "toml")).collect();
    files.sort();
    assert!(files.len() > 10, "the folder of configurations is nearly empty");
    files
}

#[test]
fn every_file_has_the_problems_beside_it_and_no_others() {
    let mut wrong = String::new();
    for file in files() {
        let expected = std::fs::read_to_string(file.with_extension("problems")).unwrap_or_default();
        let found = load(&file).err().unwrap_or_default();
        let line = |line: &String| line.strip_prefix("tests/config/").unwrap().to_owned() + "\n";
        let found: String = found.iter().map(line).collect();
        if found != expected {
            let name = file.display();
            writeln!(wrong, "{name}\n--- expected\n{expected}--- found\n{found}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn no_file_of_problems_has_lost_its_configuration() {
    for entry in std::fs::read_dir(FOLDER).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "problems") {
            assert!(path.with_extension("toml").is_file(), "{}", path.display());
        }
    }
}

#[test]
fn the_whole_example_is_read_as_it_is_meant() {
    let settings = load(Path::new("tests/config/good.toml")).unwrap();
    assert_eq!(settings.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.operator_listen.unwrap().to_string(), "127.0.0.1:9090");
    assert_eq!(settings.public_url.as_deref(), Some("https://hooks.example.com"));
    assert_eq!(settings.tls.as_ref().unwrap().cert, Path::new("tests/config/files/cert.pem"));
    assert_eq!(settings.trusted_proxies[0].to_string(), "10.0.0.0/8");
    assert_eq!(settings.store, StoreAddress::Embedded("ringback.db".into()));

    let [account] = &settings.accounts[..] else { panic!("one account") };
    assert_eq!((&*account.name, account.callbacks), ("acme", 100_000));
    assert_eq!(account.requests.unwrap().to_string(), "200/s");
    assert_eq!(&*settings.tokens.identify("abc").unwrap().token, "crm");
    assert_eq!(&*settings.tokens.identify("rbk_the-token-of-acme").unwrap().token, "ops");
    assert_eq!(settings.tokens.identify("rbk_another"), None);

    let [source, agents, symbl] = &settings.sources[..] else { panic!("three sources") };
    assert_eq!((&*source.name, &*source.account, source.provider), ("dialer", "acme", "commpeak"));
    assert!(matches!(source.verify, Verifier::StandardWebhooks(_)));
    assert_eq!(source.rate_limit.unwrap().to_string(), "500/s");
    assert_eq!(&*source.call_space, "dialer-2");
    assert!(source.api.is_none() && source.url_secret.is_none());
    let api = agents.api.as_ref().unwrap();
    assert_eq!(api.credentials.token.as_ref().unwrap().expose(), b"a secret in a file");
    assert_eq!(api.base_url.as_deref(), Some("https://api.example.com"));
    assert_eq!((api.max_jobs, api.rate_limit.unwrap().to_string()), (Some(5), "10/s".to_owned()));
    assert_eq!(symbl.url_secret.as_ref().unwrap().expose(), b"part-of-the-url");
    assert_eq!(symbl.api.as_ref().unwrap().credentials.app_id.as_deref(), Some("app"));
    assert_eq!(settings.speech_timeout, Duration::from_hours(12));

    assert_eq!(settings.delivery.allow_networks[0].to_string(), "127.0.0.0/8");
    let proxy = settings.delivery.proxy.as_ref().unwrap();
    assert_eq!(proxy.as_str(), "http://ringback:proxy-password@proxy.example.com:3128/");
    assert_eq!(settings.delivery.ca_files, [Path::new("tests/config/files/cert.pem")]);
    assert_eq!((settings.delivery.max_in_flight, settings.delivery.timeout), (512, Duration::from_secs(15)));
    assert_eq!(settings.retention.delivered, Duration::from_hours(7 * 24));
    assert_eq!(settings.retention.calls, Duration::from_hours(365 * 24));
    assert!(settings.sealer.is_some());
    assert_eq!(
        (settings.limits.body, settings.limits.template, settings.limits.rendering),
        (4 << 20, 256 << 10, 8 << 20)
    );
    assert!(settings.speech_providers.iter().map(AsRef::as_ref).eq(["agents", "symbl"]));
    assert!(settings.not_yet.is_empty(), "{:?}", settings.not_yet);
    assert!(!settings.trying_out);
}

#[test]
fn what_is_not_said_has_the_documented_default() {
    let settings = load(Path::new("tests/config/empty.toml")).unwrap();
    let defaults = Settings::new();
    assert_eq!(settings.listen, defaults.listen);
    assert_eq!(settings.store, StoreAddress::Embedded("ringback.db".into()));
    assert_eq!(settings.delivery, defaults.delivery);
    assert!(settings.delivery.allow_networks.is_empty(), "loopback is allowed for trying out alone");
    assert_eq!((settings.retention, settings.limits), (defaults.retention, defaults.limits));
    assert!(settings.accounts.is_empty() && settings.sources.is_empty() && settings.not_yet.is_empty());
}

#[test]
fn settings_do_not_print_their_secrets() {
    let settings = load(Path::new("tests/config/good.toml")).unwrap();
    let shown = format!("{settings:?} {:?} {:?}", environment(), settings.warnings());
    for secret in [
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "the-token-of-acme",
        "a secret in a file",
        "part-of-the-url",
        "secret-of-the-app",
        "CQkJCQkJ",
        "proxy-password",
    ] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[test]
fn a_source_that_verifies_nothing_is_named_in_a_warning() {
    let settings = load(Path::new("tests/config/unverified.toml")).unwrap();
    let warnings = settings.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("`open`"), "{warnings:?}");
}

#[test]
fn a_problem_is_one_line_whatever_it_speaks_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ringback.toml");
    std::fs::write(&path, "\"a\\nb\" = 1\ndelivery = { ca_files = [\"no\\nwhere\\u001b[31m\"] }\n").unwrap();
    let problems = load(&path).unwrap_err();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems.iter().all(|line| !line.contains(char::is_control)), "{problems:?}");
}

proptest! {
    /// However a configuration is broken, it is read to its end: nothing panics, every problem is
    /// one line and names a line that there is.
    #[test]
    fn a_broken_configuration_is_read_to_its_end(
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), 0_usize..20), 0..4),
        inserts in proptest::collection::vec((any::<prop::sample::Index>(), "[\\[\\]{}=\"',.#\na1é-]{1,4}"), 0..4),
    ) {
        let mut text: Vec<char> = std::fs::read_to_string("tests/config/good.toml").unwrap().chars().collect();
        for (at, length) in cuts {
            let at = at.index(text.len());
            text.drain(at..(at + length).min(text.len()));
        }
        for (at, insert) in inserts {
            let at = at.index(text.len());
            text.splice(at..at, insert.chars());
        }
        let text: String = text.into_iter().collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c");
        std::fs::write(&path, &text).unwrap();
        for problem in load(&path).err().unwrap_or_default() {
            let behind = problem.strip_prefix(&format!("{}:", path.display())).unwrap();
            let line: usize = behind.split(':').next().unwrap().parse().unwrap();
            prop_assert!((1..=text.lines().count() + 1).contains(&line), "{}", problem);
            prop_assert!(!problem.contains(char::is_control), "{}", problem);
        }
    }
}
