//! Compiling and rendering take time linear in the text and the output, whatever a stranger sends.
//! Quadratic work on texts of this size would take minutes.

use std::time::{Duration, Instant};

use ringback::context::{Json, Name, Value, Values};
use ringback::template::{Limits, RenderError, Template};

/// How long this thread has worked: its own time, where the machine tells it (Linux), so that a
/// machine that is busy with other things does not make a test fail; else the time of the clock.
struct Work {
    start: Instant,
    own: Option<Duration>,
}

impl Work {
    fn start() -> Self {
        Self { start: Instant::now(), own: own_time() }
    }

    fn took(&self) -> Duration {
        match (self.own, own_time()) {
            (Some(before), Some(now)) => now.saturating_sub(before),
            _ => self.start.elapsed(),
        }
    }
}

/// Linux, `Documentation/scheduler/sched-stats.rst`: nanoseconds spent on the cpu come first.
fn own_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

#[test]
fn no_text_takes_long_to_compile() {
    const SIZE: usize = 32 << 10;
    let pieces = [
        "{",
        "[",
        "<",
        "\"",
        "'",
        "{{",
        "{ ",
        "{\n",
        "\"{",
        "{a",
        "\"{a",
        "<a",
        "\"<a",
        "{a|",
        "<a|a",
        "<a|b:'",
        "<a|b:'','",
        "<a|b:'''",
        "{a:",
        "{a.",
        "{a['",
        "\\",
        "\\u",
        "\\ud800",
        "\n",
        "\"\n",
        "//",
        "/*",
        "/",
        "]",
        "}",
        ",",
        ":",
        "1",
        "-",
        "é",
        "{email}",
        "<email>",
        "<b>",
        "<abcdefgh>",
        "{abcdefgh}",
        "{email|x}",
        "{email|date:'%Y','Europe/Berlim'}",
        "{\"a\":",
        "{\"{email}\":",
        "{email|upper|",
        "<<a",
        "{{a}",
        "\t",
        "\"a\":1,",
        "\"{email}\":1,",
        "[1}",
        "{]",
        "\"a\"b",
        "\"a\"b\n",
        "{a|b:\"x\",",
        "\"{a|b:\\\"x\\\",",
        "{a|b:\"x\"}",
        "{email x}",
    ];
    for piece in pieces {
        for (before, behind) in [("", ""), ("\"", "\""), ("{", "}"), ("[", "]"), ("[\"", "\"]")] {
            let count = (SIZE - before.len() - behind.len()) / piece.len();
            let text = format!("{before}{}{behind}", piece.repeat(count));
            let work = Work::start();
            let _ = Template::compile(&text, &Limits::default());
            let took = work.took();
            assert!(took < Duration::from_secs(4), "{before}{piece}…{behind} took {took:?}");
        }
    }
}

#[test]
fn no_template_takes_long_to_render() {
    let text = "a".repeat(512 << 10);
    let nested = (0..500).fold(Json::Number("1".into()), |inner, _| Json::Array(vec![inner]));
    let mut values = Values::new();
    values.set(Name::SpeechResult, Value::Text(&text));
    values.set(Name::Custom, Value::from(&nested));
    let limits = Limits { rendering: 1 << 20, ..Limits::default() };
    for template in [
        format!("[{}]", vec!["{speech_result|sha256}"; 1000].join(",")),
        format!("{{speech_result{}}}", "|upper".repeat(20_000)),
        format!("{{speech_result{}}}", "|replace:'a','aaaaaaaaaaaaaaaaaaaa'".repeat(100)),
        "{speech_result|split:'a'|join:'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'}".to_owned(),
        format!("\"{}\"", "{speech_result}".repeat(1000)),
        format!("{{email{}}}", "|upper|default:'x'|length|text".repeat(7_000)),
    ] {
        let template = Template::compile(&template, &limits).unwrap();
        let work = Work::start();
        let mut out = Vec::new();
        let result = template.render(&values, &mut out);
        let took = work.took();
        assert!(took < Duration::from_secs(20), "{took:?}");
        match result {
            Ok(()) => assert!(out.len() <= limits.rendering),
            Err(error) => assert!(
                matches!(error, RenderError::TooLarge { .. } | RenderError::Overworked { .. }),
                "{error}"
            ),
        }
    }
    let names: Vec<String> = (0..1000).map(|index| format!("\"{{custom}}{{email}}{index}\":1")).collect();
    let template = format!("{{{}}}", names[..500].join(","));
    let template = Template::compile(&template, &Limits::default()).unwrap();
    template.render(&values, &mut Vec::new()).unwrap();
}
