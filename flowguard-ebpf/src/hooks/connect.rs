//! What both connect hooks do: count host users, deny politely, stamp the socket, raise evidence.

use aya_ebpf::{
    EbpfContext as _,
    btf_maps::lpm_trie::Key,
    helpers::{
        bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid,
        bpf_get_netns_cookie, bpf_ktime_get_boot_ns, bpf_set_retval,
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
    stamp::{STAMP_COUNTED, STAMP_JUDGED, STAMP_MADE, STAMP_WOULD_DENY, Stamp},
    verdict::Decision,
};

use crate::{
    count, events, identity, judge,
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
    let uid = identity::task_uid();
    // SAFETY: the kernel's context and no arguments.
    let (netns, now_ns) = unsafe { (bpf_get_netns_cookie(ctx.as_ptr()), bpf_ktime_get_boot_ns()) };

    let key = identity::fallback_key(settings, netns, uid, class);
    let (source, decision) = match identity::source_of_task(settings, netns, uid) {
        Some(source) => {
            let maker = maker_of(ctx, settings, netns).unwrap_or(source);
            let (source, other) = judge::responsible(source, maker, class, now_ns);
            let elsewhere = is_seen_at_edge(settings, source, netns, dst);
            // Forwarded out of a nested namespace, the packet loses its socket on the way, and with
            // it our stamp: the edge will charge for it.
            let decision = if elsewhere && is_nested(netns) {
                judge::again(settings, source, class, now_ns, false)
            } else {
                judge::attempt(settings, source, class, now_ns, Some(&key))
            };
            // A verdict against either holds.
            let decision = if decision == Decision::Pass && other != source {
                judge::verdict(settings, other, class, now_ns)
            } else {
                decision
            };
            let elsewhere = elsewhere && decision != Decision::Deny;
            debug!(
                ctx,
                "connect: source {} class {} port {} decision {}",
                source,
                class as u8,
                port,
                decision as u8
            );
            if !elsewhere {
                count::attempt(settings, source, class, dst, now_ns, decision, Some(&key));
            }
            stamp(ctx, source, class, decision, !elsewhere);
            if !events::may_raise(settings, source, now_ns) {
                return answer(settings, decision);
            }
            (source, decision)
        }
        None => {
            debug!(
                ctx,
                "connect: uid {} netns {} is not registered", uid, netns
            );
            let (first, decision) = count::unregistered(settings, &key, class, dst, now_ns);
            stamp(ctx, NO_SOURCE, class, decision, true);
            if !first {
                return answer(settings, decision);
            }
            (NO_SOURCE, decision)
        }
    };
    // SAFETY: no arguments.
    let cgroup = unsafe { bpf_get_current_cgroup_id() };
    events::raise(Event {
        time_ns: now_ns,
        cgroup,
        netns,
        source,
        pid: (bpf_get_current_pid_tgid() >> 32) as u32,
        uid,
        ifindex: 0,
        dst: *dst,
        dport: port,
        class: class as u8,
        decision: decision as u8,
        hook: hook as u8,
        pad: [0; 3],
        comm: bpf_get_current_comm().unwrap_or_default(),
    });
    answer(settings, decision)
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

/// Leaves on the socket what the edge needs to know about this attempt.
#[inline(always)]
fn stamp(ctx: &SockAddrContext, source: u32, class: Class, decision: Decision, counted: bool) {
    if decision == Decision::Deny {
        return;
    }
    let mut flags = STAMP_JUDGED;
    if counted {
        flags |= STAMP_COUNTED;
    }
    if decision == Decision::WouldDeny {
        flags |= STAMP_WOULD_DENY;
    }
    let mut unmade = Stamp {
        source: NO_SOURCE,
        flags: 0,
        seq: 0,
        class: 0,
        maker: NO_SOURCE,
        maker_uid: 0,
    };
    // SAFETY: the context's socket; `unmade` outlives the call.
    let stored = unsafe { STAMPS.get_or_insert_ptr_mut(ctx, Some(&mut unmade)) };
    if stored.is_null() {
        count::stat(Stat::StampFailed);
        return;
    }
    // SAFETY: storage of a socket that this hook holds.
    unsafe {
        (*stored).source = source;
        (*stored).class = class as u32;
        (*stored).seq = 0;
        (*stored).flags = (*stored).flags & STAMP_MADE | flags;
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
        // SAFETY: a plain number; the helper exists where the flag is set.
        unsafe { bpf_set_retval(-(settings.deny_errno as i32)) };
    }
    DENY
}
