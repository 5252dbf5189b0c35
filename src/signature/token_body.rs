//! A secret in the body, at a JSON pointer (RFC 6901): Aircall's `/token`, Deepgram's
//! `/metadata/extra/callback_secret`. As with every scheme without a signature, whoever reads one
//! request can make others.

use std::borrow::Cow;
use std::collections::HashMap;

use hyper::body::Bytes;
use serde_json::value::RawValue;

use super::credentials::is_one_of;
use super::hmac::InvalidScheme;
use super::verifier::SignedRequest;
use super::{Refused, Secret};

/// The deepest place that a pointer may name; each step reads its part of the body once more.
const MAX_STEPS: usize = 16;

/// What stands in the token's place in a request that is believed.
const MASK: &[u8] = b"\"***\"";

/// A secret in the body.
#[derive(Clone, Debug)]
pub struct TokenBody {
    pointer: String,
    steps: Vec<String>,
    secrets: Vec<Secret>,
}

impl TokenBody {
    /// The scheme.
    ///
    /// # Errors
    /// The pointer is none.
    pub fn new(pointer: &str, secrets: Vec<Secret>) -> Result<Self, InvalidScheme> {
        let invalid = |reason: &str| InvalidScheme { key: "pointer", reason: reason.to_owned() };
        let steps =
            pointer.strip_prefix('/').ok_or_else(|| invalid("expected a JSON pointer such as \"/token\""))?;
        let steps = steps.split('/').map(unescape).collect::<Option<Vec<_>>>();
        let steps =
            steps.ok_or_else(|| invalid("in a JSON pointer, `~` is written `~0` and `/` in a name `~1`"))?;
        if steps.len() > MAX_STEPS {
            return Err(invalid("it leads too deep"));
        }
        Ok(Self { pointer: pointer.to_owned(), steps, secrets })
    }

    /// Believes the request, and masks the token: what is kept and shown of a request must not hold
    /// it.
    pub(super) fn check(&self, request: &mut SignedRequest) -> Result<(), Refused> {
        let missing = || Refused::MissingToken(self.pointer.clone());
        let found = self.find(&request.body).ok_or_else(missing)?;
        // Texts only: a number can be written in many ways.
        let token: Cow<'_, str> = serde_json::from_str::<Text<'_>>(found).map_err(|_| missing())?.0;
        if !is_one_of(&self.secrets, token.as_bytes()) {
            return Err(Refused::WrongSecret);
        }
        let start = found.as_ptr().addr() - request.body.as_ptr().addr();
        let (before, behind) = (&request.body[..start], &request.body[start + found.len()..]);
        request.body = Bytes::from([before, MASK, behind].concat());
        Ok(())
    }

    /// The value at the pointer, as it is written in the body.
    fn find<'b>(&self, body: &'b [u8]) -> Option<&'b str> {
        let root: &RawValue = serde_json::from_slice(body).ok()?;
        self.steps.iter().try_fold(root.get(), |value, step| {
            if value.starts_with('{') {
                let members: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_str(value).ok()?;
                members.get(step.as_str()).map(|value| value.get())
            } else if value.starts_with('[') {
                let items: Vec<&RawValue> = serde_json::from_str(value).ok()?;
                items.get(index(step)?).map(|value| value.get())
            } else {
                None
            }
        })
    }
}

/// A text, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A step of a pointer, without its escapes.
fn unescape(step: &str) -> Option<String> {
    let escapes = step.split('~').skip(1).all(|behind| behind.starts_with(['0', '1']));
    escapes.then(|| step.replace("~1", "/").replace("~0", "~"))
}

/// An index as RFC 6901 writes it: digits, without zeros before them.
fn index(step: &str) -> Option<usize> {
    let digits = step.bytes().all(|byte| byte.is_ascii_digit()) && (step == "0" || !step.starts_with('0'));
    digits.then(|| step.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;

    use super::*;

    fn check(pointer: &str, body: &str) -> Result<String, Refused> {
        let scheme =
            TokenBody::new(pointer, vec![Secret::from_bytes("s\"3"), Secret::from_bytes("old")]).unwrap();
        let mut request = SignedRequest {
            method: "POST".into(),
            url: String::new(),
            sub_path: String::new(),
            query: String::new(),
            headers: HeaderMap::new(),
            body: Bytes::from(body.to_owned()),
        };
        scheme.check(&mut request).map(|()| String::from_utf8(request.body.to_vec()).unwrap())
    }

    #[test]
    fn a_token_is_found_where_the_pointer_points_and_masked() {
        for (pointer, body, masked) in [
            ("/token", r#"{"token":"old","x":1}"#, r#"{"token":"***","x":1}"#),
            (
                "/token",
                r#" {"x": {"token": "no"}, "token" : "s\"3" } "#,
                r#" {"x": {"token": "no"}, "token" : "***" } "#,
            ),
            ("/token", r#"{"token":"\u0073\u00223"}"#, r#"{"token":"***"}"#),
            ("/a/1/b~1c~0", r#"{"a":[0,{"b/c~":"old"}]}"#, r#"{"a":[0,{"b/c~":"***"}]}"#),
            ("/", r#"{"":"old"}"#, r#"{"":"***"}"#),
            ("/0", r#"["old"]"#, r#"["***"]"#),
        ] {
            assert_eq!(check(pointer, body).as_deref(), Ok(masked), "{pointer} {body}");
        }
    }

    #[test]
    fn another_token_and_none_are_told_apart() {
        for wrong in [r#"{"token":"older"}"#, r#"{"token":"ol"}"#, r#"{"token":""}"#, r#"{"token":"OLD"}"#] {
            assert_eq!(check("/token", wrong), Err(Refused::WrongSecret), "{wrong}");
        }
        for none in [
            "",
            "{",
            "{}",
            "[]",
            "\"old\"",
            "old",
            r#"{"Token":"old"}"#,
            r#"{"token":null}"#,
            r#"{"token":["old"]}"#,
            "token=old",
        ] {
            assert_eq!(check("/token", none), Err(Refused::MissingToken("/token".into())), "{none}");
        }
        for index in ["/00", "/+0", "/-", "/1"] {
            assert!(check(index, r#"["old"]"#).is_err(), "{index}");
        }
        // Deeper than any reader's stack is no matter.
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(check("/token", &deep), Err(Refused::MissingToken("/token".into())));
        assert!(check("/token", &format!(r#"{{"a":{deep},"token":"old"}}"#)).is_ok());
    }

    #[test]
    fn a_pointer_begins_with_a_slash_and_has_an_end() {
        let deep = "/a".repeat(MAX_STEPS + 1);
        for wrong in ["", "token", "/a~", "/a~2", &deep] {
            assert_eq!(TokenBody::new(wrong, vec![]).unwrap_err().key, "pointer", "{wrong}");
        }
    }
}
