//! Every answer that is no success: a status and a [`Failure`], and nowhere else.

use std::time::Duration;

use axum::{
    Json,
    extract::rejection::{JsonRejection, PathRejection, QueryRejection},
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};

use crate::{
    control::api::{Failure, FailureCode},
    daemon::handle::RequestError,
};

/// A failure on its way to the client.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    failure: Failure,
}

impl Refusal {
    fn new(status: StatusCode, code: FailureCode, message: impl Into<String>) -> Self {
        Self {
            status,
            failure: Failure {
                code,
                message: message.into(),
            },
        }
    }

    /// For people.
    pub(super) fn message(&self) -> &str {
        &self.failure.message
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, FailureCode::BadRequest, message)
    }

    pub(super) fn no_such_route() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            FailureCode::BadRequest,
            "there is nothing at this address: the daemon may be older than the client",
        )
    }

    pub(super) fn wrong_method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            FailureCode::BadRequest,
            "this address wants another method: GET reads, POST changes",
        )
    }

    pub(super) fn forbidden(uid: u32, method: &Method) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            FailureCode::Forbidden,
            format!(
                "uid {uid} may not send {method}: root may do everything, members of the control group may read"
            ),
        )
    }

    pub(super) fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            FailureCode::BadRequest,
            format!("the body is longer than {limit} bytes"),
        )
    }

    pub(super) fn timed_out(limit: Duration) -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            FailureCode::Timeout,
            format!(
                "no answer within {} s: the request arrived too slowly, or the daemon is busy and may still carry it out",
                limit.as_secs()
            ),
        )
    }
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        let (status, code) = match error {
            RequestError::NoSuchSource { .. } => (StatusCode::NOT_FOUND, FailureCode::NoSuchSource),
            RequestError::BadRequest { .. } => (StatusCode::BAD_REQUEST, FailureCode::BadRequest),
            RequestError::BadConfig { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, FailureCode::BadConfig)
            }
            RequestError::Internal { .. } => {
                (StatusCode::INTERNAL_SERVER_ERROR, FailureCode::Internal)
            }
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(
            rejection.status(),
            FailureCode::BadRequest,
            rejection.body_text(),
        )
    }
}

impl From<PathRejection> for Refusal {
    fn from(rejection: PathRejection) -> Self {
        Self::new(
            rejection.status(),
            FailureCode::BadRequest,
            rejection.body_text(),
        )
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(
            rejection.status(),
            FailureCode::BadRequest,
            rejection.body_text(),
        )
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.failure)).into_response()
    }
}
