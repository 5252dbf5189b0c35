//! Which node of a Cluster has a slot, and the ways to the nodes.
//!
//! The client of the redis library is not used for it. It follows `ASK`, and must not here: the
//! scripts need all keys of their slot, and while a slot is being moved each of two nodes has some.
//! A slot on the move is an outage of its shard, until it has arrived. And commands that block, or
//! that wait for what was written before, need connections to a node of which we know.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use redis::{Client, ConnectionAddr, ConnectionInfo, Value};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::failure::{away, lost_slot};
use super::inspection;
use super::link::{Link, Setup};
use super::nodes::unusable;
use crate::metric::Histogram;
use crate::store::StoreError;

/// How long nobody asks for the nodes after they were asked for.
const REFRESH_PAUSE: Duration = Duration::from_millis(200);

/// How many slots there are.
const SLOTS: u16 = 16_384;

/// The slot of the keys with this hash tag (CRC16/XMODEM, as the Cluster specification has it).
pub(super) fn slot_of(tag: &[u8]) -> u16 {
    let crc = tag.iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    });
    crc % SLOTS
}

/// The nodes of a Cluster.
pub(super) struct Cluster {
    /// What every node is connected with: user, password, TLS.
    like: ConnectionInfo,
    /// Those that were named.
    named: Vec<Arc<Link>>,
    map: RwLock<Arc<Map>>,
    /// When the nodes were asked for last.
    asked_at: Mutex<Option<Instant>>,
    setup: Setup,
}

/// Who has which slots.
#[derive(Default)]
struct Map {
    /// Tells it from those before it.
    version: u64,
    /// The first slot of a range, its last, and their master.
    ranges: Vec<(u16, u16, Arc<Link>)>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("named", &self.named).finish_non_exhaustive()
    }
}

impl Cluster {
    /// How long scripts take.
    pub(super) const fn meter(&self) -> &Histogram {
        &self.setup.meter
    }

    /// Asks the nodes that are named for all of them. There is at least one.
    pub(super) async fn connect(named: Vec<Client>, setup: Setup) -> Result<Self, StoreError> {
        let like = named.first().expect("a Cluster is named by a node").get_connection_info().clone();
        let link = |client| Arc::new(Link::new(client, setup.clone()));
        let cluster = Self {
            like,
            named: named.into_iter().map(link).collect(),
            map: RwLock::default(),
            asked_at: Mutex::default(),
            setup,
        };
        match cluster.ask().await {
            Ok(ranges) => {
                cluster.set(1, ranges);
                Ok(cluster)
            }
            Err(error) => {
                // One that is no node of a Cluster says so in plain words.
                for link in &cluster.named {
                    if let Ok(findings) = inspection::look(link).await {
                        let refused = findings.refuse_what_is_none_for_a_store(true);
                        refused.map_err(|error| unusable("Redis", &link.place(), error))?;
                    }
                }
                Err(unusable("the Redis Cluster", &cluster.places(), error))
            }
        }
    }

    /// The addresses of those that were named.
    pub(super) fn places(&self) -> String {
        self.named.iter().map(|link| link.place()).collect::<Vec<_>>().join(", ")
    }

    /// The masters that have slots.
    pub(super) fn masters(&self) -> Vec<Arc<Link>> {
        let mut masters: Vec<Arc<Link>> = Vec::new();
        for (.., link) in &self.map().ranges {
            if !masters.iter().any(|known| Arc::ptr_eq(known, link)) {
                masters.push(Arc::clone(link));
            }
        }
        masters
    }

    /// The way to the master of a slot.
    pub(super) fn link_of(&self, slot: u16) -> Result<Arc<Link>, StoreError> {
        let map = self.map();
        let mut ranges = map.ranges.iter();
        let found = ranges.find(|(first, last, _)| (*first..=*last).contains(&slot));
        found.map(|(.., link)| Arc::clone(link)).ok_or_else(lost_slot)
    }

    pub(super) fn version(&self) -> u64 {
        self.map().version
    }

    /// Asks anew who has which slots, if the map is still the one of this version, and if nobody has
    /// just done so.
    pub(super) async fn refresh(&self, seen: u64) {
        let mut asked_at = self.asked_at.lock().await;
        if self.version() != seen || asked_at.is_some_and(|at| at.elapsed() < REFRESH_PAUSE) {
            return;
        }
        match self.ask().await {
            Ok(ranges) => self.set(seen + 1, ranges),
            Err(error) => tracing::debug!(%error, "no node of the Cluster says who has which slots"),
        }
        *asked_at = Some(Instant::now());
    }

    fn map(&self) -> Arc<Map> {
        // What is in it is put there as a whole.
        Arc::clone(&self.map.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, version: u64, ranges: Vec<(u16, u16, Arc<Link>)>) {
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Map { version, ranges });
    }

    /// Asks all nodes that are known, and believes the first that answers.
    async fn ask(&self) -> Result<Vec<(u16, u16, Arc<Link>)>, StoreError> {
        let mut links: HashMap<String, Arc<Link>> = HashMap::new();
        for link in self.named.iter().chain(&self.masters()) {
            links.entry(link.place()).or_insert_with(|| Arc::clone(link));
        }
        let mut asked = JoinSet::new();
        for link in links.values().cloned() {
            asked.spawn(async move {
                let mut pipeline = redis::pipe();
                pipeline.cmd("CLUSTER").arg("SLOTS");
                let answer: Result<(Value,), StoreError> = link.ask(&pipeline).await;
                answer.map(|(slots,)| (link, slots))
            });
        }
        let mut refused = None;
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok(Ok((link, slots))) => {
                    let ranges = self.read(&slots, &link, &links)?;
                    if !ranges.is_empty() {
                        return Ok(ranges);
                    }
                }
                Ok(Err(error)) => refused = Some(error),
                Err(_) => {}
            }
        }
        Err(refused.unwrap_or_else(lost_slot))
    }

    /// Reads what `CLUSTER SLOTS` answers: ranges, each with its first and last slot, its master as
    /// host, port and more, and its replicas.
    fn read(
        &self,
        slots: &Value,
        told_by: &Arc<Link>,
        known: &HashMap<String, Arc<Link>>,
    ) -> Result<Vec<(u16, u16, Arc<Link>)>, StoreError> {
        let mut links = known.clone();
        let mut ranges = Vec::new();
        let Value::Array(told) = slots else { return Ok(ranges) };
        for range in told {
            let Value::Array(parts) = range else { continue };
            let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = parts.as_slice() else {
                continue;
            };
            let [host, Value::Int(port), ..] = master.as_slice() else { continue };
            let (Ok(first), Ok(last), Ok(port)) =
                (u16::try_from(*first), u16::try_from(*last), u16::try_from(*port))
            else {
                continue;
            };
            // One that does not know its own name is where it was asked.
            let host = match host {
                Value::BulkString(host) if !host.is_empty() && host != b"?" => {
                    String::from_utf8_lossy(host).into_owned()
                }
                _ => host_of(told_by.client().get_connection_info().addr()),
            };
            let info = self.like.clone().set_addr(at(self.like.addr(), host, port));
            let place = info.addr().to_string();
            if !links.contains_key(&place) {
                let client = Client::open(info).map_err(|_| away())?;
                links.insert(place.clone(), Arc::new(Link::new(client, self.setup.clone())));
            }
            let link = Arc::clone(&links[&place]);
            ranges.push((first, last, link));
        }
        Ok(ranges)
    }
}

fn host_of(address: &ConnectionAddr) -> String {
    match address {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
        _ => String::new(),
    }
}

/// The same kind of address, elsewhere.
fn at(like: &ConnectionAddr, host: String, port: u16) -> ConnectionAddr {
    match like {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
        }
        _ => ConnectionAddr::Tcp(host, port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot_of(b"123456789"), 0x31C3);
        // As `CLUSTER KEYSLOT` has them.
        for (tag, slot) in [("rb0", 11_635), ("foo", 12_182), ("", 0)] {
            assert_eq!(slot_of(tag.as_bytes()), slot, "{tag}");
        }
    }
}
