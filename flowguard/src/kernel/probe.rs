//! What this kernel can do, asked by trying.

use aya::{
    programs::{ProgramType, SchedClassifier, TcAttachType},
    sys::{BpfHelper, is_helper_supported},
};

use super::EdgeMethod;

/// Whether a denied `connect()` can be given an errno of our choice: `bpf_set_retval`, Linux 5.18.
pub fn has_set_retval() -> bool {
    is_helper_supported(ProgramType::CgroupSockAddr, BpfHelper::BPF_FUNC_set_retval)
        .unwrap_or(false)
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
