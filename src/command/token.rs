//! `ringback token`: a new token, and the line that the configuration keeps of it.

use std::io::Write;

use crate::config::Token;

/// Arguments of `ringback token`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// What the token is called in the configuration. Tokens of one account that have the same
    /// name count as one: give the successor of a token its predecessor's
    #[arg(long)]
    pub name: Option<String>,
}

/// Writes the token and its line to `out`, and to `err` what to do with them; the exit code.
pub fn run(arguments: &Arguments, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let token = Token::generate();
    let sha256 = token.sha256();
    // A JSON text is a TOML text.
    let name = arguments.name.as_deref().map(|name| format!("name = {}, ", serde_json::Value::from(name)));
    let line = format!("{{ {}sha256 = \"{sha256}\" }}", name.unwrap_or_default());
    let written = writeln!(out, "{}\n{line}", token.expose()).and_then(|()| out.flush());
    if written.is_err() {
        // Nobody has seen the token.
        return 1;
    }
    let _ =
        writeln!(err, "The token is shown this once. The line below it goes into the account's `tokens`.");
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Overrides, Settings};

    fn output(name: Option<&str>) -> (String, String) {
        let mut out = Vec::new();
        let arguments = Arguments { name: name.map(str::to_owned) };
        assert_eq!(run(&arguments, &mut out, &mut std::io::sink()), 0);
        let out = String::from_utf8(out).unwrap();
        let (token, line) = out.trim_end().split_once('\n').unwrap();
        (token.to_owned(), line.to_owned())
    }

    #[test]
    fn the_line_is_the_tokens_own_and_right_in_a_configuration() {
        for name in [None, Some("crm"), Some("a \"b\" \\ \u{1}")] {
            let (token, line) = output(name);
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("ringback.toml");
            std::fs::write(&path, format!("account = [{{ name = \"acme\", tokens = [{line}] }}]")).unwrap();
            let overrides = Overrides { config: Some(path), ..Overrides::default() };
            let settings = Settings::load(&overrides, &Environment::default()).unwrap();
            let identity = settings.tokens.identify(&token).unwrap();
            assert_eq!(&*identity.account, "acme");
            assert!(name.is_none_or(|name| *identity.token == *name), "{identity:?}");
        }
    }

    #[test]
    fn a_token_that_nobody_saw_is_no_success() {
        let arguments = Arguments { name: None };
        assert_eq!(run(&arguments, &mut &mut [0_u8; 10][..], &mut std::io::sink()), 1);
    }
}
