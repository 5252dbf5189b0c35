//! Whether everything in a Redis is where its state demands.
//!
//! The keys are gone through once, a bounded number at a time, also while processes work with them.
//! What must fit together is looked at in one script, as it is at one moment: what moves between two
//! looks is not taken for damage.

mod names;

use std::collections::BTreeSet;
use std::sync::Arc;

use self::names::{name_of_state, printed, printed_set};
use super::nodes::{Nodes, unusable};
use super::shard::{MOST_SHARDS, Script, Shard};
use super::{Durability, FORMAT, inspection, search};
use crate::store::StoreError;
use crate::store::audit::{Audit, FindingKind};

/// How many keys Redis is asked for at a time, more or less.
const SCAN: usize = 1_000;

/// Of how many one script looks at all that belongs to them: Redis does nothing else meanwhile.
const CHUNK: usize = 100;

/// How many members a set may have of which [`CHUNK`] are looked at in one script.
const SHORT: usize = 20;

/// What the names of sets begin with that are not sorted.
const SETS: [&[u8]; 6] = [b"ja:", b"jo:", b"jc:", b"su:", b"vu:", b"co"];

/// The most leases that are counted against what destinations say of them.
const MOST_LEASES: usize = 20_000;

/// Audits the Redis at `url`.
///
/// # Errors
/// [`StoreError::Unusable`]: it cannot be reached, is none that a store can be in, holds none, or holds
/// what a newer version wrote, or what is not brought up to this format yet.
pub async fn audit(url: &str) -> Result<Audit, StoreError> {
    let nodes = Arc::new(Nodes::open(url, Durability::Local).await?);
    let mut audit = Audit::default();
    let exposures = look_at_settings(&nodes, &mut audit).await?;
    audit.notes.extend(exposures);
    let of_members = |text: &str| Script::new(&[include_str!("audit_owner.lua"), text].concat());
    let mut auditor = Auditor {
        shard: Shard::new(0, Arc::clone(&nodes), None),
        deliveries: Script::new(include_str!("audit_deliveries.lua")),
        members: of_members(include_str!("audit_members.lua")),
        lists: of_members(include_str!("audit_lists.lua")),
        parts: Script::new(include_str!("audit_parts.lua")),
        needed: Script::new(include_str!("audit_needed.lua")),
        records: Script::new(include_str!("audit_records.lua")),
        destinations: Script::new(include_str!("audit_destinations.lua")),
        jobs: Script::new(include_str!("audit_jobs.lua")),
        index: Script::new(include_str!("audit_index.lua")),
        audit,
        to_look_at: BTreeSet::new(),
    };
    let shards = auditor.look_at_mark().await.map_err(|error| nodes.unusable(error))?;
    for number in 0..shards {
        auditor.shard = Shard::new(number, Arc::clone(&nodes), None);
        auditor.look_at_mark().await.map_err(|error| nodes.unusable(error))?;
        auditor.look_at_all().await.map_err(|error| nodes.unusable(error))?;
    }
    let mut audit = auditor.audit;
    // Redis may name a key twice while it makes room for more of them.
    audit.findings.sort_by(|one, other| (one.kind, &one.subject).cmp(&(other.kind, &other.subject)));
    audit.findings.dedup();
    Ok(audit)
}

/// What the servers' settings are, a sentence each, with what is wrong with them.
async fn look_at_settings(nodes: &Nodes, audit: &mut Audit) -> Result<Vec<String>, StoreError> {
    let mut exposures = Vec::new();
    for link in nodes.masters() {
        let place = link.place();
        let findings = inspection::look(&link).await.map_err(|error| unusable("Redis", &place, error))?;
        findings
            .refuse_what_is_none_for_a_store(nodes.is_cluster())
            .map_err(|error| unusable("Redis", &place, error))?;
        let of = if nodes.is_cluster() { format!("{place}: ") } else { String::new() };
        if let Some(reason) = findings.throws_away() {
            audit.find(FindingKind::Settings, "maxmemory-policy", format!("{of}{reason}"));
        }
        exposures.push(format!("{of}{}", findings.exposure().sentence));
    }
    Ok(exposures)
}

/// What scripts tell: the name of a key, the kind of what is wrong with it, and a sentence.
type Told = Vec<(Vec<u8>, Vec<u8>, Vec<u8>)>;

struct Auditor {
    /// The one that is looked at.
    shard: Shard,
    deliveries: Script,
    members: Script,
    lists: Script,
    parts: Script,
    needed: Script,
    records: Script,
    destinations: Script,
    jobs: Script,
    index: Script,
    audit: Audit,
    /// Registrations and whatever else something waits for.
    to_look_at: BTreeSet<Vec<u8>>,
}

/// What the members of a set name, and how their keys say that they are of this set.
struct Members<'a> {
    set: &'a [u8],
    begins: Vec<u8>,
    part: &'static str,
    value: &'a [u8],
}

/// A set of which there is one for each call, and most are short: they wait for each other.
struct List {
    set: Vec<u8>,
    begins: &'static str,
    part: &'static str,
    value: Vec<u8>,
}

/// Names that wait for a script, of one kind each.
#[derive(Default)]
struct Waiting {
    lists: Vec<List>,
    deliveries: Vec<Vec<u8>>,
    requests: Vec<Vec<u8>>,
    attempts: Vec<Vec<u8>>,
    snapshots: Vec<Vec<u8>>,
    definitions: Vec<Vec<u8>>,
    events: Vec<Vec<u8>>,
    calls: Vec<Vec<u8>>,
    jobs: Vec<Vec<u8>>,
}

impl Auditor {
    /// Looks at what says that there is a store, or a shard of one; of how many shards.
    async fn look_at_mark(&mut self) -> Result<usize, StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("HMGET").arg(self.shard.key("n", b"")).arg("F").arg("S").arg("U");
        let ((format, shards, is_old),): ((Option<u32>, Option<usize>, Option<u8>),) =
            self.shard.ask(&pipeline).await?;
        match format {
            None => Err(StoreError::Unusable("there is no store in this database".to_owned())),
            Some(format) if format > FORMAT => Err(super::newer(format)),
            Some(format) if format < FORMAT || is_old.is_some() => Err(StoreError::Unusable(format!(
                "an older ringback wrote some of it (format {format}; this one reads {FORMAT}): start `ringback \
                 serve` once, which brings it up, and check then"
            ))),
            Some(format) => {
                self.audit.format = format;
                Ok(shards.unwrap_or(1).min(MOST_SHARDS))
            }
        }
    }

    /// Looks at everything in a shard.
    async fn look_at_all(&mut self) -> Result<(), StoreError> {
        self.go_through().await?;
        self.look_at_destinations().await
    }

    async fn go_through(&mut self) -> Result<(), StoreError> {
        let mut cursor = "0".to_owned();
        let mut waiting = Waiting::default();
        loop {
            let mut pipeline = redis::pipe();
            let pattern = self.shard.key("*", b"");
            pipeline.cmd("SCAN").arg(&cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN);
            let ((next, keys),): ((String, Vec<Vec<u8>>),) = self.shard.ask(&pipeline).await?;
            for key in keys {
                self.sort(&key[self.shard.prefix().len().min(key.len())..], &mut waiting).await?;
            }
            let is_last = next == "0";
            self.look_at(&mut waiting, if is_last { 1 } else { CHUNK }).await?;
            if is_last {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// What kind of key it is.
    async fn sort(&mut self, name: &[u8], waiting: &mut Waiting) -> Result<(), StoreError> {
        let (kind, rest) = match memchr::memchr(b':', name) {
            Some(colon) => (&name[..colon], &name[colon + 1..]),
            None => (name, &[][..]),
        };
        let members = |begins: &str, part, value| Members { set: name, begins: begins.into(), part, value };
        match kind {
            b"h" => waiting.deliveries.push(rest.to_vec()),
            b"r" => waiting.requests.push(rest.to_vec()),
            b"a" => waiting.attempts.push(rest.to_vec()),
            b"sn" => waiting.snapshots.push(rest.to_vec()),
            b"vd" => waiting.definitions.push(rest.to_vec()),
            b"su" => self.look_at_members(members("h:", "event", rest)).await?,
            b"vu" => self.look_at_members(members("h:", "callback", &rest[..rest.len().min(16)])).await?,
            b"e" => waiting.events.push(rest.to_vec()),
            b"c" => waiting.calls.push(rest.to_vec()),
            b"j" => waiting.jobs.push(rest.to_vec()),
            b"k" | b"d" => {
                self.to_look_at.insert(rest.to_vec());
            }
            b"q" | b"qx" => {
                self.to_look_at.insert(rest.to_vec());
                self.look_at_members(members("h:", "destination", rest)).await?;
            }
            b"g" => self.look_at_members(members("h:", "destination", &rest[..rest.len().min(16)])).await?,
            b"l" | b"xd" | b"xf" => self.look_at_members(members("h:", "", b"")).await?,
            b"o" | b"i" => self.look_at_members(members("h:", "account", rest)).await?,
            b"is" => {
                self.look_at_members(members("h:", "account", rest.get(2..).unwrap_or_default())).await?;
            }
            b"ic" => self.look_at_members(members("h:", "callback", rest)).await?,
            b"ik" => {
                let call = memchr::memchr(0, rest).map_or(rest, |at| &rest[at + 1..]).to_vec();
                waiting.lists.push(List { set: name.to_vec(), begins: "h:", part: "call", value: call });
            }
            b"ie" => self.look_at_members(members("e:", "account", rest)).await?,
            b"ce" => {
                let list = List { set: name.to_vec(), begins: "e:", part: "call", value: rest.to_vec() };
                waiting.lists.push(list);
            }
            b"in" => {
                let begins = [b"c:", rest, b"\0"].concat();
                self.look_at_members(Members { set: name, begins, part: "", value: b"" }).await?;
                self.look_at_index(rest, &[], &[]).await?;
            }
            b"ib" => self.look_at_blocks(name, rest).await?,
            b"iv" => {
                let account = &rest[..memchr::memchr(0, rest).unwrap_or(rest.len())];
                self.look_at_index(account, rest, &[]).await?;
            }
            b"xe" | b"xk" => self.look_at_members(members("e:", "", b"")).await?,
            b"xc" => self.look_at_members(members("c:", "", b"")).await?,
            b"il" => {
                let begins = [b"c:", rest, b"\0"].concat();
                self.look_at_members(Members { set: name, begins, part: "", value: b"" }).await?;
            }
            b"jl" | b"xj" => self.look_at_members(members("j:", "", b"")).await?,
            b"js" | b"jw" | b"ja" => self.look_at_members(members("j:", "s", rest)).await?,
            b"jo" => self.look_at_members(members("j:", "a", rest)).await?,
            b"jc" => self.look_at_members(members("j:", "c", rest)).await?,
            b"jp" => {
                let id = memchr::memchr(0, rest).map_or(rest, |at| &rest[at + 1..]);
                self.look_at_members(members("j:", "i", id)).await?;
            }
            b"co" => self.look_at_members(members("d:", "", b"")).await?,
            b"kr" | b"kp" => self.look_at_members(members("k:", "", b"")).await?,
            b"w" | b"lp" | b"lt" => {
                let mut cursor = "0".to_owned();
                while let Some((next, members)) = self.some_members(name, &cursor).await? {
                    self.to_look_at.extend(members);
                    cursor = next;
                }
            }
            // What expires by itself, what is one of its kind, and what is not ours to judge.
            _ => {}
        }
        Ok(())
    }

    /// A part of a set's members, and where the next part begins; nothing behind the last.
    async fn some_members(
        &self,
        set: &[u8],
        cursor: &str,
    ) -> Result<Option<(String, Vec<Vec<u8>>)>, StoreError> {
        if cursor.is_empty() {
            return Ok(None);
        }
        let mut pipeline = redis::pipe();
        let key = self.shard.key("", set);
        let is_sorted = !SETS.iter().any(|begins| set.starts_with(begins));
        pipeline.cmd(if is_sorted { "ZSCAN" } else { "SSCAN" }).arg(key).arg(cursor).arg("COUNT").arg(SCAN);
        let ((next, found),): ((String, Vec<Vec<u8>>),) = self.shard.ask(&pipeline).await?;
        // Of a sorted set, members and scores in turn.
        let members = found.into_iter().step_by(if is_sorted { 2 } else { 1 }).collect();
        Ok(Some((if next == "0" { String::new() } else { next }, members)))
    }

    async fn look_at_members(&mut self, all: Members<'_>) -> Result<(), StoreError> {
        let mut cursor = "0".to_owned();
        while let Some((next, members)) = self.some_members(all.set, &cursor).await? {
            let of_calls = |member: &Vec<u8>| !all.set.starts_with(b"in:") || search::is_name(member);
            let members: Vec<Vec<u8>> = members.into_iter().filter(of_calls).collect();
            for chunk in members.chunks(CHUNK) {
                let told: Vec<(Vec<u8>, String)> = self
                    .shard
                    .run(&self.members, |command| {
                        command.arg(all.set).arg(&all.begins).arg(all.part).arg(all.value).arg(chunk);
                    })
                    .await?;
                for (member, kind) in told {
                    self.tell_of_member(all.set, &all.begins, &member, &kind);
                }
            }
            cursor = next;
        }
        Ok(())
    }

    /// As [`Self::look_at_members`], of many short sets at once: one after the other they would take
    /// longer than a busy store needs to make as many again.
    async fn look_at_lists(&mut self, lists: &[List]) -> Result<(), StoreError> {
        let told: Vec<(usize, Vec<u8>, String)> = self
            .shard
            .run(&self.lists, |command| {
                command.arg(SHORT);
                for list in lists {
                    command.arg(&list.set).arg(list.begins).arg(list.part).arg(&list.value);
                }
            })
            .await?;
        for (which, member, kind) in told {
            let Some(List { set, begins, part, value }) = lists.get(which) else { continue };
            let begins = begins.as_bytes();
            if kind == "long" {
                self.look_at_members(Members { set, begins: begins.to_vec(), part, value }).await?;
            } else {
                self.tell_of_member(set, begins, &member, &kind);
            }
        }
        Ok(())
    }

    /// What the scripts found of a member of a set.
    fn tell_of_member(&mut self, set: &[u8], begins: &[u8], member: &[u8], kind: &str) {
        let set = printed_set(set);
        let (kind, detail) = if kind == "dangling" {
            (FindingKind::Dangling, format!("`{set}` names it, and it is not there"))
        } else {
            (FindingKind::Misplaced, format!("it stands in `{set}`, which is not its own"))
        };
        self.audit.find(kind, printed(begins, member), detail);
    }

    /// Looks whether the calls that have seats in the index are there.
    async fn look_at_blocks(&mut self, set: &[u8], account: &[u8]) -> Result<(), StoreError> {
        let mut cursor = "0".to_owned();
        while let Some((next, blocks)) = self.some_members(set, &cursor).await? {
            for block in blocks {
                let column = [account, b"\0\0", &block, b"c"].concat();
                let mut pipeline = redis::pipe();
                pipeline.cmd("GET").arg(self.shard.key("iv:", &column));
                let (calls,): (Option<Vec<u8>>,) = self.shard.ask(&pipeline).await?;
                let seats: Vec<(usize, u64)> = search::seated(&calls.unwrap_or_default());
                for chunk in seats.chunks(CHUNK) {
                    self.look_at_index(account, &column, chunk).await?;
                }
            }
            cursor = next;
        }
        Ok(())
    }

    async fn look_at_index(
        &mut self,
        account: &[u8],
        column: &[u8],
        seats: &[(usize, u64)],
    ) -> Result<(), StoreError> {
        let told: Told = self
            .shard
            .run(&self.index, |command| {
                command.arg(account).arg(column);
                for (seat, place) in seats {
                    command.arg(*seat).arg(*place).arg(place.to_be_bytes().as_slice());
                }
            })
            .await?;
        for (what, kind, detail) in told {
            let of_account = String::from_utf8_lossy(account).into_owned();
            let subject = if seats.is_empty() {
                of_account
            } else {
                format!("call {of_account} at {}", String::from_utf8_lossy(&what))
            };
            self.tell(subject, &kind, &detail);
        }
        Ok(())
    }

    /// Looks at what waits, where there are so many of a kind.
    async fn look_at(&mut self, waiting: &mut Waiting, enough: usize) -> Result<(), StoreError> {
        let take = |names: &mut Vec<Vec<u8>>| {
            if names.len() >= enough { std::mem::take(names) } else { Vec::new() }
        };
        if waiting.lists.len() >= enough {
            for chunk in std::mem::take(&mut waiting.lists).chunks(CHUNK) {
                self.look_at_lists(chunk).await?;
            }
        }
        for chunk in take(&mut waiting.deliveries).chunks(CHUNK) {
            let (states, told): (Vec<String>, Vec<Vec<u8>>) = self
                .shard
                .run(&self.deliveries, |command| {
                    command.arg(chunk);
                })
                .await?;
            for state in states {
                self.audit.count(name_of_state(&state), 1);
            }
            for one in told.chunks_exact(3) {
                self.tell(printed(b"h:", &one[0]), &one[1], &one[2]);
            }
        }
        for (begins, names) in [("r:", take(&mut waiting.requests)), ("a:", take(&mut waiting.attempts))] {
            for chunk in names.chunks(CHUNK) {
                let told: Vec<Vec<u8>> = self
                    .shard
                    .run(&self.parts, |command| {
                        command.arg(begins).arg(chunk);
                    })
                    .await?;
                let what = if begins == "r:" { "a request" } else { "attempts" };
                for id in told {
                    let detail = format!("there is {what} of it, and no such delivery");
                    self.audit.find(FindingKind::Orphan, printed(b"h:", &id), detail);
                }
            }
        }
        for (begins, users, kind, names) in [
            ("sn:", "su:", b"e:", take(&mut waiting.snapshots)),
            ("vd:", "vu:", b"k:", take(&mut waiting.definitions)),
        ] {
            for chunk in names.chunks(CHUNK) {
                let told: Vec<Vec<u8>> = self
                    .shard
                    .run(&self.needed, |command| {
                        command.arg(begins).arg(users).arg(chunk);
                    })
                    .await?;
                for name in told {
                    // Behind a registration's id stands the version.
                    let subject = printed(kind, &name[..name.len().min(16)]);
                    let detail = "what late deliveries are rendered from is kept, and there is none";
                    self.audit.find(FindingKind::Orphan, subject, detail);
                }
            }
        }
        for (what, kind, names) in [
            ("events", "e", take(&mut waiting.events)),
            ("calls", "c", take(&mut waiting.calls)),
            ("jobs", "j", take(&mut waiting.jobs)),
        ] {
            self.audit.count(what, names.len() as u64);
            for chunk in names.chunks(CHUNK) {
                let told: Told = self
                    .shard
                    .run(if kind == "j" { &self.jobs } else { &self.records }, |command| {
                        if kind != "j" {
                            command.arg(kind);
                        }
                        command.arg(chunk);
                    })
                    .await?;
                for (name, found, detail) in told {
                    self.tell(printed(format!("{kind}:").as_bytes(), &name), &found, &detail);
                }
            }
        }
        Ok(())
    }

    async fn look_at_destinations(&mut self) -> Result<(), StoreError> {
        let all: Vec<Vec<u8>> = std::mem::take(&mut self.to_look_at).into_iter().collect();
        let mut counted = true;
        for chunk in all.chunks(CHUNK) {
            let (counts, registrations, told): (bool, u64, Told) = self
                .shard
                .run(&self.destinations, |command| {
                    command.arg(MOST_LEASES).arg(chunk);
                })
                .await?;
            counted &= counts;
            self.audit.count("registrations", registrations);
            for (id, kind, detail) in told {
                self.tell(printed(b"k:", &id), &kind, &detail);
            }
        }
        if !counted {
            self.audit.notes.push(format!(
                "more than {MOST_LEASES} deliveries are leased: they were not counted against their destinations"
            ));
        }
        Ok(())
    }

    /// What a script found.
    fn tell(&mut self, subject: String, kind: &[u8], detail: &[u8]) {
        let kind = FindingKind::ALL.into_iter().find(|known| known.as_str().as_bytes() == kind);
        let kind = kind.expect("scripts name kinds that there are");
        self.audit.find(kind, subject, String::from_utf8_lossy(detail));
    }
}
