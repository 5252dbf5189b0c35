//! The catalogue: every name that a template may use, with its type. One table, from which the
//! compiler resolves names, `ringback placeholders` prints and `GET /v1/placeholders` answers.
//!
//! A name never disappears and never changes its type. New names go to the end of their group;
//! the store keeps names as text, so their order here is free.

use std::fmt;

/// What type of value a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// A text or a number, as it was sent; compared by its text form.
    Id,
    /// A number in the provider's spelling.
    Number,
    /// RFC 3339 text, in UTC.
    Time,
    /// An array.
    Array,
    /// An object.
    Object,
    /// Any JSON.
    Open,
}

impl Kind {
    /// The type's name in the documentation and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Id => "id",
            Self::Number => "number",
            Self::Time => "time",
            Self::Array => "array",
            Self::Object => "object",
            Self::Open => "open",
        }
    }

    /// Whether a path may go on behind a name of this type (`{custom.crm_owner}`).
    #[must_use]
    pub const fn has_members(self) -> bool {
        matches!(self, Self::Array | Self::Object | Self::Open)
    }
}

/// Which part of the whole a name belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// What was said.
    Speech,
    /// The call itself.
    Call,
    /// The user and the campaign.
    UserAndCampaign,
    /// The lead that was called.
    Lead,
    /// The survey after the call.
    Survey,
    /// The event and the delivery, set by Ringback.
    Event,
    /// Whatever else there is.
    Open,
}

impl Group {
    /// The group's name in the documentation and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Speech => "speech",
            Self::Call => "call",
            Self::UserAndCampaign => "user and campaign",
            Self::Lead => "lead",
            Self::Survey => "survey",
            Self::Event => "event",
            Self::Open => "open",
        }
    }
}

macro_rules! catalogue {
    ($($variant:ident $text:literal $group:ident $kind:ident $meaning:literal $example:literal;)*) => {
        /// A name that a template may use.
        #[allow(clippy::doc_markdown, reason = "a meaning is shown to people as plain text")]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Name {
            $(#[doc = $meaning] $variant,)*
        }

        impl Name {
            /// Every name, in the order of the documentation.
            pub const ALL: [Self; [$($text),*].len()] = [$(Self::$variant),*];

            /// How many names there are.
            pub const COUNT: usize = Self::ALL.len();

            const ENTRIES: [Entry; Self::COUNT] = [$(Entry {
                text: $text,
                group: Group::$group,
                kind: Kind::$kind,
                meaning: $meaning,
                example: $example,
            }),*];

            /// The name that is spelt so, letter by letter.
            #[must_use]
            pub fn from_text(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

struct Entry {
    text: &'static str,
    group: Group,
    kind: Kind,
    meaning: &'static str,
    example: &'static str,
}

catalogue! {
    // The 40 names of the speech-callback API, as spelt there.
    SpeechResult "speech_result" Speech Text "The transcript as text, a line per utterance" r#""agent: Good morning\ncustomer: Hello""#;
    SpeechPhrases "speech_phrases" Speech Array "The utterances, each with text, speaker, start_ms and end_ms" r#"[{"text":"Good morning","speaker":"agent","start_ms":0,"end_ms":900}]"#;
    SpeechTaskState "speech_task_state" Speech Text "State of the transcription: pending, submitted, processing, completed or failed" r#""completed""#;
    SpeechSummary "speech_summary" Speech Text "A summary of the call" r#""The customer asked for an offer.""#;
    SpeechRank "speech_rank" Speech Number "Rank of the call, from 0 to 100" "87";
    SpeechRankDescription "speech_rank_description" Speech Text "Why the call has its rank" r#""Friendly, all questions answered""#;
    CallId "call_id" Call Id "The call's id" r#""8812345""#;
    CallerUserId "caller_user_id" Call Id "Id of the user who called" "17";
    CallerUsername "caller_username" Call Text "Name of the user who called" r#""anna.k""#;
    StartAt "start_at" Call Time "When the call started" r#""2026-03-30T14:22:00Z""#;
    EndAt "end_at" Call Time "When the call ended" r#""2026-03-30T14:27:12Z""#;
    AgentCalleridName "agent_callerid_name" Call Text "Caller id of the agent, the name" r#""Support""#;
    AgentCalleridNumber "agent_callerid_number" Call Text "Caller id of the agent, the number" r#""+12025550100""#;
    CallDuration "call_duration" Call Number "How long the call lasted, in seconds" "312";
    CallBillDuration "call_bill_duration" Call Number "How much of it is billed, in seconds" "287";
    UserGroupId "user_group_id" UserAndCampaign Id "Id of the user's group" "4";
    ObjectId "object_id" UserAndCampaign Id "Id of the campaign lead" "90210";
    Weight "weight" UserAndCampaign Number "Weight of the campaign lead" "10";
    CallAfter "call_after" UserAndCampaign Time "When the campaign lead may be called again" r#""2026-04-02T09:00:00Z""#;
    StatusIdBefore "status_id_before" UserAndCampaign Id "Status id of the campaign lead before the call" "1";
    StatusIdAfter "status_id_after" UserAndCampaign Id "Status id of the campaign lead after the call" "3";
    StatusBefore "status_before" UserAndCampaign Text "Status of the campaign lead before the call" r#""new""#;
    StatusAfter "status_after" UserAndCampaign Text "Status of the campaign lead after the call" r#""interested""#;
    CampaignId "campaign_id" UserAndCampaign Id "The campaign's id" "12";
    CampaignName "campaign_name" UserAndCampaign Text "The campaign's name" r#""Spring offer""#;
    AssignedUserId "assigned_user_id" UserAndCampaign Id "Id of the user to whom the lead is assigned" "17";
    AssignedUsername "assigned_username" UserAndCampaign Text "Name of the user to whom the lead is assigned" r#""anna.k""#;
    LeadId "lead_id" Lead Id "The lead's id" "55501";
    CountryName "country_name" Lead Text "The lead's country" r#""Portugal""#;
    FirstName "first_name" Lead Text "The lead's first name" r#""Ann""#;
    LastName "last_name" Lead Text "The lead's last name" r#""Example""#;
    PhoneNormalized "phone_normalized" Lead Text "The lead's phone number, normalised" r#""+351210000000""#;
    OriginalIdentifier "original_identifier" Lead Id "The lead's id in the customer's own system" r#""crm-7781""#;
    SupportSite "support_site" Lead Text "The lead's support site" r#""help.example.com""#;
    PurchaseSite "purchase_site" Lead Text "Where the lead bought" r#""shop.example.com""#;
    PurchaseDate "purchase_date" Lead Text "When the lead bought" r#""2026-01-15""#;
    PurchaseProductName "purchase_product_name" Lead Text "What the lead bought" r#""Annual plan""#;
    PurchaseCardName "purchase_card_name" Lead Text "Name of the card that paid" r#""VISA""#;
    Email "email" Lead Text "The lead's mail address" r#""ann@example.com""#;
    Birthdate "birthdate" Lead Text "The lead's date of birth" r#""1990-05-17""#;

    // The extended names that the other providers make possible.
    CallStatus "call_status" Call Text "The call's status, in the provider's words" r#""ended""#;
    CallDirection "call_direction" Call Text "inbound, outbound or web" r#""outbound""#;
    CallOutcome "call_outcome" Call Text "How the call came out" r#""appointment_booked""#;
    CallFrom "call_from" Call Text "The number that called" r#""+12025550100""#;
    CallTo "call_to" Call Text "The number that was called" r#""+351210000000""#;
    CallTalkDuration "call_talk_duration" Call Number "How long was talked, in seconds" "287";
    CallRecordingUrl "call_recording_url" Call Text "Where the recording is; may expire" r#""https://recordings.example.com/8812345.wav""#;
    CallRecordingStatus "call_recording_status" Call Text "State of the recording" r#""ready""#;
    CallAgentId "call_agent_id" Call Text "Id of the agent, a person or a machine" r#""agent_42""#;
    CallLanguage "call_language" Call Text "The call's language" r#""en""#;
    CallCostMicroUsd "call_cost_micro_usd" Call Number "What the call cost, in millionths of a US dollar" "45210";
    CallTransfers "call_transfers" Call Array "The call's transfers" r#"[{"kind":"warm","status":"completed"}]"#;
    CallEvents "call_events" Call Array "What happened during the call" r#"[{"event_type":"answered"}]"#;
    CallScheduledCallback "call_scheduled_callback" Call Object "The call back that was agreed" r#"{"scheduled_at":"2026-04-02T09:00:00Z"}"#;
    ConversationId "conversation_id" Call Text "The speech provider's id of the conversation" r#""5179649407582208""#;
    SpeechJobId "speech_job_id" Speech Text "The speech provider's id of the job" r#""9b1deb4d""#;
    SpeechLanguage "speech_language" Speech Text "The language that was spoken" r#""en""#;
    SpeechTopics "speech_topics" Speech Array "What was talked about" r#"[{"text":"invoice"}]"#;
    SpeechActionItems "speech_action_items" Speech Array "What is to be done" r#"[{"text":"Send the offer"}]"#;
    SpeechFollowUps "speech_follow_ups" Speech Array "What is to be followed up" r#"[{"text":"Call again on Monday"}]"#;
    SpeechQuestions "speech_questions" Speech Array "What was asked" r#"[{"text":"What does it cost?"}]"#;
    SpeechTags "speech_tags" Speech Array "Tags, each with name, value, matched, text, start_ms and end_ms" r#"[{"name":"greeting","matched":true}]"#;
    SpeechSentiment "speech_sentiment" Speech Text "positive, neutral or negative" r#""positive""#;
    SpeechStructuredData "speech_structured_data" Speech Object "What the provider extracted, by name" r#"{"budget":1200}"#;
    SpeechError "speech_error" Speech Text "Why the transcription or analysis failed" r#""audio not readable""#;
    SurveyState "survey_state" Survey Text "The survey's state" r#""Completed""#;
    SurveyCompletionReason "survey_completion_reason" Survey Text "Why the survey ended" r#""AllAnswered""#;
    SurveyScore "survey_score" Survey Number "The survey's score" "85.5";
    SurveyQuestionCount "survey_question_count" Survey Number "How many questions there were" "3";
    SurveyAnsweredCount "survey_answered_count" Survey Number "How many of them were answered" "3";
    SurveyResponses "survey_responses" Survey Array "The answers, each with question, answer and score" r#"[{"question":"How satisfied are you?","answer":"Very","score":5}]"#;
    EventId "event_id" Event Text "Ringback's id of the event" r#""ev_01JQKZ7T3V6W9X2Y4Z5A6B7C8D""#;
    EventType "event_type" Event Text "What happened, in Ringback's words" r#""speech.completed""#;
    Provider "provider" Event Text "The provider that the event came from" r#""commpeak""#;
    Source "source" Event Text "The source, as the operator named it" r#""dialer""#;
    EventAt "event_at" Event Time "When the event was accepted" r#""2026-03-30T14:27:14.052Z""#;
    CallbackId "callback_id" Event Text "Id of the registration that asked for this delivery" r#""cb_01JQKZ7T3V6W9X2Y4Z5A6B7C8D""#;
    DeliveryId "delivery_id" Event Text "Id of the delivery, the same on every attempt" r#""dl_01JQKZ7T3V6W9X2Y4Z5A6B7C8D""#;
    SpeechRequestId "speech_request_id" Event Text "Id of the speech request that asked for this delivery" r#""sr_01JQKZ7T3V6W9X2Y4Z5A6B7C8D""#;
    Custom "custom" Open Open "Whatever the call's source or the customer attached" r#"{"crm_owner":"anna"}"#;
    Raw "raw" Open Open "The provider's body as it came" r#"{"call_id":"8812345"}"#;
}

impl Name {
    /// How many of [`Name::ALL`], from the front, are the names of the speech-callback API.
    pub const SPEECH_CALLBACK_API: usize = 40;

    /// The name's place in the catalogue, below [`Name::COUNT`].
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name as templates spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        Self::ENTRIES[self.index()].text
    }

    /// The type of its values.
    #[must_use]
    pub const fn kind(self) -> Kind {
        Self::ENTRIES[self.index()].kind
    }

    /// The part of the whole that it belongs to.
    #[must_use]
    pub const fn group(self) -> Group {
        Self::ENTRIES[self.index()].group
    }

    /// What it means, in a line.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        Self::ENTRIES[self.index()].meaning
    }

    /// A value that it might have, as JSON.
    #[must_use]
    pub const fn example(self) -> &'static str {
        Self::ENTRIES[self.index()].example
    }

    /// Whether Ringback itself sets the value, so that no event may bring it.
    #[must_use]
    pub const fn is_set_by_ringback(self) -> bool {
        matches!(self.group(), Group::Event) || matches!(self, Self::Raw)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_their_spelling_and_appear_once() {
        for (index, name) in Name::ALL.into_iter().enumerate() {
            assert_eq!(name.index(), index);
            assert_eq!(Name::from_text(name.as_str()), Some(name));
        }
        assert_eq!(Name::from_text("Call_id"), None);
    }

    #[test]
    fn the_first_forty_are_the_speech_callback_api() {
        assert_eq!(Name::ALL[0], Name::SpeechResult);
        assert_eq!(Name::ALL[Name::SPEECH_CALLBACK_API - 1], Name::Birthdate);
        assert_eq!(Name::ALL[Name::SPEECH_CALLBACK_API], Name::CallStatus);
    }
}
