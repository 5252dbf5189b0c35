//! `ringback token`: a new token, and the line that the configuration keeps of it.

use std::io::{self, Write};

use crate::config::Token;

/// The arguments of `ringback token`.
#[derive(Clone, Debug, clap::Args)]
pub struct TokenArgs {
    /// What the token is called in the configuration. Tokens of one account that have the same
    /// name count as one: give the successor of a token its predecessor's
    #[arg(long)]
    pub name: Option<String>,
}

/// Writes the token and its line to `out`, and to `err` what to do with them.
///
/// # Errors
/// A writer fails.
pub fn run(args: &TokenArgs, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
    let token = Token::generate();
    writeln!(out, "{}", token.expose())?;
    match &args.name {
        // A JSON text is a TOML text.
        Some(name) => {
            let name = serde_json::Value::from(name.as_str());
            writeln!(out, "{{ name = {name}, sha256 = \"{}\" }}", token.sha256())?;
        }
        None => writeln!(out, "{{ sha256 = \"{}\" }}", token.sha256())?,
    }
    writeln!(err, "The token is shown this once. The line below it goes into the account's `tokens`.")?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(name: Option<&str>) -> (String, String) {
        let mut out = Vec::new();
        let args = TokenArgs { name: name.map(str::to_owned) };
        assert_eq!(run(&args, &mut out, &mut io::sink()).unwrap(), 0);
        let out = String::from_utf8(out).unwrap();
        let (token, line) = out.trim_end().split_once('\n').unwrap();
        (token.to_owned(), line.to_owned())
    }

    #[test]
    fn the_line_is_the_tokens_own_and_valid_toml() {
        for name in [None, Some("crm"), Some("a \"b\" \\ \u{1}")] {
            let (token, line) = output(name);
            let table: toml::Table = format!("token = {line}").parse().unwrap();
            assert_eq!(table["token"].get("name").and_then(toml::Value::as_str), name);
            let sha256 = table["token"]["sha256"].as_str().unwrap();
            assert_eq!(sha256, crate::config::TokenHash::of(&token).to_string());
        }
    }
}
