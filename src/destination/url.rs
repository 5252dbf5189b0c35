//! The URL that a customer registers.

use std::net::IpAddr;

use url::{Host, ParseError, Url};

use super::policy::port_allowed;
use super::{AddressPolicy, RefusedAddress};

/// A URL that deliveries may go to: `http` or `https`, no user information, a port that is allowed,
/// and no refused address written in it.
///
/// It is kept as the URL standard (<https://url.spec.whatwg.org>) normalises it: the host in lower
/// case and ASCII, an address in its one usual spelling, a default port left out. What is checked
/// is therefore what is dialled, however it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetUrl(Url);

/// Why a URL is refused, a sentence that says the mend. Repeats no path, query or password of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTarget {
    /// Not a URL.
    #[error("not a URL: {}", mend(*.0))]
    NotAUrl(ParseError),
    /// White space or a control character, which URL parsers drop in silence.
    #[error("a URL holds no white space and no control character: percent-encode it, or take it out")]
    Whitespace,
    /// Longer than [`TargetUrl::MAX_LENGTH`].
    #[error("the URL has {0} bytes, and {max} are the most: send what is long in the body", max = TargetUrl::MAX_LENGTH)]
    TooLong(usize),
    /// Neither `http` nor `https`.
    #[error("the scheme must be `https` or `http`")]
    Scheme,
    /// A user name or a password.
    #[error("take the user name and password out of the URL: send them in a header, such as `Authorization`")]
    UserInformation,
    /// A port of another protocol.
    #[error("port {0} is refused: use 80, 443, or one from 1024")]
    Port(u16),
    /// An address that must not be dialled.
    #[error("{0}: use a name or an address that can be reached from the public internet")]
    Address(#[from] RefusedAddress),
    /// `localhost`, or a name under it.
    #[error("`localhost` is this machine: use a name that can be reached from the public internet")]
    Localhost,
    /// No host at all.
    #[error("the URL has no host: write `https://host/path`")]
    NoHost,
}

impl TargetUrl {
    /// The most bytes of a URL. Servers and proxies commonly take 8 KiB for a request's head line.
    pub const MAX_LENGTH: usize = 8 * 1024 - 256;

    /// Checks a URL as a registration gives it, or as a delivery's rendering made it.
    ///
    /// A fragment is kept and never sent.
    ///
    /// # Errors
    /// Every reason for which it is refused.
    pub fn parse(text: &str, policy: &AddressPolicy) -> Result<Self, Vec<InvalidTarget>> {
        let mut problems = Vec::new();
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            problems.push(InvalidTarget::Whitespace);
        }
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(error) => {
                // The length says nothing new of what cannot be read.
                problems.push(InvalidTarget::NotAUrl(error));
                return Err(problems);
            }
        };
        // Measured as it is sent: normalising percent-encodes, and so lengthens.
        let length = text.len().max(url.as_str().len());
        if length > Self::MAX_LENGTH {
            problems.push(InvalidTarget::TooLong(length));
        }
        if !matches!(url.scheme(), "http" | "https") {
            problems.push(InvalidTarget::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            problems.push(InvalidTarget::UserInformation);
        }
        if let Some(port) = url.port().filter(|port| !port_allowed(*port)) {
            problems.push(InvalidTarget::Port(port));
        }
        problems.extend(host_problem(&url, policy));
        if problems.is_empty() { Ok(Self(url)) } else { Err(problems) }
    }

    /// The URL.
    #[must_use]
    pub fn as_url(&self) -> &Url {
        &self.0
    }
}

fn host_problem(url: &Url, policy: &AddressPolicy) -> Option<InvalidTarget> {
    let refused = |ip: IpAddr| policy.check_ip(ip).err().map(InvalidTarget::Address);
    match url.host() {
        None => Some(InvalidTarget::NoHost),
        Some(Host::Ipv4(ip)) => refused(ip.into()),
        Some(Host::Ipv6(ip)) => refused(ip.into()),
        Some(Host::Domain(name)) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            // `.` alone is a name to the URL standard, and the root of all names to a resolver.
            if name.is_empty() {
                return Some(InvalidTarget::NoHost);
            }
            // RFC 6761, 6.3: this name and all under it are loopback, whatever a resolver says.
            let top = name.rsplit('.').next().unwrap_or(name);
            let local = top.eq_ignore_ascii_case("localhost") && !policy.allows_loopback();
            local.then_some(InvalidTarget::Localhost)
        }
    }
}

/// What to write instead.
fn mend(error: ParseError) -> &'static str {
    match error {
        ParseError::EmptyHost => "it has no host; write `https://host/path`",
        ParseError::IdnaError => "its host is not an international domain name",
        ParseError::InvalidPort => "its port is not a number up to 65535",
        ParseError::InvalidIpv4Address => "its host ends in a number but is not an IPv4 address",
        ParseError::InvalidIpv6Address => "its host is not an IPv6 address in brackets",
        ParseError::InvalidDomainCharacter => "its host holds a character that no host name can have",
        ParseError::RelativeUrlWithoutBase => "it does not begin with `https://` or `http://`",
        // The crate may add kinds; the remaining ones need URLs that are not parsed from text.
        _ => "write `https://host/path`",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<InvalidTarget> {
        TargetUrl::parse(text, &AddressPolicy::default()).err().unwrap_or_default()
    }

    #[test]
    fn ordinary_urls_are_taken() {
        for text in [
            "https://example.com",
            "http://example.com:80/a/b?c=d&e=%20#f",
            "https://example.com:8443/",
            "https://EXAMPLE.com./x",
            "https://bücher.example/",
            "https://8.8.8.8/",
            "https://[2606:4700::1111]:1024/",
            "https://localhost.example.com/",
            "https://notlocalhost/",
            "https://xn--bcher-kva.example/{a}",
        ] {
            assert_eq!(problems(text), [], "{text}");
        }
    }

    #[test]
    fn a_refused_address_is_refused_in_any_spelling() {
        for host in [
            "127.0.0.1",
            "127.0.0.1.",
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f000001",
            "0x7F.1",
            "0177.0.0.1",
            "017700000001",
            "%31%32%37.0.0.1",
            "%3127.0.0.1",
            "１２７.０.０.１",
            "127。0。0。1",
            "⑫⑦.0.0.1",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "0",
            "0.0.0.0",
            "0x0",
            "10.0.0.1",
            "192.168.1",
            "169.254.169.254",
            "0xA9FEA9FE",
            "2852039166",
            "[::ffff:a9fe:a9fe]",
            "[fd00:ec2::254]",
            "[fe80::1]",
            "[::]",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            for text in [format!("http://{host}/x"), format!("https://{host}:8443")] {
                let problems = problems(&text);
                assert!(matches!(problems[..], [InvalidTarget::Address(_)]), "{text}: {problems:?}");
            }
        }
    }

    #[test]
    fn localhost_is_refused_unless_loopback_is_allowed() {
        for host in ["localhost", "LOCALHOST", "localhost.", "a.localhost", "a.LocalHost.", "ｌocalhost"] {
            let text = format!("http://{host}:8080/");
            assert_eq!(problems(&text), [InvalidTarget::Localhost], "{text}");
            for allowed in ["127.0.0.0/8", "::1/128"] {
                let policy = AddressPolicy::new(vec![allowed.parse().unwrap()]);
                assert!(TargetUrl::parse(&text, &policy).is_ok(), "{text}");
            }
        }
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        for (text, error) in [
            ("", ParseError::RelativeUrlWithoutBase),
            ("example.com/x", ParseError::RelativeUrlWithoutBase),
            ("//example.com", ParseError::RelativeUrlWithoutBase),
            ("http://", ParseError::EmptyHost),
            ("https:///", ParseError::EmptyHost),
            ("http://:80/", ParseError::EmptyHost),
            ("http://a:99999/", ParseError::InvalidPort),
            ("http://1.2.3.4.5/", ParseError::InvalidIpv4Address),
            ("http://256.1.1.1/", ParseError::InvalidIpv4Address),
            ("http://[::1/", ParseError::InvalidIpv6Address),
            ("http://[fe80::1%25eth0]/", ParseError::InvalidIpv6Address),
        ] {
            assert_eq!(problems(text), [InvalidTarget::NotAUrl(error)], "{text}");
        }
        assert_eq!(problems("http://./"), [InvalidTarget::NoHost]);
    }

    #[test]
    fn every_problem_is_said_at_once() {
        assert_eq!(
            problems("ftp://user:password@127.0.0.1:22/a b"),
            [
                InvalidTarget::Whitespace,
                InvalidTarget::Scheme,
                InvalidTarget::UserInformation,
                InvalidTarget::Port(22),
                InvalidTarget::Address(RefusedAddress {
                    address: "127.0.0.1".parse().unwrap(),
                    reason: "loopback"
                }),
            ]
        );
        assert_eq!(problems("file:///etc/passwd"), [InvalidTarget::Scheme, InvalidTarget::NoHost],);
        assert_eq!(problems("http://user@a.example/"), [InvalidTarget::UserInformation]);
        assert_eq!(problems("http://:x@a.example/"), [InvalidTarget::UserInformation]);
        assert_eq!(problems("https://a.example:25/"), [InvalidTarget::Port(25)]);
        assert_eq!(problems("https://a.example:0/"), [InvalidTarget::Port(0)]);
        assert_eq!(problems("http://exa\tmple.com/"), [InvalidTarget::Whitespace]);
        assert_eq!(problems(" http://example.com/"), [InvalidTarget::Whitespace]);
    }

    #[test]
    fn the_length_is_that_of_what_is_sent() {
        let fits = format!("https://a.example/{}", "x".repeat(TargetUrl::MAX_LENGTH - 18));
        assert_eq!(problems(&fits), []);
        assert_eq!(problems(&format!("{fits}x")), [InvalidTarget::TooLong(TargetUrl::MAX_LENGTH + 1)]);
        let lengthened = format!("https://a.example/{}", "ü".repeat(TargetUrl::MAX_LENGTH / 3));
        assert!(lengthened.len() < TargetUrl::MAX_LENGTH);
        assert!(matches!(problems(&lengthened)[..], [InvalidTarget::TooLong(_)]));
    }

    #[test]
    fn no_message_repeats_a_secret() {
        for text in ["ftp://user:hunter2@10.0.0.1:22/hunter2?hunter2#hunter2", "http://a:hunter2/", "hunter2"]
        {
            for problem in problems(text) {
                assert!(!problem.to_string().contains("hunter2"), "{problem}");
            }
        }
    }
}
