//! Deliveries that are rendered at their first attempt.

use std::time::Duration;

use hyper::body::Bytes;
use ringback::event::{DeliveryId, EventId, EventType};
use ringback::store::scheduler::CircuitRules;
use ringback::store::{
    Acceptance, Accepted, CallbackRow, Claim, DefinitionVersion, DeliveryState, DeliveryView, Late,
    LateRendering, NewDelivery, Next, Rendition, SharedStore, Snapshot,
};

use super::sample::{
    UNLIMITED, acceptance, account, call_key, call_write, callback, claim_now, delivered, failed, name, now,
    prove, request, state_of,
};
use super::{Place, every_store};

const KNOWN: &[u8] = b"all that is known";

/// A registration whose definition says which it is.
fn registration(definition: &str) -> CallbackRow {
    CallbackRow {
        definition: definition.as_bytes().to_vec(),
        version: DefinitionVersion::new(),
        ..callback(UNLIMITED)
    }
}

fn changed(row: &CallbackRow, definition: &str) -> CallbackRow {
    CallbackRow { id: row.id, ..registration(definition) }
}

/// An event of call 42 with a delivery to each of these, all of them late.
fn late(to: &[&CallbackRow]) -> Acceptance {
    let mut new = acceptance(&to.iter().map(|row| row.id).collect::<Vec<_>>());
    let event = new.event.id;
    for (delivery, row) in new.deliveries.iter_mut().zip(to) {
        delivery.request =
            Rendition::Late(Late { event, event_type: EventType::CallEnded, version: row.version });
    }
    new.snapshot = Some(Snapshot { event, bytes: Bytes::from_static(KNOWN) });
    new
}

async fn put(store: &SharedStore, rows: &[&CallbackRow]) {
    for row in rows {
        store.put_callback((*row).clone()).await.unwrap();
    }
}

async fn store_it(store: &SharedStore, new: &Acceptance) -> Vec<DeliveryId> {
    assert_eq!(store.accept(new.clone()).await.unwrap(), Accepted::Stored);
    new.deliveries.iter().map(|delivery| delivery.id).collect()
}

async fn one(store: &SharedStore) -> Claim {
    let mut claims = store.claim(1).await.unwrap();
    assert_eq!(claims.len(), 1);
    claims.remove(0)
}

async fn view(store: &SharedStore, id: DeliveryId) -> DeliveryView {
    store.delivery(&account(), id).await.unwrap().unwrap()
}

async fn render(store: &SharedStore, claim: &Claim, rendered: Result<&str, &str>) -> bool {
    let rendered = rendered.map(request).map_err(str::to_owned);
    let rendering = LateRendering { lease: claim.lease, account: account(), rendered };
    // Whoever does not hear the answer asks again.
    let answer = store.put_rendering(rendering.clone()).await.unwrap();
    assert_eq!(store.put_rendering(rendering).await.unwrap(), answer);
    answer
}

async fn known(store: &SharedStore, event: EventId) -> Option<Bytes> {
    store.snapshot(&account(), event).await.unwrap()
}

async fn definition(store: &SharedStore, row: &CallbackRow) -> Option<String> {
    let definition = store.definition(&row.account, row.id, row.version).await.unwrap();
    definition.map(|bytes| String::from_utf8(bytes).unwrap())
}

async fn assert_counted(store: &SharedStore, place: &dyn Place) {
    assert_eq!(store.stored(&account()).await.unwrap(), place.weigh(), "what is counted is what is there");
}

#[test]
fn a_late_delivery_is_rendered_once_and_is_then_like_any_other() {
    every_store(|place| async move {
        let store = place.open().await;
        let row = registration("first");
        put(&store, &[&row]).await;
        prove(&store, row.id).await;
        let mut new = late(&[&row, &row]);
        // One of the same event that was rendered with it.
        new.deliveries.push(NewDelivery {
            request: request("at once").into(),
            ..acceptance(&[row.id]).deliveries.remove(0)
        });
        new.deliveries[2].event = new.event.id;
        let ids = store_it(&store, &new).await;
        assert_counted(&store, &*place).await;
        for (id, is_late) in [(ids[0], true), (ids[1], true), (ids[2], false)] {
            let view = view(&store, id).await;
            assert_eq!((view.is_late, view.request.is_none()), (is_late, is_late));
            assert_eq!(view.row.state, DeliveryState::Queued);
        }
        assert_eq!(known(&store, new.event.id).await.as_deref(), Some(KNOWN));
        assert_eq!(store.snapshot(&name("other"), new.event.id).await.unwrap(), None);
        assert_eq!(definition(&store, &row).await.as_deref(), Some("first"));

        let claims = store.claim(3).await.unwrap();
        let requests: Vec<_> = claims.iter().map(|claim| &claim.request).collect();
        assert_eq!(requests, new.deliveries.iter().map(|new| &new.request).collect::<Vec<_>>());
        assert!(render(&store, &claims[0], Ok("rendered")).await);
        let shown = view(&store, ids[0]).await;
        assert_eq!((shown.is_late, shown.request), (false, Some(request("rendered"))));
        assert_counted(&store, &*place).await;
        // The other one needs what is known.
        assert_eq!(known(&store, new.event.id).await.as_deref(), Some(KNOWN));
        assert!(store.settle(delivered(&claims[2])).await.unwrap());

        // Given back, it is as it was.
        store.release(vec![claims[1].lease]).await.unwrap();
        assert!(!render(&store, &claims[1], Ok("too late")).await, "its lease is not held");
        let last = one(&store).await;
        assert_eq!((last.lease.delivery, &last.request), (ids[1], &claims[1].request));
        assert!(render(&store, &last, Ok("rendered, too")).await);
        assert_eq!(known(&store, new.event.id).await, None);
        assert!(store.settle(delivered(&last)).await.unwrap());

        assert!(store.settle(failed(&claims[0], Next::RetryAt(now()))).await.unwrap());
        let again = one(&store).await;
        assert_eq!((again.attempt, again.request), (2, request("rendered").into()));
        assert_eq!(view(&store, ids[1]).await.request, Some(request("rendered, too")));
        assert_counted(&store, &*place).await;
    });
}

#[test]
fn what_is_rendered_survives_a_power_cut_and_so_does_what_is_not() {
    every_store(|place| async move {
        let store = place.open().await;
        let (row, other) = (registration("first"), registration("other"));
        put(&store, &[&row, &other]).await;
        let new = late(&[&row, &other]);
        let ids = store_it(&store, &new).await;
        let claims = store.claim(2).await.unwrap();
        let mine = claims.iter().find(|claim| claim.lease.delivery == ids[0]).unwrap();
        assert!(render(&store, mine, Ok("on disk")).await);

        let store = place.open_after_power_cut().await;
        assert_counted(&store, &*place).await;
        let mut again = store.claim(2).await.unwrap();
        again.sort_by_key(|claim| claim.lease.delivery != ids[0]);
        assert_eq!(again[0].request, request("on disk").into());
        assert_eq!(again[1].request, new.deliveries[1].request);
        assert_eq!(known(&store, new.event.id).await.as_deref(), Some(KNOWN));
        assert!(!render(&store, mine, Ok("anew")).await, "its lease died with the process");
        assert!(render(&store, &again[1], Ok("later")).await);
        for claim in &again {
            assert!(store.settle(delivered(claim)).await.unwrap());
        }
    });
}

#[test]
fn a_definition_is_kept_as_long_as_a_late_delivery_names_it() {
    every_store(|place| async move {
        let store = place.open().await;
        let first = registration("first");
        put(&store, &[&first]).await;
        store_it(&store, &late(&[&first])).await;
        let second = changed(&first, "second");
        put(&store, &[&second]).await;
        store_it(&store, &late(&[&second])).await;
        // A change of its other members alone.
        put(&store, &[&CallbackRow { deadline: Duration::from_secs(9), ..second.clone() }]).await;
        let third = changed(&first, "third");
        put(&store, &[&third]).await;
        let store = place.open_after_power_cut().await;
        for (row, text) in [(&first, "first"), (&second, "second"), (&third, "third")] {
            assert_eq!(definition(&store, row).await.as_deref(), Some(text));
        }
        assert_eq!(store.callbacks().await.unwrap(), std::slice::from_ref(&third));
        for row in [&first, &second] {
            let claim = one(&store).await;
            assert!(matches!(claim.request, Rendition::Late(late) if late.version == row.version));
            assert!(render(&store, &claim, Ok("{}")).await);
            assert_eq!(definition(&store, row).await, None, "nothing names it any more");
            assert!(store.settle(delivered(&claim)).await.unwrap());
        }
        // One that nothing was to be rendered with is not kept.
        put(&store, &[&changed(&first, "fourth")]).await;
        assert_eq!(definition(&store, &third).await, None);
    });
}

#[test]
fn a_late_delivery_of_another_definition_is_a_conflict_and_of_a_removed_registration_is_cancelled() {
    every_store(|place| async move {
        let store = place.open().await;
        let (first, gone) = (registration("first"), registration("gone"));
        put(&store, &[&first, &gone]).await;
        let second = changed(&first, "second");
        put(&store, &[&second]).await;
        let stale = late(&[&first]);
        assert_eq!(store.accept(stale.clone()).await.unwrap(), Accepted::Conflict);
        assert_eq!(store.recall(&stale.dedupe, None).await.unwrap().duplicate_of, None);
        assert_eq!(store.event(&account(), stale.event.id).await.unwrap(), None);
        let unknown = late(&[&registration("nobody's")]);
        assert_eq!(store.accept(unknown).await.unwrap(), Accepted::Conflict);

        assert!(store.remove_callback(&account(), gone.id).await.unwrap());
        let ids = store_it(&store, &late(&[&second, &gone])).await;
        assert_eq!(state_of(&store, ids[1]).await, DeliveryState::Cancelled);
        assert!(!view(&store, ids[1]).await.is_late);
        let alone = late(&[&gone]);
        store_it(&store, &alone).await;
        assert_eq!(known(&store, alone.event.id).await, None);
        assert_counted(&store, &*place).await;
    });
}

#[test]
fn one_that_cannot_be_rendered_has_failed_and_frees_its_slot_and_its_order() {
    every_store(|place| async move {
        let store = place.open().await;
        let row = registration("first");
        put(&store, &[&row]).await;
        let mut new = late(&[&row, &row]);
        for delivery in &mut new.deliveries {
            delivery.order = Some(ringback::store::OrderKey([3; 16]));
        }
        let ids = store_it(&store, &new).await;
        let claim = one(&store).await;
        assert_eq!(claim.lease.delivery, ids[0]);
        let rendering = LateRendering {
            lease: claim.lease,
            account: account(),
            rendered: Err("callback_data: `email` is required".to_owned()),
        };
        assert!(!store.put_rendering(rendering).await.unwrap());
        let shown = view(&store, ids[0]).await;
        assert_eq!((shown.row.state, shown.row.attempts), (DeliveryState::Failed, 0));
        assert_eq!(shown.row.reason.as_deref(), Some("callback_data: `email` is required"));
        assert!(!shown.is_late && shown.request.is_none());
        assert!(!store.retry(&account(), ids[0]).await.unwrap());
        assert!(!store.settle(delivered(&claim)).await.unwrap());
        let next = one(&store).await;
        assert_eq!(next.lease.delivery, ids[1]);
        assert!(render(&store, &next, Ok("{}")).await);
        assert!(store.settle(delivered(&next)).await.unwrap());
        assert_counted(&store, &*place).await;
    });
}

#[test]
fn a_removal_cancels_what_waits_to_be_rendered_and_what_is_being_rendered() {
    every_store(|place| async move {
        let store = place.open().await;
        let row = registration("first");
        put(&store, &[&row]).await;
        let new = late(&[&row, &row]);
        let ids = store_it(&store, &new).await;
        let claim = one(&store).await;
        put(&store, &[&changed(&row, "second")]).await;
        assert!(store.remove_callback(&account(), row.id).await.unwrap());
        assert_eq!(definition(&store, &row).await, None);
        assert!(!render(&store, &claim, Ok("for nobody")).await);
        for id in ids {
            while state_of(&store, id).await != DeliveryState::Cancelled {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let view = view(&store, id).await;
            assert!(!view.is_late && view.request.is_none());
            assert_eq!(view.row.reason.as_deref(), Some("its registration was removed"));
        }
        assert_eq!(known(&store, new.event.id).await, None);
        assert_counted(&store, &*place).await;
    });
}

#[test]
fn an_erasure_forgets_what_late_deliveries_are_rendered_from() {
    every_store(|place| async move {
        let store = place.open().await;
        let (row, other) = (registration("first"), registration("other"));
        put(&store, &[&row, &other]).await;
        let mut new = late(&[&row, &row, &other]);
        new.call = Some(call_write("42", 0, "{}"));
        let ids = store_it(&store, &new).await;
        let claims = store.claim(2).await.unwrap();
        let of = |id| claims.iter().find(|claim| claim.lease.delivery == id).unwrap();
        let (rendered, leased) = (of(ids[0]), of(ids[2]));
        assert!(render(&store, rendered, Ok("of the call")).await);
        assert!(store.erase_call(&call_key("42")).await.unwrap());
        assert_eq!(known(&store, new.event.id).await, None);
        assert_eq!(state_of(&store, ids[1]).await, DeliveryState::Cancelled);
        assert!(!render(&store, leased, Ok("of the call")).await);
        let shown = view(&store, ids[2]).await;
        assert_eq!(shown.row.state, DeliveryState::Cancelled);
        assert_eq!(shown.row.reason.as_deref(), Some("its call was erased"));
        // What is under way is not stopped.
        assert!(store.settle(delivered(rendered)).await.unwrap());
        for id in ids {
            let view = view(&store, id).await;
            assert!(!view.is_late && view.request.is_none() && view.attempts.is_empty(), "{view:?}");
        }
        assert_counted(&store, &*place).await;
        assert!(claim_now(&store, 1).await.is_empty());
    });
}

#[test]
fn one_that_kills_its_process_is_dead_and_can_be_retried_until_retention_takes_it() {
    every_store(|place| async move {
        let mut store = place.open_with(CircuitRules::default()).await;
        let row = registration("first");
        put(&store, &[&row]).await;
        let new = late(&[&row]);
        let id = store_it(&store, &new).await[0];
        for _ in 0..10 {
            assert!(matches!(one(&store).await.request, Rendition::Late(_)));
            store = place.open_after_power_cut().await;
        }
        let dead = view(&store, id).await;
        assert_eq!((dead.row.state, dead.is_late), (DeliveryState::Dead, true));
        assert!(store.retry(&account(), id).await.unwrap());
        let claim = one(&store).await;
        assert_eq!(claim.request, new.deliveries[0].request);
        assert_eq!(known(&store, new.event.id).await.as_deref(), Some(KNOWN));
        assert!(store.settle(failed(&claim, Next::Dead("for the test".to_owned()))).await.unwrap());
        while store.sweep(now() + Duration::from_hours(24 * 400)).await.unwrap() > 0 {}
        assert_eq!(store.delivery(&account(), id).await.unwrap(), None);
        assert_eq!(known(&store, new.event.id).await, None);
        assert_counted(&store, &*place).await;
    });
}
