//! What can be asked, and how the answers look.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    body::{Body, HttpBody},
    extract::{
        DefaultBodyLimit, Path, Query, Request, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{Method, header},
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
    orders,
    refusal::Refusal,
};
use crate::{control::api, daemon::handle::Handle, model::SourceRef};

/// Longest body of a request.
const BODY_BYTES: usize = 64 * 1024;
/// Longest text for a source: `cgroup:` and a path of `PATH_MAX` bytes (include/uapi/linux/limits.h).
const SOURCE_BYTES: usize = "cgroup:".len() + 4_096;

/// Most orders that are listed at once.
const MAX_ORDERS: u32 = 10_000;

#[derive(Clone)]
pub(super) struct App {
    pub(super) handle: Handle,
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
        .route("/v1/audit", get(audit))
        .route("/v1/block", post(orders::block))
        .route("/v1/allow", post(orders::allow))
        .route("/v1/unblock", post(orders::unblock))
        .route("/v1/reload", post(orders::reload))
        .fallback(async || Refusal::no_such_route())
        .method_not_allowed_fallback(async || Refusal::wrong_method())
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(from_fn_with_state((access, handle.clone()), guard))
        .with_state(App { handle, stopped })
}

/// Lets through who may, and gives up on what is too large or takes too long.
async fn guard(
    State((access, handle)): State<(Arc<Access>, Handle)>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if !access.may(&peer, request.method()) {
        tracing::warn!(uid = peer.uid, method = %request.method(), "a control request was refused");
        let refusal = Refusal::forbidden(peer.uid, request.method());
        if request.method() == Method::POST {
            let what = request.uri().path().trim_start_matches("/v1/");
            handle.refused(orders::refused(&peer, what, None, &refusal));
        }
        return refusal.into_response();
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
struct AuditQuery {
    #[serde(default = "AuditQuery::usual")]
    limit: u32,
}

impl AuditQuery {
    const fn usual() -> u32 {
        100
    }
}

async fn audit(
    State(app): State<App>,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<Vec<api::AuditEntry>>, Refusal> {
    let Query(AuditQuery { limit }) = query?;
    Ok(Json(app.handle.orders(limit.min(MAX_ORDERS)).await?))
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

pub(super) fn source_ref(text: &str) -> Result<SourceRef, Refusal> {
    if text.len() > SOURCE_BYTES {
        return Err(Refusal::bad_request(format!(
            "the source is {} bytes long, and {SOURCE_BYTES} is the most there can be",
            text.len()
        )));
    }
    text.parse()
        .map_err(|error: crate::model::SourceRefError| Refusal::bad_request(error.to_string()))
}
