//! Tokens: kept as SHA-256, compared in constant time.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::event::AccountName;

/// All tokens of all accounts, as their digests.
#[derive(Debug, Default)]
pub struct Tokens(Vec<([u8; 32], AccountName)>);

impl Tokens {
    /// Adds an account's token by its SHA-256.
    pub fn add(&mut self, sha256: [u8; 32], account: AccountName) {
        self.0.push((sha256, account));
    }

    /// The account of a token. Every digest is looked at, whether or not one fits already.
    #[must_use]
    pub fn account(&self, token: &str) -> Option<AccountName> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let mut found = None;
        for (known, account) in &self.0 {
            if bool::from(known.ct_eq(&digest)) {
                found = Some(account);
            }
        }
        found.cloned()
    }
}
