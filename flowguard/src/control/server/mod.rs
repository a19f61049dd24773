//! The daemon's side of the control socket.
//!
//! The socket's mode keeps strangers out; the peer's credentials are checked all the same. Nothing
//! a client does, or fails to do, makes another one wait: every connection has its own task, a
//! limited time for its header and for the rest of its request, and its own place among a limited
//! number, of which some are root's alone and no other user gets most.

mod access;
mod bind;
mod orders;
mod places;
mod refusal;
mod routes;
#[cfg(test)]
mod tests;

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use axum::Router;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
};

use self::places::{Place, Places};
pub use self::{
    access::{Access, Peer},
    bind::{BindError, bind},
};
use crate::daemon::handle::Handle;

/// How long a client may take over the header of a request; also how long a connection may idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the rest of a request may take until its answer starts.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests under way may go on after the daemon was told to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to rest when no connection can be accepted, for want of file descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers on `listener` until `shutdown` completes; then removes the socket, lets requests under
/// way finish for two seconds, and ends event streams at once.
///
/// # Errors
///
/// The socket could not be removed. A connection's failure is its own affair.
pub async fn serve(
    listener: UnixListener,
    handle: Handle,
    access: Access,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let (stop, stopped) = watch::channel(());
    let access = Arc::new(access);
    let mut server = Server {
        router: routes::router(handle, Arc::clone(&access), stopped.clone()),
        access,
        places: Places::new(),
        stopped,
    };
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => server.admit(stream, &mut connections),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a control connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    // Before the listener goes: as long as it answers, nobody else takes the path over.
    let removed = remove(&listener);
    drop(listener);
    // The receivers see the sender go.
    drop(stop);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
        tracing::warn!("control connections were cut off: they did not finish in time");
    }
    removed
}

fn remove(listener: &UnixListener) -> io::Result<()> {
    match listener.local_addr()?.as_pathname() {
        Some(path) => match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
        None => Ok(()),
    }
}

struct Server {
    router: Router,
    access: Arc<Access>,
    places: Places,
    stopped: watch::Receiver<()>,
}

impl Server {
    /// Starts a task for the connection, or closes it: there are too many.
    fn admit(&mut self, stream: UnixStream, connections: &mut JoinSet<()>) {
        let credentials = match stream.peer_cred() {
            Ok(credentials) => credentials,
            Err(error) => {
                tracing::warn!(%error, "a control connection of unknown origin was closed");
                return;
            }
        };
        let uid = credentials.uid();
        let Some(place) = self.places.take(uid) else {
            tracing::warn!(uid, "too many control connections: the newest was closed");
            return;
        };
        connections.spawn(connection(
            stream,
            (uid, credentials.gid()),
            Arc::clone(&self.access),
            self.router.clone(),
            self.stopped.clone(),
            place,
        ));
    }
}

/// Serves one connection from its first byte to its last.
async fn connection(
    stream: UnixStream,
    (uid, gid): (u32, u32),
    access: Arc<Access>,
    router: Router,
    mut stopped: watch::Receiver<()>,
    _place: Place,
) {
    let peer = access.identify(uid, gid).await;
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        let answer = hyper::service::Service::call(&router, request);
        async move { answer.await.map_err(|never: Infallible| never) }
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        ended = &mut connection => ended,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(uid, %error, "a control connection broke off");
    }
}
