//! What comes of attempts, as mail servers answer them: seen at the edge for containers, at the
//! uplink for users of the host.

use anyhow::Result;
use flowguard_tests::{
    client::{Client, IMPATIENT},
    config::Config,
    container::Container,
    guard::Guard,
    lab::{Lab, UPLINK},
    mta::{ADDRESS, MAILBOX, Postfix, REFUSES, swaks, swaks_to},
    place::Place,
    sink::Sink,
    users::User,
    wait::{SOON, until},
};

use crate::WWW;

const WEB: (&str, &str) = ("container:web", "fge0");

/// Sends to a sink that listens on port 25 alone, to a port that nobody listens on, and to where no
/// answer comes from; each in both families.
fn accepted_refused_and_lost(
    lab: &Lab,
    guard: &Guard<'_>,
    client: &Client,
    who: &str,
) -> Result<()> {
    let worlds = ["198.18.0.1-198.18.0.7", "2001:db8:1::1-2001:db8:1::7"];
    for world in worlds {
        let client = client.clone().to(&[world]);
        client
            .clone()
            .count(30)
            .concurrency(3)
            .run()?
            .all_connected(30)?;
        client.port(587).count(20).run()?.all_unanswered(20)?;
    }
    // Their answers have no way back.
    for gateway in ["100.64.0.1/32", "10.77.0.0/16"] {
        lab.world()
            .ip(&[format!("route add blackhole {gateway}")])?;
    }
    for gateway in ["fd00:64::1/128", "fd00:77::/32"] {
        lab.world()
            .ip(&[format!("route add blackhole {gateway}")])?;
    }
    for world in worlds {
        let lost = client.clone().to(&[world]).count(5).concurrency(5);
        lost.timeout(IMPATIENT).run()?.all_timed_out(5)?;
    }
    let direct = guard.await_totals(who, "direct", "60 accepted, 10 lost", |totals| {
        (totals.established, totals.timed_out) == (60, 10)
    })?;
    assert_eq!((direct.attempts, direct.refused), (70, 0), "{direct:?}");
    let submission = guard.await_totals(who, "submission", "40 refused", |totals| {
        totals.refused == 40
    })?;
    assert_eq!(
        (
            submission.attempts,
            submission.established,
            submission.timed_out
        ),
        (40, 0, 0),
        "{submission:?}"
    );
    guard.expect_sum(110)
}

#[test]
fn outcomes_of_a_host_user_are_counted_each_once() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = Sink::start(lab.world(), &[25])?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    guard.await_uplink(UPLINK)?;
    let client = lab.client(User::named(WWW.0)?)?;
    guard.ok(&["allow", WWW.1])?;
    guard.await_registered(WWW.1)?;
    accepted_refused_and_lost(&lab, &guard, &client, WWW.1)
}

#[test]
fn outcomes_of_a_container_are_counted_each_once() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = Sink::start(lab.world(), &[25])?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let guard = Guard::start(&lab, &soon_unanswered(&lab))?;
    guard.await_edge(WEB.1)?;
    guard.await_identity(WEB.0, "edge fge0")?;
    accepted_refused_and_lost(&lab, &guard, &web.client(), WEB.0)
}

#[test]
fn outcomes_of_packets_without_a_socket_are_counted_each_once() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = Sink::start(lab.world(), &[25])?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let guard = Guard::start(&lab, &soon_unanswered(&lab))?;
    guard.await_edge(WEB.1)?;
    guard.await_identity(WEB.0, "edge fge0")?;
    accepted_refused_and_lost(&lab, &guard, &web.hidden_client(), WEB.0)
}

/// At an edge, time alone tells that nobody answers. Longer than a SYN takes that the kernel drops on a
/// busy machine: it is sent again after one second, and two later once more.
fn soon_unanswered(lab: &Lab) -> Config {
    Config::observe(lab).extra("[kernel]\nunanswered_after = \"4s\"\n")
}

/// One message that is taken and one that is refused, by a real server from a real client.
fn a_conversation_is_read(
    postfix: &Postfix,
    guard: &Guard<'_>,
    place: &Place,
    who: &str,
) -> Result<()> {
    swaks(place, "hello")?.expect_code(0)?;
    postfix.expect_messages(1)?;
    // 220, 250 of EHLO, MAIL and RCPT, 354, 250, 221.
    let totals = guard.await_totals(who, "direct", "one conversation", |totals| {
        totals.replies.ok == 6
    })?;
    assert_eq!(
        (
            totals.replies.more,
            totals.replies.later,
            totals.replies.never
        ),
        (1, 0, 0),
        "{totals:?}"
    );
    assert_eq!((totals.messages, totals.encrypted), (1, 0), "{totals:?}");
    assert!(totals.bytes > 100, "{totals:?}");
    swaks_to(place, "bob@elsewhere.test", "hello", &[])?.expect_code(24)?;
    // 220, 250 of EHLO and MAIL, 554, 221.
    let totals = guard.await_totals(who, "direct", "two conversations", |totals| {
        totals.replies.ok == 10
    })?;
    assert_eq!(
        (
            totals.replies.more,
            totals.replies.later,
            totals.replies.never
        ),
        (1, 0, 1),
        "{totals:?}"
    );
    assert_eq!((totals.attempts, totals.established), (2, 2), "{totals:?}");
    assert_eq!(totals.plain, 2, "{totals:?}");
    let replies = until("the text of the refusal", SOON, || {
        let replies = guard.show(who)?.replies;
        anyhow::ensure!(!replies.is_empty(), "none yet");
        Ok(replies)
    })?;
    assert_eq!(replies.len(), 1, "{replies:?}");
    assert_eq!(
        (
            replies[0].server.as_str(),
            replies[0].port,
            replies[0].class.as_str()
        ),
        (ADDRESS, 25, "direct")
    );
    assert_eq!(
        replies[0].text,
        "554 5.7.1 <…@elsewhere.test>: Relay access denied"
    );
    Ok(())
}

#[test]
fn replies_to_a_host_user_are_read() -> Result<()> {
    let lab = Lab::new()?;
    let postfix = Postfix::start(&lab)?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    guard.await_uplink(UPLINK)?;
    guard.ok(&["allow", WWW.1])?;
    guard.await_registered(WWW.1)?;
    let place = lab.place("users")?.user(User::named(WWW.0)?);
    a_conversation_is_read(&postfix, &guard, &place, WWW.1)
}

#[test]
fn replies_to_a_container_are_read() -> Result<()> {
    let lab = Lab::new()?;
    let postfix = Postfix::start(&lab)?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    guard.await_edge(WEB.1)?;
    guard.await_identity(WEB.0, "edge fge0")?;
    a_conversation_is_read(&postfix, &guard, &web.place(), WEB.0)
}

#[test]
fn what_tls_hides_is_told_apart_from_silence() -> Result<()> {
    let lab = Lab::new()?;
    let postfix = Postfix::start(&lab)?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    guard.await_uplink(UPLINK)?;
    guard.await_edge(WEB.1)?;
    guard.await_identity(WEB.0, "edge fge0")?;
    guard.ok(&["allow", WWW.1])?;
    guard.await_registered(WWW.1)?;
    let user = lab.place("users")?.user(User::named(WWW.0)?);
    for (messages, (place, who)) in [(user, WWW.1), (web.place(), WEB.0)]
        .into_iter()
        .enumerate()
    {
        swaks_to(&place, MAILBOX, "a secret", &["--tls"])?.expect_code(0)?;
        postfix.expect_messages(messages + 1)?;
        // 220, 250 of EHLO, 220 of STARTTLS; then nothing can be read any more.
        let totals = guard.await_totals(who, "direct", "one encrypted", |totals| {
            totals.encrypted == 1 && totals.open_ms > 0
        })?;
        assert_eq!((totals.attempts, totals.established), (1, 1), "{totals:?}");
        assert_eq!((totals.replies.ok, totals.messages), (3, 0), "{totals:?}");
        assert_eq!(totals.plain, 0, "{totals:?}");
        assert!(totals.bytes > 500, "{totals:?}");
    }
    Ok(())
}

#[test]
fn a_session_without_tls_is_one_however_much_it_tries() -> Result<()> {
    let lab = Lab::new()?;
    let _postfix = Postfix::start(&lab)?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    guard.await_edge(WEB.1)?;
    guard.await_identity(WEB.0, "edge fge0")?;
    let place = web.place();
    let many = format!("a@elsewhere.test,b@elsewhere.test,c@elsewhere.test,{MAILBOX}");
    let seen = |class: &str, what: &str, [ok, never, plain, encrypted]: [u64; 4]| {
        let totals = guard.await_totals(WEB.0, class, what, |totals| {
            (totals.replies.ok, totals.replies.never) == (ok, never)
        })?;
        assert_eq!(
            (totals.plain, totals.encrypted),
            (plain, encrypted),
            "{what}: {totals:?}"
        );
        anyhow::Ok(())
    };
    // 220, 250 of EHLO and of MAIL, three times 554, 250 of RCPT, 354, 250, 221.
    swaks_to(&place, &many, "hello", &[])?.expect_code(0)?;
    seen("direct", "refusals and a message", [6, 3, 1, 0])?;
    // The same with its replies in fewer segments.
    swaks_to(&place, &many, "hello", &["--pipeline"])?.expect_code(0)?;
    seen("direct", "pipelined", [12, 6, 2, 0])?;
    // 220, 250 of EHLO, 221: it might have gone on with TLS.
    swaks_to(&place, MAILBOX, "hello", &["--quit-after", "HELO"])?.expect_code(0)?;
    seen("direct", "only a greeting", [15, 6, 2, 0])?;
    // 220, 250 of EHLO, 220 of STARTTLS.
    swaks_to(&place, &many, "hello", &["--tls"])?.expect_code(0)?;
    seen("direct", "encrypted", [18, 6, 2, 1])?;
    // 554, 221 of QUIT.
    swaks_to(&place, MAILBOX, "hello", &["--port", REFUSES])?.expect_code(21)?;
    seen("submission", "refused instead of greeted", [1, 1, 0, 0])
}
