//! Where else placeholders work: other content types, URLs and headers.

use proptest::prelude::*;
use ringback::context::{Name, Value, Values};
use ringback::template::{
    Code, ContentType, Diagnostic, HeaderTemplate, Limits, RefusedHeaderName, RenderError, Template,
    UrlTemplate, check_header_name,
};

const NASTY: &str = "a b&c=<ä>\"'\\\n\u{1}+%/?#";

fn limits() -> Limits {
    Limits::default()
}

fn values<'a>(first_name: &'a str, last_name: &'a str) -> Values<'a> {
    let mut values = Values::new();
    values.set(Name::FirstName, Value::Text(first_name));
    values.set(Name::LastName, Value::Text(last_name));
    values.set(Name::SpeechRank, Value::Number("1e+2"));
    values
}

#[track_caller]
fn assert_renders(content_type: ContentType, template: &str, first_name: &str, expected: &str) {
    let template = Template::compile_as(template, content_type, &limits()).unwrap();
    let mut out = Vec::new();
    template.render(&values(first_name, "L"), &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

fn codes<T>(result: Result<T, Vec<Diagnostic>>) -> Vec<(Code, usize)> {
    result.err().unwrap_or_default().iter().map(|problem| (problem.code, problem.offset)).collect()
}

#[test]
fn forms_keep_their_text_and_encode_values() {
    assert_renders(
        ContentType::Form,
        "name={first_name}&rank=<speech_rank|default:'x'>&b=%7Bx}&c={}&d=<br/>+",
        NASTY,
        "name=a%20b%26c%3D%3C%C3%A4%3E%22%27%5C%0A%01%2B%25%2F%3F%23&rank=1e%2B2&b=%7Bx}&c={}&d=<br/>+",
    );
    assert_renders(ContentType::Form, "a={email}&b={custom}", "", "a=&b=");
}

#[test]
fn xml_takes_braces_only_and_no_value_breaks_out() {
    assert_renders(
        ContentType::Xml,
        "<call a=\"{first_name}\"><email>{last_name | upper}</email>&#123;email}</call>",
        "<a href='x'>\"&\u{0}\r\n\u{fffe}😀",
        "<call a=\"&lt;a href=&apos;x&apos;&gt;&quot;&amp;\u{fffd}&#13;\n\u{fffd}😀\"><email>L</email>&#123;email}</call>",
    );
}

#[test]
fn plain_text_is_as_it_is() {
    assert_renders(
        ContentType::Text,
        "Hi {first_name},\n<last_name> {speech_rank} {",
        NASTY,
        &format!("Hi {NASTY},\nL 1e+2 {{"),
    );
    assert_renders(ContentType::Text, "", "", "");
}

#[test]
fn problems_are_the_same_everywhere() {
    for content_type in [ContentType::Form, ContentType::Xml, ContentType::Text] {
        let compile = |text: &str| codes(Template::compile_as(text, content_type, &limits()));
        assert_eq!(
            compile("a {nope} {email|uper} {{email}} {email.x}"),
            [
                (Code::UnknownPlaceholder, 3),
                (Code::UnknownFilter, 16),
                (Code::DoubleBrace, 22),
                (Code::UnknownPlaceholder, 38),
            ]
        );
        assert_eq!(compile("x {email"), [(Code::UnclosedPlaceholder, 2)]);
        assert_eq!(compile("x {a b}"), [(Code::InvalidPlaceholder, 5)]);
    }
    let xml = Template::compile_as("<nope> <my_tag>", ContentType::Xml, &limits()).unwrap();
    assert!(xml.warnings().is_empty());
    assert_eq!(codes(Template::compile_as("<my_tag>", ContentType::Text, &limits())).len(), 1);
}

fn url(template: &str, first_name: &str) -> Result<String, RenderError> {
    UrlTemplate::compile(template, &limits()).unwrap().render(&values(first_name, "L"))
}

#[test]
fn urls_take_placeholders_in_path_query_and_fragment() {
    assert_eq!(
        url(
            "https://example.com/a/{first_name}/<last_name>?q={first_name}&r={speech_rank}#{last_name}",
            "x/y ?#&é"
        ),
        Ok("https://example.com/a/x%2Fy%20%3F%23%26%C3%A9/L?q=x%2Fy%20%3F%23%26%C3%A9&r=1e%2B2#L".to_owned())
    );
    assert_eq!(url("https://example.com?{first_name}", ""), Ok("https://example.com?".to_owned()));
    assert_eq!(url("https://example.com/%7Bx}", ""), Ok("https://example.com/%7Bx}".to_owned()));
    let template = UrlTemplate::compile("https://example.com/{email}/{email}", &limits()).unwrap();
    assert_eq!(template.placeholders(), ["email"]);
}

#[test]
fn urls_take_no_placeholder_before_the_path() {
    for template in [
        "{email}://example.com/",
        "https://{email}@example.com/",
        "https://user:{email}@example.com/",
        "https://{email}/",
        "https://{email}.example.com/",
        "https://example.com:{email}/",
        "https://example.com{email}",
        "https:///{email}/",
        "https:/\t/{email}/",
        "https:\\\\{email}/",
        "https:{email}/",
        "//{email}/",
        "/{email}",
        "{email}",
    ] {
        let offset = template.find('{').unwrap();
        let found = codes(UrlTemplate::compile(template, &limits()));
        assert_eq!(found, [(Code::PlaceholderNotAllowedHere, offset)], "{template}");
    }
}

#[test]
fn no_segment_of_a_path_becomes_dots() {
    for (template, first_name) in [
        ("https://example.com/a/{first_name}/b", ".."),
        ("https://example.com/a/{first_name}", "."),
        ("https://example.com/a/.{first_name}?x", "."),
        ("https://example.com/a/%2E{first_name}", "."),
        ("https://example.com/{first_name}{first_name}#x", "."),
        ("https://example.com\\{first_name}\\b", ".."),
        ("https://example.com/..{first_name}/", ""),
        ("https://example.com/a/.{first_name} ", "."),
        ("https://example.com/{email | default: '/'}/{first_name}", ".."),
    ] {
        assert_eq!(url(template, first_name), Err(RenderError::DotSegment), "{template}");
    }
    for (template, first_name) in [
        ("https://example.com/a/{first_name}", "..."),
        ("https://example.com/a/{first_name}", "%2e"),
        ("https://example.com/a/x{first_name}", ".."),
        ("https://example.com/a?{first_name}/", ".."),
        ("https://example.com/a/../{first_name}", "x"),
        ("https://example.com/.{first_name} /", ""),
        ("https://example.com/a#/{first_name}", ".."),
    ] {
        assert!(url(template, first_name).is_ok(), "{template}");
    }
}

#[test]
fn headers_lose_control_characters_of_data() {
    let header = |template: &str, first_name: &str| {
        let mut out = Vec::new();
        let template = HeaderTemplate::compile(template, &limits()).unwrap();
        template.render(&values(first_name, "L"), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    assert_eq!(
        header("call {first_name}; x=\"<last_name>\"", "a\r\nX-Evil: 1\t\u{7f}\u{85}é"),
        "call aX-Evil: 1é; x=\"L\""
    );
    assert_eq!(header("{custom}", ""), "");
    assert_eq!(
        codes(HeaderTemplate::compile("a\r\n{nope}", &limits())),
        [(Code::InvalidHeader, 1), (Code::InvalidHeader, 2), (Code::UnknownPlaceholder, 4),]
    );
}

#[test]
fn names_of_headers_are_checked() {
    for name in ["Authorization", "X-Api-Key", "content-type", "proxy", "Proxies-x", "webhook"] {
        assert_eq!(check_header_name(name), Ok(()), "{name}");
    }
    for name in ["", "a b", "a:", "ä", "{email}", "a\n"] {
        assert_eq!(check_header_name(name), Err(RefusedHeaderName::NotAToken), "{name}");
    }
    for name in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "CONNECTION",
        "Upgrade",
        "TE",
        "Trailer",
        "Expect",
        "Proxy-Authorization",
        "Webhook-Id",
    ] {
        assert_eq!(check_header_name(name), Err(RefusedHeaderName::Reserved), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_a_form_carries_is_what_came_in(text in any::<String>()) {
        let template = Template::compile_as("a={first_name}&b=1", ContentType::Form, &limits()).unwrap();
        let mut out = Vec::new();
        template.render(&values(&text, "L"), &mut out).unwrap();
        let read: Vec<_> = url::form_urlencoded::parse(&out).into_owned().collect();
        prop_assert_eq!(read, [("a".to_owned(), text), ("b".to_owned(), "1".to_owned())]);
    }

    #[test]
    fn data_never_moves_a_url(text in any::<String>(), template in prop::sample::select(&[
        "https://example.com/a/{first_name}/b?q={first_name}#{first_name}",
        "https://example.com/{first_name}",
        "https://example.com/.{first_name}/{first_name}.",
    ][..])) {
        let compiled = UrlTemplate::compile(template, &limits()).unwrap();
        if let Ok(rendered) = compiled.render(&values(&text, "L")) {
            let plain = url::Url::parse(&template.replace("{first_name}", "x")).unwrap();
            let read = url::Url::parse(&rendered).unwrap();
            prop_assert_eq!(read.origin(), plain.origin());
            prop_assert_eq!(read.username(), "");
            prop_assert_eq!(read.path_segments().unwrap().count(), plain.path_segments().unwrap().count());
            prop_assert_eq!(read.query().is_some(), plain.query().is_some());
        }
    }
}
