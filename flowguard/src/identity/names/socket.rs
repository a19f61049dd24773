//! Names over Docker's API (`GET /containers/{id}/json`), which Podman's service speaks as well.

use std::{io, path::Path};

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::{Container, Inspected, NameError};

/// Longest answer that is read, bytes. One with hundreds of labels has some tens of kilobytes.
const MAX_ANSWER: usize = 4 << 20;

/// What the engine behind `socket` calls a container; none: it knows no such container, or there is no
/// such engine. The caller limits the time: an engine that starts a container answers questions about it
/// when it is done.
pub(super) async fn inspect(socket: &Path, id: &str) -> Result<Option<Container>, NameError> {
    let stream = match UnixStream::connect(socket).await {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(NameError::Unreadable {
                path: socket.to_owned(),
                source,
            });
        }
    };
    let unexpected = |reason: String| NameError::Unexpected {
        path: socket.to_owned(),
        reason,
    };
    let response = get(stream, &format!("/containers/{id}/json"))
        .await
        .map_err(|error| unexpected(error.to_string()))?;
    match response.status() {
        StatusCode::OK => {
            let body = Limited::new(response.into_body(), MAX_ANSWER)
                .collect()
                .await
                .map_err(|error| unexpected(error.to_string()))?;
            Inspected::parse(socket, &body.to_bytes())
        }
        StatusCode::NOT_FOUND => Ok(None),
        status => Err(unexpected(format!("it answers {status}"))),
    }
}

async fn get(stream: UnixStream, path: &str) -> Result<Response<Incoming>, hyper::Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends when the sender or the answer is dropped; an error of it is one of the request as well.
    tokio::spawn(connection);
    let mut request = Request::new(Empty::<Bytes>::new());
    // Every path made of this prefix and hexadecimal digits is a valid one.
    *request.uri_mut() = path.parse().unwrap_or_default();
    let host = header::HeaderValue::from_static("localhost");
    request.headers_mut().insert(header::HOST, host);
    sender.send_request(request).await
}
