//! Changes of registrations: each in the store and then in memory, one after the other, to the end.
//!
//! Four things would tear the two apart, and meet here: two changes that cross each other, a
//! customer who goes away in the middle of one, a receiver whose 410 pauses a registration in
//! the store while the customer changes it, and other processes over the same store.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::book::Book;
use super::{Callback, DeliverySettings, Once, Registry, Repeat};
use crate::event::{AccountName, CallbackId};
use crate::signature::Sealer;
use crate::store::{Answered, CallbackState, Remember, SharedStore, StoreError};

/// How long to wait until the store is asked again what has changed, after it could not say.
const FOLLOW_PAUSE: Duration = Duration::from_secs(1);

/// Writes registrations.
#[derive(Clone)]
pub struct Ledger(Arc<Book>);

/// Why a registration was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError<E> {
    /// This account has none such.
    #[error("there is no such registration")]
    Unknown,
    /// The change was refused.
    #[error("the change was refused")]
    Refused(E),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a registration was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The account has as many as it may have.
    #[error("the account may have {0} registrations at most")]
    Full(usize),
    /// It was added before.
    #[error("the request was answered before")]
    Repeated(Repeat),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Ledger {
    /// A ledger over both, of which memory is at this revision of the store. Secrets are sealed before
    /// they are stored where there is a sealer; `rendering` is the operator's limit of one, in bytes.
    #[must_use]
    pub fn new(
        store: SharedStore,
        registry: Arc<Registry>,
        sealer: Option<Arc<Sealer>>,
        revision: u64,
        rendering: usize,
    ) -> Self {
        Self(Arc::new(Book { store, registry, sealer, rendering, turn: Mutex::new(revision) }))
    }

    /// Adds a registration to an account that may have `most` of its kind; once, if it comes with
    /// what makes it the same request and with its answer.
    ///
    /// # Errors
    /// The account has that many, it was added before, or the store did not take it.
    pub async fn add(
        &self,
        callback: Callback,
        most: usize,
        once: Option<(Once, Vec<u8>)>,
    ) -> Result<(), AddError> {
        self.to_the_end(async move |book| {
            let _turn = book.turn.lock().await;
            // Before the account is found to be full, perhaps because of this very request.
            if let Some((once, _)) = &once
                && let Some(repeat) = book.answered(&callback.account, *once).await?
            {
                return Err(AddError::Repeated(repeat));
            }
            let count = if callback.is_speech_request {
                book.registry.count_speech_requests(&callback.account)
            } else {
                book.registry.count(&callback.account)
            };
            if count >= most {
                return Err(AddError::Full(most));
            }
            match book.put_once(callback, once).await? {
                Some(repeat) => Err(AddError::Repeated(repeat)),
                None => Ok(()),
            }
        })
        .await
    }

    /// Puts a registration of this account into another state; as it is then, or `None` if there
    /// is none.
    ///
    /// # Errors
    /// The store did not take it.
    pub async fn set_state(
        &self,
        account: &AccountName,
        id: CallbackId,
        state: CallbackState,
    ) -> Result<Option<Arc<Callback>>, StoreError> {
        let change = |callback: &Callback| Ok((Callback { state, ..callback.clone() }, ()));
        match self.change::<_, Infallible>(account, id, change).await {
            Ok((callback, ())) => Ok(Some(callback)),
            Err(ChangeError::Unknown) => Ok(None),
            Err(ChangeError::Store(error)) => Err(error),
            Err(ChangeError::Refused(never)) => match never {},
        }
    }

    /// Changes a registration of this account; as it is then, and what else `change` says. It sees
    /// the registration as it is now, and nobody of this process changes that meanwhile.
    ///
    /// # Errors
    /// There is none such, `change` refused, or the store did not take it.
    pub async fn change<T: Send + 'static, E: Send + 'static>(
        &self,
        account: &AccountName,
        id: CallbackId,
        change: impl FnOnce(&Callback) -> Result<(Callback, T), E> + Send + 'static,
    ) -> Result<(Arc<Callback>, T), ChangeError<E>> {
        let account = Arc::clone(account);
        self.to_the_end(async move |book| {
            let _turn = book.turn.lock().await;
            let callback = book.registry.get(&account, id).ok_or(ChangeError::Unknown)?;
            let (changed, more) = change(&callback).map_err(ChangeError::Refused)?;
            book.put(changed).await?;
            Ok((book.registry.get(&account, id).ok_or(ChangeError::Unknown)?, more))
        })
        .await
    }

    /// Changes a registration of this account as [`Ledger::change`] does, once if `once` says what
    /// makes it the same request. `change` gives the answer, which is returned,
    /// now and each time.
    ///
    /// # Errors
    /// There is none such, `change` refused, or the store did not take it.
    pub async fn change_once<E: Send + 'static>(
        &self,
        account: &AccountName,
        id: CallbackId,
        once: Option<Once>,
        change: impl FnOnce(&Callback) -> Result<(Callback, Vec<u8>), E> + Send + 'static,
    ) -> Result<Repeat, ChangeError<E>> {
        let account = Arc::clone(account);
        self.to_the_end(async move |book| {
            let _turn = book.turn.lock().await;
            let callback = book.registry.get(&account, id).ok_or(ChangeError::Unknown)?;
            let (changed, answer) = change(&callback).map_err(ChangeError::Refused)?;
            let repeat = book.put_once(changed, once.map(|once| (once, answer.clone()))).await?;
            Ok(repeat.unwrap_or(Repeat::Same(answer)))
        })
        .await
    }

    /// What was answered to this request, or to another with its key, in the last 24 hours.
    ///
    /// # Errors
    /// The store did not say.
    pub async fn answered(&self, account: &AccountName, once: Once) -> Result<Option<Repeat>, StoreError> {
        self.0.answered(account, once).await
    }

    /// What a write of another kind is to remember of its answer to a request that is done once.
    #[must_use]
    pub fn remember(&self, once: Once, answer: &[u8]) -> Remember {
        once.remember(answer, self.0.sealer.as_deref())
    }

    /// What such a write found to be remembered says of this request.
    ///
    /// # Errors
    /// What is remembered cannot be read.
    pub fn compare(&self, once: Once, answered: Answered) -> Result<Repeat, StoreError> {
        once.compare(answered, self.0.sealer.as_deref())
    }

    /// Removes a registration of this account; `false` if there is none.
    ///
    /// # Errors
    /// The store did not do it.
    pub async fn remove(&self, account: &AccountName, id: CallbackId) -> Result<bool, StoreError> {
        let account = Arc::clone(account);
        self.to_the_end(async move |book| {
            let _turn = book.turn.lock().await;
            let was_stored = book.store.remove_callback(&account, id).await?;
            // One that another process has just taken in may be stored and not yet be known here.
            Ok(book.registry.remove(&account, id) || was_stored)
        })
        .await
    }

    /// Follows the store, which has paused a registration by itself; returns at once.
    ///
    /// Nobody can tell here whether a resumption that was written about then came before that
    /// pause or after it. So the pause is written once more, in its turn: memory and store are of
    /// one mind again, and a receiver that said it wants no more is not asked again.
    pub fn follow_pause(&self, id: CallbackId, reason: &str) {
        let state = CallbackState::Paused(reason.to_owned());
        let book = Arc::clone(&self.0);
        tokio::spawn(async move {
            let _turn = book.turn.lock().await;
            let Some(callback) = book.registry.by_id(id).filter(|callback| callback.state != state) else {
                return;
            };
            let paused = Callback { state, ..(*callback).clone() };
            if let Err(error) = book.put(paused.clone()).await {
                tracing::warn!(callback = %id, %error, "a pause could not be confirmed");
                // Unless a resumption crossed it, the store has it already.
                book.registry.put(paused);
            }
        });
    }

    /// How deliveries of this registration are sent now; `None` if it was removed.
    ///
    /// One that memory does not have may have been taken in by another process a moment ago, which
    /// the store knows.
    ///
    /// # Errors
    /// The store did not say.
    pub async fn delivery_settings(
        &self,
        id: CallbackId,
    ) -> Result<Option<Arc<DeliverySettings>>, StoreError> {
        self.learn(&[id]).await?;
        Ok(self.0.registry.delivery_settings(id))
    }

    /// Takes in what other processes have written, if one of these is not known here: it may have been
    /// made a moment ago.
    ///
    /// # Errors
    /// The store did not say.
    pub async fn learn(&self, ids: &[CallbackId]) -> Result<(), StoreError> {
        let book = &self.0;
        let is_unknown = || ids.iter().any(|id| book.registry.by_id(*id).is_none());
        if is_unknown() {
            let mut revision = book.turn.lock().await;
            if is_unknown() {
                book.catch_up(&mut revision).await?;
            }
        }
        Ok(())
    }

    /// Takes in what has changed in the store until now.
    ///
    /// # Errors
    /// The store did not say.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let mut revision = self.0.turn.lock().await;
        self.0.catch_up(&mut revision).await
    }

    /// Follows what other processes write to the same store, for ever.
    pub async fn follow(self) {
        loop {
            let revision = *self.0.turn.lock().await;
            self.0.store.callbacks_changed(revision).await;
            let mut revision = self.0.turn.lock().await;
            if let Err(error) = self.0.catch_up(&mut revision).await {
                drop(revision);
                tracing::warn!(%error, "changes of registrations cannot be read; trying again");
                tokio::time::sleep(FOLLOW_PAUSE).await;
            }
        }
    }

    /// Runs a change in a task of its own: whoever asked for it may go away, and it still happens
    /// in both places or in none.
    async fn to_the_end<T, E, F>(&self, change: impl FnOnce(Arc<Book>) -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        match tokio::spawn(change(Arc::clone(&self.0))).await {
            Ok(result) => result,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only the end of the whole process cancels it.
                Err(_) => Err(StoreError::Unavailable {
                    reason: "closed",
                    retry_after: Duration::from_secs(1),
                    source: None,
                }
                .into()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use super::*;
    use crate::registration::callback::tests::callback;
    use crate::store::embedded::{Embedded, Options};

    struct Both {
        ledger: Ledger,
        store: SharedStore,
        registry: Arc<Registry>,
        _folder: tempfile::TempDir,
    }

    fn both() -> Both {
        let folder = tempfile::tempdir().unwrap();
        let store: SharedStore =
            Arc::new(Embedded::open(&folder.path().join("ringback.db"), Options::default()).unwrap());
        let registry = Arc::new(Registry::default());
        let ledger = Ledger::new(Arc::clone(&store), Arc::clone(&registry), None, 1, 1 << 20);
        Both { ledger, store, registry, _folder: folder }
    }

    impl Both {
        /// Every registration's state, as the store has it and as memory has it.
        async fn states(&self) -> (Vec<CallbackState>, Vec<CallbackState>) {
            let stored: Vec<_> = self.store.callbacks().await.unwrap();
            let held: Vec<_> =
                self.registry.list(&"acme".into(), None, 100).iter().map(|held| held.state.clone()).collect();
            (stored.into_iter().map(|row| row.state).collect(), held)
        }

        async fn wait_for(&self, expected: &[CallbackState]) {
            let expected = (expected.to_vec(), expected.to_vec());
            for _ in 0..500 {
                if self.states().await == expected {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert_eq!(self.states().await, expected, "store and memory");
        }
    }

    /// Begins something, and goes away.
    async fn begin<T>(change: impl Future<Output = T>) {
        let mut change = pin!(change);
        poll_fn(|context| {
            let _ = change.as_mut().poll(context);
            Poll::Ready(())
        })
        .await;
    }

    fn gone() -> CallbackState {
        CallbackState::Paused("410 from the receiver".to_owned())
    }

    #[tokio::test]
    async fn a_change_whose_customer_goes_away_happens_in_both_places() {
        let both = both();
        let callback = callback();
        let (account, id) = (Arc::clone(&callback.account), callback.id);
        begin(both.ledger.add(callback, 1, None)).await;
        both.wait_for(&[CallbackState::Active]).await;
        begin(both.ledger.set_state(&account, id, gone())).await;
        both.wait_for(&[gone()]).await;
        begin(both.ledger.remove(&account, id)).await;
        both.wait_for(&[]).await;
    }

    #[tokio::test]
    async fn a_pause_by_the_receiver_and_a_resumption_leave_both_places_of_one_mind() {
        let both = both();
        let callback = callback();
        let (account, id) = (Arc::clone(&callback.account), callback.id);
        both.ledger.add(callback.clone(), 1, None).await.unwrap();
        // The store pauses; the customer resumes; only then the worker's word arrives.
        both.store.put_callback(Callback { state: gone(), ..callback }.to_row(None)).await.unwrap();
        both.ledger.set_state(&account, id, CallbackState::Active).await.unwrap();
        both.ledger.follow_pause(id, "410 from the receiver");
        both.wait_for(&[gone()]).await;
        let resumed = both.ledger.set_state(&account, id, CallbackState::Active).await.unwrap();
        assert_eq!(resumed.unwrap().state, CallbackState::Active);
        both.wait_for(&[CallbackState::Active]).await;
    }

    #[tokio::test]
    async fn a_pause_that_arrives_late_does_not_bring_a_removed_registration_back() {
        let both = both();
        let callback = callback();
        let (account, id) = (Arc::clone(&callback.account), callback.id);
        both.ledger.add(callback, 1, None).await.unwrap();
        assert!(both.ledger.remove(&account, id).await.unwrap());
        both.ledger.follow_pause(id, "410 from the receiver");
        assert!(both.ledger.set_state(&account, id, CallbackState::Active).await.unwrap().is_none());
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(both.states().await, (Vec::new(), Vec::new()));
        assert!(!both.ledger.remove(&account, id).await.unwrap());
    }

    #[tokio::test]
    async fn an_account_never_has_more_than_it_may_have() {
        let both = both();
        let other = Callback { account: "other".into(), ..callback() };
        both.ledger.add(other, 1, None).await.unwrap();
        let (first, second, third) = tokio::join!(
            both.ledger.add(callback(), 2, None),
            both.ledger.add(callback(), 2, None),
            both.ledger.add(callback(), 2, None)
        );
        let added = [first, second, third].into_iter().flatten().count();
        assert_eq!(added, 2);
        assert!(matches!(both.ledger.add(callback(), 2, None).await, Err(AddError::Full(2))));
        assert_eq!(both.registry.count(&"acme".into()), 2);
    }
}
