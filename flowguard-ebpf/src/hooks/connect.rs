//! What both connect hooks do: count host users, deny politely or redirect, stamp the socket, raise
//! evidence.

use aya_ebpf::{
    EbpfContext as _,
    bindings::bpf_sock_addr,
    btf_maps::lpm_trie::Key,
    helpers::{
        bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid,
        bpf_get_netns_cookie, bpf_ktime_get_boot_ns,
    },
    programs::SockAddrContext,
};
use aya_log_ebpf::debug;
use flowguard_common::{
    addr::{self, Addr},
    class::Class,
    counters::Stat,
    event::{Event, Hook, NO_SOURCE},
    settings::{Settings, TrustedKey},
    source::SOURCE_AT_EDGE,
    stamp::{STAMP_COUNTED, STAMP_JUDGED, STAMP_MADE, STAMP_REDIRECTED, STAMP_WOULD_DENY, Stamp},
    verdict::Decision,
};

use crate::{
    count, events, flows, identity,
    judge::{self, Attempt, Which},
    maps::{NETNS, SOURCES, STAMPS, TRUSTED},
    tuning,
};

/// The attempt goes on. Also the answer to everything we do not understand.
pub(crate) const PASS: i32 = 1;
/// The attempt is refused.
const DENY: i32 = 0;

const SOCK_STREAM: u32 = 1;
const IPPROTO_TCP: u32 = 6;
const IPPROTO_MPTCP: u32 = 262;

/// The destination port, if this socket will speak TCP.
#[inline(always)]
pub(crate) fn tcp_port(ctx: &SockAddrContext) -> Option<u16> {
    // SAFETY: the kernel's context, 4-byte reads.
    let (kind, protocol, port) = unsafe {
        let sock_addr = ctx.sock_addr;
        (
            (*sock_addr).type_,
            (*sock_addr).protocol,
            (*sock_addr).user_port,
        )
    };
    speaks_tcp(kind, protocol).then(|| u16::from_be(port as u16))
}

/// Whether a socket of this type and protocol speaks TCP.
#[inline(always)]
pub(crate) fn speaks_tcp(kind: u32, protocol: u32) -> bool {
    kind == SOCK_STREAM && (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP)
}

/// Judges and counts one `connect()`.
#[inline(always)]
pub(crate) fn decide(ctx: &SockAddrContext, hook: Hook, dst: &Addr, port: u16) -> i32 {
    let Some((bank, settings)) = super::settings() else {
        return PASS;
    };
    if !settings.is_guarded(port) {
        return PASS;
    }
    let class = settings.class(dst, port, is_trusted(bank, dst));
    let hash = addr::hash(dst, settings.hash_seed);
    let uid = identity::task_uid();
    // SAFETY: the kernel's context and no arguments.
    let (netns, now_ns) = unsafe { (bpf_get_netns_cookie(ctx.as_ptr()), bpf_ktime_get_boot_ns()) };

    let key = identity::fallback_key(settings, netns, uid, class);
    let mut left = Left {
        class,
        dst: *dst,
        port,
        source: NO_SOURCE,
        counted: true,
        decision: Decision::Pass,
    };
    let told = match identity::source_of_task(settings, netns, uid) {
        Some(source) => {
            let maker = maker_of(ctx, settings, netns).unwrap_or(source);
            let (source, other) = judge::responsible(source, maker, class as u32, now_ns);
            let elsewhere = is_seen_at_edge(settings, source, netns, dst);
            let attempt = Attempt {
                index: class.index(source),
                hash,
                now_ns,
                bank,
                before: Some(key),
            };
            // Forwarded out of a nested namespace, the packet loses its socket on the way, and with
            // it our stamp: the edge will charge for it.
            let decision = if elsewhere && is_nested(netns) {
                judge::verdict(attempt.index, bank, now_ns)
            } else {
                judge::attempt(&attempt)
            };
            // A verdict against either holds.
            let decision = if decision == Decision::Pass && other != source {
                judge::verdict(class.index(other), bank, now_ns)
            } else {
                decision
            };
            let decision = match decision {
                Decision::Redirect if !redirect(ctx, settings, dst, hook) => Decision::Deny,
                decision => decision,
            };
            debug!(
                ctx,
                "connect: source {} class {} port {} decision {}",
                source,
                class as u8,
                port,
                decision as u8
            );
            left.source = source;
            left.decision = decision;
            // What goes elsewhere from here on is no longer what the edge would count.
            left.counted = !elsewhere || matches!(decision, Decision::Deny | Decision::Redirect);
            if left.counted {
                count::attempt(&attempt, decision);
            }
            events::may_raise(settings, Which::Attempts, source, now_ns)
        }
        None => {
            debug!(
                ctx,
                "connect: uid {} netns {} is not registered", uid, netns
            );
            let (first, decision) = count::unregistered(&key, hash, now_ns, bank);
            left.decision = decision;
            first
        }
    };
    stamp(ctx, settings, &left);
    if told {
        // SAFETY: no arguments.
        let cgroup = unsafe { bpf_get_current_cgroup_id() };
        events::raise(Event {
            time_ns: now_ns,
            cgroup,
            id: key.id,
            source: left.source,
            pid: (bpf_get_current_pid_tgid() >> 32) as u32,
            uid,
            ifindex: 0,
            dst: *dst,
            dport: port,
            class: class as u8,
            decision: left.decision as u8,
            hook: hook as u8,
            pad: [0; 3],
            key: key.kind,
            pad2: 0,
            comm: bpf_get_current_comm().unwrap_or_default(),
        });
    }
    answer(settings, left.decision)
}

/// What an attempt leaves on its socket.
struct Left {
    source: u32,
    class: Class,
    dst: Addr,
    port: u16,
    counted: bool,
    decision: Decision,
}

/// Sends the connection to the smarthost of its family; false if there is none.
#[inline(always)]
fn redirect(ctx: &SockAddrContext, settings: &Settings, dst: &Addr, hook: Hook) -> bool {
    let Some(smarthost) = settings.smarthost(dst) else {
        return false;
    };
    // SAFETY: the kernel's context, writes of the widths the verifier allows.
    unsafe {
        let to = ctx.sock_addr;
        write_port(to, smarthost.port);
        write_address(to, &smarthost.addr, hook == Hook::Connect6);
    }
    true
}

/// Puts a port, in host order, into the kernel's context.
///
/// # Safety
///
/// `to` is the context of the program.
#[inline(always)]
pub(crate) unsafe fn write_port(to: *mut bpf_sock_addr, port: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        core::ptr::write_volatile(&raw mut (*to).user_port, u32::from((port as u16).to_be()));
    }
}

/// Puts an address into the kernel's context of a hook for IPv4 sockets, or for IPv6 sockets: each
/// may write its own fields only.
///
/// # Safety
///
/// `to` is the context of the program.
#[inline(always)]
pub(crate) unsafe fn write_address(to: *mut bpf_sock_addr, addr: &Addr, is_v6: bool) {
    let word = |at: usize| u32::from_ne_bytes([addr[at], addr[at + 1], addr[at + 2], addr[at + 3]]);
    // SAFETY: the caller's promise. Volatile, so that each word stays one access of four bytes.
    unsafe {
        if is_v6 {
            let words = &raw mut (*to).user_ip6;
            core::ptr::write_volatile(&raw mut (*words)[0], word(0));
            core::ptr::write_volatile(&raw mut (*words)[1], word(4));
            core::ptr::write_volatile(&raw mut (*words)[2], word(8));
            core::ptr::write_volatile(&raw mut (*words)[3], word(12));
        } else {
            core::ptr::write_volatile(&raw mut (*to).user_ip4, word(12));
        }
    }
}

/// Whether the edge will see this attempt's packets and count it. A connection that stays inside
/// the container never gets there.
#[inline(always)]
fn is_seen_at_edge(settings: &Settings, source: u32, netns: u64, dst: &Addr) -> bool {
    !settings.is_host(netns)
        && !addr::is_loopback(dst)
        && SOURCES
            .get(source)
            .is_some_and(|info| info.flags & SOURCE_AT_EDGE != 0)
}

/// Whether a namespace that is not the host's is known only by the container around it.
#[inline(always)]
fn is_nested(netns: u64) -> bool {
    NETNS.get_ptr(netns).is_none()
}

/// Whether the destination is on the list of trusted ones.
#[inline(always)]
pub(crate) fn is_trusted(bank: u32, dst: &Addr) -> bool {
    let bits = 8 * size_of::<TrustedKey>() as u32;
    TRUSTED
        .get(&Key::new(bits, TrustedKey { bank, addr: *dst }))
        .is_some()
}

/// Leaves on the socket what the packet hooks need to know about this attempt. The one before it on
/// this socket, if nobody answered it, has timed out.
#[inline(always)]
fn stamp(ctx: &SockAddrContext, settings: &Settings, left: &Left) {
    let mut fresh = Stamp::EMPTY;
    // SAFETY: the context's socket; `fresh` outlives the call.
    let stored = unsafe { STAMPS.get_or_insert_ptr_mut(ctx, Some(&mut fresh)) };
    if stored.is_null() {
        count::stat(Stat::StampFailed);
        return;
    }
    // SAFETY: storage of a socket that this hook holds.
    unsafe {
        flows::settle(stored);
        (*stored).flow.flags = 0;
        let made = (*stored).flags & STAMP_MADE;
        if left.decision == Decision::Deny {
            (*stored).flags = made;
            return;
        }
        let mut flags = made | STAMP_JUDGED;
        let mut class = left.class;
        if left.counted {
            flags |= STAMP_COUNTED;
        }
        if left.decision == Decision::WouldDeny {
            flags |= STAMP_WOULD_DENY;
        }
        if left.decision == Decision::Redirect {
            flags |= STAMP_REDIRECTED;
            (*stored).dst = left.dst;
            (*stored).dport = left.port.into();
            if let Some(smarthost) = settings.smarthost(&left.dst) {
                // Of what the packets say: the smarthost is trusted.
                class = settings.class(&smarthost.addr, smarthost.port as u16, true);
            }
        }
        (*stored).source = left.source;
        (*stored).class = class as u32;
        (*stored).counted = left.class as u32;
        (*stored).seq = 0;
        (*stored).flags = flags;
    }
}

/// Who made the socket, if the guard was there and it is somebody registered.
#[inline(always)]
fn maker_of(ctx: &SockAddrContext, settings: &Settings, netns: u64) -> Option<u32> {
    // SAFETY: the context's socket.
    let stamp = unsafe { STAMPS.get_ptr_mut(ctx) };
    if stamp.is_null() {
        return None;
    }
    // SAFETY: storage of a socket that this hook holds.
    let Stamp {
        flags,
        maker,
        maker_uid,
        ..
    } = unsafe { *stamp };
    if flags & STAMP_MADE == 0 {
        None
    } else if maker != NO_SOURCE {
        Some(maker)
    } else if settings.is_host(netns) {
        // Registered since, maybe.
        identity::source_of_uid(maker_uid)
    } else {
        None
    }
}

#[inline(always)]
fn answer(settings: &Settings, decision: Decision) -> i32 {
    if decision != Decision::Deny {
        return PASS;
    }
    if tuning::has_set_retval() {
        refuse_with(settings.deny_errno);
    }
    DENY
}

/// The greatest errno there is (include/linux/err.h).
const MAX_ERRNO: u32 = 4095;

/// Has the refused `connect()` fail with this errno.
///
/// The verifier of Linux 7.2 wants to see in all 64 bits that it is one ("R1 has smin=0
/// smax=4294967295 should have been in [-4095, 0]"); aya-ebpf's `bpf_set_retval` takes 32 of them.
#[inline(always)]
fn refuse_with(errno: u32) {
    /// `BPF_FUNC_set_retval` (include/uapi/linux/bpf.h).
    const SET_RETVAL: usize = 187;
    // SAFETY: this is how programs call helpers: by number. It takes an int and returns one, and
    // exists where `HAS_SET_RETVAL` says so.
    unsafe {
        let set_retval: unsafe extern "C" fn(i64) -> i64 = core::mem::transmute(SET_RETVAL);
        set_retval(-i64::from(core::hint::black_box(errno) & MAX_ERRNO));
    }
}
