//! One exchange with a provider: the session, the request, and what a status means.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::desk::{Desk, Provider};
use super::machine::Step;
use crate::context::Json;
use crate::delivery::RetryAfter;
use crate::delivery::client::{ApiAnswer, ApiRequest, AskError, Client};
use crate::limit::Limiter;
use crate::provider::{Access, Ask, Undocumented};
use crate::signature::Secret;
use crate::store::{SharedJobs, StoreError, Turn};

/// How long an exchange may take, to the last byte.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// The most that is read of an answer: what a call's context may hold.
const MAX_ANSWER: usize = 16 << 20;

/// How long an exchange may wait for its turn within the source's rate.
const MAX_WAIT: Duration = Duration::from_secs(20);

/// Asks providers, within the rate of each source.
pub struct Asker {
    client: Client,
    jobs: SharedJobs,
    /// What the store does not count.
    limiter: Limiter,
    sessions: HashMap<Arc<str>, Mutex<Option<Opened>>>,
}

/// A session, and when it is opened anew.
struct Opened {
    token: Arc<Secret>,
    until: Instant,
}

/// Why a provider has not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Silence {
    /// The rate is used up for longer than can be waited.
    #[error("the rate of the source is used up")]
    Limited(Duration),
    /// No answer, or not all of it.
    #[error(transparent)]
    Ask(#[from] AskError),
}

impl From<Silence> for Trouble {
    fn from(silence: Silence) -> Self {
        match silence {
            Silence::Limited(pause) => Self::Limited(pause),
            Silence::Ask(error) => Self::Unreachable(error.to_string()),
        }
    }
}

/// Why there is no answer to work with. What goes on from it is [`Step`]'s to say; what it holds
/// is for the log, and no part of a URL, a token or an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The rate is used up for longer than can be waited.
    #[error("the rate of the source is used up")]
    Limited(Duration),
    /// 429.
    #[error("the provider has too much to do")]
    Busy(Option<Duration>),
    /// 401 or 403: the credentials are wrong, or will be valid again.
    #[error("the provider refuses the credentials with status {0}")]
    Unauthorized(u16),
    /// Another 4xx.
    #[error("the provider answers with status {0}")]
    Refused(u16),
    /// Any other status.
    #[error("the provider answers with status {0}")]
    Status(u16, Option<Duration>),
    /// No answer, or not all of it.
    #[error("{0}")]
    Unreachable(String),
    /// An answer that is not what the provider documents.
    #[error(transparent)]
    Undocumented(#[from] Undocumented),
}

impl Trouble {
    pub(super) fn step(&self) -> Step {
        match self {
            Self::Limited(pause) => Step::Limited(*pause),
            Self::Busy(wish) => Step::Busy(*wish),
            Self::Refused(status) => Step::Refused(*status),
            Self::Status(_, wish) => Step::Unavailable(*wish),
            Self::Unauthorized(_) | Self::Unreachable(_) | Self::Undocumented(_) => Step::Unavailable(None),
        }
    }

    /// Whether what was asked for is not there, or not for this key.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Unauthorized(403))
    }
}

impl Asker {
    /// Asks the providers of this desk with this client, each within its rate.
    #[must_use]
    pub fn new(client: Client, desk: &Desk) -> Self {
        let sessions = desk.rates().map(|(source, _)| (source, Mutex::default())).collect();
        Self { client, jobs: Arc::clone(desk.jobs()), limiter: Limiter::new(desk.rates()), sessions }
    }

    /// Sends the request that `make` makes, and reads the answer. A session that the provider does
    /// not know any more is opened anew, once.
    pub(super) async fn ask(
        &self,
        provider: &Provider,
        make: &(dyn Fn(Access<'_>) -> Ask + Sync),
    ) -> Result<Json, Trouble> {
        let session = self.session(provider, None).await?;
        match self.send(provider, make(access(provider, session.as_deref()))).await {
            Err(Trouble::Unauthorized(_)) if session.is_some() => {
                let session = self.session(provider, session.as_ref()).await?;
                self.send(provider, make(access(provider, session.as_deref()))).await
            }
            answer => answer,
        }
    }

    /// The token of the present session, if the provider has sessions; another one than `refused`.
    /// Whoever comes while one is being opened waits for it.
    async fn session(
        &self,
        provider: &Provider,
        refused: Option<&Arc<Secret>>,
    ) -> Result<Option<Arc<Secret>>, Trouble> {
        let Some(login) = provider.api().login(&provider.credentials) else { return Ok(None) };
        let sessions = self.sessions.get(&provider.source).expect("every source has its place");
        let mut opened = sessions.lock().await;
        if let Some(session) = &*opened
            && session.until > Instant::now()
            && !refused.is_some_and(|refused| Arc::ptr_eq(refused, &session.token))
        {
            return Ok(Some(Arc::clone(&session.token)));
        }
        let answer = self.send(provider, login).await.map_err(|trouble| match trouble {
            // A refused login is about the credentials, whatever the status: no job is to blame.
            Trouble::Refused(status) => Trouble::Unauthorized(status),
            other => other,
        })?;
        let session = provider.api().session(&answer)?;
        let token = Arc::new(session.token);
        *opened = Some(Opened { token: Arc::clone(&token), until: Instant::now() + session.lasts });
        Ok(Some(token))
    }

    /// Counts a request against the source's rate, or says how long there is no room for one.
    async fn take_turn(&self, provider: &Provider) -> Result<(), Duration> {
        let Some(rate) = provider.rate_limit else { return Ok(()) };
        match self.jobs.take_turn(&provider.source, rate).await {
            Ok(Turn::Taken) => Ok(()),
            Ok(Turn::Own) => self.limiter.check(&provider.source).map_err(|limited| limited.retry_after),
            Ok(Turn::Wait(wait)) => Err(wait),
            // What would be asked now could not be written either.
            Err(StoreError::Unavailable { retry_after, .. }) => Err(retry_after),
            Err(StoreError::Unusable(_) | StoreError::Corrupt { .. }) => Err(MAX_WAIT),
        }
    }

    async fn send(&self, provider: &Provider, ask: Ask) -> Result<Json, Trouble> {
        read(&self.exchange(provider, ask).await?)
    }

    /// Sends a request when its turn has come, and waits for the whole answer, whatever it is.
    pub(super) async fn exchange(&self, provider: &Provider, ask: Ask) -> Result<ApiAnswer, Silence> {
        let waiting_since = Instant::now();
        while let Err(wait) = self.take_turn(provider).await {
            if waiting_since.elapsed() + wait > MAX_WAIT {
                return Err(Silence::Limited(wait));
            }
            tokio::time::sleep(wait).await;
        }
        let url = zeroize::Zeroizing::new(format!("{}{}", provider.base_url, *ask.path));
        let headers: Vec<(&str, &str)> =
            ask.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let request = ApiRequest {
            method: ask.method,
            url: &url,
            headers: &headers,
            body: ask.body.as_ref().map(|body| body.as_slice()),
            max_answer: MAX_ANSWER,
            timeout: TIMEOUT,
        };
        Ok(self.client.ask(&request).await?)
    }
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asker").field("sources", &self.sessions.keys()).finish_non_exhaustive()
    }
}

pub(super) fn access<'a>(provider: &'a Provider, session: Option<&'a Secret>) -> Access<'a> {
    Access { credentials: &provider.credentials, session, now: Timestamp::now() }
}

/// When a provider wishes to be asked again.
pub(super) fn wish(answer: &ApiAnswer) -> Option<Duration> {
    answer.retry_after.map(|wish| match wish {
        RetryAfter::Delay(delay) => delay,
        RetryAfter::At(at) => Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default(),
    })
}

fn read(answer: &ApiAnswer) -> Result<Json, Trouble> {
    let wish = wish(answer);
    match answer.status {
        200..300 => Json::parse(&answer.body).map_err(|_| Undocumented("it is not JSON").into()),
        429 => Err(Trouble::Busy(wish)),
        status @ (401 | 403) => Err(Trouble::Unauthorized(status)),
        status @ (408 | 425) => Err(Trouble::Status(status, wish)),
        status @ 400..500 => Err(Trouble::Refused(status)),
        status => Err(Trouble::Status(status, wish)),
    }
}
