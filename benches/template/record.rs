//! What is rendered: the record of a call, and the callback's layout with a placeholder for each
//! of its fields.

use ringback::context::{Json, Name, Value, Values};
use serde::{Serialize, Serializer};

use crate::chance::Chance;

/// A number, in the spelling that came in and as the integer that it is: a peer takes what suits it.
#[derive(Clone, Debug)]
pub(crate) struct Number {
    pub(crate) spelling: String,
    pub(crate) value: u64,
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Self { spelling: value.to_string(), value }
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.value)
    }
}

/// What a call was about.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Topic {
    pub(crate) text: String,
}

/// The array, as structs, and as Ringback's contexts hold it.
#[derive(Clone, Debug)]
pub(crate) struct Topics {
    pub(crate) items: Vec<Topic>,
    json: Json,
}

impl From<Vec<Topic>> for Topics {
    fn from(items: Vec<Topic>) -> Self {
        let object = |topic: &Topic| Json::Object(vec![("text".into(), Json::from(topic.text.as_str()))]);
        Self { json: Json::Array(items.iter().map(object).collect()), items }
    }
}

impl Serialize for Topics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.items.serialize(serializer)
    }
}

/// What kind of field a placeholder names: a template written by hand knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Number,
    /// A text, or null.
    Optional,
    Topics,
}

/// A field, for the peers that ask for them by name.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Field<'a> {
    Null,
    Text(&'a str),
    Number(&'a Number),
    Topics(&'a [Topic]),
}

trait Datum {
    const KIND: Kind;
    fn field(&self) -> Field<'_>;
    fn value(&self) -> Value<'_>;
}

impl Datum for String {
    const KIND: Kind = Kind::Text;

    fn field(&self) -> Field<'_> {
        Field::Text(self)
    }

    fn value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl Datum for Number {
    const KIND: Kind = Kind::Number;

    fn field(&self) -> Field<'_> {
        Field::Number(self)
    }

    fn value(&self) -> Value<'_> {
        Value::Number(&self.spelling)
    }
}

impl Datum for Option<String> {
    const KIND: Kind = Kind::Optional;

    fn field(&self) -> Field<'_> {
        self.as_deref().map_or(Field::Null, Field::Text)
    }

    fn value(&self) -> Value<'_> {
        self.as_deref().map_or(Value::Missing, Value::Text)
    }
}

impl Datum for Topics {
    const KIND: Kind = Kind::Topics;

    fn field(&self) -> Field<'_> {
        Field::Topics(&self.items)
    }

    fn value(&self) -> Value<'_> {
        Value::from(&self.json)
    }
}

macro_rules! record {
    ($($field:ident $name:ident: $kind:ty;)*) => {
        /// What is known of one call.
        #[derive(Clone, Debug, Serialize)]
        pub(crate) struct Record {
            $(pub(crate) $field: $kind,)*
        }

        impl Record {
            const KINDS: [(&'static str, Kind); [$(stringify!($field)),*].len()] =
                [$((stringify!($field), <$kind as Datum>::KIND)),*];

            /// Gives Ringback's names their values.
            pub(crate) fn set<'a>(&'a self, values: &mut Values<'a>) {
                $(values.set(Name::$name, self.$field.value());)*
            }

            /// The field of that name.
            pub(crate) fn field(&self, name: &str) -> Field<'_> {
                match name {
                    $(stringify!($field) => self.$field.field(),)*
                    _ => Field::Null,
                }
            }

            /// All fields.
            pub(crate) fn fields(&self) -> [(&'static str, Field<'_>); Self::KINDS.len()] {
                [$((stringify!($field), self.$field.field())),*]
            }
        }
    };
}

record! {
    event_id EventId: String;
    delivery_id DeliveryId: String;
    call_id CallId: String;
    start_at StartAt: String;
    end_at EndAt: String;
    call_duration CallDuration: Number;
    call_bill_duration CallBillDuration: Number;
    caller_user_id CallerUserId: Number;
    caller_username CallerUsername: String;
    agent_callerid_number AgentCalleridNumber: String;
    campaign_id CampaignId: Number;
    campaign_name CampaignName: String;
    status_before StatusBefore: String;
    status_after StatusAfter: String;
    lead_id LeadId: Number;
    original_identifier OriginalIdentifier: String;
    first_name FirstName: String;
    last_name LastName: String;
    phone_normalized PhoneNormalized: String;
    country_name CountryName: String;
    email Email: String;
    purchase_product_name PurchaseProductName: String;
    birthdate Birthdate: Option<String>;
    speech_rank SpeechRank: Number;
    speech_rank_description SpeechRankDescription: String;
    speech_summary SpeechSummary: String;
    speech_topics SpeechTopics: Topics;
}

/// The callback as a Ringback template. The other engines' templates are made of it by [`spell`].
pub(crate) const TEMPLATE: &str = concat!(
    r#"{"id":{event_id},"delivery":{delivery_id},"#,
    r#""call":{"id":{call_id},"start":{start_at},"end":{end_at},"seconds":{call_duration},"#,
    r#""billed":{call_bill_duration},"agent":{"id":{caller_user_id},"name":{caller_username},"#,
    r#""number":{agent_callerid_number}}},"#,
    r#""campaign":{"id":{campaign_id},"name":{campaign_name},"change":"{status_before} -> {status_after}"},"#,
    r#""lead":{"id":{lead_id},"crm":{original_identifier},"name":"{first_name} {last_name}","#,
    r#""phone":{phone_normalized},"country":{country_name},"mail":{email},"#,
    r#""product":{purchase_product_name},"born":{birthdate}},"#,
    r#""speech":{"rank":{speech_rank},"why":{speech_rank_description},"summary":{speech_summary},"#,
    r#""topics":{speech_topics}}}"#,
);

/// The callback's bytes for [`Record::sample`].
pub(crate) const BYTES: usize = 895;

/// A placeholder of [`TEMPLATE`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placeholder {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Whether it stands within a string, and not for a whole value.
    pub(crate) is_within_string: bool,
}

/// The callback's template in another engine's syntax.
pub(crate) fn spell(literal: impl Fn(&str) -> String, placeholder: impl Fn(Placeholder) -> String) -> String {
    let mut spelt = String::new();
    let mut rest = TEMPLATE;
    let mut is_within_string = false;
    let is_letter = |byte: u8| byte == b'_' || byte.is_ascii_lowercase();
    while let Some(brace) =
        (0..rest.len() - 1).find(|&at| rest.as_bytes()[at] == b'{' && is_letter(rest.as_bytes()[at + 1]))
    {
        let (before, behind) = rest.split_at(brace);
        let (text, behind) = behind[1..].split_once('}').expect("a placeholder ends");
        spelt.push_str(&literal(before));
        is_within_string ^= before.matches('"').count() % 2 == 1;
        let (name, kind) =
            Record::KINDS.into_iter().find(|(name, _)| *name == text).expect("a field for each placeholder");
        spelt.push_str(&placeholder(Placeholder { name, kind, is_within_string }));
        rest = behind;
    }
    spelt + &literal(rest)
}

/// Text outside the placeholders for the engines that would read two braces as the end of one: a
/// space before each makes no difference to JSON.
pub(crate) fn braces_apart(literal: &str) -> String {
    literal.replace('}', " }")
}

impl Record {
    /// The one record: its callback has [`BYTES`] bytes.
    pub(crate) fn sample() -> Self {
        Self {
            event_id: "ev_01JQKZ7T3V6W9X2Y4Z5A6B7C8D".to_owned(),
            delivery_id: "dl_01JQKZ7T3V6W9X2Y4Z5A6B7C8E".to_owned(),
            call_id: "8812345".to_owned(),
            start_at: "2026-03-30T14:22:00Z".to_owned(),
            end_at: "2026-03-30T14:27:12Z".to_owned(),
            call_duration: 312.into(),
            call_bill_duration: 287.into(),
            caller_user_id: 17.into(),
            caller_username: "anna.k".to_owned(),
            agent_callerid_number: "+12025550100".to_owned(),
            campaign_id: 12.into(),
            campaign_name: "Spring \"offer\" 2026".to_owned(),
            status_before: "new".to_owned(),
            status_after: "interested".to_owned(),
            lead_id: 55_501.into(),
            original_identifier: "crm\\7781".to_owned(),
            first_name: "José".to_owned(),
            last_name: "Example".to_owned(),
            phone_normalized: "+351210000000".to_owned(),
            country_name: "Portugal".to_owned(),
            email: "jose@example.com".to_owned(),
            purchase_product_name: "Annual plan with support".to_owned(),
            birthdate: None,
            speech_rank: 87.into(),
            speech_rank_description: "Friendly; all questions answered, and an offer was asked for".to_owned(),
            speech_summary: "The customer asked for an offer.\nHe said: \"send it by mail\".\nThe agent promised the offer for Monday, and to call back on Tuesday afternoon at two o'clock, when his colleague from purchasing is in.".to_owned(),
            speech_topics: ["invoice", "offer", "call back on Tuesday"]
                .map(|text| Topic { text: text.to_owned() })
                .to_vec()
                .into(),
        }
    }

    /// Another record, like the sample: every field of it has a text and a length of its own.
    pub(crate) fn random(chance: &mut Chance) -> Self {
        let mut id = |prefix: &str| {
            let letters = (0..26).map(|_| chance.of(b"0123456789ABCDEFGHJKMNPQRSTVWXYZ").into());
            prefix.chars().chain(letters.collect::<Vec<char>>()).collect()
        };
        let (event_id, delivery_id) = (id("ev_"), id("dl_"));
        Self {
            event_id,
            delivery_id,
            call_id: chance.below(100_000_000).to_string(),
            start_at: format!("2026-03-{:02}T14:{:02}:00Z", chance.between(1, 31), chance.below(60)),
            end_at: format!("2026-03-{:02}T15:{:02}:00Z", chance.between(1, 31), chance.below(60)),
            call_duration: (chance.below(7_200) as u64).into(),
            call_bill_duration: (chance.below(7_200) as u64).into(),
            caller_user_id: (chance.below(2_000) as u64).into(),
            caller_username: chance.words(1),
            agent_callerid_number: format!("+1{}", chance.between(2_000_000_000, 9_000_000_000)),
            campaign_id: (chance.below(500) as u64).into(),
            campaign_name: chance.between_then(2, 4, Chance::words),
            status_before: chance.words(1),
            status_after: chance.words(1),
            lead_id: (chance.below(1_000_000) as u64).into(),
            original_identifier: chance.words(1),
            first_name: chance.words(1),
            last_name: chance.words(1),
            phone_normalized: format!("+351{}", chance.between(200_000_000, 999_999_999)),
            country_name: chance.words(1),
            email: format!("{}@example.com", chance.below(1_000_000)),
            purchase_product_name: chance.between_then(1, 3, Chance::words),
            birthdate: (chance.below(2) == 0).then(|| format!("19{:02}-05-17", chance.between(40, 99))),
            speech_rank: (chance.below(101) as u64).into(),
            speech_rank_description: chance.between_then(3, 7, Chance::words),
            speech_summary: chance.between_then(25, 55, Chance::words),
            speech_topics: (0..chance.between(0, 4))
                .map(|_| Topic { text: chance.words(1) })
                .collect::<Vec<_>>()
                .into(),
        }
    }
}
