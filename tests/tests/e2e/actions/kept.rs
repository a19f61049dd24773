//! Orders of every kind outlive the daemon, and come back after a reboot.

use anyhow::{Context as _, Result};
use flowguard_tests::{
    config::Config,
    guard::Guard,
    lab::Lab,
    report::{Limit, Verdict},
    users::User,
    wait::{SOON, until},
};

use crate::{BACKUP, GAMES, WWW};

/// 10 an hour, 2 at once.
const RATE: Limit = Limit {
    burst: 2,
    interval_ns: 360_000_000_000,
};

fn find<'a>(verdicts: &'a [Verdict], source: &str, class: &str) -> Result<&'a Verdict> {
    let found = verdicts
        .iter()
        .find(|v| (&*v.source, &*v.class) == (source, class));
    found.with_context(|| format!("{verdicts:?}"))
}

/// By name: their order is that of the sources' numbers, which a reboot gives out anew.
fn verdicts(guard: &Guard<'_>) -> Result<Vec<Verdict>> {
    let mut verdicts = guard.verdicts()?;
    verdicts.sort_by(|a, b| (&a.source, &a.class).cmp(&(&b.source, &b.class)));
    Ok(verdicts)
}

#[test]
fn every_kind_of_order_is_kept() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let config = Config::observe(&lab).guard(r#"smarthosts = ["198.19.0.25"]"#);
    let mut guard = Guard::start(&lab, &config)?;
    for order in [
        &["block", WWW.1, "--sever", "--for", "1h"][..],
        &["block", GAMES.1, "--redirect", "--reason", "ticket 4711"],
        &["block", BACKUP.1, "--limit", "10/1h", "--burst", "2"],
        &["block", "user:nobody", "--new-destinations", "10/1h"],
    ] {
        guard.ok(order)?;
    }
    let before = verdicts(&guard)?;
    assert_eq!(before.len(), 7, "{before:?}");
    for (source, class, action, limit) in [
        (WWW.1, "direct", "sever", None),
        (WWW.1, "submission", "sever", None),
        // Logins stay where they are meant for.
        (GAMES.1, "direct", "redirect", None),
        (BACKUP.1, "submission", "limit", Some(RATE)),
        (
            "user:nobody",
            "direct",
            "new-destinations",
            Some(Limit { burst: 10, ..RATE }),
        ),
    ] {
        let verdict = find(&before, source, class)?;
        assert_eq!((&*verdict.action, verdict.limit), (action, limit));
    }
    let (www, games, backup) = (
        lab.client(User::named(WWW.0)?)?,
        lab.client(User::named(GAMES.0)?)?,
        lab.client(User::named(BACKUP.0)?)?,
    );
    guard.kill()?;
    guard.restart()?;
    assert_eq!(verdicts(&guard)?, before);
    www.run()?.all_refused(1)?;
    games.run()?.all_connected(1)?;
    backup.clone().count(4).run()?.split(2, 2)?;
    assert_eq!(sink.accepted_at("198.19.0.25"), 1);
    guard.terminate()?;
    lab.reboot()?;
    // What nobody holds any more goes a moment later.
    until("a kernel without a guard", SOON, || {
        backup.run()?.all_connected(1)
    })?;
    guard.restart()?;
    assert_eq!(verdicts(&guard)?, before);
    for (source, user) in [WWW, GAMES, BACKUP].map(|(user, source)| (source, user)) {
        let uid = User::named(user)?.uid;
        guard.await_identity(source, &format!("uid {uid}"))?;
    }
    www.run()?.all_refused(1)?;
    games.run()?.all_connected(1)?;
    backup.count(4).run()?.split(2, 2)?;
    sink.expect_accepted(7)?;
    assert_eq!(sink.accepted_at("198.19.0.25"), 2);
    // The gravest of a source's verdicts is the one that lists show.
    guard.ok(&["block", BACKUP.1, "--sever", "--class", "relay"])?;
    guard.await_verdict(BACKUP.1, Some("sever"))?;
    let shown = guard.ok(&["show", GAMES.1])?;
    for words in ["redirect direct", "go to the smarthost", "ticket 4711"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    Ok(())
}
