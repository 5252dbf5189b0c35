//! Where the settings come from: the file if there is one, else those for trying out; arguments
//! and environment replace what they name.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::environment::{CONFIG, LISTEN, STORE};
use super::file::{self, Replaced};
use super::token::{Token, TokenHash};
use super::value::{read_address, read_store};
use super::{Environment, Place, Problem, Settings, StoreAddress};

/// What the command line says. An argument is stronger than the environment's variable, which is
/// stronger than the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--listen`
    pub listen: Option<String>,
    /// `--store`
    pub store: Option<String>,
}

/// Why the token of the first start could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct FirstTokenError {
    /// The file that keeps its hash.
    pub path: PathBuf,
    /// What went wrong, and what to do.
    pub reason: &'static str,
    /// Why.
    #[source]
    pub source: Option<io::Error>,
}

impl Settings {
    /// The settings of this start.
    ///
    /// # Errors
    /// Every problem, in the order of their places.
    pub fn load(overrides: &Overrides, environment: &Environment) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let listen = either(overrides.listen.as_deref(), "--listen", environment, LISTEN);
        let store = either(overrides.store.as_deref(), "--store", environment, STORE);
        let replaced = Replaced {
            listen: listen.and_then(|listen| listen.read(read_address, &mut problems)),
            store: store.and_then(|store| store.read(read_store, &mut problems)),
        };
        let path = overrides.config.clone().or_else(|| environment.get(CONFIG).map(PathBuf::from));
        let settings = if let Some(path) = path {
            let (settings, found) = from_file(&path, environment, &replaced);
            problems.extend(found);
            settings
        } else {
            let mut settings = Self::for_trying_out();
            settings.listen = replaced.listen.unwrap_or(settings.listen);
            settings.store = replaced.store.unwrap_or(settings.store);
            if !settings.listen.ip().is_loopback() {
                // The default is loopback, so that something has replaced it.
                let place = listen.map_or("listen", |listen| listen.name);
                problems.push(Problem::of_override(
                    place,
                    "without a configuration file nothing is verified, so that only this machine may be \
                     listened to: choose a loopback address such as 127.0.0.1:8080, or write a configuration",
                ));
            }
            settings
        };
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }

    /// Gives the one account of a trial its token: made at the first start, which must print it,
    /// and known by its hash at every later one. The hash is kept beside the store, in a file
    /// that only its owner reads. Nothing happens if there is a configuration file.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn adopt_first_token(&mut self) -> Result<Option<Token>, FirstTokenError> {
        if !self.trying_out {
            return Ok(None);
        }
        let store = match &self.store {
            StoreAddress::Embedded(store) => store,
            // Where the file would be.
            StoreAddress::Redis(_) => Path::new(Self::STORE),
        };
        let (hash, new) = first_token(&beside(store))?;
        for account in &self.accounts {
            self.tokens.add(hash, &account.name, Some("first"));
        }
        Ok(new)
    }
}

fn from_file(path: &Path, environment: &Environment, replaced: &Replaced) -> (Settings, Vec<Problem>) {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => file::read(&name, &text, environment, replaced),
        Err(error) => {
            let reason = format!("cannot be read: {error}");
            let problem = Problem { place: Place::File(name, None), key: String::new(), reason };
            (Settings::new(), vec![problem])
        }
    }
}

/// `ringback.db.token`
fn beside(store: &Path) -> PathBuf {
    let mut path = store.as_os_str().to_owned();
    path.push(".token");
    path.into()
}

fn first_token(path: &Path) -> Result<(TokenHash, Option<Token>), FirstTokenError> {
    let error = |reason, source| FirstTokenError { path: path.to_owned(), reason, source };
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let hash = TokenHash::from_hex(text.trim_end());
            let reason = "is not the SHA-256 of a token; remove it and the next start makes a new one";
            hash.map(|hash| (hash, None)).ok_or_else(|| error(reason, None))
        }
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
            let token = Token::generate();
            write_privately(path, &format!("{}\n", token.sha256()))
                .map_err(|source| error("the token's hash cannot be written", Some(source)))?;
            Ok((token.sha256(), Some(token)))
        }
        Err(source) => Err(error("the token's hash cannot be read", Some(source))),
    }
}

fn write_privately(path: &Path, text: &str) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// A text that replaces one of the file, and who says so.
#[derive(Clone, Copy)]
struct Override<'a> {
    name: &'static str,
    text: &'a str,
}

impl Override<'_> {
    fn read<T>(self, read: fn(&str) -> Result<T, String>, problems: &mut Vec<Problem>) -> Option<T> {
        read(self.text).map_err(|reason| problems.push(Problem::of_override(self.name, reason))).ok()
    }
}

fn either<'a>(
    argument: Option<&'a str>,
    argument_name: &'static str,
    environment: &'a Environment,
    variable: &'static str,
) -> Option<Override<'a>> {
    let by_argument = argument.map(|text| Override { name: argument_name, text });
    by_argument.or_else(|| environment.get(variable).map(|text| Override { name: variable, text }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(problems: &[Problem]) -> Vec<String> {
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn without_a_file_ringback_can_be_tried_out_on_loopback() {
        let settings = Settings::load(&Overrides::default(), &Environment::default()).unwrap();
        assert_eq!(settings.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(settings.store, StoreAddress::Embedded("ringback.db".into()));
        assert_eq!(settings.accounts.len(), 1);
        assert!(settings.sources.iter().map(|source| source.provider).eq(crate::provider::built_in()));
        assert!(settings.sources.iter().all(|source| *source.name == *source.provider));
        assert_eq!(settings.warnings().len(), settings.sources.len());

        let elsewhere = Environment::from([(LISTEN, "0.0.0.0:80")]);
        let refused = lines(&Settings::load(&Overrides::default(), &elsewhere).unwrap_err());
        assert!(refused.len() == 1 && refused[0].starts_with("RINGBACK_LISTEN: "), "{refused:?}");
        let back = Overrides { listen: Some("[::1]:0".into()), ..Overrides::default() };
        assert!(Settings::load(&back, &elsewhere).unwrap().listen.ip().is_loopback());
    }

    #[test]
    fn what_replaces_is_checked_too() {
        let overrides = Overrides {
            listen: Some("localhost".into()),
            store: Some("redis-cluster://h,".into()),
            config: Some("/nowhere/ringback.toml".into()),
        };
        let problems = lines(&Settings::load(&overrides, &Environment::default()).unwrap_err());
        assert_eq!(
            problems,
            [
                "--listen: expected an address and a port such as \"127.0.0.1:8080\"",
                "--store: expected redis-cluster://host:6379,host:6379, with user:password@ before the hosts as needed, no \
                 database, and rediss-cluster:// for TLS",
                "/nowhere/ringback.toml: cannot be read: No such file or directory (os error 2)",
            ]
        );
    }

    #[test]
    fn an_argument_is_stronger_than_a_variable_and_that_than_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        std::fs::write(&path, "listen = \"127.0.0.1:1\"\nstore = \"sqlite:file.db\"\n").unwrap();
        let environment = Environment::from([
            (CONFIG, path.to_str().unwrap()),
            (LISTEN, "127.0.0.1:2"),
            (STORE, "sqlite:env.db"),
        ]);
        let load = |overrides| Settings::load(&overrides, &environment).unwrap();
        assert_eq!(load(Overrides::default()).listen.port(), 2);
        let settings = load(Overrides {
            listen: Some("127.0.0.1:3".into()),
            store: Some("sqlite:arg.db".into()),
            config: None,
        });
        assert_eq!((settings.listen.port(), settings.trying_out), (3, false));
        assert_eq!(settings.store, StoreAddress::Embedded("arg.db".into()));
    }

    #[test]
    fn the_first_start_makes_a_token_that_later_starts_know() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("ringback.db");
        let start = || {
            let mut settings = Settings::for_trying_out();
            settings.store = StoreAddress::Embedded(store.clone());
            let token = settings.adopt_first_token().unwrap();
            (settings, token)
        };
        let (first, token) = start();
        let token = token.expect("the first start makes it");
        let (second, none) = start();
        assert!(none.is_none());
        for settings in [first, second] {
            assert_eq!(&*settings.tokens.identify(token.expose()).unwrap().account, Settings::TRIAL_ACCOUNT);
        }
        let kept = folder.path().join("ringback.db.token");
        assert_eq!(std::fs::read_to_string(&kept).unwrap(), format!("{}\n", token.sha256()));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
        }
        std::fs::write(&kept, "junk").unwrap();
        let mut settings = Settings::for_trying_out();
        settings.store = StoreAddress::Embedded(store);
        assert!(settings.adopt_first_token().unwrap_err().to_string().contains("remove it"));
    }
}
