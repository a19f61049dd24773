//! The server on a real socket, with a task at the daemon's end of the channel.

use std::{collections::BTreeMap, path::PathBuf};

use axum::{
    body::Body,
    http::{Method, Request as HttpRequest, StatusCode},
};
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
        totals: BTreeMap::new(),
        kernel: BTreeMap::new(),
        warnings: Vec::new(),
    }
}

fn record(order: &Order) -> api::VerdictRecord {
    api::VerdictRecord {
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
        events: Vec::new(),
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
                    verdicts: Vec::new(),
                    events: Vec::new(),
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
            Request::Reload(reply) => drop(reply.send(Err(RequestError::BadConfig {
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

#[tokio::test]
async fn reading_routes_answer() {
    let running = start();
    let client = &running.client;
    assert_eq!(client.status().await.unwrap(), status());
    assert_eq!(client.sources().await.unwrap(), [source()]);
    assert_eq!(client.verdicts().await.unwrap(), []);
    assert_eq!(client.recent_events().await.unwrap(), [event(25)]);
    let detail = client.show("user:alice").await.unwrap();
    assert_eq!(detail.summary, source());
}

#[tokio::test]
async fn any_name_survives_the_way() {
    let running = start();
    let detail = running.client.show("cgroup:/a/b c").await.unwrap();
    assert_eq!(detail.identities, ["cgroup:/a/b c"]);
    for hostile in ["user:a%2e/../é\u{202e}?x=1#y", "user:\0\n"] {
        let error = running.client.show(hostile).await.unwrap_err();
        assert!(
            matches!(error, ClientError::NoSuchSource { .. }),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn orders_arrive_complete() {
    let mut running = start();
    let records = running.client.block(&order_request()).await.unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(
        running.orders.recv().await.unwrap(),
        Order {
            source: SourceRef::User("alice".to_owned()),
            action: api::ActionName::Block,
            classes: vec![ClassName::Direct, ClassName::Submission],
            duration: None,
            reason: None,
            by: format!("uid:{}", own_uid()),
        }
    );
    let request = api::OrderRequest {
        classes: vec![ClassName::Relay, ClassName::Direct, ClassName::Relay],
        seconds: Some(api::MAX_ORDER_SECONDS),
        reason: Some("x".repeat(api::MAX_REASON_BYTES)),
        ..order_request()
    };
    running.client.allow(&request).await.unwrap();
    let order = running.orders.recv().await.unwrap();
    assert_eq!(order.action, api::ActionName::Allow);
    assert_eq!(order.classes, [ClassName::Direct, ClassName::Relay]);
    assert_eq!(
        order.duration,
        Some(Duration::from_secs(api::MAX_ORDER_SECONDS))
    );
    assert_eq!(order.reason, request.reason);
}

#[tokio::test]
async fn senseless_orders_are_refused() {
    let running = start();
    for (what, request) in [
        (
            "no kind",
            api::OrderRequest {
                source: "alice".to_owned(),
                ..order_request()
            },
        ),
        (
            "source too long",
            api::OrderRequest {
                source: format!("cgroup:/{}", "x".repeat(4_096)),
                ..order_request()
            },
        ),
        (
            "no time at all",
            api::OrderRequest {
                seconds: Some(0),
                ..order_request()
            },
        ),
        (
            "too long a time",
            api::OrderRequest {
                seconds: Some(api::MAX_ORDER_SECONDS + 1),
                ..order_request()
            },
        ),
        (
            "too long a reason",
            api::OrderRequest {
                reason: Some("x".repeat(api::MAX_REASON_BYTES + 1)),
                ..order_request()
            },
        ),
    ] {
        let error = running.client.block(&request).await.unwrap_err();
        assert!(
            matches!(error, ClientError::BadRequest { .. }),
            "{what}: {error:?}"
        );
    }
    let nobody = api::OrderRequest {
        source: "user:nobody-knows".to_owned(),
        ..order_request()
    };
    assert!(matches!(
        running.client.block(&nobody).await,
        Err(ClientError::NoSuchSource { .. })
    ));
}

#[tokio::test]
async fn verdicts_are_lifted_and_a_bad_configuration_is_told() {
    let running = start();
    let all = api::UnblockRequest { source: None };
    assert!(
        running
            .client
            .unblock(&all)
            .await
            .unwrap()
            .lifted
            .is_empty()
    );
    let nobody = api::UnblockRequest {
        source: Some("user:nobody-knows".to_owned()),
    };
    assert!(matches!(
        running.client.unblock(&nobody).await,
        Err(ClientError::NoSuchSource { .. })
    ));
    let Err(ClientError::BadRequest { message }) = running.client.reload().await else {
        panic!("the configuration is bad");
    };
    assert!(message.starts_with("line 3"), "{message}");
    let (status, failure) = running.post("/v1/reload", "").await;
    assert_eq!(
        (status, failure.code),
        (422, api::FailureCode::BadConfig),
        "{failure:?}"
    );
}

#[tokio::test]
async fn what_is_no_request_gets_an_error() {
    let running = start();
    for (path, body, expected) in [
        ("/v1/nothing", "{}", 404),
        ("/v1/status", "{}", 405),
        ("/v1/block", "{", 400),
        ("/v1/block", "[]", 422),
        ("/v1/block", r#"{"source":"user:alice","secnods":9}"#, 422),
        (
            "/v1/block",
            r#"{"source":"user:alice","classes":["x"]}"#,
            422,
        ),
        ("/v1/block", r#"{"source":"user:alice","seconds":-1}"#, 422),
        ("/v1/unblock", r#"{"sorce":"user:alice"}"#, 422),
        ("/v1/unblock", r#"{"source":"alice"}"#, 400),
    ] {
        let (status, failure) = running.post(path, body).await;
        assert_eq!(status, expected, "{path} {body}: {failure:?}");
        assert_eq!(failure.code, api::FailureCode::BadRequest);
        assert!(!failure.message.is_empty());
    }
    for (target, expected) in [
        ("/v1/events?follow=perhaps", 400),
        ("/v1/events?folow=true", 400),
        ("/v1/sources/user%ff", 400),
        ("/v1/sources/alice", 400),
        ("/v1/sources/user:bob", 404),
    ] {
        let answer = running
            .raw(format!("GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n").as_bytes())
            .await;
        assert_eq!(parse(&answer).0, expected, "{target}");
    }
    assert!(running.raw(b"\x16\x03\x01\r\n\r\n").await.contains("400"));
    assert!(running.client.status().await.is_ok());
}

#[tokio::test]
async fn huge_requests_are_refused_unread() {
    let running = start();
    let answer = running
        .raw(
            b"POST /v1/block HTTP/1.1\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n",
        )
        .await;
    assert_eq!(parse(&answer).0, 413);
    let (status, failure) = running
        .post(
            "/v1/block",
            &format!(r#"{{"source":"{}"}}"#, "x".repeat(64 * 1024)),
        )
        .await;
    assert_eq!((status, failure.code), (413, api::FailureCode::BadRequest));
    assert!(running.client.status().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn slow_clients_are_cut_off_and_nobody_waits_for_them() {
    let running = start();
    let mut half_header = UnixStream::connect(&running.path).await.unwrap();
    half_header
        .write_all(b"GET /v1/status HTTP/1.1\r\nHo")
        .await
        .unwrap();
    let mut half_body = UnixStream::connect(&running.path).await.unwrap();
    half_body
        .write_all(b"POST /v1/block HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
        .await
        .unwrap();
    let before = tokio::time::Instant::now();
    assert!(running.client.status().await.is_ok());
    assert!(before.elapsed() < HEADER_TIMEOUT);

    let mut answer = String::new();
    half_header.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "");
    half_body.read_to_string(&mut answer).await.unwrap();
    let (status, failure) = parse(&answer);
    assert_eq!((status, failure.code), (408, api::FailureCode::Timeout));
}

#[tokio::test]
async fn places_are_limited() {
    let running = start();
    let places = if own_uid() == 0 {
        ROOT_CONNECTIONS
    } else {
        READER_CONNECTIONS
    };
    let mut streams = Vec::new();
    for _ in 0..places {
        streams.push(running.client.follow().await.unwrap());
    }
    assert!(matches!(
        running.client.status().await,
        Err(ClientError::Unreachable { .. })
    ));
    drop(streams);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while running.client.status().await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "no place came free");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn followers_get_every_event_and_learn_what_they_missed() {
    let running = start();
    let mut stream = running.client.follow().await.unwrap();
    running.events.send(event(25)).unwrap();
    running.events.send(event(26)).unwrap();
    for dport in [25, 26] {
        assert_eq!(
            stream.next().await.unwrap(),
            api::FollowLine::Event(event(dport))
        );
    }
    // No await in between: the server, on the same thread, cannot read along. The channel holds 4.
    for dport in 1..=10 {
        running.events.send(event(dport)).unwrap();
    }
    assert_eq!(
        stream.next().await.unwrap(),
        api::FollowLine::Missed { missed: 6 }
    );
    assert_eq!(
        stream.next().await.unwrap(),
        api::FollowLine::Event(event(7))
    );
}

#[tokio::test]
async fn shutdown_ends_streams_and_removes_the_socket() {
    let running = start();
    let mut stream = running.client.follow().await.unwrap();
    running.stop.send(()).unwrap();
    assert!(matches!(
        stream.next().await,
        Err(ClientError::Unreachable { .. })
    ));
    running.server.await.unwrap().unwrap();
    assert!(!running.path.exists());
    assert!(matches!(
        running.client.status().await,
        Err(ClientError::Unreachable { .. })
    ));
}

#[tokio::test]
async fn strangers_are_refused_before_anything_is_looked_at() {
    let (requests, mut received) = mpsc::channel(8);
    let (events, _) = broadcast::channel(4);
    let (_stop, stopped) = watch::channel(());
    let access = Arc::new(Access::for_group(None).unwrap());
    let router = routes::router(Handle::new(requests, events), access, stopped);
    let service = TowerToHyperService::new(router);
    for (method, path) in [
        (Method::GET, "/v1/sources"),
        (Method::GET, "/v1/nothing"),
        (Method::POST, "/v1/block"),
    ] {
        let mut request = HttpRequest::builder()
            .method(method)
            .uri(path)
            .body(Body::empty())
            .unwrap();
        request.extensions_mut().insert(Peer {
            uid: own_uid() ^ 0x4000_0000,
            groups: vec![0],
        });
        let answer = hyper::service::Service::call(&service, request)
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        let body = axum::body::to_bytes(answer.into_body(), 4_096)
            .await
            .unwrap();
        let failure: api::Failure = serde_json::from_slice(&body).unwrap();
        assert_eq!(failure.code, api::FailureCode::Forbidden);
    }
    assert!(received.try_recv().is_err());
}
