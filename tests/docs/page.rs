//! The code blocks of a page.

/// A fenced block.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block<'p> {
    /// What stands behind the fence.
    pub(super) language: &'p str,
    /// What stands between the fences, with its last line break.
    pub(super) text: &'p str,
}

/// The blocks of a page, in their order.
pub(super) fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut rest = page;
    while let Some((_, behind)) = rest.split_once("\n```") {
        let (language, text) = behind.split_once('\n').unwrap();
        let end = text.find("```\n").expect("every fence is closed");
        blocks.push(Block { language, text: &text[..end] });
        // The line break before the next fence may be this fence's own.
        rest = &text[end + "```".len()..];
    }
    blocks
}

/// Whether an output is the printed one, in which `…` stands for anything within a line.
pub(super) fn fits(printed: &str, output: &str) -> bool {
    let (printed, output): (Vec<&str>, Vec<&str>) = (printed.lines().collect(), output.lines().collect());
    printed.len() == output.len()
        && printed.iter().zip(output).all(|(printed, line)| {
            let mut parts = printed.split('…');
            let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else { return false };
            let parts: Vec<&str> = parts.collect();
            let Some((last, inner)) = parts.split_last() else { return rest.is_empty() };
            for part in inner {
                let Some(at) = rest.find(part) else { return false };
                rest = &rest[at + part.len()..];
            }
            rest.ends_with(last)
        })
}

#[test]
fn blocks_are_found_and_outputs_are_held_against_them() {
    let page = "a\n```sh\none\ntwo\n```\n```text\nout\n```\nb\n\n```rust\nthree\n```\n";
    let found = blocks(page);
    let expected = [("sh", "one\ntwo\n"), ("text", "out\n"), ("rust", "three\n")];
    assert_eq!(found, expected.map(|(language, text)| Block { language, text }));
    for (printed, output, expected) in [
        ("a …c\nd", "a bc\nd\n", true),
        ("a…b…", "a 1 b 2", true),
        ("a…b", "a b c", false),
        ("ab", "ab\nc", false),
        ("ab", "abc", false),
        ("…x…x", "x", false),
    ] {
        assert_eq!(fits(printed, output), expected, "{printed} {output}");
    }
}
