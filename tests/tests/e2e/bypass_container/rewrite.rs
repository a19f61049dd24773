//! Connections to a port that is less guarded, or not at all, whose packets the container's own
//! rules turn into SMTP.

use anyhow::{Context as _, Result, ensure};
use flowguard_tests::{
    client::ONE_RETRANSMISSION,
    config::Config,
    container::Container,
    feature,
    guard::Guard,
    lab::{Lab, UNGUARDED_PORT},
    mta::{ADDRESS, MAILBOX, Postfix},
    process::Finished,
    sink::Sink,
    wait::{SOON, patience, until},
};

use super::{Root, VM, WEB, guard};

/// Both families.
const WORLD: [&str; 2] = ["198.18.0.1", "2001:db8:1::1"];

/// The rules of line 21, which the connection tracking undoes for the answers.
pub(super) const DNAT: &str = "
    table ip t {
        chain c {
            type nat hook output priority -100;
            tcp dport { 2525, 8080 } dnat to :25
        }
    }
    table ip6 t {
        chain c {
            type nat hook output priority -100;
            tcp dport { 2525, 8080 } dnat to :25
        }
    }";

/// The rules of line 22, without connection tracking; the answers' port is put back for the one
/// port that is asked for.
fn at_the_device(port: u16) -> String {
    format!(
        "table netdev t {{
            chain out {{
                type filter hook egress device eth0 priority 0;
                tcp dport {port} tcp dport set 25
            }}
            chain in {{
                type filter hook ingress device eth0 priority 0;
                tcp sport 25 tcp sport set {port}
            }}
        }}"
    )
}

/// The rules of line 23: the packet with the socket is dropped, and a copy without one goes out.
pub(super) fn duplicated(port: u16, gateway: &str, gateway6: &str) -> String {
    let table = |family: &str, gateway: &str| {
        format!(
            "table {family} t {{
                chain out {{
                    type filter hook output priority 0;
                    tcp dport {port} tcp dport set 25 dup to {gateway} drop
                }}
                chain in {{
                    type filter hook input priority 0;
                    tcp sport 25 tcp sport set {port}
                }}
            }}
            "
        )
    };
    table("ip", gateway) + &table("ip6", gateway6)
}

/// The same for a session that is more than a handshake. `drop` tells the socket (EPERM), whose TCP
/// then takes what it sent for not sent and the server's answers for nonsense. So the packet with
/// the socket goes to a device that swallows it, and only the copy goes out.
fn vanishing(root: &Root, gateway: &str) -> Result<()> {
    root.ip(&[
        "link add pit0 type veth peer name pit1",
        "link set pit0 up",
        "link set pit1 up",
        // Nobody has this hardware address.
        "neigh add 192.0.2.1 lladdr 02:00:00:00:00:99 dev pit0",
        "route replace default via 192.0.2.1 dev pit0 onlink",
    ])?;
    root.nft(&format!(
        "table ip t {{
            chain out {{
                type filter hook output priority 0;
                tcp dport 2525 tcp dport set 25 dup to {gateway} device eth0
            }}
            chain in {{
                type filter hook input priority 0;
                tcp sport 25 tcp sport set 2525
            }}
        }}"
    ))
}

/// Connections to the port, by the container and by a namespace nobody manages; what the rules
/// make of it is counted once. Then the container's connections to port 25, and no others, are
/// blocked: the connect hook lets them begin, the edge drops them.
fn rewritten(port: u16, rules: impl Fn(&Container<'_>) -> String) -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let vm = Container::unmanaged(&lab, VM.1)?;
    let guard = guard(&lab, &Config::observe(&lab), &[WEB, VM])?;
    for tenant in [&web, &vm] {
        Root::of(&lab, tenant)?.nft(&rules(tenant))?;
        for to in WORLD {
            // By sockets that the connect hook sees, and by others.
            for client in [tenant.client(), tenant.hidden_client()] {
                let client = client.to(&[to]).port(port).count(10);
                client.run()?.all_connected(10)?;
            }
        }
    }
    sink.expect_accepted(80)?;
    assert_eq!(sink.accepted_on(25), 80, "the rules rewrite the port");
    guard.expect_attempts(WEB.0, "direct", 40)?;
    guard.expect_attempts(VM.0, "direct", 40)?;
    guard.expect_sum(80)?;
    blocked(&guard, &sink, &web, &vm, port)
}

fn blocked(
    guard: &Guard<'_>,
    sink: &Sink,
    web: &Container<'_>,
    vm: &Container<'_>,
    port: u16,
) -> Result<()> {
    guard.ok(&["block", WEB.0, "--class", "direct"])?;
    for client in [web.client(), web.hidden_client()] {
        let client = client.to(&WORLD).port(port).timeout(ONE_RETRANSMISSION);
        let both = client.count(2).concurrency(2);
        both.run()?.all_timed_out(2)?;
    }
    vm.client().port(port).run()?.all_connected(1)?;
    let denied = guard.expect_attempts(WEB.0, "direct", 44)?.denied;
    assert_eq!(denied, 4, "a retransmitted SYN is no new attempt");
    let denied = guard.expect_attempts(VM.0, "direct", 41)?.denied;
    assert_eq!(denied, 0);
    sink.expect_accepted(81)?;
    guard.expect_sum(85)
}

#[test]
fn bypass_21_nft_output_dnat() -> Result<()> {
    rewritten(2525, |_| DNAT.to_owned())?;
    rewritten(UNGUARDED_PORT, |_| DNAT.to_owned())
}

#[test]
fn bypass_22_nft_netdev_egress() -> Result<()> {
    feature::NETDEV_EGRESS.require()?;
    rewritten(2525, |_| at_the_device(2525))?;
    rewritten(UNGUARDED_PORT, |_| at_the_device(UNGUARDED_PORT))
}

#[test]
fn bypass_23_nft_dup_and_drop() -> Result<()> {
    for port in [2525, UNGUARDED_PORT] {
        rewritten(port, |tenant| {
            duplicated(port, &tenant.gateway(), &tenant.gateway6())
        })?;
    }
    Ok(())
}

/// The headline: mail is delivered by a session whose packets have no socket anywhere.
#[test]
fn bypass_23_a_whole_smtp_session() -> Result<()> {
    let lab = Lab::new()?;
    let postfix = Postfix::start(&lab)?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let guard = guard(&lab, &Config::observe(&lab), &[WEB])?;
    let root = Root::of(&lab, &web)?;
    vanishing(&root, &web.gateway())?;
    swaks(&root, "the first message")?.expect_code(0)?;
    let messages = postfix.expect_messages(1)?;
    assert!(messages[0].contains("the first message"), "{messages:?}");
    guard.expect_attempts(WEB.0, "direct", 1)?;
    guard.expect_sum(1)?;
    // Two hooks saw it: one a socket that wants to submit mail, the other a packet of nobody's.
    until("both hooks' events", SOON, || {
        let events = guard.events()?;
        let find = |hook: &str| events.iter().find(|event| event.hook == hook);
        let socket = find("connect4").with_context(|| format!("{events:?}"))?;
        let packet = find("edge").with_context(|| format!("{events:?}"))?;
        ensure!(
            (&*socket.source, socket.dport, socket.process.is_some()) == (WEB.0, 2525, true),
            "{socket:?}"
        );
        ensure!(
            (&*packet.source, packet.dport, packet.process.is_some()) == (WEB.0, 25, false),
            "{packet:?}"
        );
        Ok(())
    })?;
    guard.ok(&["block", WEB.0, "--class", "direct"])?;
    swaks(&root, "the second message")?.expect_code(2)?;
    let denied = guard.expect_attempts(WEB.0, "direct", 2)?.denied;
    assert_eq!(denied, 1);
    guard.ok(&["unblock", WEB.0])?;
    swaks(&root, "the third message")?.expect_code(0)?;
    let messages = postfix.expect_messages(2)?.concat();
    assert!(!messages.contains("the second message"), "{messages}");
    assert_eq!(postfix.log()?.matches(" connect from ").count(), 2);
    guard.expect_sum(3)
}

/// One message, by a connection to port 2525.
fn swaks(root: &Root, body: &str) -> Result<Finished> {
    let timeout = (2 * patience()?).to_string();
    let args = [
        "--server",
        ADDRESS,
        "--port",
        "2525",
        "--to",
        MAILBOX,
        "--timeout",
        &timeout,
        "--from",
        "shop@tenant.test",
        "--helo",
        "tenant.test",
        "--body",
        body,
    ];
    root.run("/usr/bin/swaks", &args)
}
