//! Lists and what they show.

use std::time::Duration;

use ringback::context::CallId;
use ringback::event::{CallbackId, DeliveryId};
use ringback::store::{DeliveryFilter, DeliveryState, Next, Page, SharedStore};

use super::every_store;
use super::sample::{UNLIMITED, acceptance, account, callback, failed, name, now, prove, queue};

async fn list(store: &SharedStore, filter: DeliveryFilter) -> Vec<DeliveryId> {
    let page = Page { before: None, limit: 250 };
    let rows = store.deliveries(&account(), &filter, page).await.unwrap();
    rows.into_iter().map(|row| row.id).collect()
}

#[test]
fn deliveries_are_listed_newest_first_page_by_page() {
    every_store(|place| async move {
        let store = place.open().await;
        let mut expected = queue(&store, CallbackId::new(), 25).await;
        expected.sort_unstable_by(|one, other| other.cmp(one));
        let mut listed = Vec::new();
        let mut before = None;
        loop {
            let page = Page { before, limit: 10 };
            let rows = store.deliveries(&account(), &DeliveryFilter::default(), page).await.unwrap();
            assert!(rows.len() <= 10);
            let Some(last) = rows.last() else { break };
            before = Some(last.id);
            listed.extend(rows.into_iter().map(|row| row.id));
        }
        assert_eq!(listed, expected);
        let page = Page { before: None, limit: 10 };
        let foreign = store.deliveries(&name("umbrella"), &DeliveryFilter::default(), page).await.unwrap();
        assert!(foreign.is_empty());
        assert_eq!(store.delivery(&name("umbrella"), expected[0]).await.unwrap(), None);
    });
}

#[test]
fn a_list_shows_what_its_filters_name() {
    every_store(|place| async move {
        let store = place.open().await;
        let (one, other) = (callback(UNLIMITED), callback(UNLIMITED));
        store.put_callback(one.clone()).await.unwrap();
        store.put_callback(other.clone()).await.unwrap();
        prove(&store, one.id).await;
        let ended = list(&store, DeliveryFilter::default()).await;
        let dead = queue(&store, one.id, 1).await;
        let claims = store.claim(1).await.unwrap();
        assert!(store.settle(failed(&claims[0], Next::Dead("no".to_owned()))).await.unwrap());
        let leased = queue(&store, one.id, 1).await;
        assert_eq!(store.claim(1).await.unwrap().len(), 1);
        let queued = queue(&store, one.id, 1).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        let between = now();
        tokio::time::sleep(Duration::from_millis(5)).await;
        let mut new = acceptance(&[other.id]);
        new.deliveries[0].call = Some(CallId::from_text("43").unwrap());
        new.deliveries[0].due = now() + Duration::from_hours(1);
        store.accept(new.clone()).await.unwrap();
        let elsewhere = vec![new.deliveries[0].id];

        let all = DeliveryFilter::default();
        for (state, expected) in [
            (DeliveryState::Delivered, ended.clone()),
            (DeliveryState::Dead, dead.clone()),
            (DeliveryState::Leased, leased.clone()),
            (DeliveryState::Queued, [elsewhere.clone(), queued.clone()].concat()),
            (DeliveryState::Failed, Vec::new()),
            (DeliveryState::Cancelled, Vec::new()),
        ] {
            assert_eq!(list(&store, DeliveryFilter { state: Some(state), ..all.clone() }).await, expected);
        }
        let earlier = [queued.clone(), leased, dead.clone(), ended].concat();
        let of_one = DeliveryFilter { callback: Some(one.id), ..all.clone() };
        assert_eq!(list(&store, of_one.clone()).await, earlier);
        let call = |id| DeliveryFilter { call: CallId::from_text(id), ..all.clone() };
        assert_eq!(list(&store, call("42")).await, earlier);
        assert_eq!(list(&store, call("43")).await, elsewhere);
        assert!(list(&store, call("44")).await.is_empty());
        assert_eq!(list(&store, DeliveryFilter { since: Some(between), ..all.clone() }).await, elsewhere);
        assert_eq!(list(&store, DeliveryFilter { until: Some(between), ..all.clone() }).await, earlier);

        // All at once.
        let narrow = DeliveryFilter {
            call: CallId::from_text("42"),
            state: Some(DeliveryState::Dead),
            since: Some(between - Duration::from_mins(1)),
            until: Some(between),
            ..of_one
        };
        assert_eq!(list(&store, narrow.clone()).await, dead);
        let queued_only = DeliveryFilter { state: Some(DeliveryState::Queued), ..narrow.clone() };
        assert_eq!(list(&store, queued_only).await, queued);
        let nothing = DeliveryFilter { callback: Some(other.id), ..narrow };
        assert!(list(&store, nothing).await.is_empty());
    });
}
