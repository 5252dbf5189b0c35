//! An exchange with an API, a provider's or a Ringback's own: any answer that is not too long, read
//! to its end.

use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Uri};
use tokio::time::timeout;
use url::Position;

use super::error::Unsendable;
use super::request::AGENT;
use super::{Client, SendError};
use crate::delivery::outcome::RetryAfter;
use crate::destination::TargetUrl;

/// What is asked of an API.
#[derive(Clone, Copy)]
pub struct ApiRequest<'a> {
    /// `GET`, `POST`, `PATCH` or `DELETE`.
    pub method: &'a str,
    /// The whole URL, which may hold a token.
    pub url: &'a str,
    /// Headers beside those that every request has.
    pub headers: &'a [(&'a str, &'a str)],
    /// A JSON body.
    pub body: Option<&'a [u8]>,
    /// The most bytes of an answer that are taken.
    pub max_answer: usize,
    /// How long everything may take, to the last byte of the answer.
    pub timeout: Duration,
}

/// What an API answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiAnswer {
    /// The status.
    pub status: u16,
    /// `Retry-After`, if there is one that can be read.
    pub retry_after: Option<RetryAfter>,
    /// The whole body.
    pub body: Bytes,
}

/// Why there is no answer. Its sentence holds no path, query, header or body.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The exchange failed.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The answer is longer than is taken.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// The answer broke off.
    #[error("the connection broke before the answer had come to its end")]
    BrokeOff(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Client {
    /// Asks, and reads the answer to its end.
    ///
    /// # Errors
    /// There is none, or not all of it came.
    pub async fn ask(&self, asked: &ApiRequest<'_>) -> Result<ApiAnswer, AskError> {
        let request = self.prepare_ask(asked)?;
        let exchange = async {
            let answer = self.http.request(request).await.map_err(SendError::Exchange)?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, asked.max_answer).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    AskError::TooLong(asked.max_answer)
                } else {
                    AskError::BrokeOff(error)
                }
            })?;
            Ok(ApiAnswer {
                status: head.status.as_u16(),
                retry_after: RetryAfter::of(&head.headers),
                body: body.to_bytes(),
            })
        };
        let limit = asked.timeout;
        timeout(limit, exchange)
            .await
            .unwrap_or_else(|_| Err(SendError::Timeout { limit, answered: false }.into()))
    }

    fn prepare_ask(&self, asked: &ApiRequest<'_>) -> Result<Request<Full<Bytes>>, SendError> {
        let target = TargetUrl::parse(asked.url, &self.policy).map_err(SendError::from_problems)?;
        let unsendable = SendError::Unsendable;
        let uri: Uri =
            target.as_url()[..Position::AfterQuery].parse().map_err(|_| unsendable(Unsendable::Url))?;
        let method = match asked.method {
            "GET" => Method::GET,
            "POST" => Method::POST,
            "PATCH" => Method::PATCH,
            "DELETE" => Method::DELETE,
            _ => return Err(unsendable(Unsendable::Method)),
        };
        let body = asked.body.map(Bytes::copy_from_slice);
        let mut request = Request::new(Full::new(body.clone().unwrap_or_default()));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(body) = body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        for (name, value) in asked.headers {
            let invalid = || unsendable(Unsendable::HeaderValue((*name).to_owned()));
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
            let mut value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| invalid())?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(request)
    }
}
