//! The configuration file, key by key.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::reader::{Document, Entry, Section, closest, unknown};
use super::settings::{
    Account, Delivery, Limits, ProviderApi, ProxyUrl, Retention, Settings, Source, StoreAddress, Tls,
};
use super::token::{TokenHash, Tokens};
use super::value::{read_address, read_durability, read_name, read_network, read_store, read_url};
use super::{Environment, Problem, verify};
use crate::event::AccountName;
use crate::limit::Rate;
use crate::provider::{self, Credentials, InvalidEntry, Mapping};
use crate::quantity::parse_size;
use crate::signature::{Sealer, Secret};
use crate::store::redis::Durability;

/// The longest time that anything is kept: ten years.
const MAX_RETENTION: Duration = Duration::from_hours(24 * 3653);

/// The longest that a speech job may be configured to take.
const MAX_SPEECH_TIMEOUT: Duration = Duration::from_hours(24 * 30);

/// What arguments and environment say instead of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Replaced {
    pub(super) listen: Option<SocketAddr>,
    pub(super) store: Option<StoreAddress>,
}

/// Reads a configuration text. Settings are of use only if there are no problems.
pub(super) fn read(
    file: &str,
    text: &str,
    environment: &Environment,
    replaced: &Replaced,
) -> (Settings, Vec<Problem>) {
    let document = Document::new(file, text, environment);
    let (mut settings, problems) = document.read(|section| read_settings(section, replaced));
    settings.not_yet = document.not_yet();
    (settings, problems)
}

fn read_settings(mut section: Section<'_, '_>, replaced: &Replaced) -> Settings {
    let mut settings = Settings::new();
    // The file's own value is read even where it is replaced: its problems are problems.
    let listen = section.take("listen").and_then(|entry| entry.parse(read_address));
    settings.listen = replaced.listen.or(listen).unwrap_or(settings.listen);
    let store = section.take("store").and_then(|entry| entry.parse(read_store));
    settings.store = replaced.store.clone().or(store).unwrap_or(settings.store);
    if let Some(entry) = section.take("durability") {
        settings.durability = entry.parse(read_durability).unwrap_or_default();
        let is_in_redis = matches!(settings.store, StoreAddress::Redis(_));
        if settings.durability == Durability::Replica && !is_in_redis {
            entry.problem("only a store in Redis has replicas; leave it out, or write \"local\"");
        }
    }
    if let Some(entry) = section.take("operator_listen") {
        settings.operator_listen = entry.parse(read_address);
        if settings.operator_listen.is_some_and(|address| collide(address, settings.listen)) {
            entry.problem(format!("{} is what `listen` takes; choose another port", settings.listen));
        }
    }
    settings.public_url = section.take("public_url").and_then(|entry| read_public_url(&entry));
    settings.tls = section.take("tls").and_then(|entry| read_tls(&entry));
    if let Some(entry) = section.take("trusted_proxies") {
        settings.trusted_proxies = entry.list(|entry| {
            let network = entry.parse(read_network)?;
            if network.prefix_len() == 0 {
                entry.problem("everyone would be believed; name the proxies' networks");
            }
            Some(network)
        });
    }
    let mut names = HashSet::new();
    if let Some(entry) = section.take("account") {
        settings.accounts = entry.list(|entry| read_account(&entry, &mut names, &mut settings.tokens));
    }
    if let Some(entry) = section.take("source") {
        let mut taken = HashSet::new();
        settings.sources = entry.list(|entry| read_source(&entry, &names, &mut taken));
    }
    let mut table = |name, read: &mut dyn FnMut(&mut Section<'_, '_>)| {
        if let Some(mut section) = section.take(name).and_then(|entry| entry.section()) {
            read(&mut section);
            section.finish();
        }
    };
    table("speech", &mut |section| {
        if let Some(entry) = section.take("provider") {
            settings.speech_providers =
                entry.one_or_list(|entry| read_speech_provider(&entry, &settings.sources));
        }
        let bounds = [Duration::from_secs(1), MAX_SPEECH_TIMEOUT];
        settings.speech_timeout = section.duration("timeout", bounds, settings.speech_timeout);
    });
    table("delivery", &mut |section| read_delivery(section, &mut settings.delivery));
    table("retention", &mut |section| read_retention(section, &mut settings.retention));
    table("secrets", &mut |section| settings.sealer = read_sealer(section));
    table("limits", &mut |section| read_limits(section, &mut settings.limits));
    section.finish();
    settings
}

/// Whether the second of two listeners would find its port taken.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let same_address = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && same_address
}

fn owned(entry: &Entry<'_, '_>) -> Option<String> {
    entry.full_text().map(str::to_owned)
}

fn read_public_url(entry: &Entry<'_, '_>) -> Option<String> {
    let url = entry.parse(read_url)?;
    if url.query().is_some() || url.fragment().is_some() {
        entry.problem("paths are put behind this URL, so that it can have neither `?` nor `#`");
        return None;
    }
    Some(url.as_str().trim_end_matches('/').to_owned())
}

fn read_tls(entry: &Entry<'_, '_>) -> Option<Tls> {
    let mut section = entry.section()?;
    let cert = section.require("cert", "the PEM file of the certificate chain");
    let key = section.require("key", "the PEM file of the private key");
    let (cert, key) = (cert.and_then(|e| e.readable_file()), key.and_then(|e| e.readable_file()));
    section.finish();
    Some(Tls { cert: cert?, key: key? })
}

fn read_account<'d>(
    entry: &Entry<'d, '_>,
    names: &mut HashSet<&'d str>,
    tokens: &mut Tokens,
) -> Option<Account> {
    let mut section = entry.section()?;
    let name = section.require("name", "what its sources call it").and_then(|entry| {
        let name = entry.full_text()?;
        if !names.insert(name) {
            entry.problem(format!("there is another account {name:?}"));
        }
        entry.parse(|name| read_name(name).map(AccountName::from))
    });
    if let Some(entry) = section.take("tokens") {
        entry.list(|entry| read_token(&entry, name.as_ref(), tokens));
    }
    let (mut callbacks, mut requests, mut stored) = (Account::CALLBACKS, None, None);
    if let Some(mut section) = section.take("limits").and_then(|entry| entry.section()) {
        if let Some(count) = section.take("callbacks").and_then(|entry| entry.integer(0..=10_000_000)) {
            callbacks = usize::try_from(count).unwrap_or(usize::MAX);
        }
        requests = section.take("requests").and_then(|entry| entry.parse(str::parse::<Rate>));
        let size = section.take("stored").and_then(|entry| entry.quantity(read_size));
        stored = size.map(|bytes| u64::try_from(bytes).unwrap_or(u64::MAX));
        section.finish();
    }
    section.finish();
    Some(Account { name: name?, callbacks, requests, stored })
}

fn read_token(entry: &Entry<'_, '_>, account: Option<&AccountName>, tokens: &mut Tokens) -> Option<()> {
    let mut section = entry.section()?;
    let name = section.take("name").and_then(|entry| entry.full_text());
    let (sha256, env) = (section.take("sha256"), section.take("env"));
    let hash = match (&sha256, &env) {
        (Some(entry), None) => entry.parse(|text| TokenHash::from_hex(text).ok_or("expected 64 hex digits")),
        (None, Some(entry)) => entry.variable().map(|token| TokenHash::of(&token)),
        (None, None) => {
            section
                .problem("missing: `sha256`, the token's hash, or `env`, the variable that holds the token");
            None
        }
        (Some(_), Some(_)) => {
            section.problem_at("env", "a token has `sha256` or `env`, not both");
            None
        }
    };
    section.finish();
    if !tokens.add(hash?, account?, name) {
        sha256.or(env)?.problem("this token is there already");
    }
    Some(())
}

fn read_source<'d>(
    entry: &Entry<'d, '_>,
    accounts: &HashSet<&str>,
    taken: &mut HashSet<&'d str>,
) -> Option<Source> {
    let mut section = entry.section()?;
    let name = section.require("name", "the end of its URL").and_then(|entry| {
        let name = entry.full_text()?;
        if !taken.insert(name) {
            entry.problem(format!("there is another source {name:?}"));
        }
        entry.parse(|name| read_name(name).map(Arc::from))
    });
    let account = section.require("account", "whose it is").and_then(|entry| {
        let account = entry.full_text()?;
        if !accounts.contains(account) {
            let meant = closest(account, accounts.iter().copied());
            let hint = meant.map(|name| format!("; did you mean {name:?}?")).unwrap_or_default();
            entry.absence(format!("there is no account {account:?}{hint}"));
        }
        Some(AccountName::from(account))
    });
    let provider = section.require("provider", "who posts to it").and_then(|entry| {
        let text = entry.full_text()?;
        let provider = provider::names().find(|name| *name == text);
        if provider.is_none() {
            entry.problem(unknown(text, provider::names().collect::<Vec<_>>().into_iter()));
        }
        provider
    });
    let verify = section
        .require("verify", "how its requests are verified; { scheme = \"none\" } if they are not")
        .and_then(|entry| Some((verify::read(&entry)?, url_secret(&entry))));
    let rate_limit = section.take("rate_limit").and_then(|entry| entry.parse(str::parse::<Rate>));
    let call_space = section.take("call_space").and_then(|entry| entry.full_text());
    let api = section.take("api").and_then(|entry| {
        let (api, given) = read_api(&entry)?;
        let adapter = provider::adapter(provider?, None)?;
        match adapter.api().map(|asked| asked.missing(&api.credentials)) {
            None => entry.problem("this provider cannot be asked; leave it out"),
            // What is there and cannot be read has a problem of its own.
            Some(Some(key)) if !given.contains(&key) => {
                entry.absence(format!("missing: `{key}`, without which {} cannot be asked", provider?));
            }
            Some(_) => {}
        }
        Some(api)
    });
    let map = section.take("map").map(|entry| read_map(&entry));
    match provider {
        Some(provider) if map.is_some() && !provider::is_mapped(provider) => {
            section.problem_at("map", format!("{provider} is read without a table; leave it out"));
        }
        Some(provider::CUSTOM) if map.is_none() => {
            section.problem_at("map", "missing: where the names of the catalogue are in the body");
        }
        _ => {}
    }
    section.finish();
    let (verify, url_secret) = verify?;
    Some(Source {
        name: name?,
        account: account?,
        provider: provider?,
        verify,
        url_secret,
        rate_limit,
        call_space: call_space.unwrap_or(Source::CALL_SPACE).into(),
        api,
        map,
    })
}

/// The table of a mapping. What is wrong with an entry does not hide what is wrong with another.
fn read_map(entry: &Entry<'_, '_>) -> Mapping {
    let mut mapping = Mapping::default();
    for (name, entry) in entry.entries().unwrap_or_default() {
        match mapping.add(name, &entry.to_json()) {
            Ok(()) => {}
            Err(InvalidEntry::UnknownName) => match closest(name, Mapping::names()) {
                Some(meant) => entry.problem(format!("there is no name {name:?}; did you mean {meant:?}?")),
                None => entry.problem(format!("there is no name {name:?}; see `ringback placeholders`")),
            },
            Err(error @ InvalidEntry::Wrong(_)) => entry.problem(error.to_string()),
        }
    }
    mapping
}

/// The secret of a URL, once more: what is to be given to the provider is known to nobody else.
fn url_secret(entry: &Entry<'_, '_>) -> Option<Secret> {
    let mut section = entry.section()?;
    let scheme = section.take("scheme")?.text()?;
    if scheme != "url-secret" || section.take("parameter").is_some() {
        return None;
    }
    let secrets = section.take("secret")?.secrets();
    secrets.first().map(|secret| Secret::from_bytes(secret.as_bytes()))
}

/// A source that transcribes, one that can be asked.
fn read_speech_provider(entry: &Entry<'_, '_>, sources: &[Source]) -> Option<Arc<str>> {
    let name = entry.full_text()?;
    let Some(source) = sources.iter().find(|source| &*source.name == name) else {
        let meant = closest(name, sources.iter().map(|source| &*source.name));
        let hint = meant.map(|name| format!("; did you mean {name:?}?")).unwrap_or_default();
        entry.absence(format!("there is no source {name:?}{hint}"));
        return None;
    };
    if source.api.is_none() {
        entry.problem(format!("the source {name:?} has no `api`, so that it cannot be asked"));
    }
    Some(Arc::clone(&source.name))
}

/// How a provider is asked, and the credentials' keys that are there.
fn read_api(entry: &Entry<'_, '_>) -> Option<(ProviderApi, Vec<&'static str>)> {
    let mut section = entry.section()?;
    let base_url = section.take("base_url").and_then(|entry| read_public_url(&entry));
    let max_jobs = section.take("max_jobs").and_then(|entry| entry.integer(1..=10_000));
    let rate_limit = section.take("rate_limit").and_then(|entry| entry.parse(str::parse::<Rate>));
    let mut given = Vec::new();
    let app_id = section.take("app_id").and_then(|entry| {
        given.push("app_id");
        owned(&entry)
    });
    let mut secret = |name| {
        let entry = section.take(name)?;
        given.push(name);
        Some(Secret::from_bytes(entry.secret()?.as_bytes()))
    };
    let credentials = Credentials {
        app_id,
        token: secret("token"),
        app_secret: secret("app_secret"),
        key: secret("key"),
        signing_secret: secret("signing_secret"),
    };
    let max_jobs = max_jobs.and_then(|count| usize::try_from(count).ok());
    let api = ProviderApi { base_url, credentials, max_jobs, rate_limit };
    section.finish();
    Some((api, given))
}

fn read_delivery(section: &mut Section<'_, '_>, delivery: &mut Delivery) {
    if let Some(entry) = section.take("allow_networks") {
        delivery.allow_networks = entry.list(|entry| entry.parse(read_network));
    }
    delivery.proxy = section.take("proxy").and_then(|entry| {
        // A secret, for it may hold a password.
        let url = entry.secret()?;
        ProxyUrl::parse(&url).map_err(|reason| entry.problem(reason)).ok()
    });
    if let Some(entry) = section.take("ca_files") {
        delivery.ca_files = entry.list(|entry| entry.readable_file());
    }
    if let Some(entry) = section.take("max_in_flight") {
        let count = entry.integer(1..=Delivery::MAX_IN_FLIGHT as u64);
        delivery.max_in_flight =
            count.and_then(|count| usize::try_from(count).ok()).unwrap_or(delivery.max_in_flight);
    }
    let bounds = [Duration::from_millis(100), Delivery::MAX_TIMEOUT];
    delivery.timeout = section.duration("timeout", bounds, delivery.timeout);
}

fn read_retention(section: &mut Section<'_, '_>, retention: &mut Retention) {
    let bounds = [Duration::from_secs(1), MAX_RETENTION];
    retention.delivered = section.duration("delivered", bounds, retention.delivered);
    retention.failed = section.duration("failed", bounds, retention.failed);
    retention.calls = section.duration("calls", bounds, retention.calls);
}

fn read_sealer(section: &mut Section<'_, '_>) -> Option<Arc<Sealer>> {
    let entry = section.take("key")?;
    let key = entry.secret()?;
    let sealer = Sealer::from_key(&Secret::from_bytes(key.as_bytes()));
    sealer.map(Arc::new).map_err(|error| entry.problem(error.to_string())).ok()
}

/// A size, or a bare number of bytes.
fn read_size(text: &str) -> Result<usize, String> {
    let bare = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    bare.map_or_else(|| parse_size(text).map_err(|error| error.to_string()), Ok)
}

fn read_limits(section: &mut Section<'_, '_>, limits: &mut Limits) {
    let mut size = |name, default| {
        let Some(entry) = section.take(name) else { return default };
        match entry.quantity(read_size) {
            Some(size) if (Limits::MIN..=Limits::MAX).contains(&size) => size,
            Some(_) => {
                entry.problem("expected a size from 1 KiB to 256 MiB");
                default
            }
            None => default,
        }
    };
    limits.body = size("body", limits.body);
    limits.template = size("template", limits.template);
    limits.rendering = size("rendering", limits.rendering);
}
