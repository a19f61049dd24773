//! What is asked properly is answered.

use super::*;

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
            limit: None,
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
async fn a_block_may_do_something_else() {
    let mut running = start();
    let limit = api::Limit {
        burst: 5,
        interval_ns: 1_000_000_000,
    };
    for (action, limit, classes) in [
        (api::ActionName::Sever, None, 2),
        (api::ActionName::Limit, Some(limit), 2),
        (api::ActionName::NewDestinations, Some(limit), 2),
        // Logins stay where they are meant for.
        (api::ActionName::Redirect, None, 1),
    ] {
        let request = api::OrderRequest {
            action: Some(action),
            limit,
            ..order_request()
        };
        running.client.block(&request).await.unwrap();
        let order = running.orders.recv().await.unwrap();
        assert_eq!((order.action, order.limit), (action, limit));
        assert_eq!(order.classes.len(), classes);
        assert!(matches!(
            running.client.allow(&request).await,
            Err(ClientError::BadRequest { .. })
        ));
    }
}

#[tokio::test]
async fn senseless_orders_are_refused() {
    let running = start();
    let with = |action, burst, interval_ns| api::OrderRequest {
        action: Some(action),
        limit: Some(api::Limit { burst, interval_ns }),
        ..order_request()
    };
    for (what, request) in [
        ("no burst", with(api::ActionName::Limit, 0, 1)),
        ("no interval", with(api::ActionName::Limit, 1, 0)),
        (
            "more than fits into 64 bits",
            with(api::ActionName::NewDestinations, 2, u64::MAX),
        ),
        ("a rate for a block", with(api::ActionName::Block, 1, 1)),
        (
            "no rate",
            api::OrderRequest {
                action: Some(api::ActionName::Limit),
                ..order_request()
            },
        ),
        (
            "an allow",
            api::OrderRequest {
                action: Some(api::ActionName::Allow),
                ..order_request()
            },
        ),
        (
            "what may go anywhere redirected",
            api::OrderRequest {
                action: Some(api::ActionName::Redirect),
                classes: vec![ClassName::Relay],
                ..order_request()
            },
        ),
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
