//! Dialpad: <https://developers.dialpad.com/docs/event-subscriptions#secret-and-event-encoding>.
//!
//! The whole body is a token under HS256, whose claims are the event.

use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use jiff::Timestamp;

use super::jwt::{self, Validity};
use super::verifier::{SignedRequest, Window};
use super::{Refused, Secret};

/// The verification of what Dialpad posts.
#[derive(Clone, Debug)]
pub struct Dialpad {
    secrets: Vec<Secret>,
    window: Window,
}

impl Dialpad {
    /// The secrets are those that the webhook was created with.
    #[must_use]
    pub fn new(secrets: Vec<Secret>, window: Window) -> Self {
        Self { secrets, window }
    }

    /// Believes the request, and puts the claims in the body's place: the event is in them. No time
    /// is documented; where the token has one, it counts.
    pub(super) fn check(&self, request: &mut SignedRequest, now: Timestamp) -> Result<(), Refused> {
        let claims = jwt::open(&request.body, &self.secrets)?;
        let validity: Validity =
            jwt::read_object(&claims).ok_or(Refused::Token("its claims cannot be read"))?;
        validity.check(self.window, now)?;
        request.body = Bytes::from(claims);
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(())
    }
}
