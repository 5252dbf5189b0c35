//! Where else placeholders work: data never moves a URL, ends a header, or breaks out of XML or a
//! form.

use arbitrary::{Result, Unstructured};
use ringback::context::{Json, Name, Values};
use ringback::template::{ContentType, HeaderTemplate, Limits, RenderError, Template, UrlTemplate};
use url::Url;

use super::{assert_well_placed, material, render_in_every_way, values};

/// Bytes that begin with `u` or `h` are a URL or a header as written, rendered with data that could
/// go wrong; of all others templates and data are made.
pub fn check(bytes: &[u8]) {
    match bytes.split_first() {
        Some((b'u', written)) => url_as_written(&String::from_utf8_lossy(written)),
        Some((b'h', written)) => header_as_written(&String::from_utf8_lossy(written)),
        _ => {
            // Bytes that do not suffice for a template are no case.
            let _ = as_made(&mut Unstructured::new(bytes));
        }
    }
}

fn as_made(u: &mut Unstructured<'_>) -> Result<()> {
    let data = material::data(u)?;
    let values = values(&data);
    match u.int_in_range(0..=3)? {
        0 => url(u, &values),
        1 => header(u, &values),
        2 => xml(u, &values),
        _ => form(u, &values),
    }
}

/// A piece of a template: text, or a placeholder in its brackets.
enum Piece {
    Source(&'static str),
    Placeholder(String),
}

fn pieces(u: &mut Unstructured<'_>, texts: &[&'static str]) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    for _ in 0..u.int_in_range(0..=6)? {
        pieces.push(if u.arbitrary()? {
            Piece::Source(u.choose(texts)?)
        } else {
            let (expression, _) = material::expression(u)?;
            Piece::Placeholder(format!("{{{expression}}}"))
        });
    }
    Ok(pieces)
}

fn spell(pieces: &[Piece]) -> String {
    pieces
        .iter()
        .map(|piece| match piece {
            Piece::Source(source) => source,
            Piece::Placeholder(spelt) => spelt.as_str(),
        })
        .collect()
}

/// What comes out if each placeholder is rendered alone; `None` if one cannot be.
fn composed(pieces: &[Piece], alone: impl Fn(&str) -> Option<String>) -> Option<String> {
    pieces
        .iter()
        .map(|piece| match piece {
            Piece::Source(source) => Some((*source).to_owned()),
            Piece::Placeholder(spelt) => alone(spelt),
        })
        .collect()
}

/// A placeholder's text, neither escaped nor anything else.
fn plain(spelt: &str, values: &Values<'_>) -> Option<String> {
    let template = Template::compile_as(spelt, ContentType::Text, &Limits::default())
        .unwrap_or_else(|problems| panic!("{spelt}\n{problems:?}"));
    render_in_every_way(&template, values).ok()
}

/// A text percent-encoded, worked out without the engine.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// What else may stop a rendering is for other properties.
fn is_of_the_data(error: &RenderError) -> bool {
    matches!(
        error,
        RenderError::Required { .. } | RenderError::TooLarge { .. } | RenderError::Overworked { .. }
    )
}

fn url(u: &mut Unstructured<'_>, values: &Values<'_>) -> Result<()> {
    const ORIGINS: &[&str] = &[
        "https://example.com",
        "http://user:pass@example.com:8080",
        "https://[::1]:8443",
        "HTTPS:\\\\Example.com",
        "https:///example.com",
    ];
    // No colon: the URL library takes one letter and a colon for a drive of Windows, which no `..`
    // leaves, although the standard has drives in `file:` only.
    const TEXTS: &[&str] = &[
        "/", "a", ".", "..", "/./", "/../", "?", "?q=", "&r=", "#", "%2e", "%2", "\\", "%7Bx}", "é", ";",
        "@", "//", "\t", " ", "+",
    ];
    let origin = *u.choose(ORIGINS)?;
    let mut made = vec![Piece::Source(origin), Piece::Source(u.choose(&["/", "?", "#", "\\"])?)];
    made.extend(pieces(u, TEXTS)?);
    let source = spell(&made);
    let template = UrlTemplate::compile(&source, &Limits::default())
        .unwrap_or_else(|problems| panic!("{source}\n{problems:?}"));
    assert_eq!(template.origin(), origin, "{source}");
    let result = template.render(values);
    assert_eq!(result, template.render(values));
    let expected = composed(&made, |spelt| plain(spelt, values).map(|text| encoded(&text)));
    // With an innocent text in each place it leads where its owner meant it to.
    let meant = composed(&made, |_| Some("xx".to_owned())).expect("nothing is missing");
    match result {
        Ok(rendered) => {
            assert_eq!(Some(&rendered), expected.as_ref(), "{source}");
            leads_where_it_is_meant_to(&rendered, &meant);
        }
        Err(RenderError::DotSegment) => {
            let rendered = expected.expect("nothing is missing");
            assert!(rendered[origin.len()..].to_lowercase().replace("%2e", ".").contains('.'), "{rendered}");
        }
        Err(error) => assert!(is_of_the_data(&error), "{error}"),
    }
    Ok(())
}

/// Both have the same origin, as many segments, and a query and a fragment or none.
fn leads_where_it_is_meant_to(rendered: &str, meant: &str) {
    let Ok(meant) = Url::parse(meant) else { return };
    let read = Url::parse(rendered).unwrap_or_else(|error| panic!("{rendered}: {error}"));
    assert_eq!(
        (read.scheme(), read.username(), read.password(), read.host_str(), read.port()),
        (meant.scheme(), meant.username(), meant.password(), meant.host_str(), meant.port()),
        "{rendered}"
    );
    let segments = |url: &Url| url.path_segments().map(Iterator::count);
    assert_eq!(segments(&read), segments(&meant), "{rendered} and {meant}");
    assert_eq!(read.query().is_some(), meant.query().is_some(), "{rendered}");
    assert_eq!(read.fragment().is_some(), meant.fragment().is_some(), "{rendered}");
}

/// Text as written, with every name the same; placeholders are where the engine says.
fn url_as_written(source: &str) {
    let result = UrlTemplate::compile(source, &Limits::default());
    let template = match result {
        Ok(template) => template,
        Err(problems) => return assert_well_placed(source, &problems),
    };
    assert!(source.starts_with(template.origin()));
    let with = |text: &str| {
        let data: Vec<_> = Name::ALL.map(|name| (name, Json::Text(text.into()))).into();
        template.render(&values(&data))
    };
    let Ok(meant) = with("xx") else { return };
    let is_web = Url::parse(&meant).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    for text in ["..", ".", "2e", "/../x?y#z", "@evil.example:1/", "\\..\\", "\t\n ", "%2e%2e", "é", ""] {
        if let Ok(rendered) = with(text) {
            assert!(rendered.starts_with(template.origin()));
            if is_web {
                leads_where_it_is_meant_to(&rendered, &meant);
            }
        }
    }
}

fn render_header(template: &HeaderTemplate, values: &Values<'_>) -> std::result::Result<String, RenderError> {
    let mut out = b"before".to_vec();
    let result = template.render(values, &mut out);
    let rendered = out.strip_prefix(b"before").expect("what was there stays");
    assert!(result.is_ok() || rendered.is_empty());
    assert!(!rendered.iter().any(u8::is_ascii_control), "{rendered:?}");
    result.map(|()| String::from_utf8(rendered.to_vec()).expect("a header's value is UTF-8"))
}

fn header(u: &mut Unstructured<'_>, values: &Values<'_>) -> Result<()> {
    let made = pieces(u, &["Bearer ", "; x=\"", "\"", "é", "{.", "{}", "<b>", "a < b", ","])?;
    let source = spell(&made);
    let template = HeaderTemplate::compile(&source, &Limits::default())
        .unwrap_or_else(|problems| panic!("{source}\n{problems:?}"));
    match render_header(&template, values) {
        Ok(rendered) => {
            let without_controls = |text: String| text.replace(char::is_control, "");
            let expected = composed(&made, |spelt| plain(spelt, values).map(without_controls));
            assert_eq!(Some(rendered), expected, "{source}");
        }
        Err(error) => assert!(is_of_the_data(&error), "{error}"),
    }
    Ok(())
}

fn header_as_written(source: &str) {
    match HeaderTemplate::compile(source, &Limits::default()) {
        Ok(template) => {
            for text in ["\r\nx: y", "\u{0}\u{7f}\u{85}é", ""] {
                let data: Vec<_> = Name::ALL.map(|name| (name, Json::Text(text.into()))).into();
                let _ = render_header(&template, &values(&data));
            }
        }
        Err(problems) => assert_well_placed(source, &problems),
    }
}

/// What XML 1.0 can hold stays (section 2.2); the rest becomes U+FFFD.
fn as_xml_holds(text: &str) -> String {
    let may_stand = |character: char| {
        matches!(character, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..) // no char is a surrogate
    };
    text.chars().map(|character| if may_stand(character) { character } else { '\u{fffd}' }).collect()
}

fn xml(u: &mut Unstructured<'_>, values: &Values<'_>) -> Result<()> {
    let made = pieces(u, &["a", "&#123;x}", " ", "é", "{}", "&amp;", "<b/>", "it's"])?;
    let inner = spell(&made);
    let attribute = inner.replace("<b/>", "").replace("it's", "its");
    let source = format!("<r a=\"{attribute}\">{inner}<p>{{first_name}}</p><q>{{custom | text}}</q></r>");
    let template = Template::compile_as(&source, ContentType::Xml, &Limits::default())
        .unwrap_or_else(|problems| panic!("{source}\n{problems:?}"));
    let Ok(rendered) = render_in_every_way(&template, values) else { return Ok(()) };
    let document = roxmltree::Document::parse(&rendered)
        .unwrap_or_else(|error| panic!("{error}: {rendered}\nof {source}"));
    let text = |tag: &str| {
        let element =
            document.descendants().find(|node| node.has_tag_name(tag)).expect("it is in the template");
        assert!(element.children().all(|child| child.is_text()), "{rendered}");
        element.text().unwrap_or_default().to_owned()
    };
    let expected = |spelt: &str| as_xml_holds(&plain(spelt, values).expect("the whole was rendered"));
    assert_eq!(text("p"), expected("{first_name}"));
    assert_eq!(text("q"), expected("{custom | text}"));
    let element = document.root_element();
    assert_eq!(element.attributes().count(), 1, "{rendered}");
    Ok(())
}

fn form(u: &mut Unstructured<'_>, values: &Values<'_>) -> Result<()> {
    let (one, other) = (material::expression(u)?.0, material::expression(u)?.0);
    let source = format!("a={{{one}}}&b=<{other}>&c=%7Bx}}");
    let template = Template::compile_as(&source, ContentType::Form, &Limits::default())
        .unwrap_or_else(|problems| panic!("{source}\n{problems:?}"));
    match render_in_every_way(&template, values) {
        Ok(rendered) => {
            let [one, other] =
                [one, other].map(|expression| plain(&format!("{{{expression}}}"), values).unwrap());
            let read: Vec<_> = url::form_urlencoded::parse(rendered.as_bytes()).collect();
            let expected = [("a", &*one), ("b", &*other), ("c", "{x}")];
            assert!(
                read.iter().map(|(name, value)| (&**name, &**value)).eq(expected),
                "{rendered}\nof {source}"
            );
        }
        Err(error) => assert!(is_of_the_data(&error), "{error}"),
    }
    Ok(())
}
