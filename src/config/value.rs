//! The spellings of single values: durations, sizes, addresses, networks, secrets.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use url::Url;
use zeroize::Zeroizing;

use super::reader::{Entry, Section};
use super::settings::{RedisUrl, StoreAddress};
use crate::quantity::{parse_duration, spell_duration};
use crate::store::redis::Durability;

/// The longest secret file that is read.
const MAX_SECRET_FILE: u64 = 64 << 10;

/// Reads a network; an address alone is a network of one.
pub(super) fn read_network(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
        .map(|network| network.trunc())
        .map_err(|_| "expected a network such as \"10.0.0.0/8\" or \"fd00::/8\"".to_owned())
}

/// Reads an absolute `http` or `https` URL without user information.
pub(super) fn read_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("expected a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("expected a URL that begins with http:// or https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL must not hold a user name or a password".to_owned());
    }
    Ok(url)
}

/// Reads an address and port.
pub(super) fn read_address(text: &str) -> Result<std::net::SocketAddr, String> {
    text.parse().map_err(|_| "expected an address and a port such as \"127.0.0.1:8080\"".to_owned())
}

/// Reads where a store is.
pub(super) fn read_store(text: &str) -> Result<StoreAddress, String> {
    let (kind, place) = text.split_once(':').unwrap_or_default();
    match kind {
        "sqlite" if place.is_empty() => Err("the file is missing; expected sqlite:ringback.db".to_owned()),
        "sqlite" if place == ":memory:" => {
            Err("a store in memory would lose what was accepted; name a file".to_owned())
        }
        "sqlite" if place.starts_with("//") => {
            Err("write the path right behind `sqlite:`, as in sqlite:/var/lib/ringback.db".to_owned())
        }
        "sqlite" => Ok(StoreAddress::Embedded(place.into())),
        "redis" | "rediss" => Ok(StoreAddress::Redis(RedisUrl::parse(text)?)),
        "redis-cluster" | "rediss-cluster" => Ok(StoreAddress::Redis(RedisUrl::parse_cluster(text)?)),
        _ => {
            Err("expected sqlite: and the path of a file, as in sqlite:ringback.db, or the URL of a Redis, \
                  as in redis://host:6379/0 or redis-cluster://host:6379,host:6379"
                .to_owned())
        }
    }
}

/// Reads what a 200 stands for where the store is a Redis.
pub(super) fn read_durability(text: &str) -> Result<Durability, String> {
    match text {
        "local" => Ok(Durability::Local),
        "replica" => Ok(Durability::Replica),
        _ => Err("expected \"local\" or \"replica\"".to_owned()),
    }
}

/// Whether a name can be a segment of a URL as it stands.
pub(super) fn read_name(text: &str) -> Result<&str, String> {
    const MAX_LENGTH: usize = 64;
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    let fits =
        (1..=MAX_LENGTH).contains(&text.len()) && text.bytes().all(safe) && !matches!(text, "." | "..");
    if fits {
        Ok(text)
    } else {
        Err(format!("expected 1 to {MAX_LENGTH} letters, digits, `-`, `_`, `.` or `~`: it is part of a URL"))
    }
}

impl Entry<'_, '_> {
    /// The path of a file that can be read.
    pub(super) fn readable_file(&self) -> Option<PathBuf> {
        let path = Path::new(self.full_text()?);
        match File::open(path).and_then(|file| file.metadata()) {
            Ok(data) if data.is_file() => Some(path.to_owned()),
            Ok(_) => {
                self.problem(format!("{} is not a file", path.display()));
                None
            }
            Err(error) => {
                self.problem(format!("{} cannot be read: {error}", path.display()));
                None
            }
        }
    }

    /// A secret: a text, `{ env = "NAME" }` or `{ file = "path" }`. One line end at a file's end
    /// is not part of it.
    pub(super) fn secret(&self) -> Option<Zeroizing<String>> {
        let secret = if self.is_text() {
            Zeroizing::new(self.text()?.to_owned())
        } else {
            let mut section = self.section()?;
            let (env, file) = (section.take("env"), section.take("file"));
            if env.is_some() == file.is_some() {
                section.problem("a secret is a text, { env = \"NAME\" } or { file = \"path\" }");
            }
            section.finish();
            match (env, file) {
                (Some(env), None) => env.variable()?,
                (None, Some(file)) => file.secret_file()?,
                _ => return None,
            }
        };
        if secret.is_empty() {
            self.problem("the secret is empty");
            return None;
        }
        Some(secret)
    }

    /// One secret, or a list of them.
    pub(super) fn secrets(&self) -> Vec<Zeroizing<String>> {
        let secrets = self.one_or_list(|entry| entry.secret());
        if secrets.is_empty() && self.is_list() {
            self.problem("no secret is in the list");
        }
        secrets
    }

    /// The value of the environment variable that this names.
    pub(super) fn variable(&self) -> Option<Zeroizing<String>> {
        let name = self.full_text()?;
        let value = self.document().environment().get(name);
        if value.is_none() {
            self.problem(format!("the environment variable {name} is not set, or it is empty"));
        }
        value.map(|value| Zeroizing::new(value.to_owned()))
    }

    fn secret_file(&self) -> Option<Zeroizing<String>> {
        let path = self.readable_file()?;
        let mut text = Zeroizing::new(String::new());
        match File::open(&path).and_then(|file| file.take(MAX_SECRET_FILE).read_to_string(&mut text)) {
            Ok(_) => {
                let line = text.strip_suffix('\n').unwrap_or(&text);
                Some(Zeroizing::new(line.strip_suffix('\r').unwrap_or(line).to_owned()))
            }
            Err(error) => {
                self.problem(format!("{} cannot be read: {error}", path.display()));
                None
            }
        }
    }
}

impl Section<'_, '_> {
    /// A key that is a duration in these bounds.
    pub(super) fn duration(
        &mut self,
        name: &'static str,
        bounds: [Duration; 2],
        default: Duration,
    ) -> Duration {
        let [shortest, longest] = bounds;
        let Some(entry) = self.take(name) else { return default };
        match entry.parse(parse_duration) {
            Some(duration) if (shortest..=longest).contains(&duration) => duration,
            Some(_) => {
                entry.problem(format!(
                    "expected a duration from {} to {}",
                    spell_duration(shortest),
                    spell_duration(longest)
                ));
                default
            }
            None => default,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_a_file_or_a_redis() {
        assert_eq!(read_store("sqlite:a/b.db"), Ok(StoreAddress::Embedded("a/b.db".into())));
        for good in [
            "redis://h",
            "redis://h:6379",
            "redis://127.0.0.1:6379/0",
            "rediss://user:pass%40word@[::1]:6380/15",
            "redis://:password@h/",
            "redis-cluster://a",
            "redis-cluster://a:6379,b:6379/0",
            "rediss-cluster://user:p%2Cword@[::1]:1,h:2",
        ] {
            let Ok(StoreAddress::Redis(url)) = read_store(good) else { panic!("{good}") };
            assert_eq!(url.as_str().trim_end_matches('/'), good.trim_end_matches('/'));
            assert_eq!(format!("{url:?}"), "RedisUrl(…)");
        }
        for wrong in [
            "",
            "ringback.db",
            "sqlite:",
            "sqlite::memory:",
            "sqlite:///x",
            "postgres://h",
            "redis:",
            "redis://",
            "redis://h/db",
            "redis://h/0?x=1",
            "redis://h:port",
            "redis-cluster://",
            "redis-cluster://a,,b",
            "redis-cluster://a:1,b:2/1",
            "redis-cluster://a:port",
        ] {
            assert!(read_store(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_are_segments_of_a_url() {
        for name in ["dialer", "a.b-c_d~9"] {
            assert_eq!(read_name(name), Ok(name));
        }
        for wrong in ["", ".", "..", "a/b", "a b", "é", "a%20", &"a".repeat(65)] {
            assert!(read_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn networks_lose_their_host_part() {
        assert_eq!(read_network("10.1.2.3/8").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(read_network("127.0.0.1").unwrap().to_string(), "127.0.0.1/32");
        assert_eq!(read_network("::1").unwrap().to_string(), "::1/128");
        assert!(read_network("10.0.0.0/33").is_err() && read_network("localhost").is_err());
    }

    #[test]
    fn urls_are_http_and_hold_no_password() {
        assert!(read_url("https://hooks.example.com").is_ok());
        for wrong in ["hooks.example.com", "ftp://h", "https://a:b@h", "https://a@h", "https://"] {
            assert!(read_url(wrong).is_err(), "{wrong}");
        }
    }
}
