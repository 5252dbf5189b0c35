//! The URL that a customer registers.

use super::AddressPolicy;

/// A URL that deliveries may go to: `http` or `https`, no user information, a port that is allowed,
/// and no refused address written in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetUrl(url::Url);

/// Why a URL is refused, a sentence that says the mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTarget {
    /// Not a URL.
    #[error("not a URL: {0}")]
    NotAUrl(url::ParseError),
}

impl TargetUrl {
    /// Checks a URL as a registration gives it.
    ///
    /// # Errors
    /// Every reason for which it is refused.
    pub fn parse(_text: &str, _policy: &AddressPolicy) -> Result<Self, Vec<InvalidTarget>> {
        unimplemented!()
    }

    /// The URL.
    #[must_use]
    pub fn as_url(&self) -> &url::Url {
        &self.0
    }
}
