//! The configuration as it is written. Every key that is not an `Option` has its default in the
//! reference file.

use serde::Deserialize;
use serde_spanned::Spanned;

use super::{
    DenyError, EdgeAttach, GatewayMode,
    judgement::raw::{RawLadder, RawOverride, RawPackage, RawRisk, RawRule, RawSprt},
};
use crate::model::Mode;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a configuration")]
pub(super) struct RawConfig {
    pub(super) mode: Mode,
    pub(super) paths: RawPaths,
    pub(super) guard: RawGuard,
    pub(super) kernel: RawKernel,
    pub(super) ceilings: RawCeilings,
    pub(super) policy: RawPolicy,
    pub(super) history: RawHistory,
    pub(super) edges: RawEdges,
    pub(super) gateway: RawGateway,
    pub(super) uplinks: RawUplinks,
    pub(super) exempt: Vec<RawExempt>,
    pub(super) container: Vec<RawContainer>,
    pub(super) names: RawNames,
    pub(super) mapping: RawMapping,
    pub(super) sending: RawSending,
    pub(super) sprt: RawSprt,
    pub(super) risk: RawRisk,
    pub(super) ladder: Vec<RawLadder>,
    pub(super) rule: Vec<RawRule>,
    pub(super) package: Option<Vec<RawPackage>>,
    #[serde(rename = "override")]
    pub(super) overrides: Option<Vec<RawOverride>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section [paths]")]
pub(super) struct RawPaths {
    pub(super) control_socket: Spanned<String>,
    pub(super) control_group: Spanned<String>,
    pub(super) state: Spanned<String>,
    pub(super) pins: Spanned<String>,
    pub(super) cgroup_root: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section [guard]")]
pub(super) struct RawGuard {
    pub(super) direct_ports: Spanned<Vec<Spanned<i64>>>,
    pub(super) submission_ports: Spanned<Vec<Spanned<i64>>>,
    pub(super) deny: DenyError,
    pub(super) trusted: Spanned<Vec<Spanned<String>>>,
    pub(super) trust_local_addresses: bool,
    pub(super) smarthosts: Spanned<Vec<Spanned<String>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section [kernel]")]
pub(super) struct RawKernel {
    pub(super) max_sources: Spanned<i64>,
    pub(super) max_edges: Spanned<i64>,
    pub(super) max_identities: Spanned<i64>,
    pub(super) max_unregistered: Spanned<i64>,
    pub(super) ring_bytes: Spanned<i64>,
    pub(super) edge_attach: EdgeAttach,
    pub(super) events_per_source: RawRate,
    pub(super) unanswered_after: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section [ceilings]")]
pub(super) struct RawCeilings {
    pub(super) direct: Option<RawRate>,
    pub(super) submission: Option<RawRate>,
    pub(super) relay: Option<RawRate>,
}

#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a rate such as { burst = 10, rate = 10, per = '1h' }"
)]
pub(super) struct RawRate {
    pub(super) burst: Spanned<i64>,
    pub(super) rate: Spanned<i64>,
    pub(super) per: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section [policy]")]
pub(super) struct RawPolicy {
    pub(super) tick: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section [history]")]
pub(super) struct RawHistory {
    pub(super) minutes: Spanned<String>,
    pub(super) hours: Spanned<String>,
    pub(super) records: Spanned<String>,
    pub(super) max_bytes: Spanned<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section [edges]")]
pub(super) struct RawEdges {
    pub(super) include: Vec<Spanned<String>>,
    pub(super) exclude: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section [gateway]")]
pub(super) struct RawGateway {
    pub(super) interfaces: Vec<Spanned<String>>,
    pub(super) mode: GatewayMode,
    pub(super) ipv4_prefix: Spanned<i64>,
    pub(super) ipv6_prefix: Spanned<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section [uplinks]")]
pub(super) struct RawUplinks {
    pub(super) auto: bool,
    pub(super) include: Vec<Spanned<String>>,
    pub(super) exclude: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section [[exempt]]")]
pub(super) struct RawExempt {
    pub(super) name: Spanned<String>,
    pub(super) sources: Spanned<Vec<Spanned<String>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section [[container]]")]
pub(super) struct RawContainer {
    pub(super) name: Spanned<String>,
    pub(super) paths: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) names: Vec<RawTeller>,
    pub(super) called: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(
    rename_all = "kebab-case",
    expecting = "where names are asked for, such as { docker-socket = \"/run/docker.sock\" }"
)]
pub(super) enum RawTeller {
    DockerState(Spanned<String>),
    DockerSocket(Spanned<String>),
    ContainersStorage(Spanned<String>),
    OciBundle(Spanned<String>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section [names]")]
pub(super) struct RawNames {
    pub(super) timeout: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section [mapping]")]
pub(super) struct RawMapping {
    pub(super) file: Option<Spanned<String>>,
    pub(super) command: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) user: Spanned<String>,
    pub(super) timeout: Spanned<String>,
    pub(super) refresh: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section [sending]")]
pub(super) struct RawSending {
    pub(super) translated: Spanned<Vec<RawTranslation>>,
}

#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a network and an address, such as { from = '172.17.0.0/16', to = '192.0.2.7' }"
)]
pub(super) struct RawTranslation {
    pub(super) from: Spanned<String>,
    pub(super) to: Spanned<String>,
}
