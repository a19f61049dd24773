//! What this kernel can do, asked by trying.

use aya::{
    programs::{ProgramType, SchedClassifier, TcAttachType},
    sys::{BpfHelper, is_helper_supported, is_program_supported},
};

use super::{EdgeMethod, gateway, sys, trial};
use crate::{
    config::{Config, EdgeAttach},
    control::api::{Check, CheckState, Doctor, ProgramCheck},
    daemon,
    identity::{cgroup, netns},
};

/// Whether a denied `connect()` can be given an errno of our choice: `bpf_set_retval`, Linux 5.18.
pub fn has_set_retval() -> bool {
    is_helper_supported(ProgramType::CgroupSockAddr, BpfHelper::BPF_FUNC_set_retval)
        .unwrap_or(false)
}

/// Whether atomics can return what they replaced (Linux 5.12), so that limits need no lock.
pub fn has_fetching_atomics() -> bool {
    // r0 = 0; *(u64 *)(r10 - 8) = 0; r1 = 1; r1 = atomic_fetch_add(r10 - 8, r1); exit
    // (Documentation/bpf/standardization/instruction-set.rst)
    const FETCH_AND_ADD: [u64; 5] = [
        0x0000_0000_0000_00b7,
        0x0000_0000_fff8_0a7a,
        0x0000_0001_0000_01b7,
        0x0000_0001_fff8_1adb,
        0x0000_0000_0000_0095,
    ];
    sys::loads(&FETCH_AND_ADD)
}

/// Whether TCX links exist (Linux 6.6): asked of the loopback device, which is always there.
pub fn has_tcx() -> bool {
    SchedClassifier::query_tcx("lo", TcAttachType::Ingress).is_ok()
}

/// The best way this kernel has to attach to devices.
pub fn edge_method() -> EdgeMethod {
    if has_tcx() {
        EdgeMethod::Tcx
    } else {
        EdgeMethod::Clsact
    }
}

/// What this host offers the guard, hook by hook, and what can be done where it lacks something.
pub fn report(config: &Config) -> Doctor {
    let kernel = nix::sys::utsname::uname()
        .map(|name| name.release().to_string_lossy().into_owned())
        .unwrap_or_else(|error| format!("unknown ({error})"));
    let privilege = privilege();
    if privilege.state != CheckState::Ok {
        // Whoever may not ask gets wrong answers.
        return Doctor {
            kernel,
            checks: vec![privilege, btf(), hierarchy(config)],
            programs: Vec::new(),
        };
    }
    let (programs, trial) = trial();
    let mut checks = vec![
        privilege,
        btf(),
        bpf(),
        trial,
        hierarchy(config),
        connect(),
        edge(config),
        exactness(),
        cookie(),
    ];
    if config.gateway.is_used() {
        checks.extend(gateway::checks(config));
    }
    Doctor {
        kernel,
        checks,
        programs,
    }
}

pub(super) fn check(
    name: &str,
    state: CheckState,
    detail: impl Into<String>,
    advice: Option<&str>,
) -> Check {
    Check {
        name: name.to_owned(),
        state,
        detail: detail.into(),
        advice: advice.map(ToOwned::to_owned),
    }
}

fn privilege() -> Check {
    match daemon::require_privilege() {
        Ok(()) => check(
            "privilege",
            CheckState::Ok,
            "the capabilities that are needed",
            None,
        ),
        Err(missing) => check(
            "privilege",
            CheckState::Missing,
            missing.to_string(),
            Some("run `flowguard doctor` as root: what this kernel can do cannot be asked without"),
        ),
    }
}

fn btf() -> Check {
    let path = std::path::Path::new("/sys/kernel/btf/vmlinux");
    if path.exists() {
        check("btf", CheckState::Ok, path.display().to_string(), None)
    } else {
        check(
            "btf",
            CheckState::Degraded,
            "this kernel does not describe its types",
            Some("use a kernel built with CONFIG_DEBUG_INFO_BTF if the programs do not load"),
        )
    }
}

fn bpf() -> Check {
    let supported = is_program_supported(ProgramType::CgroupSockAddr)
        .and_then(|yes| Ok(yes && is_program_supported(ProgramType::SchedClassifier)?));
    match supported {
        Ok(true) => check(
            "bpf",
            CheckState::Ok,
            "connect and packet programs load",
            None,
        ),
        Ok(false) => check(
            "bpf",
            CheckState::Missing,
            "connect or packet programs do not load",
            Some("use a kernel with CONFIG_CGROUP_BPF and CONFIG_NET_CLS_BPF, Linux 5.10 or later"),
        ),
        Err(error) => check(
            "bpf",
            CheckState::Missing,
            format!("cannot be asked: {error}"),
            Some("run `flowguard doctor` as root"),
        ),
    }
}

/// Whether the verifier takes the programs, by asking it.
fn trial() -> (Vec<ProgramCheck>, Check) {
    let programs = match trial::programs() {
        Ok(programs) => programs,
        Err(error) => {
            let detail = format!("{:#}", anyhow::Error::from(error));
            let advice = Some("use another kernel: this one cannot be guarded");
            return (
                Vec::new(),
                check("programs", CheckState::Missing, detail, advice),
            );
        }
    };
    let check = of_programs(&programs);
    (programs, check)
}

fn of_programs(programs: &[ProgramCheck]) -> Check {
    let named = |required: bool| -> Vec<&str> {
        let refused = programs
            .iter()
            .filter(|program| program.refused.is_some() && program.required == required);
        refused.map(|program| program.name.as_str()).collect()
    };
    let (vital, optional) = (named(true), named(false));
    if !vital.is_empty() {
        return check(
            "programs",
            CheckState::Missing,
            format!("this kernel refuses {}", vital.join(", ")),
            Some("use another kernel; `flowguard doctor --json` tells what this one objects to"),
        );
    }
    if !optional.is_empty() {
        return check(
            "programs",
            CheckState::Degraded,
            format!(
                "this kernel refuses {}: what they do is not done",
                optional.join(", ")
            ),
            Some("`flowguard doctor --json` tells what the kernel objects to"),
        );
    }
    check(
        "programs",
        CheckState::Ok,
        format!("this kernel takes all {}", programs.len()),
        None,
    )
}

fn hierarchy(config: &Config) -> Check {
    match (cgroup::find_cgroup2_root(), &config.paths.cgroup_root) {
        (Ok(mount), None) => check(
            "cgroup2",
            CheckState::Ok,
            format!("connect hooks go to {}", mount.display()),
            None,
        ),
        (Ok(_), Some(root)) if root.is_dir() => check(
            "cgroup2",
            CheckState::Ok,
            format!(
                "connect hooks go to {} and guard only what runs below",
                root.display()
            ),
            None,
        ),
        (Ok(_), Some(root)) => check(
            "cgroup2",
            CheckState::Missing,
            format!("{} does not exist", root.display()),
            Some("correct `paths.cgroup_root`, or leave it out to guard the whole host"),
        ),
        (Err(error), _) => check(
            "cgroup2",
            CheckState::Missing,
            error.to_string(),
            Some("mount it: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified"),
        ),
    }
}

fn connect() -> Check {
    if has_set_retval() {
        check(
            "connect4, connect6",
            CheckState::Ok,
            "a denied connect() gets the errno of `guard.deny`",
            None,
        )
    } else {
        check(
            "connect4, connect6",
            CheckState::Degraded,
            "a denied connect() gets EPERM, whatever `guard.deny` says (no bpf_set_retval before Linux 5.18)",
            None,
        )
    }
}

fn edge(config: &Config) -> Check {
    match (has_tcx(), config.kernel.edge_attach) {
        (true, EdgeAttach::Auto | EdgeAttach::Tcx) => check(
            "edge",
            CheckState::Ok,
            "containers' devices are guarded through TCX",
            None,
        ),
        (_, EdgeAttach::Clsact) | (false, EdgeAttach::Auto) => check(
            "edge",
            CheckState::Ok,
            "containers' devices are guarded through a clsact qdisc",
            None,
        ),
        (false, EdgeAttach::Tcx) => check(
            "edge",
            CheckState::Missing,
            "`kernel.edge_attach` is \"tcx\", which this kernel has not (Linux 6.6)",
            Some("set `kernel.edge_attach` to \"auto\""),
        ),
    }
}

fn exactness() -> Check {
    if has_fetching_atomics() {
        check(
            "exactness",
            CheckState::Ok,
            "limits and counts are exact on any number of processors",
            None,
        )
    } else {
        check(
            "exactness",
            CheckState::Degraded,
            "limits, ceilings and attempts are exact. What two processors do in the same moment may \
             be taken for one or for two: a first contact, and what came of an attempt (no atomics \
             that fetch before Linux 5.12)",
            None,
        )
    }
}

fn cookie() -> Check {
    let by_sockets = netns::is_told_to_sockets().unwrap_or(false);
    match netns::own_cookie() {
        Ok(Some(_)) if by_sockets => check(
            "namespaces",
            CheckState::Ok,
            "told apart by their cookies",
            None,
        ),
        Ok(Some(_)) => check(
            "namespaces",
            CheckState::Ok,
            "told apart by their cookies, which a program of the guard's has to ask for \
             (no SO_NETNS_COOKIE before Linux 5.14)",
            None,
        ),
        Ok(None) | Err(_) => check(
            "namespaces",
            CheckState::Degraded,
            "not told apart: a container that no pattern and no device identifies is \
             counted as the host user of the same uid",
            Some("make sure that the `[[container]]` patterns match all your containers"),
        ),
    }
}
