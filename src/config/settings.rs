//! The settings, typed and checked: what the rest of Ringback builds itself from.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

use super::Tokens;
use crate::event::AccountName;
use crate::limit::Rate;
use crate::provider::{self, Credentials, Mapping};
use crate::signature::{Sealer, Secret, Verifier};
use crate::store::redis::{Durability, nodes_of_cluster};

/// Everything that can be configured, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where providers and customers are listened to.
    pub listen: SocketAddr,
    /// Where operators are (`/metrics`, `/healthz`, `/readyz`, the console), if not there.
    pub operator_listen: Option<SocketAddr>,
    /// What providers are told to post to, without a slash at its end: a path goes right behind it.
    pub public_url: Option<String>,
    /// The server's certificate; plain HTTP without.
    pub tls: Option<Tls>,
    /// Whose `X-Forwarded-*` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The store.
    pub store: StoreAddress,
    /// What a 200 stands for where the store is a Redis.
    pub durability: Durability,
    /// The accounts, each name once.
    pub accounts: Vec<Account>,
    /// The tokens of all accounts.
    pub tokens: Tokens,
    /// The sources, each name once.
    pub sources: Vec<Source>,
    /// The sources that transcribe where a call's own source does not, the first that can.
    pub speech_providers: Vec<Arc<str>>,
    /// How long a speech job may take; one that takes longer fails.
    pub speech_timeout: Duration,
    /// How deliveries go out.
    pub delivery: Delivery,
    /// How long things are kept.
    pub retention: Retention,
    /// Encrypts signing secrets at rest, if the operator has configured a key.
    pub sealer: Option<Arc<Sealer>>,
    /// How large things may be.
    pub limits: Limits,
    /// Keys that are set, are right, and have no effect in this version; start-up names them.
    pub not_yet: Vec<String>,
    /// Whether there is no configuration file: the one account's token is made at the first
    /// start.
    pub trying_out: bool,
}

/// The server's certificate and its key, PEM files that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate chain.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreAddress {
    /// The embedded one, in this file.
    Embedded(PathBuf),
    /// In this Redis, or this Redis Cluster, which several processes may share.
    Redis(RedisUrl),
}

/// The URL of a Redis or of a Redis Cluster, which may hold a password and is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

impl RedisUrl {
    /// Reads `redis-cluster://user:password@host:port,host:port`; `rediss-cluster` for TLS.
    pub(super) fn parse_cluster(text: &str) -> Result<Self, &'static str> {
        let expected = "expected redis-cluster://host:6379,host:6379, with user:password@ before the hosts as \
                        needed, no database, and rediss-cluster:// for TLS";
        let nodes = nodes_of_cluster(text).ok_or(expected)?;
        let is_node = |node: &String| {
            let url = Self::parse(node).ok().and_then(|_| Url::parse(node).ok());
            url.is_some_and(|url| url.path().is_empty())
        };
        if nodes.iter().all(is_node) { Ok(Self(text.to_owned())) } else { Err(expected) }
    }

    /// Reads `redis://user:password@host:port/database`; `rediss` for TLS.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let expected = "expected redis://host:6379/0, with user:password@ before the host as needed, and \
                        rediss:// for TLS";
        let url = Url::parse(text).map_err(|_| expected)?;
        let database = url.path().strip_prefix('/').unwrap_or_default();
        let is_whole = url.host_str().is_some_and(|host| !host.is_empty())
            && (database.is_empty() || database.parse::<u16>().is_ok())
            && url.query().is_none()
            && url.fragment().is_none();
        let is_redis = matches!(url.scheme(), "redis" | "rediss");
        if is_whole && is_redis { Ok(Self(text.to_owned())) } else { Err(expected) }
    }

    /// The URL, with its password.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RedisUrl(…)")
    }
}

/// A customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: AccountName,
    /// How many callbacks it may register.
    pub callbacks: usize,
    /// How often it may ask.
    pub requests: Option<Rate>,
    /// How many bytes may be stored for it.
    pub stored: Option<u64>,
}

impl Account {
    /// Callbacks of an account that is not configured otherwise.
    pub const CALLBACKS: usize = 100_000;
}

/// Where a provider posts: `POST /v1/ingest/{name}`.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name, which is a segment of a URL.
    pub name: Arc<str>,
    /// Whose it is.
    pub account: AccountName,
    /// Its provider, one of [`provider::names`].
    pub provider: &'static str,
    /// How its requests are verified.
    pub verify: Verifier,
    /// How often it may post.
    pub rate_limit: Option<Rate>,
    /// In which space its call ids count.
    pub call_space: Arc<str>,
    /// How the provider is asked, if it is.
    pub api: Option<ProviderApi>,
    /// The secret that the URL given to its provider ends with, if it is verified by one.
    pub url_secret: Option<Secret>,
    /// Where its requests say what, where the provider is read by a mapping.
    pub map: Option<Mapping>,
}

impl Source {
    /// The space of sources that are not configured otherwise.
    pub const CALL_SPACE: &str = "default";
}

/// How a provider is asked.
#[derive(Clone, Debug, Default)]
pub struct ProviderApi {
    /// Where, if not where the provider's documentation says; without a slash at its end.
    pub base_url: Option<String>,
    /// What with.
    pub credentials: Credentials,
    /// Jobs that it works on at once, if not as many as its documentation says.
    pub max_jobs: Option<usize>,
    /// How often.
    pub rate_limit: Option<Rate>,
}

/// How deliveries go out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Networks that are dialled although they are not public.
    pub allow_networks: Vec<IpNet>,
    /// An HTTP proxy.
    pub proxy: Option<ProxyUrl>,
    /// Certificates that are trusted beside the platform's, PEM files that can be read.
    pub ca_files: Vec<PathBuf>,
    /// Attempts under way at once.
    pub max_in_flight: usize,
    /// How long an exchange may take, to the last byte, where a registration says nothing.
    pub timeout: Duration,
}

/// The URL of an HTTP proxy, which may hold a password and is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl(Url);

impl ProxyUrl {
    /// Reads `http://host:port` or `http://user:password@host:port`.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let expected = "expected http://host:port or http://user:password@host:port";
        let url = Url::parse(text).map_err(|_| expected)?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if url.scheme() == "http" && bare { Ok(Self(url)) } else { Err(expected) }
    }

    /// The URL, with its password.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl std::fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProxyUrl(…)")
    }
}

impl Delivery {
    /// The longest exchange that may be configured.
    pub const MAX_TIMEOUT: Duration = Duration::from_mins(1);
    /// The most attempts under way at once: each has a connection and a buffer of 16 KiB.
    pub const MAX_IN_FLIGHT: usize = 16_384;
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            allow_networks: Vec::new(),
            proxy: None,
            ca_files: Vec::new(),
            max_in_flight: 512,
            timeout: Duration::from_secs(15),
        }
    }
}

/// How long things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// What was delivered: its body and its attempts.
    pub delivered: Duration,
    /// What was not.
    pub failed: Duration,
    /// What is known of a call.
    pub calls: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        const fn days(days: u64) -> Duration {
            Duration::from_hours(24 * days)
        }
        Self { delivered: days(7), failed: days(30), calls: days(365) }
    }
}

/// How large things may be, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A request's body.
    pub body: usize,
    /// A template's text.
    pub template: usize,
    /// One rendering.
    pub rendering: usize,
}

impl Limits {
    /// The smallest of each that may be configured: below, nothing real would fit.
    pub const MIN: usize = 1 << 10;
    /// The largest of each that may be configured: what one request can make the process hold.
    pub const MAX: usize = 256 << 20;
}

impl Default for Limits {
    fn default() -> Self {
        Self { body: 4 << 20, template: 256 << 10, rendering: 8 << 20 }
    }
}

impl Settings {
    /// The address that is listened on where nothing else is said.
    pub const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);
    /// The file of the store where nothing else is said.
    pub const STORE: &str = "ringback.db";
    /// How long a speech job may take where nothing else is said.
    pub const SPEECH_TIMEOUT: Duration = Duration::from_hours(24);
    /// The account when Ringback is tried out.
    pub const TRIAL_ACCOUNT: &str = "default";

    /// The defaults: no account and no source.
    #[must_use]
    pub fn new() -> Self {
        Self {
            listen: Self::LISTEN,
            operator_listen: None,
            public_url: None,
            tls: None,
            trusted_proxies: Vec::new(),
            store: StoreAddress::Embedded(Self::STORE.into()),
            durability: Durability::default(),
            accounts: Vec::new(),
            tokens: Tokens::default(),
            sources: Vec::new(),
            speech_providers: Vec::new(),
            speech_timeout: Self::SPEECH_TIMEOUT,
            delivery: Delivery::default(),
            retention: Retention::default(),
            sealer: None,
            limits: Limits::default(),
            not_yet: Vec::new(),
            trying_out: false,
        }
    }

    /// What Ringback runs with when there is no configuration file: one account, one unverified
    /// source for each provider that needs no table to be read, named after it, and receivers on loopback allowed. Whoever
    /// listens on another address than loopback with it gives everything away; [`Settings::load`]
    /// refuses that.
    #[must_use]
    pub fn for_trying_out() -> Self {
        let account: AccountName = Self::TRIAL_ACCOUNT.into();
        let source = |provider: &'static str| Source {
            name: provider.into(),
            account: account.clone(),
            provider,
            verify: Verifier::None,
            rate_limit: None,
            call_space: Source::CALL_SPACE.into(),
            api: None,
            url_secret: None,
            map: None,
        };
        let loopback = ["127.0.0.0/8", "::1/128"].map(|net| net.parse().expect("a network"));
        Self {
            sources: provider::built_in().map(source).collect(),
            accounts: vec![Account {
                name: account.clone(),
                callbacks: Account::CALLBACKS,
                requests: None,
                stored: None,
            }],
            delivery: Delivery { allow_networks: loopback.to_vec(), ..Delivery::default() },
            trying_out: true,
            ..Self::new()
        }
    }

    /// What an operator should know at every start, a sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let unverified = self.sources.iter().filter(|source| source.verify.is_none()).map(|source| {
            let whom = match source.verify {
                Verifier::From(..) => "anyone in its networks: it verifies nothing else",
                _ => "anyone: it verifies nothing",
            };
            format!("source `{}` takes requests from {whom}", source.name)
        });
        let everywhere = self.delivery.allow_networks.iter().filter(|net| net.prefix_len() == 0).map(|net| {
            format!("delivery.allow_networks holds {net}: receivers may be anywhere in this network")
        });
        let not_yet =
            self.not_yet.iter().map(|key| format!("{key} is set and has no effect in this version"));
        unverified.chain(everywhere).chain(not_yet).collect()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::new()
    }
}
