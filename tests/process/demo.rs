//! `ringback demo`, as a person sees it.

use std::process::Command;

/// The columns of a row of the closing table.
fn row<'a>(shown: &'a str, first: &str) -> Vec<&'a str> {
    let rows = shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.rev().find(|row| row.first() == Some(&first)).unwrap_or_else(|| panic!("no {first}:\n{shown}"))
}

#[test]
fn the_demo_shows_all_five_providers_in_eighty_columns() {
    let demo = Command::new(env!("CARGO_BIN_EXE_ringback")).arg("demo").output().unwrap();
    let shown = String::from_utf8(demo.stdout).unwrap();
    assert!(demo.status.success(), "{shown}\n{}", String::from_utf8_lossy(&demo.stderr));
    let wide: Vec<&str> = shown.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(wide.is_empty(), "{wide:#?}");

    for (source, provider) in [
        ("dialer", "commpeak"),
        ("symbl", "symbl"),
        ("alovoice", "alovoice"),
        ("speko", "speko"),
        ("auralytik", "auralytik"),
    ] {
        let [_, shown_as, posted, asked] = row(&shown, source)[..] else { panic!("{shown}") };
        assert_eq!(shown_as, provider);
        let count = |column: &str| column.parse::<usize>().unwrap_or_default();
        assert!(provider == "alovoice" || count(posted) > 0, "{provider} has posted nothing:\n{shown}");
        assert!(provider == "commpeak" || count(asked) > 0, "{provider} was not asked:\n{shown}");
    }
    // The lead, whom only the dialer knew, and what was said, whom only the provider heard.
    for (callback, lead, said) in [
        ("by-symbl", "lucy@example.com", "Roger: Good afternoon, is this Lucy?"),
        ("by-alovoice", "aziz@example.com", "operator: assalomu alaykum"),
    ] {
        assert_eq!(row(&shown, callback), [callback, "1", "1"], "{shown}");
        let arrived = shown
            .split("\n\n")
            .find(|part| part.trim_start().starts_with(callback) && part.contains("verified"));
        let arrived = arrived.unwrap_or_else(|| panic!("{callback} did not arrive:\n{shown}"));
        assert!(arrived.contains(lead) && arrived.contains(said), "{arrived}");
    }
}
