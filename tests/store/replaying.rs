//! Deliveries that are made anew, or sent again, many at a time.

use std::time::Duration;

use jiff::Timestamp;
use ringback::context::CallId;
use ringback::event::{CallbackId, DeliveryId};
use ringback::store::{
    Accepted, Answered, DeliveryFilter, DeliveryState, NewDelivery, Next, Remember, Replay, Replayed,
    SCAN_LIMIT, SharedStore,
};

use super::every_store;
use super::sample::{
    UNLIMITED, acceptance, account, callback, claim_now, delivered, failed, later_id, name, now, queue,
    request, state_of,
};

/// A delivery that is made in place of another.
async fn anew(store: &SharedStore, earlier: DeliveryId, body: &str) -> NewDelivery {
    let row = store.delivery(&account(), earlier).await.unwrap().unwrap().row;
    NewDelivery {
        id: later_id(),
        account: account(),
        callback: row.callback,
        destination: row.callback.into(),
        event: row.event,
        event_type: row.event_type,
        call: row.call,
        created_at: now(),
        due: now(),
        order: None,
        request: request(body).into(),
    }
}

fn replay(deliveries: Vec<(DeliveryId, NewDelivery)>) -> Replay {
    Replay { account: account(), deliveries, again: false, remember: None }
}

async fn kill(store: &SharedStore, count: usize) {
    for claim in store.claim(count).await.unwrap() {
        assert!(store.settle(failed(&claim, Next::Dead("no".to_owned()))).await.unwrap());
    }
}

/// All that a filter finds, in parts of this many.
async fn listed(store: &SharedStore, filter: &DeliveryFilter, limit: usize) -> Vec<DeliveryId> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let part = store.deliveries_after(&account(), filter, after, limit).await.unwrap();
        assert!(part.rows.len() <= limit);
        found.extend(part.rows.iter().map(|row| row.id));
        after = part.next;
        if after.is_none() {
            return found;
        }
    }
}

#[test]
fn deliveries_are_listed_from_the_oldest_on_by_their_filters() {
    every_store(|place| async move {
        let store = place.open().await;
        let (one, other) = (CallbackId::new(), CallbackId::new());
        let dead = queue(&store, one, 2).await;
        for _ in &dead {
            kill(&store, 1).await;
        }
        let others = queue(&store, other, 3).await;
        let mut new = acceptance(&[one, one]);
        for delivery in &mut new.deliveries {
            delivery.call = CallId::from_text("43");
            delivery.created_at = now() + Duration::from_mins(10);
        }
        let later: Vec<DeliveryId> = new.deliveries.iter().map(|delivery| delivery.id).collect();
        assert_eq!(store.accept(new).await.unwrap(), Accepted::Stored);
        let mut theirs = acceptance(&[one]);
        theirs.event.account = name("umbrella");
        theirs.deliveries[0].account = name("umbrella");
        assert_eq!(store.accept(theirs).await.unwrap(), Accepted::Stored);

        let all = DeliveryFilter::default();
        let everything = [dead.clone(), others.clone(), later.clone()].concat();
        for limit in [1, 2, 3, 7, 100] {
            assert_eq!(listed(&store, &all, limit).await, everything, "{limit}");
        }
        let of_one = DeliveryFilter { callback: Some(one), ..all.clone() };
        assert_eq!(listed(&store, &of_one, 2).await, [dead.clone(), later.clone()].concat());
        let state = |state| DeliveryFilter { state: Some(state), ..all.clone() };
        assert_eq!(listed(&store, &state(DeliveryState::Dead), 1).await, dead);
        assert_eq!(
            listed(&store, &state(DeliveryState::Queued), 2).await,
            [others.clone(), later.clone()].concat()
        );
        let dead_of_one = DeliveryFilter { callback: Some(one), ..state(DeliveryState::Dead) };
        assert_eq!(listed(&store, &dead_of_one, 5).await, dead);
        let dead_of_other = DeliveryFilter { callback: Some(other), ..dead_of_one };
        assert!(listed(&store, &dead_of_other, 5).await.is_empty());
        let of_call = DeliveryFilter { call: CallId::from_text("43"), ..all.clone() };
        assert_eq!(listed(&store, &of_call, 1).await, later);
        let since = now() + Duration::from_mins(5);
        assert_eq!(listed(&store, &DeliveryFilter { since: Some(since), ..all.clone() }, 1).await, later);
        let until = DeliveryFilter { until: Some(since), ..of_one };
        assert_eq!(listed(&store, &until, 1).await, dead);
        let long_ago = DeliveryFilter { until: Some(Timestamp::UNIX_EPOCH), ..all };
        assert!(listed(&store, &long_ago, 1).await.is_empty());
    });
}

#[test]
fn a_look_is_bounded_and_the_next_goes_on() {
    every_store(|place| async move {
        let store = place.open().await;
        let row = callback(UNLIMITED);
        store.put_callback(row.clone()).await.unwrap();
        let callback = row.id;
        for _ in 0..=SCAN_LIMIT / 500 {
            let mut new = acceptance(&[]);
            let make = |_| NewDelivery {
                id: DeliveryId::new(),
                account: account(),
                callback,
                destination: callback.into(),
                event: new.event.id,
                event_type: new.event.types[0],
                call: None,
                created_at: now(),
                due: now(),
                order: None,
                request: request("{}").into(),
            };
            new.deliveries = (0..500).map(make).collect();
            assert_eq!(store.accept(new).await.unwrap(), Accepted::Stored);
        }
        // None of these is of the call.
        let filter = DeliveryFilter {
            callback: Some(callback),
            since: Some(now() + Duration::from_mins(10)),
            ..DeliveryFilter::default()
        };
        let part = store.deliveries_after(&account(), &filter, None, 10).await.unwrap();
        assert!(part.rows.is_empty());
        let part = store.deliveries_after(&account(), &filter, part.next, 10).await.unwrap();
        assert_eq!((part.rows.len(), part.next), (0, None));
    });
}

#[test]
fn a_replay_is_written_whole_and_once() {
    every_store(|place| async move {
        let store = place.open().await;
        let row = callback(UNLIMITED);
        store.put_callback(row.clone()).await.unwrap();
        let ids = queue(&store, row.id, 2).await;
        kill(&store, 1).await;
        kill(&store, 1).await;
        let new = [anew(&store, ids[0], "one").await, anew(&store, ids[1], "two").await];
        let pairs: Vec<_> = ids.iter().copied().zip(new.clone()).collect();
        assert_eq!(store.replay(replay(pairs)).await.unwrap(), Replayed::Stored);

        let store = place.open_after_power_cut().await;
        for (earlier, new) in ids.iter().zip(&new) {
            let row = store.delivery(&account(), *earlier).await.unwrap().unwrap().row;
            assert_eq!((row.state, row.replayed_as), (DeliveryState::Dead, Some(new.id)));
            let view = store.delivery(&account(), new.id).await.unwrap().unwrap();
            assert_eq!((view.row.state, view.row.replayed_as), (DeliveryState::Queued, None));
            assert_eq!((view.row.event, view.request), (row.event, new.request.request().cloned()));
        }
        // A part of which one was replayed before is not written at all, unless that is meant.
        let third = queue(&store, row.id, 1).await[0];
        let pairs =
            vec![(third, anew(&store, third, "three").await), (ids[0], anew(&store, ids[0], "one").await)];
        assert_eq!(store.replay(replay(pairs.clone())).await.unwrap(), Replayed::Conflict);
        assert_eq!(store.delivery(&account(), pairs[0].1.id).await.unwrap(), None);
        let meant = Replay { again: true, ..replay(pairs.clone()) };
        assert_eq!(store.replay(meant).await.unwrap(), Replayed::Stored);
        let again = store.delivery(&account(), ids[0]).await.unwrap().unwrap().row;
        assert_eq!(again.replayed_as, Some(pairs[1].1.id));
        // What is another's is not replayed, and neither is what there never was.
        let theirs = Replay { account: name("umbrella"), ..replay(vec![(ids[1], new[1].clone())]) };
        assert_eq!(store.replay(theirs).await.unwrap(), Replayed::Conflict);
        let nothing = replay(vec![(DeliveryId::new(), anew(&store, third, "four").await)]);
        assert_eq!(store.replay(nothing).await.unwrap(), Replayed::Conflict);

        let mut bodies = Vec::new();
        for _ in 0..5 {
            let claim = store.claim(1).await.unwrap().remove(0);
            bodies.push(claim.request.request().unwrap().body.clone());
            assert!(store.settle(delivered(&claim)).await.unwrap());
        }
        assert!(claim_now(&store, 1).await.is_empty());
        for body in ["one", "two", "three"] {
            assert!(bodies.iter().any(|sent| sent == body), "{body}");
        }
        let later = now() + Duration::from_hours(31 * 24);
        while store.sweep(later).await.unwrap() > 0 {}
        assert!(listed(&store, &DeliveryFilter::default(), 10).await.is_empty());
    });
}

#[test]
fn the_answer_to_a_replay_is_remembered_with_it() {
    every_store(|place| async move {
        let store = place.open().await;
        let id = queue(&store, CallbackId::new(), 1).await[0];
        kill(&store, 1).await;
        let answered = Answered { fingerprint: [1; 32], answer: b"200".to_vec() };
        let remember = Remember { key: [7; 32], answered: answered.clone(), keep: Duration::from_hours(24) };
        let once = |new| Replay { remember: Some(remember.clone()), ..replay(vec![(id, new)]) };
        let new = anew(&store, id, "one").await;
        assert_eq!(store.replay(once(new.clone())).await.unwrap(), Replayed::Stored);
        let other = anew(&store, id, "other").await;
        assert_eq!(store.replay(once(other.clone())).await.unwrap(), Replayed::Answered(answered.clone()));
        assert_eq!(store.delivery(&account(), other.id).await.unwrap(), None);
        assert_eq!(store.answered(&account(), &[7; 32]).await.unwrap(), Some(answered));
        assert_eq!(state_of(&store, new.id).await, DeliveryState::Queued);
    });
}

#[test]
fn what_is_replayed_for_a_removed_registration_is_cancelled() {
    every_store(|place| async move {
        let store = place.open().await;
        let row = callback(UNLIMITED);
        store.put_callback(row.clone()).await.unwrap();
        let id = queue(&store, row.id, 1).await[0];
        kill(&store, 1).await;
        let new = anew(&store, id, "one").await;
        assert!(store.remove_callback(&account(), row.id).await.unwrap());
        assert_eq!(store.replay(replay(vec![(id, new.clone())])).await.unwrap(), Replayed::Stored);
        assert_eq!(state_of(&store, new.id).await, DeliveryState::Cancelled);
        assert!(claim_now(&store, 1).await.is_empty());
    });
}

#[test]
fn many_are_retried_at_once_and_those_that_cannot_be_are_passed_over() {
    every_store(|place| async move {
        let store = place.open().await;
        let (kept, removed) = (callback(UNLIMITED), callback(UNLIMITED));
        store.put_callback(kept.clone()).await.unwrap();
        store.put_callback(removed.clone()).await.unwrap();
        let of_removed = queue(&store, removed.id, 1).await[0];
        kill(&store, 1).await;
        let ids = queue(&store, kept.id, 4).await;
        let mut order = Vec::new();
        for at in 0..4 {
            let claim = store.claim(1).await.unwrap().remove(0);
            order.push(claim.lease.delivery);
            let settlement = match at {
                0 => delivered(&claim),
                1 => failed(&claim, Next::RetryAt(now() + Duration::from_hours(1))),
                _ => failed(&claim, Next::Dead("no".to_owned())),
            };
            assert!(store.settle(settlement).await.unwrap());
        }
        assert!(store.remove_callback(&account(), removed.id).await.unwrap());
        assert!(claim_now(&store, 4).await.is_empty());
        let all = [ids.as_slice(), &[of_removed, DeliveryId::new()]].concat();
        assert_eq!(store.retry_all(&name("umbrella"), &all).await.unwrap(), 0);
        assert_eq!(store.retry_all(&account(), &all).await.unwrap(), 3);
        assert_eq!(state_of(&store, of_removed).await, DeliveryState::Dead);

        let store = place.open_after_power_cut().await;
        let mut sent = Vec::new();
        for _ in 0..3 {
            let claim = store.claim(1).await.unwrap().remove(0);
            assert_eq!(claim.attempt, 1);
            sent.push(claim.lease.delivery);
            assert!(store.settle(delivered(&claim)).await.unwrap());
        }
        sent.sort_unstable();
        order.remove(0);
        order.sort_unstable();
        assert_eq!(sent, order);
    });
}
