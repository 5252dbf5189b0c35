//! Builds every room from the settings and joins them: the whole path, in one readable place.
//!
//! ```text
//! provider ─▶ http ─▶ intake ─▶ store ─▶ delivery ─▶ receiver
//!                       │ ▲
//!            registration, template, context
//! ```

mod operators;
mod service;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use self::operators::Operators;
use self::service::{Customers, Service};
use crate::api::{AccountRules, Api, Rooms};
use crate::config::{self, Settings, StoreAddress, Tls};
use crate::delivery::client::{InvalidCaFile, InvalidProxy, Proxy};
use crate::delivery::{self, Client, ClientSettings, Worker};
use crate::destination::AddressPolicy;
use crate::http::{Bodies, Listener, ListenerError, Proxies};
use crate::intake::{self, CalledAs, Intake, Source};
use crate::job;
use crate::limit::Limiter;
use crate::metric::Metrics;
use crate::network::Networks;
use crate::provider;
use crate::registration::{Callback, DefinitionLimits, LateRenderer, Ledger, Registry, StoredCallbackError};
use crate::shutdown::{DRAIN_DEADLINE, Shutdown};
use crate::speech_request::SpeechDesk;
use crate::store::embedded::{Embedded, Options as EmbeddedOptions};
use crate::store::redis::{Options as RedisOptions, Redis};
use crate::store::{
    Quotas, Retention, SharedJobs, SharedQuotas, SharedSpeechRequests, SharedStore, StoreError,
};
use crate::template;

/// Why Ringback did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored callback cannot be used. Events that it wants would be answered with 200 and be
    /// delivered to nobody, and what waits for it could not be signed.
    #[error("{first}{}; nothing is started, because events that match would be lost", and_more(*.others))]
    Callbacks {
        /// One of them.
        first: StoredCallbackError,
        /// How many others there are.
        others: usize,
    },
    /// An address cannot be listened on.
    #[error(transparent)]
    Listener(#[from] ListenerError),
    /// The certificate or its key cannot be used.
    #[error("the certificate {path} cannot be used: {reason}")]
    Tls {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The outgoing client cannot be built.
    #[error(transparent)]
    Client(#[from] InvalidCaFile),
    /// The proxy's URL is not one.
    #[error("delivery.proxy: {0}")]
    Proxy(#[from] InvalidProxy),
}

fn and_more(others: usize) -> String {
    if others == 0 { String::new() } else { format!(" (and {others} more)") }
}

/// A Ringback that runs.
pub struct Running {
    address: SocketAddr,
    operator_address: Option<SocketAddr>,
    store: SharedStore,
    desk: Arc<job::Desk>,
    rooms: JoinSet<()>,
    shutdown: Shutdown,
}

impl Running {
    /// Where speech jobs are submitted.
    #[must_use]
    pub fn jobs(&self) -> &Arc<job::Desk> {
        &self.desk
    }

    /// Where providers and customers are answered.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where operators are answered, if that is elsewhere.
    #[must_use]
    pub fn operator_address(&self) -> Option<SocketAddr> {
        self.operator_address
    }

    /// Returns when everything has stopped: what was under way is finished, leases are given back,
    /// the store is closed. `false` if a room ended by itself: the others are stopped then, so that
    /// somebody starts the whole again, instead of taking events that nobody delivers.
    pub async fn finished(mut self) -> bool {
        let mut good = true;
        while let Some(ended) = self.rooms.join_next().await {
            match ended {
                Ok(()) if self.shutdown.is_requested() => {}
                Ok(()) => {
                    tracing::error!("a room ended by itself");
                    good = false;
                }
                Err(error) => {
                    tracing::error!(%error, "a room ended by itself");
                    good = false;
                }
            }
            self.shutdown.request();
        }
        self.store.close().await;
        good
    }
}

/// Builds everything and begins to answer; it stops when `shutdown` asks for it.
///
/// # Errors
/// A room cannot be built. Nothing is left running then.
pub async fn start(settings: &Settings, shutdown: &Shutdown) -> Result<Running, StartError> {
    build(settings, None, shutdown).await
}

/// The same on a listener that is bound already, for who must know its address before the settings
/// are whole: `public_url` may name it.
///
/// # Errors
/// A room cannot be built. Nothing is left running then.
pub async fn start_on(
    listener: Listener,
    settings: &Settings,
    shutdown: &Shutdown,
) -> Result<Running, StartError> {
    build(settings, Some(listener), shutdown).await
}

async fn build(
    settings: &Settings,
    bound: Option<Listener>,
    shutdown: &Shutdown,
) -> Result<Running, StartError> {
    let tls = settings.tls.as_ref().map(acceptor).transpose()?;
    let metrics = Arc::new(Metrics::of_process());
    let Stores { store, jobs, requests } = open_store(settings, &metrics).await?;
    let (registry, ledger) = load_callbacks(settings, &store).await?;

    let policy = AddressPolicy::new(settings.delivery.allow_networks.clone());
    let (provider_client, client) = clients(settings, &policy)?;
    let (paused, following) = (ledger.clone(), ledger.clone());
    let meter = delivery::Meter::new(&metrics);
    let worker = Worker::new(
        Arc::clone(&store),
        client.clone(),
        ledger.clone(),
        LateRenderer::new(Arc::clone(&store), Arc::clone(&registry), settings.limits.rendering),
        meter.clone(),
        settings.delivery.max_in_flight,
        move |id, reason| paused.follow_pause(id, reason),
    );
    let bodies = Bodies::new(settings.limits.body);
    let desk = Arc::new(job::Desk::new(
        settings.sources.iter().filter_map(|source| provider_of(settings, source)).collect(),
        settings.speech_providers.clone(),
        settings.speech_timeout,
        Arc::clone(&store),
        Arc::clone(&jobs),
    ));
    let asker = Arc::new(job::Asker::new(provider_client, &desk));
    let speech = SpeechDesk::new(
        Arc::clone(&store),
        Arc::clone(&requests),
        Arc::clone(&desk),
        Arc::clone(&registry),
        ledger.clone(),
    );
    let limits = settings.accounts.iter().map(|account| (Arc::clone(&account.name), account.stored));
    let quotas = Arc::new(Quotas::new(Arc::clone(&store), limits));
    quotas.tell().await;
    let rooms = Rooms {
        quotas: Arc::clone(&quotas),
        store: Arc::clone(&store),
        registry: Arc::clone(&registry),
        ledger: ledger.clone(),
        speech: speech.clone(),
        call_desk: job::CallDesk::new(Arc::clone(&desk), Arc::clone(&asker)),
        client,
        bodies: bodies.clone(),
    };
    let intake = Arc::new(intake(
        settings,
        &store,
        (jobs, requests),
        &desk,
        (&registry, ledger),
        &bodies,
        quotas,
        &metrics,
    ));
    let job_worker = job::Worker::new(Arc::clone(&desk), asker, Arc::clone(&intake) as Arc<dyn job::Accept>);
    let announcer = Arc::clone(&intake);
    let customers = Customers { api: Arc::new(api(settings, &policy, rooms)) };
    let operators =
        Arc::new(Operators::new(Arc::clone(&store), customers.clone(), Arc::clone(&metrics), meter));
    let service = Arc::new(Service {
        intake,
        customers: customers.clone(),
        operators: settings.operator_listen.is_none().then(|| Arc::clone(&operators)),
    });
    let listener = match bound {
        Some(listener) => listener,
        None => Listener::bind(settings.listen).await?,
    };
    let operator_listener = match settings.operator_listen {
        Some(address) => Some(Listener::bind(address).await?),
        None => None,
    };

    let mut rooms = JoinSet::new();
    let (address, operator_address) = (listener.address(), operator_listener.as_ref().map(Listener::address));
    let stop = || {
        let shutdown = shutdown.clone();
        async move { shutdown.requested().await }
    };
    rooms.spawn(worker.run(stop(), DRAIN_DEADLINE));
    rooms.spawn(job_worker.run(stop(), DRAIN_DEADLINE));
    rooms.spawn(listener.serve(service, tls, stop(), DRAIN_DEADLINE));
    let announcing = async move { announcer.announce().await };
    rooms.spawn(until(stop(), announcing));
    rooms.spawn(until(stop(), following.follow()));
    let retention = settings.retention.delivered.max(settings.retention.failed);
    rooms.spawn(until(stop(), speech.tidy(settings.speech_timeout, retention)));
    if let Some(listener) = operator_listener {
        rooms.spawn(listener.serve(operators, None, stop(), DRAIN_DEADLINE));
    }
    Ok(Running { address, operator_address, store, desk, rooms, shutdown: shutdown.clone() })
}

/// Who asks providers, and who delivers.
fn clients(settings: &Settings, policy: &AddressPolicy) -> Result<(Client, Client), StartError> {
    let proxy = settings.delivery.proxy.as_ref().map(|url| Proxy::parse(url.as_str())).transpose()?;
    // Providers are where the operator says, which may be within his own network.
    let everywhere = ["0.0.0.0/0", "::/0"].map(|network| network.parse().expect("a network"));
    let to_providers = Client::new(ClientSettings {
        policy: AddressPolicy::new(everywhere.to_vec()),
        proxy: proxy.clone(),
        ca_files: settings.delivery.ca_files.clone(),
    })?;
    let to_receivers = Client::new(ClientSettings {
        policy: policy.clone(),
        proxy,
        ca_files: settings.delivery.ca_files.clone(),
    })?;
    Ok((to_providers, to_receivers))
}

/// The registrations as they are stored, and who writes them from now on.
async fn load_callbacks(
    settings: &Settings,
    store: &SharedStore,
) -> Result<(Arc<Registry>, Ledger), StartError> {
    let registry = Arc::new(Registry::default());
    let (sealer, rendering) = (settings.sealer.as_deref(), settings.limits.rendering);
    let mut unusable = Vec::new();
    let stored = store.callback_changes(0).await?;
    for row in stored.changed {
        match Callback::from_row(&row, sealer, rendering) {
            Ok(callback) => registry.put(callback),
            Err(error) => unusable.push(error),
        }
    }
    let others = unusable.len().saturating_sub(1);
    if let Some(first) = unusable.into_iter().next() {
        return Err(StartError::Callbacks { first, others });
    }
    let sealer = settings.sealer.clone();
    let ledger = Ledger::new(Arc::clone(store), Arc::clone(&registry), sealer, stored.revision, rendering);
    Ok((registry, ledger))
}

/// Work without an end, up to the stop.
async fn until(stop: impl Future<Output = ()>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = stop => {}
        () = work => {}
    }
}

/// The store, and what else it keeps.
struct Stores {
    store: SharedStore,
    jobs: SharedJobs,
    requests: SharedSpeechRequests,
}

async fn open_store(settings: &Settings, metrics: &Metrics) -> Result<Stores, StoreError> {
    let max_in_flight = settings.delivery.max_in_flight;
    let retention = Retention {
        delivered: settings.retention.delivered,
        failed: settings.retention.failed,
        calls: settings.retention.calls,
    };
    Ok(match &settings.store {
        StoreAddress::Embedded(path) => {
            let options = EmbeddedOptions { max_in_flight, retention, ..EmbeddedOptions::default() };
            let store = Arc::new(Embedded::open(path, options)?);
            for meter in store.meters() {
                metrics.add(meter);
            }
            Stores { store: Arc::clone(&store) as _, jobs: Arc::clone(&store) as _, requests: store }
        }
        StoreAddress::Redis(url) => {
            let options = RedisOptions {
                max_in_flight,
                retention,
                durability: settings.durability,
                ..RedisOptions::default()
            };
            let store = Arc::new(Redis::open(url.as_str(), options).await?);
            metrics.add(store.meter());
            Stores { store: Arc::clone(&store) as _, jobs: Arc::clone(&store) as _, requests: store }
        }
    })
}

/// A source whose provider is asked.
fn provider_of(settings: &Settings, source: &config::Source) -> Option<job::Provider> {
    let api = source.api.as_ref()?;
    let adapter = adapter_of(source);
    let asked = adapter.api()?;
    let base_url = api.base_url.clone().unwrap_or_else(|| asked.base_url().to_owned());
    let max_jobs = api.max_jobs.unwrap_or(asked.pace().max_jobs);
    // Who is not told where we are cannot call; then the provider is asked now and again.
    let webhook_url = settings.public_url.as_ref().map(|base| {
        let mut url = format!("{base}/v1/ingest/{}", source.name);
        if let Some(secret) = &source.url_secret {
            url.push('/');
            url.extend(percent_encoding::percent_encode(secret.expose(), percent_encoding::NON_ALPHANUMERIC));
        }
        url
    });
    Some(job::Provider {
        source: Arc::clone(&source.name),
        account: Arc::clone(&source.account),
        call_space: Arc::clone(&source.call_space),
        base_url,
        credentials: api.credentials.clone(),
        max_jobs,
        rate_limit: api.rate_limit,
        webhook_url,
        adapter,
    })
}

fn adapter_of(source: &config::Source) -> Arc<dyn provider::Adapter> {
    provider::adapter(source.provider, source.map.clone())
        .expect("settings name only providers that there are")
}

#[allow(clippy::too_many_arguments, reason = "it joins as many rooms")]
fn intake(
    settings: &Settings,
    store: &SharedStore,
    (jobs, requests): (SharedJobs, SharedSpeechRequests),
    desk: &Arc<job::Desk>,
    (registry, ledger): (&Arc<Registry>, Ledger),
    bodies: &Bodies,
    quotas: SharedQuotas,
    metrics: &Metrics,
) -> Intake {
    let names: Vec<&str> = settings.sources.iter().map(|source| source.name.as_ref()).collect();
    let meter = intake::Meter::new(metrics, &names);
    let limiter =
        Limiter::new(settings.sources.iter().map(|source| (Arc::clone(&source.name), source.rate_limit)));
    let sources = settings.sources.iter().map(|source| Source {
        name: source.name.as_ref().to_owned(),
        account: Arc::clone(&source.account),
        call_space: Arc::clone(&source.call_space),
        adapter: adapter_of(source),
        verifier: source.verify.clone(),
    });
    Intake::new(
        sources.collect(),
        limiter,
        Arc::clone(store),
        jobs,
        requests,
        Arc::clone(desk),
        Arc::clone(registry),
        ledger,
        bodies.clone(),
        match &settings.public_url {
            Some(url) => CalledAs::Public(url.as_str().to_owned()),
            None => CalledAs::Host { scheme: if settings.tls.is_some() { "https" } else { "http" } },
        },
        Proxies::new(Networks::new(settings.trusted_proxies.iter().copied())),
        quotas,
        meter,
    )
}

fn api(settings: &Settings, policy: &AddressPolicy, rooms: Rooms) -> Api {
    let limiter =
        Limiter::new(settings.accounts.iter().map(|account| (Arc::clone(&account.name), account.requests)));
    let limits = template::Limits {
        template: settings.limits.template,
        rendering: settings.limits.rendering,
        ..template::Limits::default()
    };
    let rules: HashMap<_, _> = settings
        .accounts
        .iter()
        .map(|account| {
            let own = settings.sources.iter().filter(|source| source.account == account.name);
            let definition = DefinitionLimits {
                template: limits,
                policy: policy.clone(),
                timeout: settings.delivery.timeout,
                sources: own.map(|source| source.name.as_ref().to_owned()).collect(),
            };
            let own = settings.sources.iter().filter(|source| source.account == account.name);
            let call_spaces: BTreeSet<_> = own.map(|source| Arc::clone(&source.call_space)).collect();
            let rules = AccountRules {
                callbacks: account.callbacks,
                definition,
                call_spaces: call_spaces.into_iter().collect(),
            };
            (Arc::clone(&account.name), rules)
        })
        .collect();
    Api::new(settings.tokens.clone(), rules, limiter, rooms)
}

/// The server's side of TLS, with the operator's certificate.
fn acceptor(tls: &Tls) -> Result<TlsAcceptor, StartError> {
    let fault = |path: &Path, reason: String| StartError::Tls { path: path.display().to_string(), reason };
    let chain = CertificateDer::pem_file_iter(&tls.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| fault(&tls.cert, error.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| fault(&tls.key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| fault(&tls.cert, error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_room_that_ends_by_itself_stops_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ringback.db");
        let embedded = Arc::new(Embedded::open(&path, EmbeddedOptions::default()).unwrap());
        let (store, jobs): (SharedStore, SharedJobs) = (Arc::clone(&embedded) as _, embedded);
        let desk = Arc::new(job::Desk::new(Vec::new(), Vec::new(), Duration::ZERO, Arc::clone(&store), jobs));
        let shutdown = Shutdown::new();
        let mut rooms = JoinSet::new();
        let other = shutdown.clone();
        rooms.spawn(async move { other.requested().await });
        rooms.spawn(async { panic!("a defect") });
        let address = ([127, 0, 0, 1], 0).into();
        let running = Running { address, operator_address: None, store, desk, rooms, shutdown };
        let finished = tokio::time::timeout(Duration::from_secs(10), running.finished()).await;
        assert!(!finished.expect("everything stops"));
    }
}
