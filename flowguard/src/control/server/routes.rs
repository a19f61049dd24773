//! What can be asked, and how the answers look.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    body::{Body, HttpBody},
    extract::{
        DefaultBodyLimit, Path, Query, Request, State,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
    http::header,
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::{
    broadcast::{self, error::RecvError},
    watch,
};

use super::{
    REQUEST_TIMEOUT,
    access::{Access, Peer},
    refusal::Refusal,
};
use crate::{
    control::api,
    daemon::handle::{Handle, Order},
    model::{ClassName, SourceRef},
    rate,
};

/// Longest body of a request.
const BODY_BYTES: usize = 64 * 1024;
/// Longest text for a source: `cgroup:` and a path of `PATH_MAX` bytes (include/uapi/linux/limits.h).
const SOURCE_BYTES: usize = "cgroup:".len() + 4_096;

#[derive(Clone)]
struct App {
    handle: Handle,
    stopped: watch::Receiver<()>,
}

/// All routes. Requests must carry the [`Peer`] who sent them as an extension.
pub(super) fn router(handle: Handle, access: Arc<Access>, stopped: watch::Receiver<()>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/sources", get(sources))
        .route("/v1/sources/{source}", get(show))
        .route("/v1/verdicts", get(verdicts))
        .route("/v1/events", get(events))
        .route("/v1/block", post(block))
        .route("/v1/allow", post(allow))
        .route("/v1/unblock", post(unblock))
        .route("/v1/reload", post(reload))
        .fallback(async || Refusal::no_such_route())
        .method_not_allowed_fallback(async || Refusal::wrong_method())
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(from_fn_with_state(access, guard))
        .with_state(App { handle, stopped })
}

/// Lets through who may, and gives up on what is too large or takes too long.
async fn guard(
    State(access): State<Arc<Access>>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if !access.may(&peer, request.method()) {
        tracing::warn!(uid = peer.uid, method = %request.method(), "a control request was refused");
        return Refusal::forbidden(peer.uid, request.method()).into_response();
    }
    // What announces too much is not waited for; what sends too much is stopped while reading.
    if request.body().size_hint().lower() > BODY_BYTES as u64 {
        return Refusal::too_large(BODY_BYTES).into_response();
    }
    tokio::time::timeout(REQUEST_TIMEOUT, next.run(request))
        .await
        .unwrap_or_else(|_| Refusal::timed_out(REQUEST_TIMEOUT).into_response())
}

async fn status(State(app): State<App>) -> Result<Json<api::Status>, Refusal> {
    Ok(Json(app.handle.status().await?))
}

async fn sources(State(app): State<App>) -> Result<Json<Vec<api::Source>>, Refusal> {
    Ok(Json(app.handle.sources().await?))
}

async fn show(
    State(app): State<App>,
    source: Result<Path<String>, PathRejection>,
) -> Result<Json<api::SourceDetail>, Refusal> {
    let Path(source) = source?;
    Ok(Json(app.handle.show(source_ref(&source)?).await?))
}

async fn verdicts(State(app): State<App>) -> Result<Json<Vec<api::VerdictRecord>>, Refusal> {
    Ok(Json(app.handle.verdicts().await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    #[serde(default)]
    follow: bool,
}

async fn events(
    State(app): State<App>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(query) = query?;
    if query.follow {
        Ok(follow(app.handle.subscribe(), app.stopped))
    } else {
        Ok(Json(app.handle.recent_events().await?).into_response())
    }
}

/// One line of JSON per event, until either side hangs up.
fn follow(events: broadcast::Receiver<api::Event>, stopped: watch::Receiver<()>) -> Response {
    let lines = stream::unfold((events, stopped), async |(mut events, mut stopped)| {
        let line = tokio::select! {
            received = events.recv() => match received {
                Ok(event) => api::FollowLine::Event(event),
                Err(RecvError::Lagged(missed)) => api::FollowLine::Missed { missed },
                Err(RecvError::Closed) => return None,
            },
            _ = stopped.changed() => return None,
        };
        let line = serde_json::to_string(&line).map(|line| line + "\n");
        Some((line, (events, stopped)))
    });
    (
        [(header::CONTENT_TYPE, "application/x-ndjson")],
        Body::from_stream(lines),
    )
        .into_response()
}

type OrderBody = Result<Json<api::OrderRequest>, JsonRejection>;

async fn block(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    body: OrderBody,
) -> Result<Json<Vec<api::VerdictRecord>>, Refusal> {
    let Json(request) = body?;
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
    let order = order(action, request, &peer)?;
    Ok(Json(app.handle.order(order).await?))
}

async fn allow(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    body: OrderBody,
) -> Result<Json<Vec<api::VerdictRecord>>, Refusal> {
    let Json(request) = body?;
    if request
        .action
        .is_some_and(|action| action != api::ActionName::Allow)
    {
        return Err(Refusal::bad_request(
            "what passes has no other action: leave `action` out, or POST it to /v1/block",
        ));
    }
    let order = order(api::ActionName::Allow, request, &peer)?;
    Ok(Json(app.handle.order(order).await?))
}

async fn unblock(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    body: Result<Json<api::UnblockRequest>, JsonRejection>,
) -> Result<Json<api::Unblocked>, Refusal> {
    let Json(request) = body?;
    let source = request.source.as_deref().map(source_ref).transpose()?;
    Ok(Json(app.handle.unblock(source, by(&peer)).await?))
}

async fn reload(State(app): State<App>) -> Result<Json<api::Reloaded>, Refusal> {
    Ok(Json(app.handle.reload().await?))
}

fn by(peer: &Peer) -> String {
    format!("uid:{}", peer.uid)
}

fn source_ref(text: &str) -> Result<SourceRef, Refusal> {
    if text.len() > SOURCE_BYTES {
        return Err(Refusal::bad_request(format!(
            "the source is {} bytes long, and {SOURCE_BYTES} is the most there can be",
            text.len()
        )));
    }
    text.parse()
        .map_err(|error: crate::model::SourceRefError| Refusal::bad_request(error.to_string()))
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
