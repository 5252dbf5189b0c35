//! Who called, where proxies stand between: what `Forwarded` (RFC 7239) or the customary
//! `X-Forwarded-For`, `-Proto` and `-Host` say, as far as proxies that the operator trusts say it.
//!
//! Every proxy adds at the end whom it was called by, so that the lists are read from the right:
//! what stands left of the first address that is no trusted proxy's is anybody's word.

use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;
use hyper::header::{FORWARDED, HeaderName};
use hyper::http::uri::Authority;

use crate::network::Networks;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The most proxies, one behind the other, that a request may come through.
const MAX_HOPS: usize = 32;

/// The proxies whose word counts. By default there are none.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    trusted: Networks,
}

/// Who called, and what they called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The address that the request comes from; none if the proxies' word of it is broken, or if
    /// they contradict each other.
    pub address: Option<IpAddr>,
    /// `http` or `https`, where a proxy says what it was called by.
    pub scheme: Option<&'static str>,
    /// The host, where a proxy says what it was called by.
    pub host: Option<String>,
}

/// What one of the two kinds of headers says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    address: Option<IpAddr>,
    scheme: Option<&'static str>,
    host: Option<String>,
}

impl Proxies {
    /// These are trusted.
    #[must_use]
    pub fn new(trusted: Networks) -> Self {
        Self { trusted }
    }

    /// Who called, if `peer` is at the other end of the connection.
    #[must_use]
    pub fn caller(&self, peer: IpAddr, headers: &HeaderMap) -> Caller {
        let peer = peer.to_canonical();
        let nobody_else = Told { address: Some(peer), ..Told::default() };
        let Told { address, scheme, host } = if self.trusted.contains(peer) {
            let standard = headers.contains_key(FORWARDED).then(|| self.standard(headers));
            let customary = headers.contains_key(X_FORWARDED_FOR).then(|| self.customary(headers));
            match (standard, customary) {
                (None, None) => nobody_else,
                (Some(told), None) | (None, Some(told)) => told,
                (Some(standard), Some(customary)) if standard.address == customary.address => Told {
                    address: standard.address,
                    scheme: standard.scheme.or(customary.scheme),
                    host: standard.host.or(customary.host),
                },
                // A proxy that writes the one lets the other through as the client wrote it.
                (Some(_), Some(_)) => Told::default(),
            }
        } else {
            nobody_else
        };
        Caller { address, scheme, host }
    }

    fn customary(&self, headers: &HeaderMap) -> Told {
        let (address, hops) =
            self.farthest(from_right(headers, &X_FORWARDED_FOR).map(|item| read_node(item?)));
        // The item of the proxy that the caller called; of a header that each proxy writes anew
        // there is one item only.
        let item = |name| {
            let mut items: Vec<&str> =
                from_right(headers, name).take(hops + 1).map_while(|item| item).collect();
            items.pop()
        };
        Told {
            address,
            scheme: item(&X_FORWARDED_PROTO).and_then(read_scheme),
            host: item(&X_FORWARDED_HOST).and_then(read_host),
        }
    }

    fn standard(&self, headers: &HeaderMap) -> Told {
        let lines = headers.get_all(FORWARDED).iter().rev();
        let elements = lines.flat_map(|line| {
            let elements = line.to_str().ok().and_then(|line| split(line, ','));
            // A line that cannot be read is one element that cannot.
            elements.map_or_else(|| vec![None], |elements| elements.into_iter().rev().map(Some).collect())
        });
        let elements: Vec<Option<&str>> = elements.take(MAX_HOPS + 1).collect();
        let parameter = |element: &str, name: &str| {
            let pairs = split(element, ';')?;
            let mut pairs = pairs.into_iter().filter_map(|pair| pair.split_once('='));
            let (_, value) = pairs.find(|(told, _)| told.trim().eq_ignore_ascii_case(name))?;
            let value = value.trim();
            let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            Some(quoted.unwrap_or(value).to_owned())
        };
        let addresses = elements.iter().map(|element| read_node(&parameter((*element)?, "for")?));
        let (address, hops) = self.farthest(addresses);
        let said = |name| parameter(elements.get(hops).copied().flatten()?, name);
        Told {
            address,
            scheme: said("proto").as_deref().and_then(read_scheme),
            host: said("host").as_deref().and_then(read_host),
        }
    }

    /// The first address that is no trusted proxy's, else the last of them, and how many are before
    /// it; none if one that would have to be believed cannot be read.
    fn farthest(&self, addresses: impl Iterator<Item = Option<IpAddr>>) -> (Option<IpAddr>, usize) {
        let mut farthest = (None, 0);
        for (hops, address) in addresses.enumerate() {
            match address {
                Some(address) if hops < MAX_HOPS => {
                    farthest = (Some(address), hops);
                    if !self.trusted.contains(address) {
                        break;
                    }
                }
                _ => return (None, hops),
            }
        }
        farthest
    }
}

/// The items of a list in a header, which may have several lines, from its end; none for a line
/// that is no text.
fn from_right<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = Option<&'h str>> {
    headers.get_all(name).iter().rev().flat_map(|line| {
        let text = line.to_str().ok();
        let broken = text.is_none().then_some(None);
        text.into_iter().flat_map(|text| text.rsplit(',')).map(|item| Some(item.trim())).chain(broken)
    })
}

/// Splits at separators that stand in no quotes; `None` if a quote is not closed.
fn split(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text.split(|c| {
        if escaped {
            escaped = false;
        } else if quoted && c == '\\' {
            escaped = true;
        } else if c == '"' {
            quoted = !quoted;
        }
        c == separator && !quoted
    });
    let parts = parts.map(str::trim).collect();
    (!quoted).then_some(parts)
}

/// An address, with a port or without, an IPv6 one in brackets or not.
fn read_node(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

fn read_scheme(text: &str) -> Option<&'static str> {
    ["https", "http"].into_iter().find(|scheme| text.eq_ignore_ascii_case(scheme))
}

fn read_host(text: &str) -> Option<String> {
    let authority: Authority = text.parse().ok()?;
    (!authority.as_str().contains('@')).then(|| authority.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The caller of a request from a trusted proxy, as `address scheme host`, with a dash for each
    /// that is not known.
    fn caller(headers: &[(&'static str, &str)]) -> String {
        let trusted = Networks::new(["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap()));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let caller = Proxies::new(trusted).caller("::ffff:10.0.0.9".parse().unwrap(), &map);
        let address = caller.address.map_or_else(|| "-".to_owned(), |address| address.to_string());
        format!("{address} {} {}", caller.scheme.unwrap_or("-"), caller.host.as_deref().unwrap_or("-"))
    }

    #[test]
    fn a_stranger_is_believed_nothing() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-forwarded-for", "192.0.2.1"),
            ("forwarded", "for=192.0.2.1;proto=https;host=h"),
            ("x-forwarded-proto", "https"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        let peer = IpAddr::from([198, 51, 100, 7]);
        let alone = Caller { address: Some(peer), scheme: None, host: None };
        assert_eq!(Proxies::default().caller(peer, &headers), alone);
        let trusted = Networks::new(["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(Proxies::new(trusted).caller(peer, &headers), alone);
    }

    #[test]
    fn the_customary_list_is_read_from_the_right() {
        for (list, address) in [
            ("192.0.2.1", "192.0.2.1"),
            // What the client wrote itself stands on the left.
            ("203.0.113.5, 192.0.2.1", "192.0.2.1"),
            ("203.0.113.5, 192.0.2.1,10.1.1.1 , fd00::1", "192.0.2.1"),
            ("192.0.2.1:4711", "192.0.2.1"),
            ("[2001:db8::1]:4711, [fd00::1]", "2001:db8::1"),
            ("::ffff:192.0.2.1, ::ffff:10.0.0.1", "192.0.2.1"),
            // A sender within the trusted networks.
            ("10.0.0.3", "10.0.0.3"),
            ("10.0.0.3, 10.0.0.4", "10.0.0.3"),
            // What cannot be read is nobody, and nothing behind it is looked at.
            ("192.0.2.1, unknown", "-"),
            ("192.0.2.1, _hidden, 10.0.0.1", "-"),
            ("192.0.2.1,", "-"),
            ("", "-"),
            ("junk, 192.0.2.1", "192.0.2.1"),
        ] {
            assert_eq!(caller(&[("x-forwarded-for", list)]), format!("{address} - -"), "{list}");
        }
        assert_eq!(caller(&[]), "10.0.0.9 - -");
        let lines = [
            ("x-forwarded-for", "203.0.113.5"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-for", "10.0.0.1"),
        ];
        assert_eq!(caller(&lines), "192.0.2.1 - -");
        let hops = |count| format!("192.0.2.1{}", ", 10.0.0.1".repeat(count));
        assert_eq!(caller(&[("x-forwarded-for", &hops(MAX_HOPS - 1))]), "192.0.2.1 - -");
        assert_eq!(caller(&[("x-forwarded-for", &hops(MAX_HOPS))]), "- - -");
    }

    #[test]
    fn the_standard_list_is_read_from_the_right() {
        for (list, told) in [
            ("for=192.0.2.1", "192.0.2.1 - -"),
            ("for=192.0.2.1;proto=https;host=hooks.example.com", "192.0.2.1 https hooks.example.com"),
            ("For=\"[2001:db8::1]:4711\"; Proto=HTTPS ;by=10.0.0.1", "2001:db8::1 https -"),
            (
                "for=203.0.113.5;host=evil, for=192.0.2.1;host=h:8443, for=10.0.0.1;host=inner",
                "192.0.2.1 - h:8443",
            ),
            ("for=192.0.2.1;ext=\"a,b;c\\\"\";proto=http", "192.0.2.1 http -"),
            ("for=unknown", "- - -"),
            ("proto=https", "- https -"),
            // A client's quote must not swallow what the proxy adds.
            ("for=\", for=192.0.2.1", "- - -"),
            ("for=192.0.2.1;host=a@b;proto=gopher", "192.0.2.1 - -"),
        ] {
            assert_eq!(caller(&[("forwarded", list)]), told, "{list}");
        }
        assert_eq!(caller(&[("forwarded", "for=\""), ("forwarded", "for=192.0.2.1")]), "192.0.2.1 - -");
    }

    #[test]
    fn what_was_called_is_what_the_outermost_trusted_proxy_says() {
        let of = |proto, host| {
            let list = ("x-forwarded-for", "203.0.113.5, 192.0.2.1, 10.0.0.1");
            caller(&[list, ("x-forwarded-proto", proto), ("x-forwarded-host", host)])
        };
        assert_eq!(of("https", "h"), "192.0.2.1 https h");
        assert_eq!(of("http, https, http", "evil, h, inner"), "192.0.2.1 https h");
        assert_eq!(of("HTTPS, http", "h, inner"), "192.0.2.1 https h");
        assert_eq!(of("wss", "a b"), "192.0.2.1 - -");
    }

    #[test]
    fn headers_that_contradict_each_other_are_not_believed() {
        let both = |standard, customary| caller(&[("forwarded", standard), ("x-forwarded-for", customary)]);
        assert_eq!(both("for=192.0.2.1;proto=https", "192.0.2.1"), "192.0.2.1 https -");
        assert_eq!(both("for=192.0.2.1", "203.0.113.5"), "- - -");
        assert_eq!(both("for=192.0.2.1", "unknown"), "- - -");
    }

    proptest! {
        /// Whatever a client writes, the address that the proxy adds is the one that counts, or, where
        /// the client has broken the line, none is.
        #[test]
        fn what_a_client_writes_makes_it_nobody_else(written in "[ -~]{0,60}") {
            let behind = format!("{written}, 192.0.2.1");
            prop_assert_eq!(caller(&[("x-forwarded-for", &behind)]), "192.0.2.1 - -");
            let lines = [("forwarded", written.as_str()), ("forwarded", "for=192.0.2.1")];
            prop_assert_eq!(caller(&lines), "192.0.2.1 - -");
            let behind = format!("{written}, for=192.0.2.1");
            let told = caller(&[("forwarded", &behind)]);
            prop_assert!(told.starts_with("192.0.2.1 ") || told.starts_with("- "), "{}", told);
        }
    }
}
