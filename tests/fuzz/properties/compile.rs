//! Compiling never panics, tells its problems where they are, and means what the text says.

use ringback::context::{Json, Name, Values};
use ringback::template::{Code, ContentType, Diagnostic, HeaderTemplate, Limits, Template, UrlTemplate};
use serde_json::Value;

use super::{assert_is_json, assert_well_placed, render_in_every_way, values};

/// Limits that short texts go past.
const SMALL: Limits = Limits { template: 60, placeholders: 2, depth: 3, rendering: 40 };

/// A letter says what the text is (`f` a form, `x` XML, `t` plain text, `u` a URL, `h` a header,
/// everything else JSON); behind it comes the text.
pub fn check(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let text = match Template::text(bytes) {
        Ok(text) => text.to_owned(),
        Err(problem) => {
            let valid = String::from_utf8_lossy(bytes).into_owned();
            let length = str::from_utf8(bytes).unwrap_err().valid_up_to();
            assert_eq!(problem.offset, length);
            assert!(problem.offset + problem.length <= bytes.len() && problem.length > 0);
            assert_well_placed(&valid[..length], &[Diagnostic { length: 0, ..problem }]);
            valid
        }
    };
    match kind {
        b'u' => url(&text),
        b'h' => header(&text),
        b'f' => template(&text, ContentType::Form),
        b'x' => template(&text, ContentType::Xml),
        b't' => template(&text, ContentType::Text),
        _ => {
            template(&text, ContentType::Json);
            as_serde_says(&text);
        }
    }
}

/// Compiles twice, which must come to the same, and within small limits. What compiled, with its
/// warnings.
fn compile<T>(
    text: &str,
    compile: impl Fn(&str, &Limits) -> Result<T, Vec<Diagnostic>>,
    warnings: impl Fn(&T) -> &[Diagnostic],
) -> Option<T> {
    let result = compile(text, &Limits::default());
    if let Err(problems) = compile(text, &SMALL) {
        assert_well_placed(text, &problems);
        let is_limit = |code| matches!(code, Code::TooDeep | Code::TooLarge | Code::TooManyPlaceholders);
        assert!(result.is_err() || problems.iter().all(|problem| is_limit(problem.code)), "{problems:?}");
    } else {
        assert!(result.is_ok(), "what is within small limits is within large ones");
    }
    match (&result, &compile(text, &Limits::default())) {
        (Ok(one), Ok(other)) => {
            assert_eq!(warnings(one), warnings(other));
            assert_well_placed(text, warnings(one));
        }
        (Err(one), Err(other)) => {
            assert_eq!(one, other);
            assert!(!one.is_empty(), "refused for no reason");
            assert_well_placed(text, one);
        }
        _ => panic!("it compiles now and then"),
    }
    result.ok()
}

fn template(text: &str, content_type: ContentType) {
    #[cfg(fuzzing)]
    ringback::template::assert_printed_tree_is_the_tree(text, content_type);
    let compiled =
        compile(text, |text, limits| Template::compile_as(text, content_type, limits), Template::warnings);
    let Some(compiled) = compiled else { return };
    assert_eq!((compiled.source(), compiled.content_type()), (text, content_type));
    let again = Template::compile_as(compiled.source(), content_type, &Limits::default()).unwrap();
    assert_eq!(again.placeholders(), compiled.placeholders());
    let nasty = Json::Text("\"}],\n\\{email}<email>\u{1}é".into());
    let nested = Json::Object(vec![("a".into(), Json::Array(vec![nasty.clone(), Json::Null]))]);
    let data: Vec<_> = Name::ALL
        .into_iter()
        .map(|name| (name, if name.kind().has_members() { nested.clone() } else { nasty.clone() }))
        .collect();
    for values in [Values::new(), values(&data)] {
        let rendered = render_in_every_way(&compiled, &values);
        if compiled.placeholders().is_empty() {
            assert_eq!(rendered.as_deref(), Ok(text), "nothing to fill in");
        }
        if content_type == ContentType::Json
            && let Ok(rendered) = rendered
        {
            assert_is_json(&rendered);
        }
    }
}

/// JSON that serde reads and in which nothing could be a placeholder is a template; a template
/// without placeholders is JSON that serde reads (checked with the rendering).
fn as_serde_says(text: &str) {
    fn is_plain(value: &Value) -> bool {
        let is_text = |text: &str| !text.contains(['{', '<']);
        match value {
            Value::String(text) => is_text(text),
            Value::Array(items) => items.iter().all(is_plain),
            Value::Object(members) => members.iter().all(|(name, value)| is_text(name) && is_plain(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => true,
        }
    }
    // Of members with the same name serde keeps one, and what it dropped may be anything.
    let has_all = |value: &Value| {
        let count = |text: &str| text.matches(':').count();
        count(&value.to_string()) == count(text)
    };
    if let Ok(value) = serde_json::from_str::<Value>(text)
        && is_plain(&value)
        && has_all(&value)
    {
        let compiled = Template::compile(text, &Limits::default());
        assert!(compiled.is_ok(), "{:?}", compiled.err());
    }
}

fn url(text: &str) {
    let compiled = compile(text, UrlTemplate::compile, UrlTemplate::warnings);
    let Some(compiled) = compiled else { return };
    assert_eq!(compiled.source(), text);
    assert!(text.starts_with(compiled.origin()));
    if let Ok(rendered) = compiled.render(&Values::new()) {
        assert!(rendered.starts_with(compiled.origin()));
        assert!(!compiled.placeholders().is_empty() || rendered == text);
    }
}

fn header(text: &str) {
    let compiled = compile(text, HeaderTemplate::compile, HeaderTemplate::warnings);
    let Some(compiled) = compiled else { return };
    assert!(!text.contains(char::is_control));
    let mut out = Vec::new();
    if compiled.render(&Values::new(), &mut out).is_ok() {
        assert!(!compiled.placeholders().is_empty() || out == text.as_bytes());
    }
}
