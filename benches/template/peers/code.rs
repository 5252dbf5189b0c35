//! The peers whose templates are code: written by hand, made by a macro, or a struct that is
//! serialised. Whoever registers a callback cannot have them; they are how fast it could be.

use std::convert::Infallible;
use std::fmt;
use std::hint::black_box;
use std::sync::Arc;

use askama::Template as _;
use sailfish::runtime::Buffer;
use sailfish::{RenderError, TemplateSimple};
use serde::{Serialize, Serializer};

use super::Peer;
use crate::json_text::{Content, escape};
use crate::record::{Record, Topic};

/// The finished bytes, copied: no rendering can be faster.
pub(crate) struct Copy {
    finished: Vec<(Arc<Record>, Vec<u8>)>,
    out: Vec<u8>,
}

impl Copy {
    pub(crate) fn new(records: &[Arc<Record>]) -> Self {
        let mut hand = Hand::default();
        let finished =
            records.iter().map(|record| (Arc::clone(record), hand.render(record).to_vec())).collect();
        Self { finished, out: Vec::new() }
    }
}

impl Peer for Copy {
    fn render(&mut self, record: &Arc<Record>) -> &[u8] {
        let of_record = |(one, _): &&(Arc<Record>, _)| Arc::ptr_eq(one, record);
        let (_, bytes) = self.finished.iter().find(of_record).expect("all are known");
        self.out.clear();
        self.out.extend_from_slice(bytes);
        &self.out
    }

    /// Without the search for the bytes.
    fn repeat(&mut self, _: &[Arc<Record>], count: usize) {
        for (_, bytes) in self.finished.iter().cycle().take(count) {
            self.out.clear();
            self.out.extend_from_slice(black_box(bytes));
            black_box(&self.out);
        }
    }
}

/// What one would write for this callback and no other, texts escaped by the fastest library.
#[derive(Default)]
pub(crate) struct Hand {
    out: Vec<u8>,
}

impl Peer for Hand {
    fn render(&mut self, record: &Arc<Record>) -> &[u8] {
        self.out.clear();
        write(record, &mut self.out);
        &self.out
    }
}

/// A text as a JSON string.
fn string(text: &str, out: &mut Vec<u8>) {
    json_escape_simd::escape_into(text, out);
}

/// A text within a JSON string.
fn text(text: &str, out: &mut Vec<u8>) {
    let Ok(()) = escape::<Infallible>(text, |piece| {
        out.extend_from_slice(piece.as_bytes());
        Ok(())
    });
}

fn write(record: &Record, out: &mut Vec<u8>) {
    let literal = |literal: &str, out: &mut Vec<u8>| out.extend_from_slice(literal.as_bytes());
    out.reserve(1_024);
    literal(r#"{"id":"#, out);
    string(&record.event_id, out);
    literal(r#","delivery":"#, out);
    string(&record.delivery_id, out);
    literal(r#","call":{"id":"#, out);
    string(&record.call_id, out);
    literal(r#","start":"#, out);
    string(&record.start_at, out);
    literal(r#","end":"#, out);
    string(&record.end_at, out);
    literal(r#","seconds":"#, out);
    literal(&record.call_duration.spelling, out);
    literal(r#","billed":"#, out);
    literal(&record.call_bill_duration.spelling, out);
    literal(r#","agent":{"id":"#, out);
    literal(&record.caller_user_id.spelling, out);
    literal(r#","name":"#, out);
    string(&record.caller_username, out);
    literal(r#","number":"#, out);
    string(&record.agent_callerid_number, out);
    literal(r#"}},"campaign":{"id":"#, out);
    literal(&record.campaign_id.spelling, out);
    literal(r#","name":"#, out);
    string(&record.campaign_name, out);
    literal(r#","change":""#, out);
    text(&record.status_before, out);
    literal(" -> ", out);
    text(&record.status_after, out);
    literal(r#""},"lead":{"id":"#, out);
    literal(&record.lead_id.spelling, out);
    literal(r#","crm":"#, out);
    string(&record.original_identifier, out);
    literal(r#","name":""#, out);
    text(&record.first_name, out);
    literal(" ", out);
    text(&record.last_name, out);
    literal(r#"","phone":"#, out);
    string(&record.phone_normalized, out);
    literal(r#","country":"#, out);
    string(&record.country_name, out);
    literal(r#","mail":"#, out);
    string(&record.email, out);
    literal(r#","product":"#, out);
    string(&record.purchase_product_name, out);
    literal(r#","born":"#, out);
    match &record.birthdate {
        Some(birthdate) => {
            literal("\"", out);
            text(birthdate, out);
            literal("\"", out);
        }
        None => literal("null", out),
    }
    literal(r#"},"speech":{"rank":"#, out);
    literal(&record.speech_rank.spelling, out);
    literal(r#","why":"#, out);
    string(&record.speech_rank_description, out);
    literal(r#","summary":"#, out);
    string(&record.speech_summary, out);
    literal(r#","topics":["#, out);
    for (index, topic) in record.speech_topics.items.iter().enumerate() {
        literal(if index == 0 { r#"{"text":""# } else { r#",{"text":""# }, out);
        text(&topic.text, out);
        literal(r#""}"#, out);
    }
    literal("]}}", out);
}

/// Text as the templates below name it: `record.email.content()`.
trait AsContent {
    fn content(&self) -> Content<'_>;
}

impl AsContent for String {
    fn content(&self) -> Content<'_> {
        Content(self)
    }
}

impl sailfish::runtime::Render for Content<'_> {
    #[inline]
    fn render(&self, out: &mut Buffer) -> Result<(), RenderError> {
        escape(self.0, |piece| {
            out.push_str(piece);
            Ok(())
        })
    }
}

#[derive(TemplateSimple)]
#[template(
    escape = false,
    source = r#"{"id":"<%= r.event_id.content() %>","delivery":"<%= r.delivery_id.content() %>","call":{"id":"<%= r.call_id.content() %>","start":"<%= r.start_at.content() %>","end":"<%= r.end_at.content() %>","seconds":<%= r.call_duration.spelling %>,"billed":<%= r.call_bill_duration.spelling %>,"agent":{"id":<%= r.caller_user_id.spelling %>,"name":"<%= r.caller_username.content() %>","number":"<%= r.agent_callerid_number.content() %>"}},"campaign":{"id":<%= r.campaign_id.spelling %>,"name":"<%= r.campaign_name.content() %>","change":"<%= r.status_before.content() %> -> <%= r.status_after.content() %>"},"lead":{"id":<%= r.lead_id.spelling %>,"crm":"<%= r.original_identifier.content() %>","name":"<%= r.first_name.content() %> <%= r.last_name.content() %>","phone":"<%= r.phone_normalized.content() %>","country":"<%= r.country_name.content() %>","mail":"<%= r.email.content() %>","product":"<%= r.purchase_product_name.content() %>","born":<% if let Some(birthdate) = &r.birthdate { %>"<%= birthdate.content() %>"<% } else { %>null<% } %>},"speech":{"rank":<%= r.speech_rank.spelling %>,"why":"<%= r.speech_rank_description.content() %>","summary":"<%= r.speech_summary.content() %>","topics":[<% for (index, topic) in r.speech_topics.items.iter().enumerate() { %><% if index > 0 { %>,<% } %>{"text":"<%= topic.text.content() %>"}<% } %>]}}"#
)]
struct SailfishCallback<'a> {
    r: &'a Record,
}

/// Templates as Rust code, by a macro.
#[derive(Default)]
pub(crate) struct Sailfish {
    out: Buffer,
}

impl Peer for Sailfish {
    fn render(&mut self, record: &Arc<Record>) -> &[u8] {
        self.out.clear();
        SailfishCallback { r: record }.render_once_to(&mut self.out).expect("it renders");
        self.out.as_str().as_bytes()
    }
}

impl askama::FastWritable for Content<'_> {
    #[inline]
    fn write_into(&self, out: &mut dyn fmt::Write, _: &dyn askama::Values) -> askama::Result<()> {
        escape(self.0, |piece| out.write_str(piece))?;
        Ok(())
    }
}

#[derive(askama::Template)]
#[template(
    ext = "txt",
    escape = "none",
    source = r#"{"id":"{{ r.event_id.content() }}","delivery":"{{ r.delivery_id.content() }}","call":{"id":"{{ r.call_id.content() }}","start":"{{ r.start_at.content() }}","end":"{{ r.end_at.content() }}","seconds":{{ r.call_duration.spelling }},"billed":{{ r.call_bill_duration.spelling }},"agent":{"id":{{ r.caller_user_id.spelling }},"name":"{{ r.caller_username.content() }}","number":"{{ r.agent_callerid_number.content() }}"}},"campaign":{"id":{{ r.campaign_id.spelling }},"name":"{{ r.campaign_name.content() }}","change":"{{ r.status_before.content() }} -> {{ r.status_after.content() }}"},"lead":{"id":{{ r.lead_id.spelling }},"crm":"{{ r.original_identifier.content() }}","name":"{{ r.first_name.content() }} {{ r.last_name.content() }}","phone":"{{ r.phone_normalized.content() }}","country":"{{ r.country_name.content() }}","mail":"{{ r.email.content() }}","product":"{{ r.purchase_product_name.content() }}","born":{% if let Some(birthdate) = r.birthdate %}"{{ birthdate.content() }}"{% else %}null{% endif %}},"speech":{"rank":{{ r.speech_rank.spelling }},"why":"{{ r.speech_rank_description.content() }}","summary":"{{ r.speech_summary.content() }}","topics":[{% for topic in r.speech_topics.items %}{% if !loop.first %},{% endif %}{"text":"{{ topic.text.content() }}"}{% endfor %}]}}"#
)]
struct AskamaCallback<'a> {
    r: &'a Record,
}

/// Templates as Rust code, by a macro; writes through `fmt`.
#[derive(Default)]
pub(crate) struct Askama {
    out: String,
}

impl Peer for Askama {
    fn render(&mut self, record: &Arc<Record>) -> &[u8] {
        self.out.clear();
        AskamaCallback { r: record }.render_into(&mut self.out).expect("it renders");
        self.out.as_bytes()
    }
}

/// The callback as structs.
#[derive(Serialize)]
struct Callback<'a> {
    id: &'a str,
    delivery: &'a str,
    call: Call<'a>,
    campaign: Campaign<'a>,
    lead: Lead<'a>,
    speech: Speech<'a>,
}

#[derive(Serialize)]
struct Call<'a> {
    id: &'a str,
    start: &'a str,
    end: &'a str,
    seconds: u64,
    billed: u64,
    agent: Agent<'a>,
}

#[derive(Serialize)]
struct Agent<'a> {
    id: u64,
    name: &'a str,
    number: &'a str,
}

#[derive(Serialize)]
struct Campaign<'a> {
    id: u64,
    name: &'a str,
    change: Joined<'a>,
}

#[derive(Serialize)]
struct Lead<'a> {
    id: u64,
    crm: &'a str,
    name: Joined<'a>,
    phone: &'a str,
    country: &'a str,
    mail: &'a str,
    product: &'a str,
    born: Option<&'a str>,
}

#[derive(Serialize)]
struct Speech<'a> {
    rank: u64,
    why: &'a str,
    summary: &'a str,
    topics: &'a [Topic],
}

/// Two texts with something between them, as one.
struct Joined<'a>(&'a str, &'static str, &'a str);

impl Serialize for Joined<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(first, between, second) = self;
        serializer.collect_str(&format_args!("{first}{between}{second}"))
    }
}

impl<'a> From<&'a Record> for Callback<'a> {
    fn from(r: &'a Record) -> Self {
        Self {
            id: &r.event_id,
            delivery: &r.delivery_id,
            call: Call {
                id: &r.call_id,
                start: &r.start_at,
                end: &r.end_at,
                seconds: r.call_duration.value,
                billed: r.call_bill_duration.value,
                agent: Agent {
                    id: r.caller_user_id.value,
                    name: &r.caller_username,
                    number: &r.agent_callerid_number,
                },
            },
            campaign: Campaign {
                id: r.campaign_id.value,
                name: &r.campaign_name,
                change: Joined(&r.status_before, " -> ", &r.status_after),
            },
            lead: Lead {
                id: r.lead_id.value,
                crm: &r.original_identifier,
                name: Joined(&r.first_name, " ", &r.last_name),
                phone: &r.phone_normalized,
                country: &r.country_name,
                mail: &r.email,
                product: &r.purchase_product_name,
                born: r.birthdate.as_deref(),
            },
            speech: Speech {
                rank: r.speech_rank.value,
                why: &r.speech_rank_description,
                summary: &r.speech_summary,
                topics: &r.speech_topics.items,
            },
        }
    }
}

/// A struct, by the serialiser that is said to be fastest.
#[derive(Default)]
pub(crate) struct SonicRs {
    out: Vec<u8>,
}

impl Peer for SonicRs {
    fn render(&mut self, record: &Arc<Record>) -> &[u8] {
        self.out.clear();
        sonic_rs::to_writer(&mut self.out, &Callback::from(&**record)).expect("it serialises");
        &self.out
    }
}

/// A struct, by the serialiser that everyone has.
#[derive(Default)]
pub(crate) struct SerdeJson {
    out: Vec<u8>,
}

impl Peer for SerdeJson {
    fn render(&mut self, record: &Arc<Record>) -> &[u8] {
        self.out.clear();
        serde_json::to_writer(&mut self.out, &Callback::from(&**record)).expect("it serialises");
        &self.out
    }
}
