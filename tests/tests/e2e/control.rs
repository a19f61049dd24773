//! The control socket against those who do not speak its language, or not to the end.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use flowguard_tests::{
    config::{Config, READERS},
    guard::Guard,
    lab::Lab,
    users::User,
    wait::{SOON, until},
};

/// How long a connection may take over its header.
const DAWDLING: Duration = Duration::from_secs(5);
/// How long the daemon may take to answer or hang up.
const PATIENCE: Duration = Duration::from_secs(15);

/// Sends bytes, and returns all of the answer; empty when the daemon hung up without a word.
fn answer(guard: &Guard<'_>, request: &[u8]) -> Result<String> {
    let mut stream = UnixStream::connect(guard.socket())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // The daemon need not read all of it, nor keep the connection open while it is sent.
    let hung_up = |kind| matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset);
    match stream.write_all(request) {
        Err(error) if hung_up(error.kind()) => {}
        sent => sent.context("the daemon neither reads nor hangs up")?,
    }
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if hung_up(error.kind()) => {}
        read => {
            read.context("the daemon neither answers nor hangs up")?;
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

#[test]
fn bypass_36_malformed_and_huge_requests_get_an_error() -> Result<()> {
    let lab = Lab::new()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let pid = guard.status()?.pid;
    let long = "a".repeat(16 << 20);
    for request in [
        b"\0\x01\x02\xff\xfe rubbish\r\n\r\n".to_vec(),
        b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(),
        b"DELETE /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(),
        format!("GET /{long} HTTP/1.1\r\n\r\n").into_bytes(),
        format!("GET /v1/status HTTP/1.1\r\nX: {long}\r\n\r\n").into_bytes(),
        post("/v1/block", "{"),
        post("/v1/block", "[]"),
        post("/v1/block", r#"{"source":"www-data"}"#),
        post(
            "/v1/block",
            r#"{"source":"user:www-data","classes":["all"]}"#,
        ),
        post("/v1/block", r#"{"source":"user:www-data","seconds":-1}"#),
        post("/v1/block", r#"{"source":"user:www-data","surprise":1}"#),
        post("/v1/block", &format!(r#"{{"source":"user:{long}"}}"#)),
        post("/v1/unblock", &"[".repeat(100_000)),
    ] {
        let shown = String::from_utf8_lossy(&request[..request.len().min(120)]).into_owned();
        let answer = answer(&guard, &request).context(shown.clone())?;
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        assert!(refused, "{shown:?} was answered with {answer:?}");
    }
    assert_eq!(guard.status()?.pid, pid);
    assert_eq!(guard.verdicts()?, []);
    Ok(())
}

#[test]
fn bypass_36_who_never_finishes_a_request_keeps_nobody_waiting() -> Result<()> {
    let lab = Lab::new()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let dawdle = |_| -> Result<UnixStream> {
        let mut stream = UnixStream::connect(guard.socket())?;
        stream.write_all(b"GET /v1/status HTTP/1.1\r\nHo")?;
        Ok(stream)
    };
    let mut streams: Vec<_> = (0..50).map(dawdle).collect::<Result<_>>()?;
    let before = Instant::now();
    guard.status()?;
    guard.sources()?;
    guard.ok(&["block", "user:www-data"])?;
    let waited = before.elapsed();
    assert!(waited < DAWDLING, "{waited:?}");
    // They are cut off, and without an answer to what they never asked.
    for stream in &mut streams {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        assert_eq!(String::from_utf8_lossy(&answer), "");
    }
    Ok(())
}

/// As many connections as one reader is given.
const PLACES_OF_A_READER: usize = 12;

#[test]
fn bypass_36_one_reader_does_not_take_the_places_of_another() -> Result<()> {
    let lab = Lab::new()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let greedy = User::named(READERS)?;
    let another = User {
        uid: User::named("backup")?.uid,
        gid: greedy.gid,
    };
    let follow = |_| guard.start_as(greedy, &["events", "--follow"]);
    // A few more: the look below may be there before one of them.
    let following: Vec<_> = (0..PLACES_OF_A_READER + 4)
        .map(follow)
        .collect::<Result<_>>()?;
    until("all of its places to be taken", SOON, || {
        let refused = guard.cli_as(greedy, &["status"])?;
        ensure!(refused.code() == 3, "{refused}");
        Ok(())
    })?;
    guard.cli_as(another, &["status"])?.expect_code(0)?;
    guard.status()?;
    drop(following);
    until("places to be free again", SOON, || {
        guard.cli_as(greedy, &["status"])?.expect_code(0)
    })?;
    Ok(())
}

#[test]
fn bypass_36_the_socket_is_for_root_and_the_group() -> Result<()> {
    let lab = Lab::new()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let mode = guard.socket().metadata()?.permissions().mode() & 0o777;
    assert_eq!(mode, 0o660, "{mode:o}");
    let reader = User::named(READERS)?;
    guard.cli_as(reader, &["status"])?.expect_code(0)?;
    guard
        .cli_as(reader, &["sources", "--json"])?
        .expect_code(0)?;
    for order in [
        &["block", "user:www-data"][..],
        &["unblock", "--all"],
        &["reload"],
    ] {
        guard.cli_as(reader, order)?.expect_code(5)?;
    }
    guard
        .cli_as(User::named("nobody")?, &["status"])?
        .expect_code(5)?;
    assert_eq!(guard.verdicts()?, []);
    Ok(())
}
