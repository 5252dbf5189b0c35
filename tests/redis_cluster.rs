//! A Redis Cluster of one's own on loopback, of three masters.

use std::time::{Duration, Instant};

use crate::redis_server::RedisServer;
use crate::redis_tls::Authority;

/// How long the nodes may take to agree, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// The slots of each of three masters.
const RANGES: [[u16; 2]; 3] = [[0, 5_460], [5_461, 10_922], [10_923, 16_383]];

/// How long a node is away until the others take it for dead: longer than a busy machine lets one of
/// them wait, where none is to die.
const NEVER: &str = "600000";

/// A running Cluster, killed when it is dropped.
pub(crate) struct RedisCluster {
    /// The masters, in the order of their slots.
    pub(crate) masters: Vec<RedisServer>,
    /// A replica of the first, if there is to be one.
    pub(crate) replica: Option<RedisServer>,
}

impl RedisCluster {
    /// Three masters, none of which is ever taken for dead.
    pub(crate) fn start() -> Self {
        let masters: Vec<RedisServer> = RANGES.iter().map(|_| RedisServer::node(NEVER)).collect();
        let cluster = Self { masters, replica: None };
        cluster.join();
        cluster
    }

    /// Three masters, the first with a replica that takes over when it is away for so many ms.
    pub(crate) fn with_replica(node_timeout: &str) -> Self {
        let masters: Vec<RedisServer> = RANGES.iter().map(|_| RedisServer::node(node_timeout)).collect();
        let replica = RedisServer::node(node_timeout);
        let cluster = Self { masters, replica: Some(replica) };
        cluster.join();
        cluster
    }

    /// Three masters that speak TLS, with each other too.
    pub(crate) fn with_tls(authority: &Authority) -> Self {
        let masters = RANGES
            .iter()
            .map(|_| RedisServer::node_with_tls(NEVER, |port| authority.settings(port)))
            .collect();
        let cluster = Self { masters, replica: None };
        cluster.join();
        cluster
    }

    pub(crate) fn url(&self) -> String {
        let nodes: Vec<String> =
            self.masters.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("redis-cluster://{}", nodes.join(","))
    }

    /// Waits until every node finds that all is well.
    pub(crate) fn is_well(&self) {
        let nodes = self.masters.len() + usize::from(self.replica.is_some());
        for node in self.masters.iter().chain(&self.replica) {
            let is_well = || {
                let info = text(node, &[b"CLUSTER", b"INFO"]);
                info.contains("cluster_state:ok")
                    && info.contains("cluster_slots_ok:16384")
                    && info.contains(&format!("cluster_known_nodes:{nodes}\r"))
            };
            wait_for("the Cluster is not well", is_well);
        }
    }

    fn join(&self) {
        for (node, [first, last]) in self.masters.iter().zip(RANGES) {
            let range = [first.to_string(), last.to_string()];
            let answer =
                text(node, &[b"CLUSTER", b"ADDSLOTSRANGE", range[0].as_bytes(), range[1].as_bytes()]);
            assert!(answer.starts_with("+OK"), "{answer}");
        }
        for (number, node) in self.masters.iter().chain(&self.replica).enumerate() {
            let epoch = (number + 1).to_string();
            text(node, &[b"CLUSTER", b"SET-CONFIG-EPOCH", epoch.as_bytes()]);
            if number > 0 {
                // Nodes that speak TLS with each other know each other by their TLS ports.
                let port = if node.tls_port() > 0 { node.tls_port() } else { node.port() };
                let (port, bus) = (port.to_string(), node.bus_port().to_string());
                let meet: [&[u8]; 5] = [b"CLUSTER", b"MEET", b"127.0.0.1", port.as_bytes(), bus.as_bytes()];
                let answer = text(&self.masters[0], &meet);
                assert!(answer.starts_with("+OK"), "{answer}");
            }
        }
        self.is_well();
        if let Some(replica) = &self.replica {
            let id = text(&self.masters[0], &[b"CLUSTER", b"MYID"]);
            let id = id.lines().nth(1).expect("a node has an id").to_owned();
            let answer = text(replica, &[b"CLUSTER", b"REPLICATE", id.as_bytes()]);
            assert!(answer.starts_with("+OK"), "{answer}");
            wait_for("the replica does not follow", || {
                text(replica, &[b"INFO", b"replication"]).contains("master_link_status:up")
            });
        }
    }
}

fn text(node: &RedisServer, command: &[&[u8]]) -> String {
    String::from_utf8_lossy(&node.ask(command)).into_owned()
}

pub(crate) fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
