//! The rules that flowguard is shipped with. How they do on whole populations is measured by
//! `cargo xtask simulate`.

use super::*;
use crate::config::Config;

fn shipped() -> Engine {
    let mut engine = Engine::new(Config::embedded().unwrap().judgement);
    assert_eq!(engine.tick(Duration::ZERO, []), []);
    engine
}

/// Sixty servers take a mail within 25 minutes; when they are tried again, half of a few are dead. What
/// is found then.
fn half_dead(with_tls: bool) -> Option<String> {
    let mut engine = shipped();
    let mut totals = Totals::default();
    let taken = |totals: &mut Totals, mails| {
        totals.attempts += mails;
        totals.destinations += mails;
        totals.established += mails;
        if with_tls {
            totals.encrypted += mails;
        } else {
            totals.plain += mails;
            totals.messages += mails;
        }
    };
    for now in (1..=10).map(|n| n * 150) {
        taken(&mut totals, 6);
        assert_eq!(see(&mut engine, now, totals), None, "{now}");
    }
    totals.attempts += 8;
    totals.destinations += 8;
    totals.timed_out += 8;
    taken(&mut totals, 8);
    see(&mut engine, 2_700, totals).map(|found| found.rule)
}

#[test]
fn a_mail_server_that_tries_dead_servers_again_is_left_alone() {
    assert_eq!(half_dead(true), None);
    let found = half_dead(false);
    assert_eq!(found.as_deref(), Some("direct-failing"));
}

/// Forty servers within a minute; so many sessions came to TLS or to a message without it.
fn burst(encrypted: u64, plain: u64) -> Option<String> {
    let totals = Totals {
        attempts: 40,
        destinations: 40,
        established: 40,
        encrypted,
        plain,
        ..Totals::default()
    };
    see(&mut shipped(), 60, totals).map(|found| found.rule)
}

#[test]
fn a_burst_is_told_by_what_its_sessions_came_to_not_by_those_under_way() {
    assert_eq!(burst(0, 0), None);
    assert_eq!(burst(0, 29), None);
    assert_eq!(burst(5, 35).as_deref(), None);
    assert_eq!(burst(0, 30).as_deref(), Some("direct-fanout"));
    assert_eq!(burst(3, 31).as_deref(), Some("direct-fanout"));
}
