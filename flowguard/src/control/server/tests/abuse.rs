//! What is wrong, huge, slow or not allowed gets an error, and nobody else waits.

use axum::{
    body::Body,
    http::{Method, Request as HttpRequest, StatusCode},
};

use super::*;

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
        (
            "/v1/block",
            r#"{"source":"user:alice","action":"notice"}"#,
            400,
        ),
        (
            "/v1/block",
            r#"{"source":"user:alice","action":"allow"}"#,
            400,
        ),
        (
            "/v1/allow",
            r#"{"source":"user:alice","action":"notice"}"#,
            400,
        ),
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
        places::ROOT
    } else {
        places::PER_READER
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
    // Who tried to change something is noted.
    let Ok(Request::Refused(entry)) = received.try_recv() else {
        panic!("the refused order was not noted")
    };
    assert_eq!((&*entry.what, entry.source), ("block", None));
    assert_eq!(entry.by, format!("uid:{}", own_uid() ^ 0x4000_0000));
    assert!(received.try_recv().is_err());
}
