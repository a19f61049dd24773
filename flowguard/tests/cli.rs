//! The command itself, against the control server with a task at the daemon's end: exit codes,
//! and what is on stdout and stderr.

#![expect(
    clippy::unwrap_used,
    reason = "clippy takes the helpers of these tests for no tests"
)]

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use flowguard::{
    control::{
        api,
        server::{Access, bind, serve},
    },
    daemon::handle::{Handle, Request, RequestError},
    model::{ClassName, SourceRef, Totals},
};
use tokio::{
    runtime::Runtime,
    sync::{broadcast, mpsc},
};

fn source() -> api::Source {
    api::Source {
        source: "user:al\u{1b}ice".to_owned(),
        kind: "user".to_owned(),
        name: "al\u{1b}ice".to_owned(),
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
        last_seen: None,
        verdict: None,
    }
}

async fn daemon(mut requests: mpsc::Receiver<Request>) {
    while let Some(request) = requests.recv().await {
        // A client that went away wants no answer.
        match request {
            Request::Sources(reply) => drop(reply.send(Ok(vec![source()]))),
            Request::Verdicts(reply) => drop(reply.send(Ok(Vec::new()))),
            Request::Show(source_ref, reply) => {
                drop(reply.send(Err(RequestError::NoSuchSource { source_ref })));
            }
            Request::Unblock(source_ref, _, reply) => {
                assert_eq!(source_ref, Some(SourceRef::User("a\u{7}b".to_owned())));
                drop(reply.send(Ok(api::Unblocked { lifted: Vec::new() })));
            }
            Request::Refused(_) => {}
            Request::Orders(_, reply) => drop(reply.send(Ok(Vec::new()))),
            Request::Reload(_, reply) => drop(reply.send(Err(RequestError::BadConfig {
                reason: "flowguard.toml:3:1: what is this?".to_owned(),
            }))),
            // Dropping the reply is how a daemon that is going down answers.
            _ => {}
        }
    }
}

struct Running {
    socket: PathBuf,
    _runtime: Runtime,
    _place: tempfile::TempDir,
}

fn start() -> Running {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("control.sock");
    let runtime = Runtime::new().unwrap();
    let guard = runtime.enter();
    let listener = bind(&socket, None).unwrap();
    drop(guard);
    let (requests, received) = mpsc::channel(8);
    let (events, _) = broadcast::channel(4);
    runtime.spawn(daemon(received));
    runtime.spawn(serve(
        listener,
        Handle::new(requests, events),
        Access::for_group(None).unwrap(),
        std::future::pending(),
    ));
    Running {
        socket,
        _runtime: runtime,
        _place: place,
    }
}

impl Running {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowguard"));
        command
            .arg("--socket")
            .arg(&self.socket)
            .args(args)
            .env("RUST_BACKTRACE", "1")
            .env("RUST_LIB_BACKTRACE", "1")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command that must end with this exit code; what it printed to stdout and stderr.
    fn run(&self, args: &[&str], code: i32) -> (String, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(args).output().unwrap();
        let stdout = String::from_utf8(stdout).unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(code), "{args:?}: {stderr}");
        assert!(!stderr.contains("stack backtrace"), "{stderr}");
        assert!(!stderr.contains('\u{1b}'), "{stderr}");
        (stdout, stderr)
    }
}

#[test]
fn data_goes_to_stdout_without_colours() {
    let running = start();
    let (stdout, stderr) = running.run(&["sources"], 0);
    assert!(stdout.contains("user:al\\u{1b}ice"), "{stdout}");
    assert_eq!(stderr, "");
    let (stdout, _) = running.run(&["sources", "--json"], 0);
    let sources: Vec<api::Source> = serde_json::from_str(&stdout).unwrap();
    assert_eq!(sources, [source()]);
    let (stdout, stderr) = running.run(&["verdicts"], 0);
    assert_eq!(
        (stdout.as_str(), stderr.as_str()),
        ("", "No verdict is in force.\n")
    );
    let (stdout, _) = running.run(&["verdicts", "--json"], 0);
    assert_eq!(stdout, "[]\n");
}

#[test]
fn failures_are_one_sentence_and_an_exit_code() {
    let running = start();
    for (args, code, beginning) in [
        (&["status"][..], 1, "flowguard: the daemon is shutting down"),
        (
            &["reload"],
            2,
            "flowguard: flowguard.toml:3:1: what is this?",
        ),
        (&["show", "user:bob"], 4, "flowguard: no source `user:bob`"),
        (&["man", "nonsense"], 2, "flowguard: there is no command"),
        (&["show", "bob"], 2, "error: invalid value 'bob'"),
        (
            &["--config", "/nonexistent/file", "check"],
            2,
            "flowguard: cannot read the configuration file /nonexistent/file",
        ),
    ] {
        let (stdout, stderr) = running.run(args, code);
        assert!(stderr.starts_with(beginning), "{stderr}");
        assert_eq!(stdout, "", "{args:?}");
    }
    let nobody = Running {
        socket: "/nonexistent/socket".into(),
        ..running
    };
    let (_, stderr) = nobody.run(&["status"], 3);
    assert!(
        stderr.starts_with("flowguard: no daemon answers at /nonexistent/socket"),
        "{stderr}"
    );
}

#[test]
fn names_arrive_as_they_were_typed() {
    let running = start();
    let (_, stderr) = running.run(&["unblock", "user:a\u{7}b"], 0);
    assert_eq!(
        stderr,
        "There was nothing to lift: no verdict is in force.\n"
    );
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let running = start();
    for args in [
        &["sources"][..],
        &["sources", "--json"],
        &["completions", "bash"],
        &["man"],
        &["--help"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = running
            .command(args)
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert_eq!(output.stderr, b"", "{args:?}");
    }
}
