//! The JSON conformance corpus `JSONTestSuite` (Nicolas Seriot, MIT, in `json`): a template without
//! placeholders is JSON, all of it and nothing else.

use std::fs;

use ringback::template::{Limits, Template};

use super::{files, render, told};

#[test]
fn valid_json_renders_to_itself_and_invalid_json_is_refused() {
    let mut counts = [0; 3];
    for file in files("json") {
        let name = file.file_name().unwrap().to_str().unwrap();
        let bytes = fs::read(&file).unwrap();
        let Ok(text) = str::from_utf8(&bytes) else {
            assert!(!name.starts_with("y_"), "{name}");
            continue;
        };
        let compiled = Template::compile(text, &Limits::default());
        match name.as_bytes()[0] {
            b'y' => {
                counts[0] += 1;
                let template = compiled.unwrap_or_else(|problems| panic!("{name}: {}", told(&problems)));
                assert_eq!(render(&template, "{}").as_deref(), Ok(text), "{name}");
            }
            b'n' => {
                counts[1] += 1;
                let problems = compiled.err().unwrap_or_else(|| panic!("{name} is taken"));
                assert!(!problems.is_empty(), "{name}");
            }
            // Left to the parser: whatever is taken renders to itself, and serde agrees.
            b'i' => {
                counts[2] += 1;
                if let Ok(template) = compiled {
                    assert_eq!(render(&template, "{}").as_deref(), Ok(text), "{name}");
                }
            }
            _ => {}
        }
    }
    assert_eq!(counts, [95, 174, 22]);
}

/// The two files of the corpus that are too long to keep.
#[test]
fn endless_nesting_is_refused() {
    for text in ["[".repeat(100_000), r#"[{"":"#.repeat(50_000)] {
        let problems = Template::compile(&text, &Limits::default()).err().unwrap();
        assert!(problems.iter().any(|problem| problem.code.as_str() == "too_deep"));
        assert!(problems.iter().any(|problem| problem.code.as_str() == "invalid_json"));
    }
}

#[test]
fn nesting_is_allowed_to_the_limit() {
    for depth in [512, 513] {
        let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(Template::compile(&text, &Limits::default()).is_ok(), depth == 512);
    }
}
