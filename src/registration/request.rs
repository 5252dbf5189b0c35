//! The request that a registration's deliveries send: method, URL, headers and body, each fixed or
//! with placeholders.

use std::sync::Arc;

use hyper::body::Bytes;
use serde::{Deserialize, Serialize};

use super::Issue;
use crate::context::Values;
use crate::destination::{AddressPolicy, InvalidTarget, TargetUrl};
use crate::store::DeliveryRequest;
use crate::template::{ContentType, Diagnostic, HeaderTemplate, Limits, RenderError, Template, UrlTemplate};

/// The longest value of a header, rendered, in bytes: servers commonly take 8 KiB for a whole head.
const MAX_HEADER_VALUE: usize = 4 << 10;

/// How a callback is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// `POST`
    Post,
    /// `PUT`
    Put,
}

impl Method {
    /// The method as HTTP spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

/// Where deliveries go.
#[derive(Clone, Debug)]
pub enum CallbackUrl {
    /// Always there; checked when it was registered.
    Fixed(TargetUrl),
    /// With placeholders behind the host, which was checked when it was registered; the rest is
    /// checked with each rendering.
    Rendered(UrlTemplate),
}

/// Why a URL is not taken.
#[derive(Clone, Debug)]
pub enum InvalidCallbackUrl {
    /// Its placeholders are wrong.
    Template(Vec<Diagnostic>),
    /// Deliveries must not go there.
    Target(Vec<InvalidTarget>),
}

impl CallbackUrl {
    /// Reads a URL as a registration gives it.
    ///
    /// # Errors
    /// Every reason for which it is refused.
    pub fn read(text: &str, policy: &AddressPolicy, limits: &Limits) -> Result<Self, InvalidCallbackUrl> {
        let template = UrlTemplate::compile(text, limits).map_err(InvalidCallbackUrl::Template)?;
        if template.placeholders().is_empty() {
            return TargetUrl::parse(text, policy).map(Self::Fixed).map_err(InvalidCallbackUrl::Target);
        }
        TargetUrl::parse(template.origin(), policy).map_err(InvalidCallbackUrl::Target)?;
        Ok(Self::Rendered(template))
    }

    /// The URL as it is shown and stored.
    #[must_use]
    pub fn source(&self) -> &str {
        match self {
            Self::Fixed(url) => url.as_url().as_str(),
            Self::Rendered(template) => template.source(),
        }
    }

    /// Scheme, host and port, which no placeholder changes.
    #[must_use]
    pub fn origin(&self) -> String {
        let parsed = match self {
            Self::Fixed(url) => Ok(url.clone()),
            Self::Rendered(template) => TargetUrl::parse(template.origin(), &AddressPolicy::anywhere()),
        };
        let origin = parsed.map(|url| url.as_url().origin().ascii_serialization());
        origin.expect("it was parsed when the registration was read")
    }

    /// What is legal in it but probably not meant.
    #[must_use]
    pub fn warnings(&self) -> &[Diagnostic] {
        match self {
            Self::Fixed(_) => &[],
            Self::Rendered(template) => template.warnings(),
        }
    }

    fn render(&self, values: &Values<'_>) -> Result<String, RequestFault> {
        match self {
            Self::Fixed(url) => Ok(url.as_url().as_str().to_owned()),
            Self::Rendered(template) => {
                let text = template
                    .render(values)
                    .map_err(|fault| RequestFault::Rendering("callback_url", fault))?;
                // Of the host and its address nothing depends on data; the policy may have changed
                // since, and decides when the address is dialled.
                let parsed = TargetUrl::parse(&text, &AddressPolicy::anywhere());
                let url = parsed.map_err(|mut faults| RequestFault::Url(faults.swap_remove(0)))?;
                Ok(url.as_url().as_str().to_owned())
            }
        }
    }
}

/// Why an event gives no request: names, never data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestFault {
    /// A template cannot be rendered.
    #[error("{0}: {1}")]
    Rendering(&'static str, #[source] RenderError),
    /// The rendered URL is none that deliveries may go to.
    #[error("callback_url: {0}")]
    Url(#[source] InvalidTarget),
    /// A header's rendered value is too long.
    #[error("callback_headers: the value of `{0}` is longer than {MAX_HEADER_VALUE} bytes")]
    HeaderTooLong(String),
}

/// The request that deliveries send.
#[derive(Clone, Debug)]
pub struct RequestTemplate {
    /// How.
    pub method: Method,
    /// Where to.
    pub url: CallbackUrl,
    /// The registration's own headers, their names as written.
    pub headers: Arc<[(String, HeaderTemplate)]>,
    /// The content type as written, one that [`ContentType::from_name`] knows.
    pub content_type: String,
    /// `callback_data`, compiled.
    pub body: Template,
}

impl RequestTemplate {
    /// The content type of a body where a registration names none.
    pub const JSON: &str = "application/json";

    /// Compiles a body of this content type.
    ///
    /// # Errors
    /// All its problems.
    pub fn compile_body(
        source: &str,
        content_type: &str,
        limits: &Limits,
    ) -> Result<Template, Vec<Diagnostic>> {
        Template::compile_as(source, ContentType::from_name(content_type).unwrap_or_default(), limits)
    }

    /// Whether another one, of the same registration, was written as this is.
    #[must_use]
    pub fn is_as(&self, other: &Self) -> bool {
        let headers = |request: &Self| -> Vec<(String, String)> {
            let headers = request.headers.iter();
            headers.map(|(name, value)| (name.clone(), value.source().to_owned())).collect()
        };
        self.method == other.method
            && self.url.source() == other.url.source()
            && self.content_type == other.content_type
            && self.body.source() == other.body.source()
            && headers(self) == headers(other)
    }

    /// What is legal in its templates but probably not meant.
    #[must_use]
    pub fn warnings(&self) -> Vec<Issue> {
        let mut warnings: Vec<Issue> = Vec::new();
        let mut add = |pointer: &str, found: &[Diagnostic]| {
            warnings.extend(found.iter().map(|warning| Issue::in_template(pointer, warning)));
        };
        add("/callback_url", self.url.warnings());
        add("/callback_data", self.body.warnings());
        for (name, template) in self.headers.iter() {
            add(&Issue::pointer("/callback_headers", name), template.warnings());
        }
        warnings
    }

    /// The request for these values.
    ///
    /// # Errors
    /// The data cannot be rendered, or gives a URL or header that cannot be sent.
    pub fn render(&self, values: &Values<'_>) -> Result<DeliveryRequest, RequestFault> {
        let mut body = Vec::new();
        self.body
            .render(values, &mut body)
            .map_err(|fault| RequestFault::Rendering("callback_data", fault))?;
        let url = self.url.render(values)?;
        let headers = self
            .headers
            .iter()
            .map(|(name, template)| {
                let mut value = Vec::new();
                let rendered = template.render(values, &mut value);
                rendered.map_err(|fault| RequestFault::Rendering("callback_headers", fault))?;
                if value.len() > MAX_HEADER_VALUE {
                    return Err(RequestFault::HeaderTooLong(name.clone()));
                }
                Ok((name.clone(), String::from_utf8(value).expect("a text with text in it is text")))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(DeliveryRequest {
            method: self.method.as_str().to_owned(),
            url,
            content_type: self.content_type.clone(),
            headers,
            body: Bytes::from(body),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{Name, Value};

    fn url(text: &str) -> Result<CallbackUrl, InvalidCallbackUrl> {
        CallbackUrl::read(text, &AddressPolicy::default(), &Limits::default())
    }

    fn rendered(text: &str, call_id: &str) -> Result<String, RequestFault> {
        let mut values = Values::new();
        values.set(Name::CallId, Value::Text(call_id));
        url(text).unwrap().render(&values)
    }

    #[test]
    fn data_stays_in_its_component_of_the_url() {
        let template = "https://example.com/calls/{call_id}?q=<call_id>&x={email}#{call_id}";
        assert_eq!(
            rendered(template, "a/b?c#d é").unwrap(),
            "https://example.com/calls/a%2Fb%3Fc%23d%20%C3%A9?q=a%2Fb%3Fc%23d%20%C3%A9&x=#a%2Fb%3Fc%23d%20%C3%A9"
        );
        assert_eq!(
            rendered("https://example.com/{call_id}/x", "@evil.example").unwrap(),
            "https://example.com/%40evil.example/x"
        );
        for dots in [".", ".."] {
            assert!(matches!(
                rendered("https://example.com/a/{call_id}/b", dots),
                Err(RequestFault::Rendering(..))
            ));
        }
        let long = "x".repeat(TargetUrl::MAX_LENGTH);
        assert!(matches!(
            rendered("https://example.com/{call_id}", &long),
            Err(RequestFault::Url(InvalidTarget::TooLong(_)))
        ));
    }

    #[test]
    fn a_host_is_fixed_and_checked_when_it_is_registered() {
        for template in [
            "https://{call_id}.example.com/",
            "{call_id}://example.com/",
            "https://example.com:{call_id}/",
            "https://user:{call_id}@example.com/",
        ] {
            assert!(matches!(url(template), Err(InvalidCallbackUrl::Template(_))), "{template}");
        }
        for template in
            ["http://127.0.0.1/{call_id}", "http://169.254.169.254?{call_id}", "ftp://example.com/{call_id}"]
        {
            assert!(matches!(url(template), Err(InvalidCallbackUrl::Target(_))), "{template}");
        }
        assert!(matches!(url("https://example.com/{0}"), Ok(CallbackUrl::Fixed(_))));
    }
}
