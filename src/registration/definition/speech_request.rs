//! Reads a speech request: the parameters of the speech-callback API.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value as Request};

use super::members::Members;
use super::{DefinitionLimits, NewCallback};
use crate::event::AccountName;
use crate::filter::{FILTER_NAMES, joined};
use crate::registration::{Callback, Issue};

/// What a speech request shares with a registration; it has no other member but `limit`.
const SHARED: [&str; 14] = joined(&[&["callback_url", "callback_method", "callback_data"], &FILTER_NAMES]);

/// A speech request that was read without a problem.
#[derive(Debug)]
pub struct NewRequest {
    /// The registration that it is kept as. Its filter is the search.
    pub callback: Callback,
    /// How many calls it takes at most.
    pub limit: usize,
    /// What is legal in its template but probably not meant.
    pub warnings: Vec<Issue>,
}

impl NewRequest {
    /// The names of its parameters.
    pub const PARAMETERS: [&str; 15] = joined(&[&SHARED, &["limit"]]);

    /// The most calls of a request, and those of one that does not say.
    pub const MAX_LIMIT: usize = 250;

    /// Reads a speech request.
    ///
    /// # Errors
    /// Every problem of it.
    pub fn read(
        members: Map<String, Request>,
        account: &AccountName,
        token: &Arc<str>,
        limits: &DefinitionLimits,
        now: Timestamp,
    ) -> Result<Self, Vec<Issue>> {
        let (shared, own) = members.into_iter().partition(|(name, _)| SHARED.contains(&name.as_str()));
        let mut reader = Members::new("", own);
        let limit = reader.integer("limit", 1, Self::MAX_LIMIT as u64);
        for name in SHARED {
            // So that one that is nearly its name is told so.
            reader.take(name);
        }
        reader.unknown_members();
        match NewCallback::read(Request::Object(shared), account, limits, now) {
            Ok(NewCallback { callback, warnings }) if reader.issues.is_empty() => Ok(Self {
                callback: Callback { token: Some(Arc::clone(token)), is_speech_request: true, ..callback },
                limit: limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(Self::MAX_LIMIT),
                warnings,
            }),
            Ok(_) => Err(reader.issues),
            Err(mut issues) => {
                issues.extend(reader.issues);
                Err(issues)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registration::callback::tests::limits;

    fn read(request: &Request) -> Result<NewRequest, Vec<Issue>> {
        let members = request.as_object().unwrap().clone();
        let now = "2026-03-30T12:00:00Z".parse().unwrap();
        NewRequest::read(members, &"acme".into(), &"crm".into(), &limits(), now)
    }

    #[test]
    fn parameters_are_read_and_the_request_is_its_tokens() {
        let request = read(&json!({
            "callback_url": "https://example.com/", "callback_method": "PUT", "callback_data": "[{call_id}]",
            "rank_min": "5", "limit": "7",
        }))
        .unwrap();
        assert_eq!((request.limit, request.callback.filter.rank_min), (7, Some(5)));
        assert_eq!(request.callback.token.as_deref(), Some("crm"));
        assert!(request.callback.is_speech_request && request.warnings.is_empty());
    }

    #[test]
    fn every_problem_is_told_at_once_and_members_of_registrations_are_unknown() {
        let issues = read(&json!({
            "callback_url": "ftp://example.com/", "callback_data": "{call_idd}", "limit": 251, "events": [],
            "rank_mn": 1,
        }))
        .unwrap_err();
        let mut found: Vec<_> = issues.iter().map(|issue| (issue.pointer.as_str(), issue.code)).collect();
        found.sort_unstable();
        assert_eq!(
            found,
            [
                ("/callback_data", "unknown_placeholder"),
                ("/callback_method", "missing"),
                ("/callback_url", "bad_scheme"),
                ("/events", "unknown_member"),
                ("/limit", "out_of_range"),
                ("/rank_mn", "unknown_member"),
            ]
        );
        let close = issues.iter().find(|issue| issue.pointer == "/rank_mn").unwrap();
        assert_eq!(close.suggestion.as_deref(), Some("rank_min"));
    }
}
