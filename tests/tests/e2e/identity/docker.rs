//! Containers of a real Docker engine go by their names.

use anyhow::{Context as _, Result, ensure};
use flowguard_tests::{
    config::Config,
    docker::{self, Docker},
    guard::Guard,
    lab::Lab,
    sink::Sink,
    wait::{SOON, until},
};

const SHOP: &str = "container:shop";
/// Tries to reach a mail server from the first moment on.
const SPAM: &str =
    "while :; do /bin/busybox nc 198.18.0.1 25 </dev/null; /bin/busybox usleep 20000; done";
/// What an image can say of itself.
const PROJECT: &str = "\u{1b}[31malice'\";--\u{202e}";
/// How often a blocked container is started again.
const RESTARTS: usize = 5;

fn config(lab: &Lab) -> Config {
    let config = Config::enforce(lab).edges("veth*");
    config.containers(&format!("{}/{{id}}", docker::CGROUP))
}

/// The cgroup that leads to a source.
fn cgroup(guard: &Guard<'_>, source: &str) -> Result<String> {
    let identities = guard.show(source)?.identities;
    let found = identities.iter().find(|i| i.starts_with("cgroup "));
    found.cloned().with_context(|| format!("{identities:?}"))
}

/// Waits until the source was refused again, and checks that nothing got through.
fn still_blocked(guard: &Guard<'_>, sink: &Sink, passed: u64) -> Result<()> {
    let denied = guard.totals(SHOP, "direct")?.denied;
    guard.await_totals(SHOP, "direct", "refused again", |totals| {
        totals.denied >= denied + 5
    })?;
    assert_eq!(sink.accepted(), passed, "connections of a blocked tenant");
    Ok(())
}

#[test]
fn a_container_restarted_while_blocked_stays_blocked() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let engine = Docker::start(&lab)?;
    let guard = Guard::start(&lab, &config(&lab).names(&engine.state()))?;
    let project = format!("--label=com.docker.compose.project={PROJECT}");
    let options = [
        "--name=shop",
        &project,
        "--label=com.docker.compose.service=web",
    ];
    let id = engine.run(&options, SPAM)?;
    guard.await_identity(SHOP, "edge veth")?;
    guard.await_totals(SHOP, "direct", "10 attempts", |totals| {
        totals.attempts >= 10
    })?;
    let known = guard.show(SHOP)?;
    let [container] = &known.containers[..] else {
        anyhow::bail!("{known:?}");
    };
    assert_eq!(
        (container.name.as_str(), container.id.as_str()),
        ("shop", id.as_str())
    );
    assert_eq!(container.project.as_deref(), Some(PROJECT));
    assert_eq!(container.service.as_deref(), Some("web"));
    assert_eq!(container.image.as_deref(), Some("flowguard-test:1"));
    let shown = guard.ok(&["show", SHOP])?;
    assert!(
        shown.contains(r#"compose \u{1b}[31malice'";--\u{202e}/web"#),
        "{shown}"
    );

    // By what `docker ps` shows as well.
    guard.ok(&["block", &format!("container:{}", &id[..12])])?;
    guard.await_totals(SHOP, "direct", "a refusal", |totals| totals.denied > 0)?;
    let (passed, attempts) = (sink.accepted(), guard.totals(SHOP, "direct")?.attempts);
    let mut cgroups = vec![cgroup(&guard, SHOP)?];
    for _ in 0..RESTARTS {
        engine.restart("shop")?;
        cgroups.push(until("a new cgroup", SOON, || {
            let now = cgroup(&guard, SHOP)?;
            ensure!(!cgroups.contains(&now), "{now}");
            Ok(now)
        })?);
        still_blocked(&guard, &sink, passed)?;
    }
    // What `docker compose up --force-recreate` does: another container of the same name.
    engine.remove("shop")?;
    engine.run(&options, SPAM)?;
    still_blocked(&guard, &sink, passed)?;
    assert!(!cgroups.contains(&cgroup(&guard, SHOP)?));
    let now = guard.show(SHOP)?;
    assert_eq!(now.summary.id, known.summary.id);
    assert!(now.summary.classes["direct"].attempts > attempts);
    assert_ne!(now.containers[0].id, id);
    let containers = guard.sources()?;
    let containers = containers.iter().filter(|s| s.kind == "container");
    assert_eq!(containers.count(), 1, "nothing is left of ids");
    Ok(())
}

#[test]
fn what_was_known_by_its_id_gets_its_name_with_all_that_it_has() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let engine = Docker::start(&lab)?;
    // As an earlier version would have it.
    let mut guard = Guard::start(&lab, &config(&lab))?;
    let id = engine.container("shop")?;
    let by_id = format!("container:{}", &id[..12]);
    guard.await_identity(&by_id, "edge veth")?;
    let connect = || engine.exec(&id, &["nc", "198.18.0.1", "25"]);
    for _ in 0..3 {
        connect()?.expect_code(0)?;
    }
    guard.expect_attempts(&by_id, "direct", 3)?;
    guard.ok(&["block", &by_id, "--reason", "ticket 4711"])?;
    connect()?.expect_code(1)?;
    guard.restart_configured(&config(&lab).names(&engine.socket()))?;
    guard.await_identity(SHOP, "edge veth")?;
    connect()?.expect_code(1)?;
    let totals = guard.expect_attempts(SHOP, "direct", 5)?;
    assert_eq!(totals.denied, 2);
    guard.expect_sum(5)?;
    sink.expect_accepted(3)?;
    let verdict = guard.show(SHOP)?.verdicts;
    assert_eq!(verdict[0].reason.as_deref(), Some("ticket 4711"));
    assert_eq!(verdict[0].source, SHOP);
    // And the database has it by that name, too.
    guard.kill()?;
    guard.restart()?;
    connect()?.expect_code(1)?;
    guard.ok(&["unblock", SHOP])?;
    connect()?.expect_code(0)?;
    Ok(())
}

#[test]
fn a_container_that_nobody_can_name_goes_by_its_id() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let engine = Docker::start(&lab)?;
    let silent = lab.dir().join("silent.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&silent)?;
    let config = config(&lab).names(&format!(
        "docker-socket = {:?}",
        silent.display().to_string()
    ));
    let guard = Guard::start(&lab, &config.extra("\n[names]\ntimeout = \"50ms\"\n"))?;
    let id = engine.container("shop")?;
    let source = format!("container:{}", &id[..12]);
    guard.await_identity(&source, "edge veth")?;
    engine
        .exec(&id, &["nc", "198.18.0.1", "25"])?
        .expect_code(0)?;
    guard.expect_attempts(&source, "direct", 1)?;
    let warnings = guard.status()?.warnings;
    let told = warnings
        .iter()
        .any(|w| w.contains("did not answer within 50ms"));
    assert!(told, "{warnings:?}");
    Ok(())
}
