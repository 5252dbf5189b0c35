//! `POST /v1/callbacks/{id}/replay`: what was delivered, or should have been, is rendered and
//! delivered anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value as Body, json};

use super::known::Known;
use super::part::Part;
use super::{Api, Call, once};
use crate::event::{DeliveryId, EventId};
use crate::http::{Answer, Problem, json as answer};
use crate::registration::{Bodies, Callback, Rendered, Rendering};
use crate::store::{
    DeliveryFilter, DeliveryRow, DeliveryState, Found, NewDelivery, Replay, Replayed, StoreError,
};

/// How often a part is made anew because others replay the same deliveries meanwhile.
const TRIES: usize = 4;

/// When a request may be sent again that was in the way of others that often.
const CONFLICT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// After how many bytes of events and contexts a part takes no further delivery.
const READ_LIMIT: usize = 64 << 20;

/// Why a delivery is not made anew. Each is told of with how many there are, and the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Skip {
    UnderWay,
    ReplayedBefore,
    EventGone,
    Unreadable,
    RenderingFailed,
}

impl Skip {
    const fn as_str(self) -> &'static str {
        match self {
            Self::UnderWay => "under_way",
            Self::ReplayedBefore => "replayed_before",
            Self::EventGone => "event_gone",
            Self::Unreadable => "unreadable",
            Self::RenderingFailed => "rendering_failed",
        }
    }
}

/// What is known now of an event that was delivered before; or why nothing is.
type KnownAgain = Result<Known, (Skip, String)>;

/// Deliveries that were left out for one reason.
struct Skipped {
    count: usize,
    first: DeliveryId,
    detail: String,
}

/// A part that was made, and is not written yet.
struct Made {
    deliveries: Vec<(DeliveryId, NewDelivery)>,
    skipped: BTreeMap<Skip, Skipped>,
    next: Option<DeliveryId>,
}

impl Made {
    fn skip(&mut self, id: DeliveryId, skip: Skip, detail: impl Into<String>) {
        let detail = detail.into();
        self.skipped.entry(skip).or_insert(Skipped { count: 0, first: id, detail }).count += 1;
    }

    fn show(&self, part: Part) -> String {
        let skipped: Vec<Body> = self
            .skipped
            .iter()
            .map(|(skip, skipped)| {
                json!({
                    "reason": skip.as_str(),
                    "count": skipped.count,
                    "first": skipped.first.to_string(),
                    "detail": skipped.detail,
                })
            })
            .collect();
        let next = self.next.map(|next| part.cursor(next));
        json!({"replayed": self.deliveries.len(), "skipped": skipped, "next": next}).to_string()
    }
}

impl Api {
    pub(super) async fn replay(&self, call: &Call<'_>, id: &str) -> Result<Answer, Problem> {
        let callback = self.find(call, id)?;
        let mut issues = call.issues();
        let mut members = call.members()?;
        let part = Part::read(&mut members, Timestamp::now(), &mut issues);
        let only = |text: &str| match text {
            "failed" => Some(false),
            "all" => Some(true),
            _ => None,
        };
        let all = members.text("only", &mut issues, "failed or all", only).unwrap_or(false);
        members.refuse_rest(&mut issues);
        if !issues.is_empty() {
            return Err(Problem::invalid(issues));
        }
        for _ in 0..TRIES {
            let made = self.make_anew(&callback, part, all).await?;
            let (count, shown) = (made.deliveries.len(), made.show(part));
            let remember =
                call.once.map(|once| self.ledger.remember(once, &once::spell(StatusCode::OK, &shown)));
            if made.deliveries.is_empty() && remember.is_none() {
                return Ok(answer(StatusCode::OK, shown));
            }
            let account = Arc::clone(&call.account);
            let replay = Replay { account, deliveries: made.deliveries, again: all, remember };
            match (self.store.replay(replay).await?, call.once) {
                (Replayed::Stored, _) => {
                    tracing::info!(callback = %callback.id, account = &*call.account, count, "deliveries replayed");
                    return Ok(answer(StatusCode::OK, shown));
                }
                (Replayed::Answered(earlier), Some(once)) => {
                    return once::again(self.ledger.compare(once, earlier)?);
                }
                (Replayed::Conflict | Replayed::Answered(_), _) => {}
            }
        }
        Err(StoreError::Unavailable {
            reason: "others replay the same deliveries",
            retry_after: CONFLICT_RETRY_AFTER,
            source: None,
        }
        .into())
    }

    /// Renders a part for the registration as it is, with what is known now.
    async fn make_anew(&self, callback: &Callback, part: Part, all: bool) -> Result<Made, Problem> {
        let mut at = Timestamp::now();
        let found = self.part_of(callback, part, all).await?;
        let mut made = Made { deliveries: Vec::new(), skipped: BTreeMap::new(), next: found.next };
        let (mut last, mut rendered, mut read) = (None, 0, 0);
        // Deliveries of one event are made one after the other.
        let mut event: Option<(EventId, KnownAgain)> = None;
        for row in found.rows {
            let id = row.id;
            if let Some((skip, detail)) = is_left_out(&row, part, all) {
                made.skip(id, skip, detail);
                last = Some(id);
                continue;
            }
            if event.as_ref().is_none_or(|(known, _)| *known != row.event) {
                if read >= READ_LIMIT {
                    made.next = last;
                    break;
                }
                let known = self.known_again(callback, row.event).await?;
                read += known.as_ref().map_or(0, |known| known.size);
                event = Some((row.event, known));
            }
            match event.as_ref().map(|(_, known)| known).expect("it was read just now") {
                Err((skip, detail)) => made.skip(id, *skip, detail.as_str()),
                Ok(known) => {
                    let values = known.values(Some(row.event_type));
                    let (event, event_type, call) = (row.event, row.event_type, known.call.as_ref());
                    let rendering = Rendering { event, event_type, call, at };
                    match rendering.make(callback, &values, &mut Bodies::default()) {
                        Rendered::Failed(failed) => made.skip(id, Skip::RenderingFailed, failed.reason),
                        Rendered::Delivery(new) => {
                            rendered += new.request.size();
                            if rendered > Bodies::LIMIT && !made.deliveries.is_empty() {
                                made.next = last;
                                break;
                            }
                            made.deliveries.push((id, new));
                            // Due one after the other, and so they go out.
                            at += SignedDuration::from_micros(1);
                        }
                    }
                }
            }
            last = Some(id);
        }
        Ok(made)
    }

    async fn part_of(
        &self,
        callback: &Callback,
        part: Part,
        all: bool,
    ) -> Result<Found<DeliveryRow, DeliveryId>, StoreError> {
        let look = async |state| {
            let filter = DeliveryFilter { callback: Some(callback.id), state, ..DeliveryFilter::default() };
            self.store.deliveries_after(&callback.account, &part.of(filter), part.after, part.limit).await
        };
        if all {
            return look(None).await;
        }
        let (dead, failed) =
            (look(Some(DeliveryState::Dead)).await?, look(Some(DeliveryState::Failed)).await?);
        Ok(dead.merge(failed, part.limit))
    }

    /// What is known now of an event that was delivered before; or why nothing is.
    async fn known_again(&self, callback: &Callback, id: EventId) -> Result<KnownAgain, StoreError> {
        let event = match self.store.event(&callback.account, id).await {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(Err((Skip::EventGone, "its event is not kept any more".to_owned()))),
            // One that is damaged must not stop the others.
            Err(StoreError::Corrupt { .. }) => return Ok(Err(unreadable("event"))),
            Err(error) => return Err(error),
        };
        let known = self.known(event, callback.token.clone()).await?;
        Ok(known.map_err(|_| unreadable("call")))
    }
}

fn unreadable(what: &str) -> (Skip, String) {
    (Skip::Unreadable, format!("what is stored of its {what} cannot be read"))
}

/// Whether a delivery is not made anew although it was asked for. In place of one that was made anew
/// before stands the one that was made then: alone, or in the same time.
fn is_left_out(row: &DeliveryRow, part: Part, all: bool) -> Option<(Skip, &'static str)> {
    match row.state {
        DeliveryState::Queued | DeliveryState::Leased => {
            return Some((Skip::UnderWay, "it is still on its way, as it was rendered"));
        }
        DeliveryState::Delivered | DeliveryState::Dead | DeliveryState::Failed | DeliveryState::Cancelled => {
        }
    }
    row.replayed_as
        .filter(|successor| !all || part.is_before_the_end(*successor))
        .map(|_| (Skip::ReplayedBefore, "it was replayed before: what came of that stands for it"))
}
