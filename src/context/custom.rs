//! What the call's source or the customer attached (`{custom}`), merged member by member.

use std::collections::HashSet;

use super::Json;

/// The merged `custom` of a call. Whatever the order in which values of different times come, the
/// same is left: of each member the newest, the members in the order of their times. A value that
/// is no object has no members to merge: it stands for the whole, and ends what is older.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Custom {
    value: Json,
    /// The time of the newest value that `value` comes from, in unix microseconds.
    at: i64,
    /// While `value` is an object: the time of each of its members, never falling.
    times: Vec<i64>,
    /// While `value` is an object: the time of the newest value that was none.
    floor: Option<i64>,
}

type Members = Vec<(Box<str>, Json)>;

impl Custom {
    /// How many members are kept, the newest ones. Sources attach dozens; this bounds what a call
    /// of endless events can hold.
    pub(super) const MAX_MEMBERS: usize = 4096;

    /// From a first value.
    pub(super) fn new(value: Json, at: i64) -> Self {
        let nothing = Self { value: Json::Object(Vec::new()), at, times: Vec::new(), floor: None };
        nothing.merge(value, at)
    }

    pub(super) fn value(&self) -> &Json {
        &self.value
    }

    /// The time of the newest value merged.
    pub(super) fn at(&self) -> i64 {
        self.at
    }

    /// With one value more.
    pub(super) fn merge(self, value: Json, at: i64) -> Self {
        match (self.value, value) {
            (Json::Object(ours), Json::Object(new)) => {
                if self.floor.is_some_and(|floor| floor > at) {
                    return Self { value: Json::Object(ours), ..self };
                }
                let (members, times) = merge_members(ours, self.times, new, at);
                Self { value: Json::Object(members), at: self.at.max(at), times, floor: self.floor }
            }
            (Json::Object(mut ours), whole) => {
                if at >= self.at {
                    return Self { value: whole, at, times: Vec::new(), floor: None };
                }
                let older = self.times.partition_point(|time| *time <= at);
                ours.drain(..older);
                let times = self.times[older..].to_vec();
                let floor = self.floor.max(Some(at));
                Self { value: Json::Object(ours), at: self.at, times, floor }
            }
            (_, Json::Object(new)) if at >= self.at => {
                let (members, times) = merge_members(Vec::new(), Vec::new(), new, at);
                Self { value: Json::Object(members), at, times, floor: Some(self.at) }
            }
            (_, whole) if at >= self.at => Self { value: whole, at, times: Vec::new(), floor: None },
            (whole, _) => Self { value: whole, at: self.at, times: Vec::new(), floor: None },
        }
    }

    /// Appends the stored form: `[value, at, times, floor]`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        self.value.write(out);
        let floor = self.floor.map_or("null".to_owned(), |floor| floor.to_string());
        out.extend_from_slice(format!(",{},{:?},{floor}]", self.at, self.times).as_bytes());
    }

    /// The inverse of [`Self::write`]; nothing, if it is not that.
    pub(super) fn read(stored: Json) -> Option<Self> {
        let integer = |json: &Json| match json {
            Json::Number(spelling) => spelling.parse::<i64>().ok(),
            _ => None,
        };
        let Json::Array(fields) = stored else { return None };
        let [value, at, times, floor] = <[Json; 4]>::try_from(fields).ok()?;
        let times = times.as_array()?.iter().map(integer).collect::<Option<Vec<_>>>()?;
        let members = match &value {
            Json::Null => return None,
            Json::Object(members) => members.len(),
            _ => 0,
        };
        let floor = if floor == Json::Null { None } else { Some(integer(&floor)?) };
        (times.len() == members && times.is_sorted()).then_some(Self {
            value,
            at: integer(&at)?,
            times,
            floor,
        })
    }
}

/// Members of one time merged into others, each of which has a time. Linear in both.
fn merge_members(mut ours: Members, mut times: Vec<i64>, new: Members, at: i64) -> (Members, Vec<i64>) {
    let newer = times.partition_point(|time| *time <= at);
    let (newer, newer_times) = (ours.split_off(newer), times.split_off(newer));
    let mut taken: HashSet<Box<str>> = newer.iter().map(|(name, _)| name.clone()).collect();
    // Of members of the same name the last is meant, as everywhere.
    let mut fresh: Members = new.into_iter().rev().filter(|(name, _)| taken.insert(name.clone())).collect();
    fresh.reverse();

    let older = ours.into_iter().zip(times).filter(|((name, _), _)| !taken.contains(name));
    let (mut members, mut times): (Members, Vec<i64>) = older.unzip();
    times.extend(std::iter::repeat_n(at, fresh.len()));
    members.extend(fresh);
    times.extend(newer_times);
    members.extend(newer);

    let surplus = members.len().saturating_sub(Custom::MAX_MEMBERS);
    members.drain(..surplus);
    times.drain(..surplus);
    (members, times)
}
