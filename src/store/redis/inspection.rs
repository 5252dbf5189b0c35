//! What a start looks at before it uses a Redis: its version and role, that it never throws
//! anything away, and what its settings can lose.

use std::collections::HashMap;
use std::time::Duration;

use crate::store::StoreError;

use super::Durability;
use super::link::Link;
use super::nodes::{Nodes, unusable};

/// The oldest Redis that has every command we use (`ZADD GT`).
const OLDEST: (u32, u32) = (6, 2);

/// The oldest Redis that waits for disks of replicas.
const OLDEST_WITH_WAITAOF: (u32, u32) = (7, 2);

/// How often a Redis that is loading its data is asked again. It loads as long as it takes.
const LOADING_PAUSE: Duration = Duration::from_millis(500);

/// What was found, in Redis' own names.
#[derive(Debug, Default)]
pub(super) struct Findings {
    info: HashMap<String, String>,
    /// Empty where the user may not read it, as on managed services.
    config: HashMap<String, String>,
}

/// What a crash can take with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exposure {
    /// A sentence for the log.
    pub(super) sentence: String,
    /// Whether an operator should do something about it.
    pub(super) is_grave: bool,
}

/// Asks every master about itself, and refuses one that a store cannot be in. What they can lose, once
/// for all that are alike.
pub(super) async fn inspect(nodes: &Nodes, durability: Durability) -> Result<Vec<Exposure>, StoreError> {
    let mut alike: Vec<(Exposure, Vec<String>)> = Vec::new();
    for link in nodes.masters() {
        let place = link.place();
        let findings = look(&link).await.map_err(|error| unusable("Redis", &place, error))?;
        let exposure = findings
            .judge(nodes.is_cluster(), durability)
            .map_err(|error| unusable("Redis", &place, error))?;
        match alike.iter_mut().find(|(known, _)| *known == exposure) {
            Some((_, places)) => places.push(place),
            None => alike.push((exposure, vec![place])),
        }
    }
    Ok(alike
        .into_iter()
        .map(|(exposure, places)| match nodes {
            Nodes::One(_) => exposure,
            Nodes::Cluster(_) => {
                let sentence = format!("{}: {}", places.join(", "), exposure.sentence);
                Exposure { sentence, ..exposure }
            }
        })
        .collect())
}

/// Asks Redis about itself, as soon as it has loaded its data.
pub(super) async fn look(link: &Link) -> Result<Findings, StoreError> {
    let info = loop {
        let mut pipeline = redis::pipe();
        pipeline.cmd("INFO");
        let (info,): (String,) = link.ask(&pipeline).await?;
        let info = parse(&info);
        if info.get("loading").is_none_or(|loading| loading == "0") {
            break info;
        }
        tracing::info!("Redis is loading its data; waiting for it");
        tokio::time::sleep(LOADING_PAUSE).await;
    };
    let mut config = HashMap::new();
    for name in ["maxmemory-policy", "appendfsync", "save"] {
        let mut pipeline = redis::pipe();
        pipeline.cmd("CONFIG").arg("GET").arg(name);
        let answer: Result<(HashMap<String, String>,), _> = link.ask(&pipeline).await;
        match answer {
            Ok((found,)) => config.extend(found),
            // A managed service, or a user without the right: INFO has to do.
            Err(_) => break,
        }
    }
    Ok(Findings { info, config })
}

/// Why a first wait for replicas was in vain, with what to do.
pub(super) fn keeps_nothing(error: StoreError) -> StoreError {
    match error {
        StoreError::Unavailable { reason, .. } => StoreError::Unusable(format!(
            "durability = \"replica\": {reason}; see that a replica is connected and has appendonly yes, or \
             write durability = \"local\""
        )),
        error => error,
    }
}

pub(super) fn parse(info: &str) -> HashMap<String, String> {
    let lines = info.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

impl Findings {
    fn info(&self, name: &str) -> &str {
        self.info.get(name).map_or("", String::as_str)
    }

    fn judge(&self, is_of_cluster: bool, durability: Durability) -> Result<Exposure, StoreError> {
        self.refuse_what_is_none_for_a_store(is_of_cluster)?;
        if let Some(reason) = self.throws_away() {
            return Err(StoreError::Unusable(reason));
        }
        match durability {
            Durability::Local => Ok(self.exposure()),
            Durability::Replica => {
                self.refuse_what_cannot_wait_for_replicas()?;
                Ok(Exposure {
                    sentence: "answers wait for the disks of the master and of a replica: what was answered \
                               survives the loss of either"
                        .to_owned(),
                    is_grave: false,
                })
            }
        }
    }

    /// Refuses what no setting can make one that a store can be in.
    pub(super) fn refuse_what_is_none_for_a_store(&self, is_of_cluster: bool) -> Result<(), StoreError> {
        let refuse = |reason: String| Err(StoreError::Unusable(format!("it {reason}")));
        let version = self.info("redis_version");
        if self.version() < OLDEST {
            return refuse(format!("is of version {version}; ringback needs 6.2 or later"));
        }
        // Valkey calls it by another name.
        let mode = if self.info("redis_mode").is_empty() { "server_mode" } else { "redis_mode" };
        match self.info(mode) {
            "cluster" if !is_of_cluster => {
                return refuse(
                    "is a node of a Cluster; name it as one, redis-cluster://host:port".to_owned(),
                );
            }
            "standalone" if is_of_cluster => {
                return refuse(
                    "is a single Redis and no node of a Cluster; name it as one, redis://host:port"
                        .to_owned(),
                );
            }
            "sentinel" => {
                return refuse("is a Sentinel; name the Redis that it watches".to_owned());
            }
            _ => {}
        }
        if self.info("role") != "master" {
            return refuse("is a replica, which takes no writes; name its master".to_owned());
        }
        Ok(())
    }

    /// Refuses what has no `WAITAOF`, or what that would wait for in vain.
    fn refuse_what_cannot_wait_for_replicas(&self) -> Result<(), StoreError> {
        let refuse =
            |reason: String| Err(StoreError::Unusable(format!("durability = \"replica\": it {reason}")));
        // Valkey says with which Redis it goes, too.
        if self.version() < OLDEST_WITH_WAITAOF {
            let version = self.info("redis_version");
            return refuse(format!(
                "is of version {version}, and to wait for replicas' disks takes 7.2 or later, or Valkey; bring it \
                 up, or write durability = \"local\""
            ));
        }
        if self.info("aof_enabled") != "1" {
            return refuse(
                "keeps no append-only file; CONFIG SET appendonly yes, and the same in redis.conf, here and on \
                 its replicas"
                    .to_owned(),
            );
        }
        if matches!(self.info("connected_slaves"), "" | "0") {
            return refuse(
                "has no replica; give it one, with appendonly yes, or write durability = \"local\""
                    .to_owned(),
            );
        }
        Ok(())
    }

    fn version(&self) -> (u32, u32) {
        let mut numbers = self.info("redis_version").split('.').map(|part| part.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    /// That it throws data away when its memory is full, if it does.
    pub(super) fn throws_away(&self) -> Option<String> {
        let policy =
            self.config.get("maxmemory-policy").map_or_else(|| self.info("maxmemory_policy"), String::as_str);
        (policy != "noeviction").then(|| {
            format!(
                "it throws data away when its memory is full (maxmemory-policy is `{policy}`), and with it \
                 what was accepted; set it to noeviction: CONFIG SET maxmemory-policy noeviction, and the \
                 same in redis.conf"
            )
        })
    }

    pub(super) fn exposure(&self) -> Exposure {
        let exposure = |is_grave, sentence: &str| Exposure { sentence: sentence.to_owned(), is_grave };
        if self.info("aof_enabled") == "1" {
            return match self.config.get("appendfsync").map(String::as_str) {
                Some("always") => {
                    exposure(false, "appendfsync is `always`: what was answered survives a crash")
                }
                Some("no") => exposure(
                    true,
                    "appendfsync is `no`: a crash of its machine can lose what was answered in the last half \
                     minute; set it to everysec or always",
                ),
                Some(_) => exposure(
                    false,
                    "appendfsync is `everysec`: a crash can lose what was answered in the last two seconds; \
                     with `always` it loses nothing",
                ),
                None => exposure(
                    false,
                    "the append-only file is on, and its appendfsync cannot be read by this user: with \
                     `everysec` a crash can lose what was answered in the last two seconds, with `always` \
                     nothing",
                ),
            };
        }
        match self.config.get("save").map(String::as_str) {
            Some("") => exposure(
                true,
                "it keeps nothing on disk: a restart of Redis loses everything that was accepted; set \
                 appendonly to yes",
            ),
            _ => exposure(
                true,
                "it keeps snapshots only: a crash loses everything since the last one; set appendonly to yes",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n# Replication\r\n\
        role:master\r\naof_enabled:1\r\nmaxmemory_policy:noeviction\r\n";

    fn findings(change: (&str, &str), config: &[(&str, &str)]) -> Findings {
        let mut info = parse(GOOD);
        info.insert(change.0.to_owned(), change.1.to_owned());
        let config = config.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Findings { info, config }
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_what_to_do() {
        for (change, expected) in [
            (("redis_version", "6.0.16"), "is of version 6.0.16; ringback needs 6.2 or later"),
            (("redis_version", "5.0"), "needs 6.2"),
            (("redis_mode", "cluster"), "a node of a Cluster"),
            (("redis_mode", "sentinel"), "a Sentinel"),
            (("role", "slave"), "a replica"),
            (("maxmemory_policy", "allkeys-lru"), "set it to noeviction"),
        ] {
            let refused = findings(change, &[]).judge(false, Durability::Local).unwrap_err().to_string();
            assert!(refused.contains(expected), "{refused}");
        }
        for version in ["6.2.0", "7.0.15", "8.2.1", "10.0"] {
            assert!(
                findings(("redis_version", version), &[]).judge(false, Durability::Local).is_ok(),
                "{version}"
            );
        }
        let refused = findings(("", ""), &[]).judge(true, Durability::Local).unwrap_err().to_string();
        assert!(refused.contains("no node of a Cluster"), "{refused}");
        assert!(findings(("redis_mode", "cluster"), &[]).judge(true, Durability::Local).is_ok());
        let mut valkey = findings(("server_mode", "standalone"), &[]);
        valkey.info.remove("redis_mode");
        let refused = valkey.judge(true, Durability::Local).unwrap_err().to_string();
        assert!(refused.contains("no node of a Cluster"), "{refused}");
        // What CONFIG says comes before what INFO says.
        let config = [("maxmemory-policy", "volatile-ttl")];
        assert!(findings(("", ""), &config).judge(false, Durability::Local).is_err());
    }

    #[test]
    fn what_cannot_wait_for_replicas_is_refused_with_what_to_do() {
        let with = |changes: &[(&str, &str)]| {
            let mut findings = findings(("connected_slaves", "1"), &[]);
            findings.info.insert("redis_version".to_owned(), "7.2.4".to_owned());
            for (name, value) in changes {
                findings.info.insert((*name).to_owned(), (*value).to_owned());
            }
            findings.judge(false, Durability::Replica)
        };
        // Valkey 8 says that it goes with Redis 7.2.4.
        let exposure = with(&[("valkey_version", "8.1.0")]).unwrap();
        assert!(!exposure.is_grave && exposure.sentence.contains("a replica"), "{exposure:?}");
        for (change, expected) in [
            (("redis_version", "7.0.15"), "is of version 7.0.15"),
            (("aof_enabled", "0"), "CONFIG SET appendonly yes"),
            (("connected_slaves", "0"), "has no replica"),
        ] {
            let refused = with(&[change]).unwrap_err().to_string();
            assert!(refused.contains(expected) && refused.contains("durability"), "{refused}");
        }
    }

    #[test]
    fn what_can_be_lost_is_said() {
        for (change, config, is_grave, expected) in [
            (("", ""), &[("appendfsync", "always")][..], false, "survives"),
            (("", ""), &[("appendfsync", "everysec")], false, "two seconds"),
            (("", ""), &[("appendfsync", "no")], true, "half minute"),
            (("", ""), &[], false, "cannot be read"),
            (("aof_enabled", "0"), &[("save", "3600 1")], true, "since the last one"),
            (("aof_enabled", "0"), &[("save", "")], true, "loses everything"),
        ] {
            let exposure = findings(change, config).judge(false, Durability::Local).unwrap();
            assert_eq!(exposure.is_grave, is_grave, "{exposure:?}");
            assert!(exposure.sentence.contains(expected), "{exposure:?}");
        }
    }
}
