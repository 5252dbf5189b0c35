//! Which paths there are, and what each method of them does: one table, from which requests are
//! routed, `Allow` is answered, and against which the OpenAPI document is held.

use hyper::Method;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    ListCallbacks,
    Register,
    ShowCallback,
    ChangeCallback,
    RemoveCallback,
    TestCallback,
    Pause,
    Resume,
    RotateSecret,
    Replay,
    Check,
    Render,
    Placeholders,
    ListCalls,
    ShowCall,
    EraseCall,
    ShowSpeech,
    MakeSpeechRequest,
    ShowSpeechRequest,
    ListEvents,
    ShowEvent,
    ListDeliveries,
    ShowDelivery,
    RetryDelivery,
    RetryDeliveries,
}

use Operation as O;

/// A path, its variable segments in braces, with the methods that it takes.
type Route = (&'static str, &'static [(&'static str, Operation)]);

const ROUTES: &[Route] = &[
    ("/v1/callbacks", &[("GET", O::ListCallbacks), ("POST", O::Register)]),
    (
        "/v1/callbacks/{id}",
        &[("GET", O::ShowCallback), ("PATCH", O::ChangeCallback), ("DELETE", O::RemoveCallback)],
    ),
    ("/v1/callbacks/{id}/test", &[("POST", O::TestCallback)]),
    ("/v1/callbacks/{id}/pause", &[("POST", O::Pause)]),
    ("/v1/callbacks/{id}/resume", &[("POST", O::Resume)]),
    ("/v1/callbacks/{id}/rotate-secret", &[("POST", O::RotateSecret)]),
    ("/v1/callbacks/{id}/replay", &[("POST", O::Replay)]),
    ("/v1/templates/check", &[("POST", O::Check)]),
    ("/v1/templates/render", &[("POST", O::Render)]),
    ("/v1/placeholders", &[("GET", O::Placeholders)]),
    ("/v1/calls", &[("GET", O::ListCalls)]),
    ("/v1/calls/{id}", &[("GET", O::ShowCall), ("DELETE", O::EraseCall)]),
    ("/v1/calls/{id}/speech", &[("GET", O::ShowSpeech)]),
    ("/v1/speech-requests", &[("POST", O::MakeSpeechRequest)]),
    ("/v1/speech-requests/{id}", &[("GET", O::ShowSpeechRequest)]),
    ("/v1/events", &[("GET", O::ListEvents)]),
    ("/v1/events/{id}", &[("GET", O::ShowEvent)]),
    ("/v1/deliveries", &[("GET", O::ListDeliveries)]),
    // Before those that have an id in its place.
    ("/v1/deliveries/retry", &[("POST", O::RetryDeliveries)]),
    ("/v1/deliveries/{id}", &[("GET", O::ShowDelivery)]),
    ("/v1/deliveries/{id}/retry", &[("POST", O::RetryDelivery)]),
];

/// What customers may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownRoute {
    /// The method.
    pub method: &'static str,
    /// The path, its variable segments in braces.
    pub path: &'static str,
    /// The parameters of its query, beside `token`.
    pub parameters: &'static [&'static str],
}

/// Every method of every path that customers are answered at.
pub fn routes() -> impl Iterator<Item = KnownRoute> {
    ROUTES.iter().flat_map(|(path, methods)| {
        let route = |(method, operation): &(&'static str, Operation)| KnownRoute {
            method,
            path,
            parameters: operation.parameters(),
        };
        methods.iter().map(route)
    })
}

/// What a path leads to.
#[derive(Clone, Debug)]
pub(super) struct Place {
    methods: &'static [(&'static str, Operation)],
    /// The variable segment, decoded; empty if the path has none.
    pub(super) id: String,
}

impl Place {
    /// Finds a path's place.
    pub(super) fn find(path: &str) -> Option<Self> {
        ROUTES.iter().find_map(|(route, methods)| Some(Self { methods, id: variable(route, path)? }))
    }

    /// What a method does here. The server leaves the body of an answer to HEAD out by itself.
    pub(super) fn operation(&self, method: &Method) -> Option<Operation> {
        let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
        self.methods.iter().find(|(name, _)| *name == method).map(|(_, operation)| *operation)
    }

    /// The methods, as `Allow` lists them.
    pub(super) fn allow(&self) -> String {
        let mut names = Vec::new();
        for (name, _) in self.methods {
            names.push(*name);
            if *name == "GET" {
                names.push("HEAD");
            }
        }
        names.join(", ")
    }
}

/// The variable segment of a path that fits a route.
fn variable(route: &str, path: &str) -> Option<String> {
    let mut found = String::new();
    let mut segments = path.split('/');
    for expected in route.split('/') {
        let segment = segments.next()?;
        if expected.starts_with('{') {
            let decoded = percent_encoding::percent_decode_str(segment).decode_utf8().ok()?;
            found = Some(decoded.into_owned()).filter(|decoded| !decoded.is_empty())?;
        } else if expected != segment {
            return None;
        }
    }
    segments.next().is_none().then_some(found)
}

impl Operation {
    /// The parameters of its query, beside `token`.
    pub(super) const fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::ListCallbacks => &["limit", "cursor"],
            Self::ListDeliveries => &["callback_id", "call_id", "state", "since", "until", "limit", "cursor"],
            Self::ListEvents => &["source", "type", "state", "call_id", "since", "until", "limit", "cursor"],
            Self::ListCalls => &[
                "min_duration",
                "max_duration",
                "call_status",
                "from",
                "till",
                "language",
                "phrase",
                "summary",
                "rank_description",
                "rank_min",
                "rank_max",
                "limit",
                "cursor",
            ],
            Self::ShowCall | Self::EraseCall | Self::ShowSpeech => &["call_space"],
            Self::MakeSpeechRequest => &[
                "callback_url",
                "callback_method",
                "callback_data",
                "min_duration",
                "max_duration",
                "call_status",
                "from",
                "till",
                "language",
                "phrase",
                "summary",
                "rank_description",
                "rank_min",
                "rank_max",
                "limit",
            ],
            _ => &[],
        }
    }

    /// Whether it creates something, so that a repeat with the same `Idempotency-Key` must not.
    pub(super) const fn creates(self) -> bool {
        matches!(self, Self::Register | Self::RotateSecret | Self::Replay | Self::MakeSpeechRequest)
    }

    /// Whether it takes a request with nothing in it: what is in it is refused by name.
    pub(super) const fn takes_no_members(self) -> bool {
        matches!(self, Self::Pause | Self::Resume | Self::RetryDelivery)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_with_its_variable_segment_decoded() {
        let id = |path| Place::find(path).map(|place| place.id);
        assert_eq!(id("/v1/callbacks").as_deref(), Some(""));
        assert_eq!(id("/v1/calls/a%2Fb%20c").as_deref(), Some("a/b c"));
        assert_eq!(id("/v1/callbacks/x/rotate-secret").as_deref(), Some("x"));
        for path in [
            "/v1/callbacks/",
            "/v1//callbacks",
            "/v1/callbacks/x/",
            "/v1/callbacks/x/other",
            "/v1",
            "/v1/calls/%FF",
            "v1/callbacks",
            "/v1/callbacks//pause",
        ] {
            assert_eq!(id(path), None, "{path}");
        }
    }

    #[test]
    fn a_method_that_is_not_taken_is_told_those_that_are() {
        let place = Place::find("/v1/callbacks/x").unwrap();
        assert_eq!(place.operation(&Method::HEAD), Some(Operation::ShowCallback));
        assert_eq!(place.operation(&Method::PUT), None);
        assert_eq!(place.allow(), "GET, HEAD, PATCH, DELETE");
    }
}
