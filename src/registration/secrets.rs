//! The secrets of a registration: one that signs, and those that it replaced, for a while.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::signature::SigningSecret;

/// How long a secret goes on signing beside the one that replaced it.
const OVERLAP: SignedDuration = SignedDuration::from_hours(24);

/// The most secrets that sign at once. Each makes `webhook-signature` longer, and verifiers look at
/// so many signatures and no more.
const MAX_SECRETS: usize = 8;

/// The secrets of a registration, never none.
#[derive(Clone, Debug)]
pub struct SigningSecrets {
    /// The newest first.
    secrets: Vec<SigningSecret>,
    /// Until when each but the newest signs; so the latest first.
    until: Vec<Timestamp>,
}

/// Too many secrets of the last day sign already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_SECRETS} secrets sign already, and each is valid for 24 h after it was replaced")]
pub struct TooManySecrets {
    /// When the oldest of them stops.
    pub retry_after: Duration,
}

impl SigningSecrets {
    /// One secret, which signs until it is replaced.
    #[must_use]
    pub fn new(secret: SigningSecret) -> Self {
        Self { secrets: vec![secret], until: Vec::new() }
    }

    /// Secrets as they are stored, the newest first, with the times until when each but the newest
    /// signs; one without a time signs for ever. `None` if there are no secrets.
    pub(super) fn from_stored(secrets: Vec<SigningSecret>, mut until: Vec<Timestamp>) -> Option<Self> {
        until.resize(secrets.len().checked_sub(1)?, Timestamp::MAX);
        Some(Self { secrets, until })
    }

    /// All of them, the newest first.
    pub(super) fn all(&self) -> &[SigningSecret] {
        &self.secrets
    }

    /// Until when each but the newest signs.
    pub(super) fn until(&self) -> &[Timestamp] {
        &self.until
    }

    /// The one that stays.
    #[must_use]
    pub fn newest(&self) -> &SigningSecret {
        &self.secrets[0]
    }

    /// Until when the one before the newest signs, if there is one.
    #[must_use]
    pub fn previous_until(&self) -> Option<Timestamp> {
        self.until.first().copied()
    }

    /// Those that sign now, the newest first.
    #[must_use]
    pub fn valid_at(&self, now: Timestamp) -> &[SigningSecret] {
        let old = self.until.iter().take_while(|until| now < **until).count();
        &self.secrets[..=old]
    }

    /// Puts a secret in front; the one that was the newest signs for 24 h more.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub fn rotate(&self, secret: SigningSecret, now: Timestamp) -> Result<Self, TooManySecrets> {
        let valid = self.valid_at(now);
        if valid.len() >= MAX_SECRETS {
            let oldest = self.until[valid.len() - 2];
            let left = oldest.duration_since(now).unsigned_abs();
            return Err(TooManySecrets { retry_after: left });
        }
        let mut secrets = vec![secret];
        secrets.extend_from_slice(valid);
        let mut until = vec![now.checked_add(OVERLAP).unwrap_or(Timestamp::MAX)];
        until.extend_from_slice(&self.until[..valid.len() - 1]);
        Ok(Self { secrets, until })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exposed(secrets: &[SigningSecret]) -> Vec<String> {
        secrets.iter().map(SigningSecret::expose).collect()
    }

    #[test]
    fn an_old_secret_signs_for_a_day_beside_the_new_one() {
        let start: Timestamp = "2026-03-30T12:00:00Z".parse().unwrap();
        let [first, second, third] = std::array::from_fn(|_| SigningSecret::generate());
        let secrets = SigningSecrets::new(first.clone());
        assert_eq!(exposed(secrets.valid_at(start)), exposed(std::slice::from_ref(&first)));
        let secrets = secrets.rotate(second.clone(), start).unwrap();
        let later = start + SignedDuration::from_hours(23);
        let secrets = secrets.rotate(third.clone(), later).unwrap();
        assert_eq!(exposed(secrets.valid_at(later)), exposed(&[third.clone(), second.clone(), first]));
        let day = start + OVERLAP;
        assert_eq!(exposed(secrets.valid_at(day)), exposed(&[third.clone(), second]));
        assert_eq!(exposed(secrets.valid_at(later + OVERLAP)), exposed(&[third]));
        // What does not sign any more is not kept.
        let next = secrets.rotate(SigningSecret::generate(), later + OVERLAP).unwrap();
        assert_eq!((next.all().len(), next.until().len()), (2, 1));
    }

    #[test]
    fn so_many_secrets_sign_at_once() {
        let start: Timestamp = "2026-03-30T12:00:00Z".parse().unwrap();
        let mut secrets = SigningSecrets::new(SigningSecret::generate());
        for minute in 1..MAX_SECRETS {
            let now = start + SignedDuration::from_mins(i64::try_from(minute).unwrap());
            secrets = secrets.rotate(SigningSecret::generate(), now).unwrap();
        }
        let now = start + SignedDuration::from_mins(61);
        let refused = secrets.rotate(SigningSecret::generate(), now).unwrap_err();
        assert_eq!(refused.retry_after, Duration::from_hours(23));
        assert!(
            secrets.rotate(SigningSecret::generate(), start + SignedDuration::from_mins(24 * 60 + 1)).is_ok()
        );
    }
}
