//! What a provider is asked, as far as it can be asked. No I/O: an [`Api`] makes requests and reads
//! answers; the job room sends them, and knows what a status or a broken connection means.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::context::Json;
use crate::event::Event;
use crate::signature::Secret;

/// What the operator was given to ask with.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// A bearer token, or the token of a URL.
    pub token: Option<Secret>,
    /// The id of an application.
    pub app_id: Option<String>,
    /// The secret of an application.
    pub app_secret: Option<Secret>,
    /// An API key.
    pub key: Option<Secret>,
    /// What requests are signed with.
    pub signing_secret: Option<Secret>,
}

/// What a request is made with.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// What the operator was given.
    pub credentials: &'a Credentials,
    /// The token of the present session, where the provider has sessions.
    pub session: Option<&'a Secret>,
    /// The time now, which some requests sign.
    pub now: Timestamp,
}

impl Access<'_> {
    /// The header of a bearer token: the session's, else the configured one.
    pub(super) fn bearer(&self) -> Option<(&'static str, Zeroizing<String>)> {
        let token = self.session.or(self.credentials.token.as_ref())?;
        let token = String::from_utf8_lossy(token.expose());
        Some(("authorization", Zeroizing::new(format!("Bearer {token}"))))
    }
}

/// A request to a provider. It prints its method only: a path may hold a token.
pub struct Ask {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The path and query behind the base URL.
    pub path: Zeroizing<String>,
    /// The headers, apart from those that every request has.
    pub headers: Vec<(&'static str, Zeroizing<String>)>,
    /// A JSON body, if it has one.
    pub body: Option<Zeroizing<Vec<u8>>>,
}

impl Ask {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self { method: "GET", path: Zeroizing::new(path.into()), headers: Vec::new(), body: None }
    }

    pub(super) fn post(path: impl Into<String>, body: &Json) -> Self {
        let body = Some(Zeroizing::new(body.to_compact().into_bytes()));
        Self { method: "POST", body, ..Self::get(path) }
    }

    pub(super) fn with(mut self, header: Option<(&'static str, Zeroizing<String>)>) -> Self {
        self.headers.extend(header);
        self
    }
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ask({} …)", self.method)
    }
}

/// What is to be transcribed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Media {
    /// What the provider itself holds of the call.
    OfTheCall,
    /// A recording at a URL.
    Recording(String),
    /// A text.
    Text(String),
}

/// Under which ids the provider keeps a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reference {
    /// The job's.
    pub job: Option<String>,
    /// The conversation's.
    pub conversation: Option<String>,
}

/// One job, as far as the provider's side must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The call that it is of.
    pub call: String,
    /// Where the provider is, without a slash at its end: some answers hold paths of it.
    pub base_url: String,
    /// What is to be transcribed.
    pub media: Media,
    /// In which language, where that is known.
    pub language: Option<String>,
    /// Where the provider shall tell how the job stands.
    pub webhook_url: Option<String>,
    /// The provider's ids, once it has given them.
    pub reference: Reference,
}

/// What an answer says of a job.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// It was taken, under these ids.
    Taken(Reference),
    /// It is not done yet.
    Running,
    /// It is done, and its results can be fetched.
    Done,
    /// It is done, and the answer is the results.
    Results,
    /// The provider could not do it, for this reason.
    Failed(String),
}

/// An answer that is not what the provider documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not what the provider documents: {0}")]
pub struct Undocumented(pub &'static str);

/// A session at a provider that has them.
#[derive(Debug)]
pub struct Session {
    /// What requests of it carry.
    pub token: Secret,
    /// How long it lasts from when it was answered.
    pub lasts: Duration,
}

/// One of several answers that are a job's results together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name in what is kept as the raw body.
    pub name: &'static str,
    /// Whether there are no results without it. Where another is not there, it is left out.
    pub required: bool,
}

/// A step by which a call that is going on is handed to somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer<'a> {
    /// At once, without a word to whom it goes to.
    Blind,
    /// After whom it goes to has been told of it.
    Warm,
    /// The warm one of this id is completed.
    Complete(&'a str),
    /// The warm one of this id is cancelled.
    Cancel(&'a str),
}

impl Transfer<'_> {
    /// Its name, for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blind => "blind",
            Self::Warm => "warm",
            Self::Complete(_) => "complete",
            Self::Cancel(_) => "cancel",
        }
    }
}

/// What a provider may be asked about one of its calls at a customer's request.
#[derive(Clone, Copy, Debug)]
pub enum Inquiry<'a> {
    /// To take this step, with an object of the parameters that the provider documents.
    Transfer(Transfer<'a>, &'a Json),
    /// Where the recording is now.
    Recording,
}

/// Where a recording is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// The URL, which may be one for a short time only.
    pub url: String,
    /// Until when, where the provider says so.
    pub expires_at: Option<Timestamp>,
}

/// How often a provider may be asked, and how much at once, where the operator says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// When a job that was taken is first looked at. Each further interval is longer.
    pub first_poll: Duration,
    /// The longest interval.
    pub longest_poll: Duration,
    /// Jobs that it works on at once.
    pub max_jobs: usize,
    /// How long a submission is held that came while it had too many.
    pub hold: Duration,
}

/// How a provider that can be asked is asked.
pub trait Api: Send + Sync {
    /// Where it is, if the operator does not say otherwise: what a document of the provider says,
    /// which the adapter names. Without a slash at its end.
    fn base_url(&self) -> &'static str;

    /// What it cannot be asked without and is not there: the key's name.
    fn missing(&self, credentials: &Credentials) -> Option<&'static str>;

    /// How often. By itself: that of a provider which has the calls itself, and publishes no limits.
    fn pace(&self) -> Pace {
        Pace {
            first_poll: Duration::from_secs(5),
            longest_poll: Duration::from_mins(5),
            max_jobs: 100,
            hold: Duration::from_secs(15),
        }
    }

    /// Whether a job needs media. If not, the provider has the call's recording itself.
    fn needs_media(&self) -> bool {
        false
    }

    /// The request that opens a session, where the provider has sessions.
    fn login(&self, _credentials: &Credentials) -> Option<Ask> {
        None
    }

    /// The session that was opened.
    ///
    /// # Errors
    /// There is none in the answer.
    fn session(&self, _answer: &Json) -> Result<Session, Undocumented> {
        Err(Undocumented("there are no sessions"))
    }

    /// Hands a job over.
    fn submit(&self, task: &Task, access: Access<'_>) -> Ask;

    /// What the answer to that says.
    ///
    /// # Errors
    /// It is not what the provider documents.
    fn submitted(&self, answer: &Json) -> Result<Progress, Undocumented>;

    /// Asks how a job stands.
    fn poll(&self, task: &Task, access: Access<'_>) -> Ask;

    /// What the answer to that says.
    ///
    /// # Errors
    /// It is not what the provider documents.
    fn polled(&self, answer: &Json) -> Result<Progress, Undocumented>;

    /// What the results of a finished job are made of.
    fn parts(&self) -> &'static [Part];

    /// Asks for one of them.
    fn fetch(&self, task: &Task, part: &str, access: Access<'_>) -> Ask;

    /// Asks about a call, where the provider can be asked that.
    fn inquire(&self, _call: &str, _inquiry: Inquiry<'_>, _access: Access<'_>) -> Option<Ask> {
        None
    }

    /// Asks for the calls that it has, where it lists them, by filters and pages of its own names.
    fn list(&self, _parameters: &[(&str, &str)], _access: Access<'_>) -> Option<Ask> {
        None
    }

    /// What the answer to [`Inquiry::Recording`] says.
    ///
    /// # Errors
    /// It is not what the provider documents.
    fn recording(&self, _answer: &Json) -> Result<Recording, Undocumented> {
        Err(Undocumented("there are no recordings"))
    }

    /// What the results mean: `raw` has a member for each part that was there, or is the answer of
    /// [`Progress::Results`].
    fn results(&self, task: &Task, raw: Json) -> Event;
}

/// A segment of a path.
pub(super) fn segment(text: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    /// All but what RFC 3986 calls unreserved.
    const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    match text {
        // As they stand they would be steps.
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        text => utf8_percent_encode(text, ENCODED).to_string(),
    }
}

/// A member that is a text or a number, and not empty, as text.
pub(super) fn id(json: &Json, name: &str) -> Option<String> {
    match json.get(name)? {
        Json::Text(text) | Json::Number(text) if !text.is_empty() => Some(text.to_string()),
        _ => None,
    }
}
