//! `GET /v1/voice-calls`: the calls that a provider lists, such as those whose webhooks were lost.
//!
//! The parameters and the answer are the provider's own; the source of both is
//! <https://auralytik.ai/developers/voice-calls>.

use hyper::StatusCode;

use super::{Api, Call};
use crate::context::{Value, read_time};
use crate::http::{Answer, Problem, json as answer};
use crate::job::CallError;

/// The longest text of a filter, in characters.
const MAX_TEXT: usize = 200;

/// The most rows of a page, and the last page: what is asked of the provider is bounded.
const MAX_PAGE_SIZE: u32 = 250;
const MAX_PAGE: u32 = 1_000_000;

impl Api {
    pub(super) async fn list_voice_calls(&self, call: &Call<'_>) -> Result<Answer, Problem> {
        let mut issues = call.issues();
        let short = |text: &str| (1..=MAX_TEXT).contains(&text.chars().count()).then_some(());
        let up_to = |most: u32| {
            move |text: &str| text.parse().ok().filter(|number| (1..=most).contains(number)).map(drop)
        };
        let side = |text: &str| matches!(text, "Inbound" | "Outbound").then_some(());
        let time = |text: &str| read_time(Value::Text(text)).map(drop);
        for name in ["source", "campaignId", "state"] {
            call.parameter(name, &mut issues, "a text of 1 to 200 characters", short);
        }
        call.parameter("direction", &mut issues, "`Inbound` or `Outbound`", side);
        for name in ["dateFrom", "dateTo"] {
            call.parameter(name, &mut issues, "a time such as `2026-03-30T14:22:00Z`", time);
        }
        call.parameter("page", &mut issues, "a whole number from 1 to 1000000", up_to(MAX_PAGE));
        call.parameter("pageSize", &mut issues, "a whole number from 1 to 250", up_to(MAX_PAGE_SIZE));
        if !issues.is_empty() {
            return Err(Problem::invalid(issues));
        }
        let source = call.query.get("source");
        let names = call.operation.parameters().iter().filter(|name| **name != "source");
        let parameters: Vec<(&str, &str)> =
            names.filter_map(|name| Some((*name, call.query.get(name)?))).collect();
        match self.call_desk.list(&call.account, source, &parameters).await {
            Ok(listed) => Ok(answer(StatusCode::OK, listed.to_compact())),
            Err(CallError::NoProvider) => {
                Err(Problem::not_found("this account has no such source whose provider lists calls"))
            }
            Err(error) => Err(error.into()),
        }
    }
}
