//! The other end of the control socket: typed questions to the running daemon.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode, body::Bytes, body::Incoming, client::conn::http1, header,
};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use super::api;

/// How long to wait for an answer; more than the daemon allows itself.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest line of an event stream that is read; an event has under a kilobyte.
const LINE_BYTES: usize = 1 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers at the socket.
    #[error(
        "no daemon answers at {} (`systemctl status flowguard` tells whether it runs; verdicts in force hold meanwhile)",
        socket.display()
    )]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// The caller may not do that.
    #[error("{message}")]
    PermissionDenied {
        /// Who may.
        message: String,
    },
    /// Nobody of that name is known.
    #[error("{message}")]
    NoSuchSource {
        /// What the daemon said.
        message: String,
    },
    /// The request makes no sense, or the configuration was refused.
    #[error("{message}")]
    BadRequest {
        /// What the daemon said.
        message: String,
    },
    /// Anything else.
    #[error("{message}")]
    Other {
        /// What happened.
        message: String,
    },
}

impl From<api::Failure> for ClientError {
    fn from(failure: api::Failure) -> Self {
        let message = failure.message;
        match failure.code {
            api::FailureCode::Forbidden => Self::PermissionDenied { message },
            api::FailureCode::NoSuchSource => Self::NoSuchSource { message },
            api::FailureCode::BadRequest | api::FailureCode::BadConfig => {
                Self::BadRequest { message }
            }
            api::FailureCode::Timeout | api::FailureCode::Internal => Self::Other { message },
        }
    }
}

/// Asks the daemon that listens at a socket. Every question is a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of the daemon that listens at `socket`.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
        }
    }

    /// Where the daemon is looked for.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// How the daemon is.
    ///
    /// # Errors
    ///
    /// See [`ClientError`]; so for all questions.
    pub async fn status(&self) -> Result<api::Status, ClientError> {
        self.get("/v1/status").await
    }

    /// All sources that were ever active.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn sources(&self) -> Result<Vec<api::Source>, ClientError> {
        self.get("/v1/sources").await
    }

    /// Everything about one source, named as [`crate::model::SourceRef`] is written.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn show(&self, source: &str) -> Result<api::SourceDetail, ClientError> {
        let source = utf8_percent_encode(source, NON_ALPHANUMERIC);
        self.get(&format!("/v1/sources/{source}")).await
    }

    /// Verdicts in force.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn verdicts(&self) -> Result<Vec<api::VerdictRecord>, ClientError> {
        self.get("/v1/verdicts").await
    }

    /// The last orders of operators, newest first.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn orders(&self) -> Result<Vec<api::AuditEntry>, ClientError> {
        self.get("/v1/audit").await
    }

    /// The last events, oldest first.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn recent_events(&self) -> Result<Vec<api::Event>, ClientError> {
        self.get("/v1/events").await
    }

    /// Events from now on.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn follow(&self) -> Result<EventStream, ClientError> {
        let request = self.request(Method::GET, "/v1/events?follow=true", Bytes::new())?;
        let response = self.timely(self.send(request)).await?;
        if response.status() != StatusCode::OK {
            return Err(self.timely(self.failure(response)).await?);
        }
        Ok(EventStream {
            socket: self.socket.clone(),
            body: response.into_body(),
            buffer: Vec::new(),
        })
    }

    /// Blocks a source; the new verdicts, one per class.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn block(
        &self,
        order: &api::OrderRequest,
    ) -> Result<Vec<api::VerdictRecord>, ClientError> {
        self.post("/v1/block", order).await
    }

    /// Lets a source pass whatever the rules say; the new verdicts, one per class.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn allow(
        &self,
        order: &api::OrderRequest,
    ) -> Result<Vec<api::VerdictRecord>, ClientError> {
        self.post("/v1/allow", order).await
    }

    /// Lifts the verdicts of one source, or of all.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn unblock(
        &self,
        request: &api::UnblockRequest,
    ) -> Result<api::Unblocked, ClientError> {
        self.post("/v1/unblock", request).await
    }

    /// Has the configuration read again.
    ///
    /// # Errors
    ///
    /// See [`ClientError`].
    pub async fn reload(&self) -> Result<api::Reloaded, ClientError> {
        let request = self.request(Method::POST, "/v1/reload", Bytes::new())?;
        self.ask(request).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let request = self.request(Method::GET, path, Bytes::new())?;
        self.ask(request).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Other {
            message: format!("the request cannot be written as JSON: {error}"),
        })?;
        let request = self.request(Method::POST, path, body.into())?;
        self.ask(request).await
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| ClientError::Other {
                message: format!("the request cannot be written: {error}"),
            })
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<T, ClientError> {
        self.timely(async {
            let response = self.send(request).await?;
            if response.status() != StatusCode::OK {
                return Err(self.failure(response).await?);
            }
            let body = self.body(response).await?;
            serde_json::from_slice(&body).map_err(|error| ClientError::Other {
                message: format!(
                    "the answer of the daemon at {} is not understood ({error}): is it of another version?",
                    self.socket.display()
                ),
            })
        })
        .await
    }

    async fn timely<T>(
        &self,
        question: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        tokio::time::timeout(ANSWER_TIMEOUT, question)
            .await
            .unwrap_or_else(|_| {
                Err(self.unreachable(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()),
                )))
            })
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ClientError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied => ClientError::PermissionDenied {
                    message: format!(
                        "no permission to use {}: root may do everything, members of the control group may read",
                        self.socket.display()
                    ),
                },
                _ => self.unreachable(error),
            })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.unreachable(io::Error::other(error)))?;
        // Ends by itself when request and answer are through, or the runtime goes.
        tokio::spawn(connection);
        sender
            .send_request(request)
            .await
            .map_err(|error| self.unreachable(io::Error::other(error)))
    }

    async fn body(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        let body = response.into_body().collect().await;
        Ok(body
            .map_err(|error| self.unreachable(io::Error::other(error)))?
            .to_bytes())
    }

    async fn failure(&self, response: Response<Incoming>) -> Result<ClientError, ClientError> {
        let status = response.status();
        let body = self.body(response).await?;
        Ok(match serde_json::from_slice::<api::Failure>(&body) {
            Ok(failure) => failure.into(),
            Err(_) => ClientError::Other {
                message: format!(
                    "whoever listens at {} answers {status}, and not as flowguard does",
                    self.socket.display()
                ),
            },
        })
    }

    fn unreachable(&self, source: io::Error) -> ClientError {
        ClientError::Unreachable {
            socket: self.socket.clone(),
            source,
        }
    }
}

/// Events as they happen.
#[derive(Debug)]
pub struct EventStream {
    socket: PathBuf,
    body: Incoming,
    buffer: Vec<u8>,
}

impl EventStream {
    /// The next line.
    ///
    /// # Errors
    ///
    /// The daemon went away, or sends what is not understood.
    pub async fn next(&mut self) -> Result<api::FollowLine, ClientError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return serde_json::from_slice(&line).map_err(|error| ClientError::Other {
                    message: format!("an event is not understood: {error}"),
                });
            }
            if self.buffer.len() > LINE_BYTES {
                return Err(ClientError::Other {
                    message: format!("an event is longer than {LINE_BYTES} bytes"),
                });
            }
            let source = match self.body.frame().await {
                Some(Ok(frame)) => {
                    self.buffer.extend(frame.data_ref().into_iter().flatten());
                    continue;
                }
                Some(Err(error)) => io::Error::other(error),
                None => io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the daemon ended the event stream",
                ),
            };
            return Err(ClientError::Unreachable {
                socket: self.socket.clone(),
                source,
            });
        }
    }
}
