//! The tokens that customers show, kept as their SHA-256.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use sha2::{Digest as _, Sha256};
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};
use zeroize::Zeroizing;

use crate::event::AccountName;
use crate::signature::encoding;

/// A token: one that was just made, or that its owner gives to the command line. Wiped when it is
/// dropped, and printed only by [`Token::expose`].
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// What every token that Ringback makes begins with, so that a leaked one is found by a scan.
    pub const PREFIX: &str = "rbk_";

    /// A new token of 32 random bytes.
    #[must_use]
    pub fn generate() -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        SystemRandom::new().fill(&mut *bytes).expect("the operating system has random bytes");
        let digits = Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes));
        Self(Zeroizing::new([Self::PREFIX, &digits].concat()))
    }

    /// The token: to show it, once to its owner or to the server that knows it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What the configuration keeps of it.
    #[must_use]
    pub fn sha256(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }
}

impl From<&str> for Token {
    fn from(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The SHA-256 of a token. Prints as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token.
    #[must_use]
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        encoding::read_hex(text)?.try_into().ok().map(Self)
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encoding::write_hex(&self.0))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenHash({self})")
    }
}

/// Who asks: the account, and which of its tokens was shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The account.
    pub account: AccountName,
    /// The token's name. One that has none in the configuration is called after the beginning of
    /// its hash, so that no two are taken for one.
    pub token: Arc<str>,
}

/// The tokens of all accounts.
#[derive(Clone, Debug, Default)]
pub struct Tokens(Vec<(TokenHash, Identity)>);

impl Tokens {
    /// Adds a token; `false`, and nothing added, if it is there already.
    pub fn add(&mut self, hash: TokenHash, account: &AccountName, name: Option<&str>) -> bool {
        if self.0.iter().any(|(other, _)| *other == hash) {
            return false;
        }
        let token = name.map_or_else(|| hash.to_string()[..16].into(), Arc::from);
        self.0.push((hash, Identity { account: account.clone(), token }));
        true
    }

    /// Whose token this is. Takes as long for every token, right or wrong.
    #[must_use]
    pub fn identify(&self, token: &str) -> Option<&Identity> {
        let shown = TokenHash::of(token);
        let mut found = u64::MAX;
        for (index, (hash, _)) in (0..).zip(&self.0) {
            found.conditional_assign(&index, hash.0.ct_eq(&shown.0));
        }
        self.0.get(usize::try_from(found).ok()?).map(|(_, identity)| identity)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_by_its_hash_alone() {
        let (first, second) = (Token::generate(), Token::generate());
        let mut tokens = Tokens::default();
        assert!(tokens.add(first.sha256(), &"acme".into(), Some("crm")));
        assert!(tokens.add(second.sha256(), &"acme".into(), None));
        assert!(!tokens.add(first.sha256(), &"other".into(), Some("crm")));
        let identity = tokens.identify(first.expose()).unwrap();
        assert_eq!((&*identity.account, &*identity.token), ("acme", "crm"));
        assert_eq!(*tokens.identify(second.expose()).unwrap().token, second.sha256().to_string()[..16]);
        assert_eq!(tokens.identify(&first.expose()[1..]), None);
        assert_eq!(tokens.identify(&first.sha256().to_string()), None);
        assert_eq!(tokens.identify(""), None);
        assert_eq!(Tokens::default().identify(first.expose()), None);
    }

    #[test]
    fn a_token_has_its_prefix_and_32_random_bytes_and_does_not_print() {
        let token = Token::generate();
        let digits = token.expose().strip_prefix(Token::PREFIX).unwrap();
        assert_eq!(URL_SAFE_NO_PAD.decode(digits).unwrap().len(), 32);
        assert_ne!(token.expose(), Token::generate().expose());
        assert_eq!(format!("{token:?}"), "Token(…)");
    }

    /// FIPS 180-2, appendix B.1.
    #[test]
    fn a_hash_is_sha_256_in_hexadecimal_digits() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(TokenHash::of("abc").to_string(), abc);
        assert_eq!(TokenHash::from_hex(&abc.to_uppercase()), Some(TokenHash::of("abc")));
        assert_eq!(TokenHash::from_hex(&abc[2..]), None);
        assert_eq!(TokenHash::from_hex(""), None);
    }
}
