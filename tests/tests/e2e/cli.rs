//! Exit codes and words of the command line, where nothing is running or nothing is allowed.

use std::fs;

use anyhow::{Context as _, Result};
use flowguard_tests::{
    config::Config,
    feature,
    guard::Guard,
    lab::Lab,
    place::Place,
    process::{Finished, run},
    users::User,
    wait::SOON,
};
use serde_json::Value;

use crate::WWW;

/// One sentence for somebody woken at night: no panic, no backtrace, no dump.
fn is_one_sentence(finished: &Finished) {
    let lines: Vec<_> = finished
        .stderr
        .lines()
        .filter(|l| !l.trim().is_empty())
        .collect();
    assert_eq!(lines.len(), 1, "{finished}");
    assert!(!finished.stderr.contains("panicked"), "{finished}");
}

#[test]
fn without_a_daemon_commands_say_so() -> Result<()> {
    let lab = Lab::new()?;
    let guard = Guard::stopped(&lab, &Config::observe(&lab))?;
    for command in [
        &["status"][..],
        &["sources", "--json"],
        &["show", WWW.1],
        &["events", "--json"],
        &["verdicts"],
        &["block", WWW.1],
        &["unblock", "--all"],
        &["allow", WWW.1],
        &["reload"],
    ] {
        let refused = guard.cli(command)?.expect_code(3)?;
        assert_eq!(refused.stdout, "", "{refused}");
        assert!(refused.stderr.contains("control.sock"), "{refused}");
    }
    Ok(())
}

#[test]
fn a_daemon_is_found_by_a_file_that_is_broken_by_now() -> Result<()> {
    let lab = Lab::new()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let good = Config::observe(&lab).to_string();
    guard.configure(&good.replacen("observe", "obey", 1))?;
    let status = guard.cli_by_file(&["status", "--json"])?.expect_code(0)?;
    for words in ["mode", "control.sock", "all the same"] {
        assert!(status.stderr.contains(words), "{status}");
    }
    guard.cli_by_file(&["block", WWW.1])?.expect_code(0)?;
    // Where not even that can be told, an order must not go to another daemon.
    guard.configure("mode = \"observe")?;
    let refused = guard.cli_by_file(&["block", WWW.1])?.expect_code(2)?;
    assert!(refused.stderr.contains("--socket"), "{refused}");
    Ok(())
}

#[test]
fn bad_usage_is_told_from_failure() -> Result<()> {
    let lab = Lab::new()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    for command in [
        &["frobnicate"][..],
        &["block"],
        &["block", "nobody"],
        &["block", "usr:www-data"],
        &["block", "user:"],
        &["block", "addr:1.2.3"],
        &["block", WWW.1, "--for", "three parsecs"],
        &["block", WWW.1, "--for", "0s"],
        &["block", WWW.1, "--class", "all"],
        &["unblock"],
        &["unblock", WWW.1, "--all"],
        &["sources", "--jason"],
    ] {
        let refused = guard.cli(command)?.expect_code(2)?;
        assert!(!refused.stderr.is_empty(), "{refused}");
    }
    for command in [
        ["show", "user:no-such-user"],
        ["block", "container:no-such-container"],
        ["unblock", "user:no-such-user"],
        ["show", "iface:no-such-if"],
    ] {
        let refused = guard.cli(&command)?.expect_code(4)?;
        assert!(refused.stderr.contains("no-such"), "{refused}");
    }
    assert_eq!(guard.verdicts()?, []);
    Ok(())
}

#[test]
fn an_explicit_configuration_file_must_be_there() -> Result<()> {
    let lab = Lab::new()?;
    let guard = Guard::stopped(&lab, &Config::observe(&lab))?;
    fs::remove_file(guard.config())?;
    for command in ["check", "run"] {
        let refused = guard.cli(&[command])?.expect_code(2)?;
        assert!(refused.stderr.contains("flowguard.toml"), "{refused}");
    }
    Ok(())
}

#[test]
fn users_without_rights_are_told_so() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let nobody = User::named("nobody")?;
    for command in [
        &["status"][..],
        &["sources", "--json"],
        &["sources", "--json", "--offline"],
        &["block", WWW.1],
        &["run"],
        &["detach"],
    ] {
        let refused = guard.cli_as(nobody, command)?.expect_code(5)?;
        assert_eq!(refused.stdout, "", "{refused}");
        is_one_sentence(&refused);
    }
    assert_eq!(guard.verdicts()?, []);
    lab.client(User::named(WWW.0)?)?.run()?.all_connected(1)?;
    guard.expect_attempts(WWW.1, "direct", 1)?;
    Ok(())
}

#[test]
fn doctor_tells_what_holds_on_this_kernel() -> Result<()> {
    let lab = Lab::new()?;
    let guard = Guard::stopped(&lab, &Config::observe(&lab))?;
    let doctor: Value = guard.json(&["doctor", "--json"])?;
    let found = |name: &str| {
        let checks = doctor["checks"].as_array().into_iter().flatten();
        let check = checks.into_iter().find(|check| check["name"] == name);
        let check = check.with_context(|| format!("nothing about {name}: {doctor:#}"))?;
        let text = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
        Ok::<_, anyhow::Error>((text("state"), text("detail")))
    };
    for name in ["privilege", "btf", "bpf", "programs", "cgroup2"] {
        assert_eq!(found(name)?.0, "ok", "{doctor:#}");
    }
    // What the tests ask the kernel by other ways than the guard does.
    let words = [
        (
            "connect4, connect6",
            feature::CHOSEN_ERRNO.is_there()?,
            ("ok", "errno of `guard.deny`"),
            ("degraded", "EPERM"),
        ),
        (
            "edge",
            feature::TCX.is_there()?,
            ("ok", "TCX"),
            ("ok", "clsact"),
        ),
        (
            "exactness",
            feature::FETCHING_ATOMICS.is_there()?,
            ("ok", "exact on any number"),
            ("degraded", "limits, ceilings and attempts are exact"),
        ),
        (
            "namespaces",
            feature::NETNS_COOKIE.is_there()?,
            ("ok", "by their cookies"),
            ("ok", "which a program of the guard's has to ask for"),
        ),
    ];
    for (name, is_there, with, without) in words {
        let (state, detail) = found(name)?;
        let (expected, word) = if is_there { with } else { without };
        assert!(
            state == expected && detail.contains(word),
            "expected {expected} and {word:?}: {doctor:#}"
        );
        assert!(is_there || !detail.contains(with.1) || name == "namespaces");
    }
    let programs = doctor["programs"].as_array().context("no programs")?;
    assert!(programs.len() >= 4, "{doctor:#}");
    for program in programs {
        assert!(program["refused"].is_null(), "{doctor:#}");
        assert!(program["instructions"].as_u64() > Some(0), "{doctor:#}");
    }
    Ok(())
}

#[test]
fn doctor_and_completions_print_what_others_read() -> Result<()> {
    let lab = Lab::new()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let report: Value = guard.json(&["doctor", "--json"])?;
    assert!(report.is_object() || report.is_array(), "{report}");
    let script = lab.dir().join("completions");
    fs::write(&script, guard.ok(&["completions", "bash"])?)?;
    let mut bash = Place::default().command("bash")?;
    bash.arg("-c")
        .arg(". \"$0\" && complete -p flowguard")
        .arg(script);
    run(&mut bash, SOON)?.expect_code(0)?;
    Ok(())
}

#[test]
fn tables_are_for_people_and_json_for_programs() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    lab.client(User::named(WWW.0)?)?
        .count(7)
        .run()?
        .all_connected(7)?;
    guard.expect_attempts(WWW.1, "direct", 7)?;
    guard.ok(&["block", WWW.1, "--reason", "because"])?;
    for command in [
        &["sources"][..],
        &["verdicts"],
        &["show", WWW.1],
        &["events"],
    ] {
        let table = guard.ok(command)?;
        assert!(table.contains("www-data"), "{command:?}: {table}");
        assert!(
            !table.contains('\u{1b}'),
            "colour where there is no terminal: {table:?}"
        );
    }
    let status = guard.ok(&["status"])?;
    assert!(status.contains("observe"), "{status}");
    Ok(())
}
