//! Filters take any value: they never panic, what comes out is JSON, and quotes decide how it is
//! written and nothing else.

use arbitrary::{Result, Unstructured};
use ringback::context::{Json, Name, Value, Values};
use ringback::template::{Code, ContentType, Limits, RenderError, Template};

use super::{assert_is_json, assert_well_placed, material, render_in_every_way};

/// Bytes that begin with `t` are a value and filters as the tables of the tests have them
/// (`"a" | upper | text`); of all others both are made.
pub fn check(bytes: &[u8]) {
    if let Some(written) = bytes.strip_prefix(b"t") {
        let written = String::from_utf8_lossy(written);
        let Some((value, filters)) = written.split_once(" | ") else { return };
        let Ok(value) = Json::parse(value.as_bytes()) else { return };
        filter(&value, filters, false);
    } else {
        // Bytes that do not suffice for a case are none.
        let _ = as_made(&mut Unstructured::new(bytes));
    }
}

fn as_made(u: &mut Unstructured<'_>) -> Result<()> {
    let value = material::json(u, 3)?;
    let mut filters = Vec::new();
    for _ in 0..u.int_in_range(1..=6)? {
        filters.push(material::filter(u)?);
    }
    filter(&value, &filters.join(" | "), true);
    Ok(())
}

fn filter(value: &Json, filters: &str, must_compile: bool) {
    let mut values = Values::new();
    values.set(Name::Custom, Value::from(value));
    let source = format!("{{custom | {filters}}}");
    let template = match Template::compile(&source, &Limits::default()) {
        Ok(template) => template,
        Err(problems) => {
            assert!(!must_compile, "{source}\n{problems:?}");
            assert_well_placed(&source, &problems);
            return;
        }
    };
    let result = render_in_every_way(&template, &values);
    let as_text = |source: &str, content_type| {
        let template = Template::compile_as(source, content_type, &Limits::default());
        let template = template.unwrap_or_else(|problems| panic!("{source}\n{problems:?}"));
        render_in_every_way(&template, &values)
    };
    let inside = as_text(&format!("\"{source}\""), ContentType::Json);
    let plain = as_text(&source, ContentType::Text);
    match result {
        Ok(rendered) => {
            assert_is_json(&rendered);
            let Ok(read) = Json::parse(rendered.as_bytes()) else { return };
            let text = read.to_text();
            // Escaped it may be larger than a rendering may be.
            if let Ok(inside) = inside {
                assert_is_json(&inside);
                assert_eq!(serde_json::from_str::<String>(&inside).unwrap(), text, "{source}");
            }
            assert_eq!(plain, Ok(text), "{source}");
        }
        Err(RenderError::Required { name }) => {
            assert!(filters.contains("required") && name == "custom");
            assert!(matches!(plain, Err(RenderError::Required { .. })));
        }
        Err(RenderError::TooLarge { .. } | RenderError::Overworked { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    if must_compile {
        assert!(
            Template::compile(&format!("{{custom | {filters} | nope}}"), &Limits::default())
                .is_err_and(|problems| problems.iter().all(|problem| problem.code == Code::UnknownFilter))
        );
    }
}
