//! What a provider that has a call is asked about it at a customer's request, who waits for the
//! answer: to hand it to somebody else, or where its recording is.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::desk::{Desk, Provider};
use super::exchange::{Asker, Silence, TIMEOUT, access, wish};
use crate::context::{CallKey, Json};
use crate::delivery::client::{ApiAnswer, AskError, SendError};
use crate::event::AccountName;
use crate::provider::{Ask, Inquiry, Recording, Transfer};

/// Inquiries under way at once at one source: a provider may take half a minute to answer.
const MAX_UNDER_WAY: usize = 8;

/// When to try again where too many are under way.
const BUSY: Duration = Duration::from_secs(1);

/// The most characters of a provider's own sentence that are passed on.
const MAX_REASON: usize = 300;

/// Asks about calls.
pub struct CallDesk {
    desk: Arc<Desk>,
    asker: Arc<Asker>,
    rooms: HashMap<Arc<str>, Semaphore>,
}

/// Why the provider has not done or told what it was asked, as far as is known.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No source whose provider may have the call can be asked that.
    #[error("no source of this account can be asked that")]
    NoProvider,
    /// Several can, and which is meant nobody says: of a call it would be the one that told of it
    /// first.
    #[error(
        "several sources of this account could be asked that, and none of them is named or told of the call first"
    )]
    Ambiguous,
    /// Too many are under way, or the source's rate is used up: for so long.
    #[error("too much is asked of the provider at once")]
    Busy(Duration),
    /// The provider does not want to.
    #[error("the provider answers with status {status}{}", told(reason.as_deref()))]
    Refused {
        /// The status of its answer.
        status: u16,
        /// What it says, shortened. It may name people.
        reason: Option<String>,
        /// When it wishes to be asked again.
        retry_after: Option<Duration>,
    },
    /// It has not answered in time. It may have done it all the same.
    #[error(
        "the provider has not answered within {} seconds; it may have done it all the same", TIMEOUT.as_secs()
    )]
    TimedOut,
    /// It could not be reached, or its answer not be read to the end.
    #[error("the provider was not reached, or did not answer to the end")]
    Unreachable(#[source] AskError),
    /// Its answer is none that it documents.
    #[error("the provider's answer is not what it documents; it may have done it all the same")]
    Undocumented,
}

fn told(reason: Option<&str>) -> String {
    reason.map(|reason| format!(": {reason}")).unwrap_or_default()
}

impl CallDesk {
    /// Asks the providers of this desk.
    #[must_use]
    pub fn new(desk: Arc<Desk>, asker: Arc<Asker>) -> Self {
        let rooms = desk.shares().into_iter().map(|share| (share.source, Semaphore::new(MAX_UNDER_WAY)));
        let rooms = rooms.collect();
        Self { desk, asker, rooms }
    }

    /// Takes a step with a call that `told_by` told of first, with the parameters that the provider
    /// documents; its answer.
    ///
    /// # Errors
    /// Nobody can, or the provider does not say that it has.
    pub async fn transfer(
        &self,
        call: &CallKey,
        told_by: Option<&str>,
        step: Transfer<'_>,
        parameters: &Json,
    ) -> Result<Json, CallError> {
        let (provider, ask) = self.provider(call, told_by, Inquiry::Transfer(step, parameters))?;
        self.ask(provider, ask, step.as_str()).await
    }

    /// Where the recording of a call that `told_by` told of first is now.
    ///
    /// # Errors
    /// Nobody can say, or the provider does not.
    pub async fn recording(&self, call: &CallKey, told_by: Option<&str>) -> Result<Recording, CallError> {
        let (provider, ask) = self.provider(call, told_by, Inquiry::Recording)?;
        let answer = self.ask(provider, ask, "recording").await?;
        provider.api().recording(&answer).map_err(|_| CallError::Undocumented)
    }

    /// A part of the calls that a provider lists, as it answers. `source` says whose, where an account
    /// has several sources whose providers list calls.
    ///
    /// # Errors
    /// Nobody lists calls, or the provider does not answer.
    pub async fn list(
        &self,
        account: &AccountName,
        source: Option<&str>,
        parameters: &[(&str, &str)],
    ) -> Result<Json, CallError> {
        let asked = |provider: &Arc<Provider>| provider.api().list(parameters, access(provider, None));
        let able = self.desk.of_account(account).filter_map(|provider| Some((provider, asked(provider)?)));
        let (provider, ask) = choose(able.collect(), source)?;
        if source.is_some_and(|source| source != &*provider.source) {
            return Err(CallError::NoProvider);
        }
        self.ask(provider, ask, "list").await
    }

    async fn ask(&self, provider: &Provider, ask: Ask, what: &'static str) -> Result<Json, CallError> {
        let room = self.rooms.get(&provider.source).expect("every source has its place");
        let _turn = room.try_acquire().map_err(|_| CallError::Busy(BUSY))?;
        let answered = match self.asker.exchange(provider, ask).await {
            Ok(answer) => read(&answer),
            Err(Silence::Limited(pause)) => Err(CallError::Busy(pause)),
            Err(Silence::Ask(AskError::Send(SendError::Timeout { .. }))) => Err(CallError::TimedOut),
            Err(Silence::Ask(error)) => Err(CallError::Unreachable(error)),
        };
        let source = &*provider.source;
        match &answered {
            Ok(_) => tracing::info!(source, what, "a provider was asked about calls"),
            // What the provider says may name people.
            Err(CallError::Refused { status, .. }) => {
                tracing::warn!(source, what, status, "a provider refused what it was asked about calls");
            }
            Err(error) => tracing::warn!(source, what, %error, "a provider could not be asked about calls"),
        }
        answered
    }

    /// Who has the call, and what it is asked.
    fn provider(
        &self,
        call: &CallKey,
        told_by: Option<&str>,
        inquiry: Inquiry<'_>,
    ) -> Result<(&Arc<Provider>, Ask), CallError> {
        let asked = |provider: &Arc<Provider>| {
            provider.api().inquire(call.id.as_str(), inquiry, access(provider, None))
        };
        let able = self.desk.holding(call).filter_map(|provider| Some((provider, asked(provider)?)));
        choose(able.collect(), told_by)
    }
}

/// The one of this source, else the only one.
fn choose<'p>(
    mut able: Vec<(&'p Arc<Provider>, Ask)>,
    source: Option<&str>,
) -> Result<(&'p Arc<Provider>, Ask), CallError> {
    if let Some(own) = able.iter().position(|(provider, _)| source == Some(&*provider.source)) {
        return Ok(able.swap_remove(own));
    }
    match able.pop() {
        None => Err(CallError::NoProvider),
        Some(only) if able.is_empty() => Ok(only),
        Some(_) => Err(CallError::Ambiguous),
    }
}

fn read(answer: &ApiAnswer) -> Result<Json, CallError> {
    let body = Json::parse(&answer.body).ok();
    match answer.status {
        200..300 => match body {
            Some(body @ Json::Object(_)) => Ok(body),
            _ => Err(CallError::Undocumented),
        },
        status => {
            let text = |name| body.as_ref()?.get(name)?.as_str().filter(|text| !text.is_empty());
            let said = ["error", "message", "code"].into_iter().find_map(text);
            let reason = said.map(|said| said.chars().take(MAX_REASON).collect());
            Err(CallError::Refused { status, reason, retry_after: wish(answer) })
        }
    }
}

impl fmt::Debug for CallDesk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallDesk").field("sources", &self.rooms.keys()).finish_non_exhaustive()
    }
}
