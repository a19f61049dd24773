//! The server on a real socket, with a task at the daemon's end of the channel.

mod abuse;
mod requests;

use std::{collections::BTreeMap, path::PathBuf};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{broadcast, mpsc, oneshot},
};

use super::*;
use crate::{
    control::{
        api,
        client::{Client, ClientError},
    },
    daemon::handle::{Order, Request, RequestError},
    model::{ClassName, Mode, SourceRef, Totals},
};

fn time(second: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_750_000_000 + second).unwrap()
}

fn source() -> api::Source {
    api::Source {
        source: "user:alice".to_owned(),
        kind: "user".to_owned(),
        name: "alice".to_owned(),
        id: Some(7),
        exempt: None,
        tenant: None,
        classes: BTreeMap::from([(
            ClassName::Direct,
            Totals {
                attempts: 12,
                ..Totals::default()
            },
        )]),
        last_seen: Some(time(0)),
        verdict: None,
    }
}

fn event(dport: u16) -> api::Event {
    api::Event {
        time: time(0),
        source: "user:alice".to_owned(),
        class: ClassName::Direct,
        decision: "pass".to_owned(),
        hook: "connect4".to_owned(),
        dst: [192, 0, 2, 1].into(),
        dport,
        process: None,
    }
}

fn status() -> api::Status {
    api::Status {
        version: "0.1.0".to_owned(),
        pid: 42,
        started: time(0),
        mode: Mode::Observe,
        config: None,
        config_loaded: time(0),
        pins: "/sys/fs/bpf/flowguard".to_owned(),
        hooks: vec!["connect4".to_owned()],
        adopted: false,
        sources: 1,
        source_capacity: 16_384,
        verdicts: 0,
        smarthosts: Vec::new(),
        totals: BTreeMap::new(),
        kernel: BTreeMap::new(),
        events_received: 0,
        processes: Default::default(),
        tables: BTreeMap::new(),
        decided: Default::default(),
        sending: Vec::new(),
        warnings: Vec::new(),
    }
}

fn record(order: &Order) -> api::VerdictRecord {
    api::VerdictRecord {
        limit: None,
        record: 1,
        source: order.source.to_string(),
        class: order.classes[0],
        action: order.action,
        rule: None,
        by: order.by.clone(),
        reason: order.reason.clone(),
        mode: Mode::Observe,
        since: time(0),
        until: None,
        ended: None,
        observations: Vec::new(),
        step: None,
        likelihood: None,
        events: Vec::new(),
        replies: Vec::new(),
    }
}

fn known(source_ref: &SourceRef) -> Result<(), RequestError> {
    match source_ref {
        SourceRef::User(name) if name == "alice" => Ok(()),
        SourceRef::Cgroup(path) if path == "/a/b c" => Ok(()),
        _ => Err(RequestError::NoSuchSource {
            source_ref: source_ref.clone(),
        }),
    }
}

/// Answers as a daemon would, and passes on the orders it got.
async fn daemon(mut requests: mpsc::Receiver<Request>, orders: mpsc::UnboundedSender<Order>) {
    while let Some(request) = requests.recv().await {
        // A client that went away wants no answer.
        match request {
            Request::Status(reply) => drop(reply.send(Ok(status()))),
            Request::Sources(reply) => drop(reply.send(Ok(vec![source()]))),
            Request::Show(source_ref, reply) => {
                drop(reply.send(known(&source_ref).map(|()| api::SourceDetail {
                    summary: source(),
                    identities: vec![source_ref.to_string()],
                    containers: Vec::new(),
                    verdicts: Vec::new(),
                    events: Vec::new(),
                    replies: Vec::new(),
                })));
            }
            Request::Verdicts(reply) => drop(reply.send(Ok(Vec::new()))),
            Request::RecentEvents(reply) => drop(reply.send(Ok(vec![event(25)]))),
            Request::Order(order, reply) => {
                drop(reply.send(known(&order.source).map(|()| vec![record(&order)])));
                orders.send(order).unwrap();
            }
            Request::Unblock(source_ref, by, reply) => {
                assert_eq!(by, format!("uid:{}", own_uid()));
                let answer = source_ref.as_ref().map_or(Ok(()), known);
                drop(reply.send(answer.map(|()| api::Unblocked { lifted: Vec::new() })));
            }
            Request::Refused(_) => {}
            Request::Orders(_, reply) => drop(reply.send(Ok(Vec::new()))),
            Request::Reload(_, reply) => drop(reply.send(Err(RequestError::BadConfig {
                reason: "line 3".to_owned(),
            }))),
        }
    }
}

fn own_uid() -> u32 {
    nix::unistd::Uid::effective().as_raw()
}

struct Running {
    client: Client,
    path: PathBuf,
    events: broadcast::Sender<api::Event>,
    orders: mpsc::UnboundedReceiver<Order>,
    stop: oneshot::Sender<()>,
    server: tokio::task::JoinHandle<io::Result<()>>,
    _place: tempfile::TempDir,
}

fn start() -> Running {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("control.sock");
    let listener = bind(&path, None).unwrap();
    let (requests, received) = mpsc::channel(8);
    let (events, _) = broadcast::channel(4);
    let (order, orders) = mpsc::unbounded_channel();
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(daemon(received, order));
    let server = tokio::spawn(serve(
        listener,
        Handle::new(requests, events.clone()),
        Access::for_group(None).unwrap(),
        async move { drop(stopped.await) },
    ));
    Running {
        client: Client::new(&path),
        path,
        events,
        orders,
        stop,
        server,
        _place: place,
    }
}

fn order_request() -> api::OrderRequest {
    api::OrderRequest {
        source: "user:alice".to_owned(),
        action: None,
        limit: None,
        classes: Vec::new(),
        seconds: None,
        reason: None,
    }
}

impl Running {
    /// Sends bytes and returns everything that comes back until the server hangs up, which it may
    /// do before it has read them all.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(&self.path).await.unwrap();
        let mut answer = Vec::new();
        for result in [
            stream.write_all(bytes).await,
            stream.read_to_end(&mut answer).await.map(drop),
        ] {
            if let Err(error) = result {
                assert!(
                    matches!(
                        error.kind(),
                        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                    ),
                    "{error}"
                );
            }
        }
        String::from_utf8(answer).unwrap()
    }

    /// Posts a body and returns the status and the failure that come back.
    async fn post(&self, path: &str, body: &str) -> (u16, api::Failure) {
        let answer = self
            .raw(
                format!(
                    "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                )
                .as_bytes(),
            )
            .await;
        parse(&answer)
    }
}

fn parse(answer: &str) -> (u16, api::Failure) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}
