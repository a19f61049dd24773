//! How the control server asks the running daemon for something: a request travels over a
//! channel to the one task that owns all state, so nothing needs a lock.

use tokio::sync::{broadcast, mpsc, oneshot};

use crate::{control::api, model::SourceRef};

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Nobody of that name is known.
    #[error("no source `{source_ref}` is known; `flowguard sources` lists those that were active")]
    NoSuchSource {
        /// What was asked for.
        source_ref: SourceRef,
    },
    /// The request makes no sense.
    #[error("{reason}")]
    BadRequest {
        /// Why, for people.
        reason: String,
    },
    /// The new configuration was refused; the old one stays.
    #[error("{reason}\nthe configuration in force stays as it is")]
    BadConfig {
        /// Why, for people.
        reason: String,
    },
    /// The daemon failed.
    #[error("{reason}")]
    Internal {
        /// Why, for people.
        reason: String,
    },
}

impl RequestError {
    fn gone() -> Self {
        Self::Internal {
            reason: "the daemon is shutting down".to_owned(),
        }
    }
}

/// The way back for the answer.
pub type Reply<T> = oneshot::Sender<Result<T, RequestError>>;

/// An operator's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Against or for whom.
    pub source: SourceRef,
    /// What to do.
    pub action: api::ActionName,
    /// At which rate, if the action has one.
    pub limit: Option<api::Limit>,
    /// In which classes; never empty.
    pub classes: Vec<crate::model::ClassName>,
    /// For how long; none: until lifted.
    pub duration: Option<std::time::Duration>,
    /// Why.
    pub reason: Option<String>,
    /// Who ordered it: `uid:0`.
    pub by: String,
}

/// What the daemon can be asked.
#[derive(Debug)]
pub enum Request {
    /// How is it?
    Status(Reply<api::Status>),
    /// Who did what?
    Sources(Reply<Vec<api::Source>>),
    /// All about one source.
    Show(SourceRef, Reply<api::SourceDetail>),
    /// Verdicts in force.
    Verdicts(Reply<Vec<api::VerdictRecord>>),
    /// The last events, oldest first.
    RecentEvents(Reply<Vec<api::Event>>),
    /// Carry out an order.
    Order(Order, Reply<Vec<api::VerdictRecord>>),
    /// Lift verdicts of one source or of all; the text says who asked.
    Unblock(Option<SourceRef>, String, Reply<api::Unblocked>),
    /// Read the configuration again; the text says who asked.
    Reload(String, Reply<api::Reloaded>),
    /// Note an order that was refused before it came here.
    Refused(Box<api::AuditEntry>),
    /// The last orders, newest first, at most so many.
    Orders(u32, Reply<Vec<api::AuditEntry>>),
}

/// A handle on the running daemon. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    events: broadcast::Sender<api::Event>,
}

impl Handle {
    /// A handle whose requests arrive at the other end of `requests`, and whose subscribers get
    /// what is sent into `events`.
    pub fn new(requests: mpsc::Sender<Request>, events: broadcast::Sender<api::Event>) -> Self {
        Self { requests, events }
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, RequestError> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(request(reply))
            .await
            .map_err(|_| RequestError::gone())?;
        answer.await.map_err(|_| RequestError::gone())?
    }

    /// How the daemon is.
    pub async fn status(&self) -> Result<api::Status, RequestError> {
        self.ask(Request::Status).await
    }

    /// All sources that were ever active.
    pub async fn sources(&self) -> Result<Vec<api::Source>, RequestError> {
        self.ask(Request::Sources).await
    }

    /// Everything about one source.
    pub async fn show(&self, source: SourceRef) -> Result<api::SourceDetail, RequestError> {
        self.ask(|reply| Request::Show(source, reply)).await
    }

    /// Verdicts in force.
    pub async fn verdicts(&self) -> Result<Vec<api::VerdictRecord>, RequestError> {
        self.ask(Request::Verdicts).await
    }

    /// The last events, oldest first.
    pub async fn recent_events(&self) -> Result<Vec<api::Event>, RequestError> {
        self.ask(Request::RecentEvents).await
    }

    /// Events from now on. A subscriber that is too slow misses some, and is told how many.
    pub fn subscribe(&self) -> broadcast::Receiver<api::Event> {
        self.events.subscribe()
    }

    /// Blocks or allows a source; the new records, one per class.
    pub async fn order(&self, order: Order) -> Result<Vec<api::VerdictRecord>, RequestError> {
        self.ask(|reply| Request::Order(order, reply)).await
    }

    /// Lifts the verdicts of one source, or all of them.
    pub async fn unblock(
        &self,
        source: Option<SourceRef>,
        by: String,
    ) -> Result<api::Unblocked, RequestError> {
        self.ask(|reply| Request::Unblock(source, by, reply)).await
    }

    /// Reads the configuration again; `by` says who asked.
    pub async fn reload(&self, by: String) -> Result<api::Reloaded, RequestError> {
        self.ask(|reply| Request::Reload(by, reply)).await
    }

    /// Has an order noted that was refused before it reached the daemon. If the daemon is too busy
    /// to be told at once, it is not told.
    pub fn refused(&self, entry: api::AuditEntry) {
        if self
            .requests
            .try_send(Request::Refused(Box::new(entry)))
            .is_err()
        {
            tracing::warn!("a refused order could not be noted");
        }
    }

    /// The last orders, newest first.
    pub async fn orders(&self, most: u32) -> Result<Vec<api::AuditEntry>, RequestError> {
        self.ask(|reply| Request::Orders(most, reply)).await
    }
}
