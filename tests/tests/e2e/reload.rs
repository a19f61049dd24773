//! A new configuration takes hold as a whole or not at all.

use anyhow::{Result, ensure};
use flowguard_tests::{
    config::{Config, FANOUT_RULE},
    guard::Guard,
    lab::{Lab, UNGUARDED_PORT},
    users::User,
    wait::{SOON, until},
};

use crate::WWW;

#[test]
fn reload_puts_a_new_configuration_in_force() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let client = lab.client(User::named(WWW.0)?)?;
    let odd = client.clone().port(UNGUARDED_PORT);
    odd.run()?.all_connected(1)?;
    client.run()?.all_connected(1)?;
    guard.configure(&Config::enforce(&lab).direct_ports("25, 8080").to_string())?;
    guard.ok(&["reload"])?;
    assert_eq!(guard.status()?.mode, "enforce");
    odd.clone().count(4).run()?.all_connected(4)?;
    guard.expect_attempts(WWW.1, "direct", 5)?;
    guard.configure(&Config::observe(&lab).to_string())?;
    guard.hang_up()?;
    until("observe mode after SIGHUP", SOON, || {
        let status = guard.status()?;
        ensure!(status.mode == "observe", "{status:?}");
        Ok(())
    })?;
    odd.run()?.all_connected(1)?;
    client.run()?.all_connected(1)?;
    guard.expect_attempts(WWW.1, "direct", 6)?;
    Ok(())
}

#[test]
fn a_socket_of_the_command_line_needs_no_restart() -> Result<()> {
    let lab = Lab::new()?;
    let elsewhere = Config::observe(&lab).to_string();
    let elsewhere = elsewhere.replacen("control.sock", "another.sock", 1);
    let mut guard = Guard::stopped(&lab, &Config::observe(&lab))?;
    guard.configure(&elsewhere)?;
    let socket = guard.socket().display().to_string();
    guard.restart_with(&["--socket", &socket])?;
    let reloaded = guard.ok(&["reload"])?;
    ensure!(!reloaded.contains("restart"), "{reloaded}");
    // What else has changed does.
    guard.configure(&elsewhere.replacen("state.db", "other.db", 1))?;
    let reloaded = guard.ok(&["reload"])?;
    ensure!(reloaded.contains(": paths.state\n"), "{reloaded}");
    Ok(())
}

#[test]
fn a_source_that_becomes_exempt_is_let_go() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let config = || Config::enforce(&lab).rules(FANOUT_RULE);
    let guard = Guard::start(&lab, &config())?;
    let client = lab.client(User::named(WWW.0)?)?;
    let fan_out = client.clone().to(&["198.18.0.1-198.18.0.25"]).count(30);
    fan_out.run()?.all_connected(30)?;
    guard.await_verdict(WWW.1, Some("block"))?;
    guard.configure(&config().exempt(WWW.1).to_string())?;
    guard.ok(&["reload"])?;
    guard.await_verdict(WWW.1, None)?;
    fan_out.run()?.all_connected(30)
}

#[test]
fn a_bad_configuration_leaves_the_old_one_in_force_and_says_why() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::enforce(&lab))?;
    let before = guard.status()?;
    let bad = Config::observe(&lab).direct_ports("25, 99999").to_string();
    guard.configure(&bad)?;
    let refused = guard.cli(&["reload"])?.expect_code(2)?;
    for word in ["flowguard.toml", "direct_ports", "99999"] {
        assert!(
            refused.stderr.contains(word),
            "{word} is not named: {refused}"
        );
    }
    guard.hang_up()?;
    until("a word about direct_ports in the log", SOON, || {
        let log = guard.log()?;
        ensure!(log.contains("direct_ports"), "{log}");
        Ok(())
    })?;
    let after = guard.status()?;
    assert_eq!(
        (after.mode, after.config_loaded),
        (before.mode, before.config_loaded)
    );
    lab.client(User::named(WWW.0)?)?.run()?.all_connected(1)?;
    guard.expect_attempts(WWW.1, "direct", 1)?;
    Ok(())
}

#[test]
fn a_bad_configuration_file_is_explained() -> Result<()> {
    let lab = Lab::new()?;
    let guard = Guard::stopped(&lab, &Config::observe(&lab))?;
    guard.cli(&["check"])?.expect_code(0)?;
    let good = Config::observe(&lab).to_string();
    for (bad, line, words) in [
        // A typo, in the first line; and one further below.
        (good.replacen("mode", "mood", 1), 1, ["mood", "mode"]),
        (
            good.replacen("[policy]\ntick", "[policy]\ntik", 1),
            good.lines()
                .take_while(|line| !line.starts_with("tick"))
                .count()
                + 1,
            ["tik", "tick"],
        ),
        (good.replacen("observe", "obey", 1), 1, ["mode", "observe"]),
    ] {
        guard.configure(&bad)?;
        for command in ["check", "run"] {
            let refused = guard.cli(&[command])?.expect_code(2)?;
            let place = format!("{}:{line}", guard.config().display());
            for word in words.into_iter().chain([place.as_str()]) {
                assert!(
                    refused.stderr.contains(word),
                    "{word} is not named: {refused}"
                );
            }
        }
    }
    guard.configure("mode = \"observe")?;
    guard.cli(&["check"])?.expect_code(2)?;
    Ok(())
}
