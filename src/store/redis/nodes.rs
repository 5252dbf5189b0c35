//! Where shards are: one Redis, or the nodes of a Cluster.

use std::sync::Arc;

use redis::Client;

use super::Durability;
use super::address::nodes_of_cluster;
use super::cluster::Cluster;
use super::link::{Link, Setup};
use crate::metric::Histogram;
use crate::store::StoreError;

/// The shards of a new store in a Cluster of up to [`FEW_MASTERS`], and in a larger one: so many that
/// accounts spread, and so few that looking at all of them costs little.
const SHARDS_OF_FEW: usize = 16;
const SHARDS_OF_MANY: usize = 64;
const FEW_MASTERS: usize = 4;

/// Where shards are.
#[derive(Debug)]
pub(super) enum Nodes {
    One(Arc<Link>),
    Cluster(Box<Cluster>),
}

impl Nodes {
    /// The nodes that a URL names. Those of a Cluster are asked for.
    pub(super) async fn open(url: &str, durability: Durability) -> Result<Self, StoreError> {
        let setup = Setup::new(durability);
        // The library's words may hold the URL, and with it the password.
        let client = |url: &str| {
            Client::open(url)
                .map_err(|_| StoreError::Unusable("the URL of the store is not one of a Redis".to_owned()))
        };
        match nodes_of_cluster(url) {
            None => Ok(Self::One(Arc::new(Link::new(client(url)?, setup)))),
            Some(urls) => {
                let clients = urls.iter().map(|url| client(url)).collect::<Result<_, _>>()?;
                Cluster::connect(clients, setup).await.map(|cluster| Self::Cluster(Box::new(cluster)))
            }
        }
    }

    pub(super) const fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// How long scripts take.
    pub(super) fn meter(&self) -> &Histogram {
        match self {
            Self::One(link) => link.meter(),
            Self::Cluster(cluster) => cluster.meter(),
        }
    }

    /// The masters: those that take writes.
    pub(super) fn masters(&self) -> Vec<Arc<Link>> {
        match self {
            Self::One(link) => vec![Arc::clone(link)],
            Self::Cluster(cluster) => cluster.masters(),
        }
    }

    /// How many shards a new store has here.
    pub(super) fn shards(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Cluster(cluster) if cluster.masters().len() <= FEW_MASTERS => SHARDS_OF_FEW,
            Self::Cluster(_) => SHARDS_OF_MANY,
        }
    }

    /// An error that says what it is about.
    pub(super) fn unusable(&self, error: StoreError) -> StoreError {
        match self {
            Self::One(link) => unusable("Redis", &link.place(), error),
            Self::Cluster(cluster) => unusable("the Redis Cluster", &cluster.places(), error),
        }
    }
}

/// An error that says what it is about.
pub(super) fn unusable(what: &str, place: &str, error: StoreError) -> StoreError {
    match error {
        StoreError::Unusable(reason) => StoreError::Unusable(format!("{what} at {place}: {reason}")),
        StoreError::Unavailable { reason, source, .. } => {
            let cause = source.map_or_else(String::new, |source| format!(": {source}"));
            StoreError::Unusable(format!("{what} at {place}: {reason}{cause}"))
        }
        error @ StoreError::Corrupt { .. } => error,
    }
}
