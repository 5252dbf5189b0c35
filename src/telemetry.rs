//! What is logged, and how: lines for people on a terminal, JSON lines for machines elsewhere,
//! both on standard error.
//!
//! No line holds a secret, a token, a phone number, a transcript or a body. Ringback's own lines
//! keep to that by what they write; the libraries' debugging output, which shows headers and
//! frames, is never written, whatever the filter says.

use std::io::{self, IsTerminal as _};

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer as _, Registry};

use crate::config::{Environment, environment};

/// The filter where `RINGBACK_LOG` says nothing.
const DEFAULT_FILTER: &str = "info,h2=warn,hyper=warn,hyper_util=warn,rustls=warn";

/// The names of spans: a filter may name them, as in `RINGBACK_LOG=[attempt]=debug`.
pub mod span {
    /// One request of a provider.
    pub const INTAKE: &str = "intake";
    /// One request of a customer.
    pub const API: &str = "api";
    /// One attempt of a delivery.
    pub const ATTEMPT: &str = "attempt";
}

/// Why nothing is logged.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `RINGBACK_LOG` is no filter.
    #[error("RINGBACK_LOG: expected a filter such as \"info,ringback::delivery=debug\"")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// Something is logging already.
    #[error("a subscriber is installed already")]
    Installed(#[source] tracing::subscriber::SetGlobalDefaultError),
}

#[derive(Clone, Copy)]
enum Format {
    Lines { colour: bool },
    Json,
}

/// Starts the log: installs the process's subscriber.
///
/// # Errors
/// The filter cannot be read, or a subscriber is installed already.
pub fn install(environment: &Environment) -> Result<(), TelemetryError> {
    let format = if io::stderr().is_terminal() {
        Format::Lines { colour: !environment.no_color() }
    } else {
        Format::Json
    };
    let subscriber = subscriber(environment.get(environment::LOG), format, io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(TelemetryError::Installed)
}

fn subscriber<W>(
    filter: Option<&str>,
    format: Format,
    writer: W,
) -> Result<impl Subscriber + Send + Sync, TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter =
        EnvFilter::builder().parse(filter.unwrap_or(DEFAULT_FILTER)).map_err(TelemetryError::Filter)?;
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    let layer = match format {
        Format::Lines { colour } => layer.compact().with_ansi(colour).boxed(),
        Format::Json => layer.json().flatten_event(true).with_span_list(false).boxed(),
    };
    Ok(Registry::default().with(layer.with_filter(filter.and(filter_fn(may_be_written)))))
}

fn may_be_written(metadata: &Metadata<'_>) -> bool {
    let ours = metadata.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"));
    ours || *metadata.level() <= Level::INFO
}

#[cfg(test)]
mod tests {
    use std::io::Seek as _;
    use std::sync::Arc;

    use super::*;

    fn written(filter: Option<&str>, format: Format) -> String {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let subscriber = subscriber(filter, format, file.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let _span = tracing::info_span!(span::ATTEMPT, delivery = "dl_1").entered();
            tracing::info!(status = 200, "delivered");
            tracing::debug!("detail");
            tracing::debug!(target: "h2::codec", "authorization: Bearer rbk_x");
            tracing::info!(target: "rustls", "chatter");
        });
        (&*file).rewind().unwrap();
        io::read_to_string(&*file).unwrap()
    }

    #[test]
    fn machines_get_a_json_object_a_line() {
        let written = written(None, Format::Json);
        let [line] = written.lines().collect::<Vec<_>>()[..] else { panic!("{written}") };
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&line["message"], &line["status"]), (&"delivered".into(), &200.into()));
        assert_eq!((&line["level"], &line["span"]["delivery"]), (&"INFO".into(), &"dl_1".into()));
        assert_eq!(line["span"]["name"], span::ATTEMPT);
    }

    #[test]
    fn people_get_lines_with_colour_if_they_want_it() {
        let plain = written(None, Format::Lines { colour: false });
        assert!(
            plain.contains("delivered") && plain.lines().count() == 1 && !plain.contains('\x1b'),
            "{plain}"
        );
        assert!(written(None, Format::Lines { colour: true }).contains('\x1b'));
    }

    #[test]
    fn no_filter_brings_the_libraries_headers_to_light() {
        let written = written(Some("trace"), Format::Lines { colour: false });
        assert!(written.contains("detail") && written.contains("chatter"), "{written}");
        assert!(!written.contains("Bearer"), "{written}");
    }

    #[test]
    fn a_filter_that_is_none_is_refused() {
        let refused = subscriber(Some("info,=,"), Format::Json, io::stderr).err().unwrap();
        assert!(matches!(refused, TelemetryError::Filter(_)), "{refused}");
    }
}
