//! The environment: the only place in Ringback that reads it.

use std::collections::HashMap;
use std::ffi::OsString;

/// The variables of the process, or those of a test.
#[derive(Clone, Default)]
pub struct Environment(HashMap<String, String>);

/// The address to listen on; overrides the configuration.
pub const LISTEN: &str = "RINGBACK_LISTEN";
/// The store; overrides the configuration.
pub const STORE: &str = "RINGBACK_STORE";
/// The configuration file.
pub const CONFIG: &str = "RINGBACK_CONFIG";
/// What is logged: a filter such as `info,ringback::delivery=debug`.
pub const LOG: &str = "RINGBACK_LOG";
/// The server that the command line talks to.
pub const URL: &str = "RINGBACK_URL";
/// The token that the command line shows it.
pub const TOKEN: &str = "RINGBACK_TOKEN";

impl Environment {
    /// The environment of this process. A variable that is not UTF-8 is passed over.
    #[must_use]
    pub fn of_process() -> Self {
        let text = |text: OsString| text.into_string().ok();
        Self(std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect())
    }

    /// A variable; one that is empty is as good as none.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether colour is unwanted (<https://no-color.org>).
    #[must_use]
    pub fn no_color(&self) -> bool {
        self.get("NO_COLOR").is_some()
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        Self(variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values may be secrets.
        f.debug_set().entries(self.0.keys()).finish()
    }
}
