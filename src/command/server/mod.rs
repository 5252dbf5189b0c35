//! A running server, over its API: what `callbacks`, `deliveries`, `events` and `calls` share.
//!
//! What a server answers was written by others (customers, providers, receivers): before it is
//! shown, all that a terminal would obey is taken out of it ([`text`]).

mod failure;
mod list;
mod many;
mod record;
mod table;
pub(super) mod text;

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use url::Url;

use self::failure::Refusal;
pub(super) use self::failure::{Failure, Sent, draw_issues};
pub(super) use self::list::Part;
pub(super) use self::record::draw_record;
pub(super) use self::table::{Column, Table};

use super::input::{Console, Format, read};
use crate::config::Token;
use crate::config::environment::{self, Environment};
use crate::context::Json;
use crate::delivery::client::ApiRequest;
use crate::delivery::{Client, ClientSettings, RetryAfter};
use crate::destination::AddressPolicy;
use crate::quantity::parse_duration;

/// Where a server is that runs for trying it out.
const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// The most bytes of an answer: far more than the largest page of a list.
const MAX_ANSWER: usize = 64 << 20;

/// How long an answer may take. A test waits for its receiver for up to a minute.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);

/// The most bytes that are read of a request's file. A server takes less.
const MAX_INPUT: usize = 64 << 20;

/// How often in a row a request is put off because the server says that it is asked too fast, and
/// for how long at most each time. Going on over many pages reaches an account's rate easily.
const MAX_PUT_OFF: usize = 10;
const MAX_WAIT: Duration = Duration::from_mins(1);

/// Which server is meant, who asks, and who reads the answer.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Connection {
    #[arg(
        long,
        global = true,
        value_name = "URL",
        help = "The server [env: RINGBACK_URL] [default: http://127.0.0.1:8080]"
    )]
    url: Option<String>,
    #[arg(
        long,
        global = true,
        value_name = "TOKEN",
        help = "A token of the account; the variable keeps it out of the list of processes [env: RINGBACK_TOKEN]"
    )]
    token: Option<Token>,
    /// For people, or for programs: a JSON object a line
    #[arg(long, global = true, value_enum, default_value_t)]
    format: Format,
}

/// A server, and where its answers are shown.
pub(super) struct Session<'a> {
    client: Client,
    base: Url,
    authorization: String,
    format: Format,
    console: Console<'a>,
}

/// Does something with a server; the exit code: 0, or 1 where it was refused or could not be done,
/// or 2 where the arguments cannot be used.
pub(super) fn run_at<'a>(
    connection: &Connection,
    environment: &Environment,
    mut console: Console<'a>,
    act: impl AsyncFnOnce(&mut Session<'a>) -> Result<(), Failure>,
) -> u8 {
    let format = connection.format;
    let opened = open(connection, environment);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (base, authorization, client, runtime) = match (opened, runtime) {
        (Ok((base, authorization, client)), Ok(runtime)) => (base, authorization, client, runtime),
        (Err(failure), _) => return failure.tell(format, console.err),
        (_, Err(error)) => return Failure::Runtime(error).tell(format, console.err),
    };
    let mut session = Session { client, base, authorization, format, console };
    let done = runtime.block_on(act(&mut session));
    console = session.console;
    // Whoever reads the output may have gone, as `head` does.
    let done = done.and_then(|()| Ok(console.out.flush()?));
    done.map_or_else(|failure| failure.tell(format, console.err), |()| 0)
}

fn open(connection: &Connection, environment: &Environment) -> Result<(Url, String, Client), Failure> {
    let text = connection.url.as_deref().or_else(|| environment.get(environment::URL)).unwrap_or(DEFAULT_URL);
    let unusable = |what: &str| {
        let name = connection.url.as_ref().map_or(environment::URL, |_| "--url");
        Failure::Unusable(format!("{name}: {what}: write it like {DEFAULT_URL}"))
    };
    let base = Url::parse(text).map_err(|error| unusable(&error.to_string()))?;
    if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
        return Err(unusable("not the http or https URL of a server"));
    }
    if !base.username().is_empty() || base.password().is_some() {
        return Err(unusable("the token does not go into the URL but into RINGBACK_TOKEN or --token"));
    }
    let given = connection.token.clone().or_else(|| environment.get(environment::TOKEN).map(Token::from));
    let token = given.ok_or_else(|| {
        Failure::Unusable(
            "a token is needed: RINGBACK_TOKEN or --token gives one of the account's".to_owned(),
        )
    })?;
    if token.expose().bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err(Failure::Unusable("the token holds a character that no token has".to_owned()));
    }
    let settings = ClientSettings { policy: AddressPolicy::anywhere(), ..ClientSettings::default() };
    let client = Client::new(settings).map_err(|error| Failure::Unusable(error.to_string()))?;
    Ok((base, format!("Bearer {}", token.expose()), client))
}

impl<'a> Session<'a> {
    /// Whether programs read the output.
    pub(super) fn is_for_programs(&self) -> bool {
        self.format == Format::Json
    }

    /// Where output goes.
    pub(super) fn console(&mut self) -> &mut Console<'a> {
        &mut self.console
    }

    /// Shows what a server answered: as it is to programs, by `draw` to people.
    pub(super) fn show(
        &mut self,
        answer: &Json,
        draw: impl FnOnce(&Json, &mut Console<'a>) -> std::io::Result<()>,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Json => writeln!(self.console.out, "{}", answer.to_compact())?,
            Format::Text => draw(answer, &mut self.console)?,
        }
        Ok(())
    }

    pub(super) async fn get(&mut self, path: &[&str], query: &[(&str, &str)]) -> Result<Json, Failure> {
        self.ask("GET", path, query, None).await
    }

    /// Posts nothing: what is asked for stands in the path.
    pub(super) async fn post(&mut self, path: &[&str]) -> Result<Json, Failure> {
        self.ask("POST", path, &[], None).await
    }

    /// Sends a body.
    pub(super) async fn send(&mut self, method: &str, path: &[&str], sent: &Sent) -> Result<Json, Failure> {
        self.ask(method, path, &[], Some(sent)).await
    }

    pub(super) async fn delete(&mut self, path: &[&str], query: &[(&str, &str)]) -> Result<Json, Failure> {
        self.ask("DELETE", path, query, None).await
    }

    /// Asks, and again where the server says that it was too soon. An answer without a body is
    /// [`Json::Null`].
    async fn ask(
        &mut self,
        method: &str,
        path: &[&str],
        query: &[(&str, &str)],
        sent: Option<&Sent>,
    ) -> Result<Json, Failure> {
        let mut url = self.base.clone();
        url.path_segments_mut().expect("the URL has a host").pop_if_empty().push("v1").extend(path);
        url.set_query(None);
        url.set_fragment(None);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = ApiRequest {
            method,
            url: url.as_str(),
            headers: &[("authorization", &self.authorization)],
            body: sent.map(Sent::bytes),
            max_answer: MAX_ANSWER,
            timeout: ANSWER_TIMEOUT,
        };
        let at = || self.base.to_string();
        for put_off in 0.. {
            let answer =
                self.client.ask(&request).await.map_err(|source| Failure::NoAnswer { at: at(), source })?;
            let body = if answer.body.is_empty() { Ok(Json::Null) } else { Json::parse(&answer.body) };
            let foreign = || Failure::Foreign { at: at(), status: answer.status };
            let body = body.map_err(|_| foreign())?;
            if (200..300).contains(&answer.status) {
                return Ok(body);
            }
            let refusal = Refusal::read(at(), answer.status, body).ok_or_else(foreign)?;
            match answer.retry_after {
                Some(RetryAfter::Delay(wait))
                    if refusal.is_too_fast() && wait <= MAX_WAIT && put_off < MAX_PUT_OFF =>
                {
                    tokio::time::sleep(wait).await;
                }
                _ => return Err(refusal.into()),
            }
        }
        unreachable!("a refusal is returned in the end")
    }

    /// Reads a file that is sent, or standard input.
    pub(super) fn read(&mut self, file: &Path) -> Result<Vec<u8>, Failure> {
        let name = super::drawing::name_of(file);
        let bytes = read(file, MAX_INPUT + 1, self.console.stdin);
        match bytes {
            Ok(bytes) if bytes.len() > MAX_INPUT => Err(Failure::Unusable(format!(
                "{name}: longer than {MAX_INPUT} bytes, which no server takes"
            ))),
            Ok(bytes) => Ok(bytes),
            Err(source) => Err(Failure::Input { name, source }),
        }
    }

    /// Tells a failure while there is more to do; what stands for it from then on.
    pub(super) fn tell(&mut self, failure: &Failure, sent: Option<&Sent>) -> Result<Failure, Failure> {
        failure.write(self.format, sent, self.console.err)?;
        Ok(Failure::Told)
    }

    /// Says how far it is, to somebody who watches; each replaces the one before.
    fn progress(&mut self, how_far: &str) {
        if self.console.is_watched {
            // What cannot be written is no reason to stop what goes on.
            let _ = write!(self.console.err, "\r\x1b[K{how_far}");
            let _ = self.console.err.flush();
        }
    }
}

/// A time as the API takes it. A duration such as `2h` is so long ago.
#[derive(Clone, Debug)]
pub(super) struct Moment(String);

impl Moment {
    /// Reads an argument. What is no duration goes to the server, which knows all spellings.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let Ok(ago) = parse_duration(text) else { return Ok(Self(text.to_owned())) };
        let ago = jiff::SignedDuration::try_from(ago).map_err(|error| error.to_string())?;
        let moment =
            Timestamp::now().checked_sub(ago).map_err(|_| "longer ago than times reach".to_owned())?;
        Ok(Self(moment.to_string()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_so_long_ago() {
        for time in ["2026-03-30", "2026-03-30T12:00:00Z", "yesterday", ""] {
            assert_eq!(Moment::read(time).unwrap().as_str(), time);
        }
        let before = Timestamp::now();
        let moment: Timestamp = Moment::read("2h").unwrap().as_str().parse().unwrap();
        let ago = jiff::SignedDuration::from_hours(2);
        assert!((before - ago..=Timestamp::now() - ago).contains(&moment));
        assert!(Moment::read("99999999d").is_err());
    }
}
