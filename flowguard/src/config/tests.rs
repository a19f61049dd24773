//! The configuration as a whole: defaults, merging, errors.

use proptest::prelude::*;

use super::*;
use crate::policy::{Bound, Ladder, RuleAction, Step};

pub(super) fn parse(text: &str) -> Config {
    Config::parse(text, None).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn problems(text: &str) -> Vec<String> {
    match Config::parse(text, None) {
        Err(ConfigError::Invalid { problems, .. }) => {
            assert!(!problems.is_empty());
            problems.iter().map(Problem::to_string).collect()
        }
        other => panic!("{other:?}\n{text}"),
    }
}

/// Asserts that a text has one problem, at this place, which is described so.
#[track_caller]
pub(super) fn assert_problem(text: &str, place: &str, description: &str) {
    let problems = problems(text);
    let [problem] = problems.as_slice() else {
        panic!("{problems:#?}")
    };
    assert!(problem.starts_with(place), "{problem}");
    assert!(problem.contains(description), "{problem}");
}

#[test]
fn an_empty_text_means_the_defaults() {
    assert_eq!(parse(""), Config::embedded().unwrap());
}

#[test]
fn defaults_are_what_the_design_says() {
    let config = parse("");
    assert_eq!(config.origin, None);
    assert_eq!(config.mode, Mode::Observe);
    assert_eq!(
        config.paths,
        Paths {
            control_socket: "/run/flowguard/control.sock".into(),
            control_group: "flowguard".into(),
            state: "/var/lib/flowguard/state.db".into(),
            pins: "/sys/fs/bpf/flowguard".into(),
            cgroup_root: None,
        }
    );
    assert_eq!(
        config.guard,
        Guard {
            direct_ports: vec![25],
            submission_ports: vec![465, 587, 2525],
            deny: DenyError::Refused,
            trusted: Vec::new(),
            trust_local_addresses: true,
            smarthosts: Vec::new(),
        }
    );
    assert_eq!(
        config.kernel,
        Kernel {
            max_sources: flowguard_common::names::DEFAULT_SOURCES,
            max_edges: flowguard_common::names::DEFAULT_EDGES,
            max_identities: flowguard_common::names::MAX_KEYS,
            max_unregistered: flowguard_common::names::MAX_FALLBACK,
            ring_bytes: flowguard_common::names::RING_BYTES,
            edge_attach: EdgeAttach::Auto,
            events_per_source: Rate {
                interval_ns: 100_000_000,
                burst: 50
            },
            unanswered_after: Duration::from_secs(150),
        }
    );
    assert_eq!(config.ceilings, Ceilings::default());
    assert_eq!(config.policy.tick, Duration::from_secs(1));
}

#[test]
fn every_optional_key_is_explained_in_the_reference() {
    let uncommented: String = REFERENCE
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|rest| rest.contains(" = ")))
        .zip(REFERENCE.lines())
        .map(|(example, line)| example.unwrap_or(line).to_owned() + "\n")
        .collect();
    for key in [
        "cgroup_root",
        "direct",
        "submission",
        "relay",
        "factor",
        "skip",
        "until",
    ] {
        assert!(uncommented.contains(&format!("\n{key} = ")), "{key}");
    }
}

#[test]
fn shipped_exemptions_spare_mail_servers_and_nobody_else() {
    let config = parse("");
    for user in ["root", "postfix", "Debian-exim", "stalwart-mail"] {
        assert_eq!(
            config.exempt(&SourceName::user(user)),
            Some("mail-servers"),
            "{user}"
        );
    }
    for source in [
        SourceName::user("www-data"),
        SourceName::user("nobody"),
        SourceName::container("root"),
    ] {
        assert_eq!(config.exempt(&source), None, "{source}");
    }
}

#[test]
fn shipped_edges_are_edges() {
    let edges = parse("").edges;
    for name in [
        "veth1a2b3c",
        "tap101i0",
        "vnet0",
        "vif3.0",
        "cali12",
        "lxc12",
    ] {
        assert!(edges.matches(name), "{name}");
    }
    for name in [
        "lo",
        "eth0",
        "ens3",
        "eno1",
        "docker0",
        "lxcbr0",
        "lxdbr0",
        "virbr0",
        "fwpr101p0",
        "vmbr0",
        "wg0",
        "tun0",
        "macvtap0",
    ] {
        assert!(!edges.matches(name), "{name}");
    }
}

#[test]
fn what_is_written_replaces_the_default_and_the_rest_stays() {
    let config = parse(
        r#"
        mode = "enforce"
        [guard]
        direct_ports = [25, 24]
        deny = "not-permitted"
        trusted = ["192.0.2.1", "2001:db8::/32"]
        [ceilings]
        direct = { burst = 300, rate = 600, per = "1h" }
        [[rule]]
        name = "slow-down"
        sources = ["container:*"]
        class = "submission"
        window = "10m"
        min_destinations = 50
        action = "limit"
        limit = { burst = 10, rate = 10, per = "1h" }
        for = "2h"
        "#,
    );
    assert_eq!(config.mode, Mode::Enforce);
    assert_eq!(config.guard.direct_ports, [25, 24]);
    assert_eq!(config.guard.submission_ports, [465, 587, 2525]);
    assert_eq!(config.guard.deny.errno(), 1);
    assert_eq!(config.guard.trusted[0].to_string(), "192.0.2.1/32");
    let hourly = |burst, rate| Rate {
        interval_ns: 3_600_000_000_000_u64 / rate,
        burst,
    };
    assert_eq!(
        config.ceilings.of(ClassName::Direct),
        Some(hourly(300, 600))
    );
    assert_eq!(config.ceilings.of(ClassName::Relay), None);
    let [rule] = config.judgement.rules.as_slice() else {
        panic!("{:?}", config.judgement.rules)
    };
    let [condition] = rule.when.as_slice() else {
        panic!("{rule:?}")
    };
    assert_eq!(condition.what.name(), "destinations");
    assert_eq!(condition.bound, Bound::AtLeast(50.0));
    assert_eq!(condition.within, Duration::from_mins(10));
    let limit = RuleAction::Limit(hourly(10, 10));
    assert_eq!(
        rule.ladder,
        Ladder::single(Step::new(limit, Duration::from_hours(2)))
    );
    assert_eq!(config.containers, parse("").containers);
}

#[test]
fn exemptions_add_to_the_shipped_ones() {
    let names = |text: &str| {
        let config = parse(text);
        let sources = |exempt: &Exempt| (exempt.name.clone(), exempt.sources.patterns().len());
        config.exempt.iter().map(sources).collect::<Vec<_>>()
    };
    let shipped = names("");
    let own = "[[exempt]]\nname = 'relay'\nsources = ['container:relay']\n";
    let mut both = vec![("relay".to_owned(), 1)];
    both.extend(shipped.clone());
    assert_eq!(names(own), both);
    assert_eq!(names("exempt = []"), shipped);
    let instead = "[[exempt]]\nname = 'mail-servers'\nsources = ['user:root']\n";
    assert_eq!(names(instead), [("mail-servers".to_owned(), 1)]);
}

#[test]
fn unknown_names_come_with_the_nearest_valid_one() {
    assert_problem("\nmoode = 1", "2:1: moode: ", "did you mean `mode`?");
    assert_problem(
        "[guard]\n  direct_port = [25]",
        "2:3: guard.direct_port: ",
        "did you mean `direct_ports`?",
    );
    assert_problem(
        "mode = 'enforced'",
        "1:8: mode: ",
        "did you mean `enforce`?",
    );
    assert_problem(
        "[[rules]]\nname = 'x'",
        "1:3: rules: ",
        "did you mean `rule`?",
    );
    assert_problem(
        "[kernel]\nedge_attach = 'ebpf'",
        "2:15: kernel.edge_attach: ",
        "expected one of `auto`, `tcx`, `clsact`",
    );
    assert_problem(
        "[[exempt]]\nname = 'x'\nsources = ['usr:x']",
        "3:12: exempt.sources: ",
        "did you mean `user:`?",
    );
}

#[test]
fn shape_errors_tell_the_place_and_the_key() {
    assert_problem("mode = ", "1:8: ", "quoted");
    assert_problem("é = 1\n= 2", "1:1: ", "invalid unquoted key");
    assert_problem(
        "[[rule]]\nname = 'x'",
        "1:1: rule: ",
        "missing key `sources`",
    );
    assert_problem(
        "[guard]\ntrust_local_addresses = 'yes'",
        "2:25: guard.trust_local_addresses: ",
        "expected a boolean",
    );
    assert_problem("guard = 5", "1:9: guard: ", "expected a section [guard]");
    assert_problem(
        "[guard]\ndirect_ports = ['smtp']",
        "2:17: guard.direct_ports: ",
        "expected a whole number",
    );
    assert_problem(
        "[kernel]\nevents_per_source = { burst = 5 }",
        "2:21: kernel.events_per_source: ",
        "missing key `rate`",
    );
}

#[test]
fn wrong_values_are_told() {
    for (text, place, description) in [
        (
            "[guard]\ndirect_ports = []",
            "2:16: guard.direct_ports",
            "write 1 to 16",
        ),
        (
            "[guard]\ndirect_ports = [0]",
            "2:17: guard.direct_ports",
            "0 is out of range",
        ),
        (
            "[guard]\ndirect_ports = [65536]",
            "2:17: ",
            "write 1 to 65535",
        ),
        ("[guard]\ndirect_ports = [25, 25]", "2:21: ", "here twice"),
        (
            "[guard]\ndirect_ports = [587]",
            "2:17: guard.direct_ports",
            "choose one",
        ),
        (
            "[guard]\nsubmission_ports = [25]",
            "2:21: guard.submission_ports",
            "choose one",
        ),
        (
            "[guard]\ntrusted = ['192.0.2']",
            "2:12: guard.trusted",
            "no address",
        ),
        (
            "[guard]\ntrusted = ['10.0.0.1/8']",
            "2:12: ",
            "write 10.0.0.0/8",
        ),
        ("[guard]\ntrusted = ['::/0']", "2:12: ", "everybody"),
        (
            "[guard]\nsmarthosts = ['mail.example.org']",
            "2:15: guard.smarthosts",
            "no address of a mail server",
        ),
        (
            "[guard]\nsmarthosts = ['192.0.2.1', '192.0.2.2:26']",
            "2:28: guard.smarthosts",
            "for IPv4 already",
        ),
        ("[guard]\nsmarthosts = ['192.0.2.1:0']", "2:15: ", "port 0"),
        (
            "[guard]\nsmarthosts = ['::ffff:192.0.2.1']",
            "2:15: ",
            "write 192.0.2.1",
        ),
        (
            "[guard]\nsmarthosts = ['[ff02::1]:25']",
            "2:15: ",
            "no single host",
        ),
        (
            "[paths]\nstate = 'x.db'",
            "2:9: paths.state",
            "begin it with `/`",
        ),
        (
            "[paths]\ncgroup_root = ''",
            "2:15: paths.cgroup_root",
            "begin it with `/`",
        ),
        (
            "[paths]\ncontrol_group = ''",
            "2:17: paths.control_group",
            "no name of a group",
        ),
        (
            "[kernel]\nmax_sources = 63",
            "2:15: kernel.max_sources",
            "write 64 to 1000000",
        ),
        (
            "[policy]\ntick = '99ms'",
            "2:8: policy.tick",
            "write 100ms to 1m",
        ),
        ("[policy]\ntick = 'soon'", "2:8: policy.tick", "no duration"),
        (
            "[edges]\ninclude = ['veth[']",
            "2:12: edges.include",
            "veth[",
        ),
        (
            "[ceilings]\nrelay = { burst = 0, rate = 1, per = '1s' }",
            "2:19: ceilings.relay.burst",
            "out of range",
        ),
        (
            "[ceilings]\nrelay = { burst = 1000000, rate = 1, per = '1d' }",
            "2:19: ceilings.relay",
            "more than a year",
        ),
        (
            "[ceilings]\nrelay = { burst = 1, rate = 1000000000, per = '1ms' }",
            "2:19: ceilings.relay",
            "more than one attempt a nanosecond",
        ),
        (
            "[[container]]\nname = 'x'\npaths = ['/x']",
            "3:10: container.paths",
            "`{id}` or `{name}`",
        ),
        (
            "[[exempt]]\nname = 'a b'\nsources = ['*']",
            "2:8: exempt.name",
            "no name",
        ),
        (
            "[[exempt]]\nname = 'a'\nsources = []",
            "3:11: exempt.sources",
            "names nobody",
        ),
    ] {
        assert_problem(text, place, description);
    }
    let long = format!("[paths]\ncontrol_socket = '/{}'", "x".repeat(107));
    assert_problem(&long, "2:18: paths.control_socket", "107 bytes");
}

#[test]
fn all_wrong_values_are_told_in_the_order_of_the_file() {
    let text = "[policy]\ntick = '1y'\n[guard]\ntrusted = ['x', 'y']\n[paths]\npins = 'p'\n";
    let error = Config::parse(text, Some(Path::new("/etc/f\n.toml"))).unwrap_err();
    let places: Vec<_> = error
        .to_string()
        .lines()
        .map(|line| line.splitn(4, ':').take(3).collect::<Vec<_>>().join(":"))
        .collect();
    assert_eq!(
        places,
        [
            r"/etc/f\u{a}.toml:2:8",
            r"/etc/f\u{a}.toml:4:12",
            r"/etc/f\u{a}.toml:4:17",
            r"/etc/f\u{a}.toml:6:8"
        ]
    );
}

#[test]
fn files_are_read_and_missing_ones_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flowguard.toml");
    let error = Config::load(&path).unwrap_err();
    assert!(matches!(error, ConfigError::Read { .. }));
    assert!(error.to_string().contains("flowguard.toml"), "{error}");
    fs::write(&path, b"mode = \"\xff\"").unwrap();
    assert!(matches!(Config::load(&path), Err(ConfigError::Read { .. })));
    fs::write(&path, "mode = 'enforce'").unwrap();
    let config = Config::load(&path).unwrap();
    assert_eq!(config.mode, Mode::Enforce);
    assert_eq!(config.origin, Some(path));
}

#[test]
fn some_changes_need_a_restart() {
    let old = parse("");
    let new = parse(
        "mode = 'enforce'\nrule = []\n[paths]\npins = '/x'\ncgroup_root = '/y'\n\
         [kernel]\nmax_sources = 64\nmax_edges = 16\n",
    );
    assert_eq!(
        old.needs_restart(&new),
        [
            "paths.pins",
            "paths.cgroup_root",
            "kernel.max_sources",
            "kernel.max_edges"
        ]
    );
    assert_eq!(old.needs_restart(&parse("mode = 'enforce'")), [""; 0]);
}

proptest! {
    // Each case compiles all patterns of the defaults.
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_text_is_a_configuration_or_an_error(text in any::<String>()) {
        if let Err(error) = Config::parse(&text, None) {
            prop_assert!(error.to_string().starts_with("configuration:"));
        }
    }

    /// The reference with one character replaced: near enough to a configuration to get far.
    #[test]
    fn any_slip_is_survived(at in 0..REFERENCE.len(), slip in any::<char>()) {
        let mut text: Vec<char> = REFERENCE.chars().collect();
        let at = at.min(text.len() - 1);
        text[at] = slip;
        let text: String = text.into_iter().collect();
        if let Err(error) = Config::parse(&text, None) {
            let error = error.to_string();
            prop_assert!(error.lines().all(|line| line.starts_with("configuration:")), "{}", error);
        }
    }
}
