//! From what is written to what is meant.

use std::{collections::HashSet, time::Duration};

use flowguard_common::names::MAX_TRUSTED;

use super::{
    Ceilings, Config, Exempt, Guard, Kernel, Names, Paths, Policy, Uplinks,
    check::Checker,
    edges::EdgeNames,
    engines::containers,
    error::Problem,
    gateway::gateway,
    history::history,
    judgement::judgement,
    mapping::mapping,
    raw::{
        RawCeilings, RawConfig, RawEdges, RawExempt, RawGuard, RawKernel, RawPaths, RawRate,
        RawUplinks,
    },
    sending::sending,
};

/// Trusted networks that can be configured: one bank of the kernel's table, less room for the
/// host's own addresses.
const MAX_TRUSTED_NETWORKS: usize = MAX_TRUSTED as usize / 2 - 512;

/// Longest path of a unix socket: `sun_path` with its final zero (include/uapi/linux/un.h).
const MAX_SOCKET_PATH: usize = 107;

const SECOND: Duration = Duration::from_secs(1);

/// Interprets everything; all that makes no sense is told together.
pub(super) fn config(raw: RawConfig, text: &str) -> Result<Config, Vec<Problem>> {
    let mut check = Checker::new(text);
    let config = sections(&raw, &mut check);
    let problems = check.into_problems();
    config.filter(|_| problems.is_empty()).ok_or(problems)
}

fn sections(raw: &RawConfig, check: &mut Checker<'_>) -> Option<Config> {
    let paths = paths(&raw.paths, check);
    let guard = guard(&raw.guard, check);
    let kernel = kernel(&raw.kernel, check);
    let ceilings = ceilings(&raw.ceilings, check);
    let tick = check.duration(
        "policy.tick",
        &raw.policy.tick,
        Duration::from_millis(100),
        Duration::from_mins(1),
    );
    let history = history(&raw.history, check);
    let edges = edges(&raw.edges, check);
    let gateway = gateway(&raw.gateway, check);
    let uplinks = uplinks(&raw.uplinks, check);
    let exempt = exempt(&raw.exempt, check);
    let containers = containers(&raw.container, check);
    let mapping = mapping(&raw.mapping, check);
    let sending = sending(&raw.sending, check);
    let timeout = check.duration(
        "names.timeout",
        &raw.names.timeout,
        Duration::from_millis(10),
        Duration::from_secs(10),
    );
    let judgement = judgement(raw, check);
    Some(Config {
        origin: None,
        socket: None,
        mode: raw.mode,
        paths: paths?,
        guard: guard?,
        kernel: kernel?,
        ceilings: ceilings?,
        policy: Policy { tick: tick? },
        history: history?,
        edges: edges?,
        gateway: gateway?,
        uplinks: uplinks?,
        exempt: exempt?,
        containers,
        names: Names { timeout: timeout? },
        mapping: mapping?,
        sending: sending?,
        judgement: judgement?,
    })
}

fn paths(raw: &RawPaths, check: &mut Checker<'_>) -> Option<Paths> {
    let key = "paths.control_socket";
    let control_socket = check.path(key, &raw.control_socket);
    if raw.control_socket.get_ref().len() > MAX_SOCKET_PATH {
        let message = format!("the path of a socket has at most {MAX_SOCKET_PATH} bytes");
        check.note(key, &raw.control_socket, message);
    }
    let control_group = raw.control_group.get_ref();
    if control_group.is_empty() || control_group.contains(['\0', ':', '\n']) {
        let message = format!("`{control_group}` is no name of a group");
        check.note("paths.control_group", &raw.control_group, message);
    }
    let state = check.path("paths.state", &raw.state);
    let pins = check.path("paths.pins", &raw.pins);
    let cgroup_root = raw
        .cgroup_root
        .as_ref()
        .map(|root| check.path("paths.cgroup_root", root));
    Some(Paths {
        control_socket: control_socket?,
        control_group: control_group.clone(),
        state: state?,
        pins: pins?,
        cgroup_root: match cgroup_root {
            Some(root) => Some(root?),
            None => None,
        },
    })
}

fn guard(raw: &RawGuard, check: &mut Checker<'_>) -> Option<Guard> {
    let direct_ports = check.ports("guard.direct_ports", &raw.direct_ports, 1);
    let submission_ports = check.ports("guard.submission_ports", &raw.submission_ports, 0);
    for port in raw.submission_ports.get_ref() {
        let Some(direct) = raw.direct_ports.get_ref().iter().find(|&p| p == port) else {
            continue;
        };
        // Blame the list that the operator wrote, not the default.
        let (key, place) = if check.is_written(port) {
            ("guard.submission_ports", port)
        } else {
            ("guard.direct_ports", direct)
        };
        let number = port.get_ref();
        let message =
            format!("port {number} is in direct_ports and in submission_ports: choose one");
        check.note(key, place, message);
    }
    let trusted = check.networks("guard.trusted", &raw.trusted, MAX_TRUSTED_NETWORKS);
    let smarthosts = check.smarthosts("guard.smarthosts", &raw.smarthosts);
    Some(Guard {
        direct_ports: direct_ports?,
        submission_ports: submission_ports?,
        deny: raw.deny,
        trusted: trusted?,
        trust_local_addresses: raw.trust_local_addresses,
        smarthosts: smarthosts?,
    })
}

fn kernel(raw: &RawKernel, check: &mut Checker<'_>) -> Option<Kernel> {
    let max_sources = check.integer("kernel.max_sources", &raw.max_sources, 64, 1_000_000);
    let max_edges = check.integer("kernel.max_edges", &raw.max_edges, 16, 65_536);
    let mut room = |key, value| check.integer(key, value, 64, 10_000_000);
    let max_identities = room("kernel.max_identities", &raw.max_identities);
    let max_unregistered = room("kernel.max_unregistered", &raw.max_unregistered);
    let ring_bytes = check.ring("kernel.ring_bytes", &raw.ring_bytes);
    let events_per_source = check.rate("kernel.events_per_source", &raw.events_per_source);
    let unanswered_after = check.duration(
        "kernel.unanswered_after",
        &raw.unanswered_after,
        SECOND,
        Duration::from_mins(15),
    );
    Some(Kernel {
        max_sources: max_sources?,
        max_edges: max_edges?,
        max_identities: max_identities?,
        max_unregistered: max_unregistered?,
        ring_bytes: ring_bytes?,
        edge_attach: raw.edge_attach,
        events_per_source: events_per_source?,
        unanswered_after: unanswered_after?,
    })
}

fn ceilings(raw: &RawCeilings, check: &mut Checker<'_>) -> Option<Ceilings> {
    let mut ceiling = |key, raw: &Option<RawRate>| {
        raw.as_ref()
            .map_or(Some(None), |rate| check.rate(key, rate).map(Some))
    };
    let direct = ceiling("ceilings.direct", &raw.direct);
    let submission = ceiling("ceilings.submission", &raw.submission);
    let relay = ceiling("ceilings.relay", &raw.relay);
    Some(Ceilings {
        direct: direct?,
        submission: submission?,
        relay: relay?,
    })
}

fn edges(raw: &RawEdges, check: &mut Checker<'_>) -> Option<EdgeNames> {
    let include = check.globs("edges.include", &raw.include);
    let exclude = check.globs("edges.exclude", &raw.exclude);
    Some(EdgeNames::new(include?, exclude?))
}

fn uplinks(raw: &RawUplinks, check: &mut Checker<'_>) -> Option<Uplinks> {
    let include = check.globs("uplinks.include", &raw.include);
    let exclude = check.globs("uplinks.exclude", &raw.exclude);
    Some(Uplinks {
        auto: raw.auto,
        names: EdgeNames::new(include?, exclude?),
    })
}

fn exempt(raw: &[RawExempt], check: &mut Checker<'_>) -> Option<Vec<Exempt>> {
    let mut names = HashSet::new();
    let all: Vec<_> = raw
        .iter()
        .map(|exempt| {
            let name = check.name("exempt.name", &exempt.name, &mut names);
            let sources = check.sources("exempt.sources", &exempt.sources);
            Some(Exempt {
                name: name?,
                sources: sources?,
            })
        })
        .collect();
    all.into_iter().collect()
}
