//! What changes something: orders, checked before the daemon gets them, and noted when they are not
//! good enough for it.

use std::time::Duration;

use axum::{
    Extension, Json,
    extract::{State, rejection::JsonRejection},
};
use jiff::Timestamp;

use super::{
    access::Peer,
    refusal::Refusal,
    routes::{App, source_ref},
};
use crate::{control::api, daemon::handle::Order, model::ClassName, rate};

/// Longest text of a refused order that is noted, characters.
const NOTED_CHARS: usize = 500;

type OrderBody = Result<Json<api::OrderRequest>, JsonRejection>;

pub(super) async fn block(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    body: OrderBody,
) -> Result<Json<Vec<api::VerdictRecord>>, Refusal> {
    let order = noted(&app, &peer, "block", body, |request| {
        let action = request.action.unwrap_or(api::ActionName::Block);
        match action {
            api::ActionName::Allow => {
                return Err(Refusal::bad_request(
                    "`allow` is no block: POST it to /v1/allow",
                ));
            }
            api::ActionName::Notice => {
                return Err(Refusal::bad_request(
                    "`notice` is what rules do: nothing would be blocked",
                ));
            }
            _ => {}
        }
        order(action, request, &peer)
    })?;
    Ok(Json(app.handle.order(order).await?))
}

pub(super) async fn allow(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    body: OrderBody,
) -> Result<Json<Vec<api::VerdictRecord>>, Refusal> {
    let order = noted(&app, &peer, "allow", body, |request| {
        if request
            .action
            .is_some_and(|action| action != api::ActionName::Allow)
        {
            return Err(Refusal::bad_request(
                "what passes has no other action: leave `action` out, or POST it to /v1/block",
            ));
        }
        order(api::ActionName::Allow, request, &peer)
    })?;
    Ok(Json(app.handle.order(order).await?))
}

pub(super) async fn unblock(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    body: Result<Json<api::UnblockRequest>, JsonRejection>,
) -> Result<Json<api::Unblocked>, Refusal> {
    let source = noted(&app, &peer, "unblock", body, |request| {
        request.source.as_deref().map(source_ref).transpose()
    })?;
    Ok(Json(app.handle.unblock(source, by(&peer)).await?))
}

pub(super) async fn reload(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
) -> Result<Json<api::Reloaded>, Refusal> {
    Ok(Json(app.handle.reload(by(&peer)).await?))
}

/// What a request names as its source.
trait Named {
    fn source(&self) -> Option<&str>;
}

impl Named for api::OrderRequest {
    fn source(&self) -> Option<&str> {
        Some(&self.source)
    }
}

impl Named for api::UnblockRequest {
    fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }
}

/// Checks a request; if it is refused here, the daemon does not see it, but is told.
fn noted<R: Named, T>(
    app: &App,
    peer: &Peer,
    what: &str,
    body: Result<Json<R>, JsonRejection>,
    check: impl FnOnce(R) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let mut source = None;
    let checked = body.map_err(Refusal::from).and_then(|Json(request)| {
        source = request.source().map(str::to_owned);
        check(request)
    });
    checked.inspect_err(|refusal| app.handle.refused(refused(peer, what, source, refusal)))
}

/// An order that was refused, as it is noted. What somebody sent is cut off where nobody would read
/// on.
pub(super) fn refused(
    peer: &Peer,
    what: &str,
    source: Option<String>,
    refusal: &Refusal,
) -> api::AuditEntry {
    let cut = |text: &str| text.chars().take(NOTED_CHARS).collect();
    api::AuditEntry {
        entry: 0,
        at: Timestamp::now(),
        by: by(peer),
        what: cut(what),
        source: source.as_deref().map(cut),
        detail: None,
        reason: None,
        error: Some(cut(refusal.message())),
    }
}

fn by(peer: &Peer) -> String {
    format!("uid:{}", peer.uid)
}

/// The rate of an order, if its action has one.
fn limit(
    action: api::ActionName,
    limit: Option<api::Limit>,
) -> Result<Option<api::Limit>, Refusal> {
    match limit {
        Some(limit) if action.has_rate() => match rate::checked(limit.into()) {
            Ok(rate) => Ok(Some(rate.into())),
            Err(error) => Err(Refusal::bad_request(format!("`limit`: {error}"))),
        },
        Some(_) => Err(Refusal::bad_request(format!(
            "`{action}` has no `limit`: leave it out, or order `limit` or `new-destinations`"
        ))),
        None if action.has_rate() => Err(Refusal::bad_request(format!(
            "`{action}` needs a `limit`, such as {{\"burst\": 10, \"interval_ns\": 360000000000}}"
        ))),
        None => Ok(None),
    }
}

/// An operator's request, checked.
fn order(
    action: api::ActionName,
    request: api::OrderRequest,
    peer: &Peer,
) -> Result<Order, Refusal> {
    let mut classes = request.classes;
    if classes.is_empty() {
        classes = match action {
            // Logins must not go to a server they are not meant for unless somebody says so.
            api::ActionName::Redirect => vec![ClassName::Direct],
            _ => vec![ClassName::Direct, ClassName::Submission],
        };
    }
    classes.sort();
    classes.dedup();
    if action == api::ActionName::Redirect && classes.contains(&ClassName::Relay) {
        return Err(Refusal::bad_request(
            "class `relay` is mail to where it may go: redirect `direct` or `submission`",
        ));
    }
    let limit = limit(action, request.limit)?;
    match request.seconds {
        Some(0) => {
            return Err(Refusal::bad_request(
                "`seconds` is 0: leave it out for a verdict that stays until it is lifted",
            ));
        }
        Some(seconds) if seconds > api::MAX_ORDER_SECONDS => {
            return Err(Refusal::bad_request(format!(
                "`seconds` is {seconds}, more than ten years ({}): leave it out for a verdict that stays until it is lifted",
                api::MAX_ORDER_SECONDS
            )));
        }
        _ => {}
    }
    if let Some(reason) = &request.reason
        && reason.len() > api::MAX_REASON_BYTES
    {
        return Err(Refusal::bad_request(format!(
            "the reason is {} bytes long, and {} is the most there can be",
            reason.len(),
            api::MAX_REASON_BYTES
        )));
    }
    Ok(Order {
        source: source_ref(&request.source)?,
        action,
        limit,
        classes,
        duration: request.seconds.map(Duration::from_secs),
        reason: request.reason,
        by: by(peer),
    })
}
