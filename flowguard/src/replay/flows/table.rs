//! From a connection to counters, as the kernel counts them.

use std::collections::HashMap;

use flowguard_common::{
    addr,
    fanout::{FANOUT_WORDS, position},
};
use ipnet::IpNet;

use super::{End, Flow, class_of, kernel_addr, order::Event};
use crate::{
    model::{ClassName, SourceName, Totals},
    policy::{Counter, Fields},
    replay::trial::Trial,
};

/// Seconds of an epoch, as the kernel side is told; but epochs of a log begin at the full hour.
const EPOCH: i64 = 3_600;

/// The kernel takes a random one, so that nobody can choose servers that collide; a log needs the
/// same every time.
const SEED: u64 = 0x5eed;

/// Which servers a source has tried in this hour: the kernel's bitmap, collisions included.
#[derive(Debug, Default)]
pub struct Contacts {
    epoch: i64,
    bits: HashMap<(u32, ClassName), Box<[u64; FANOUT_WORDS]>>,
}

impl Contacts {
    /// Whether it is the first contact in this hour.
    fn note(&mut self, second: i64, source: u32, class: ClassName, server: &addr::Addr) -> bool {
        let epoch = second.div_euclid(EPOCH);
        if epoch != self.epoch {
            self.epoch = epoch;
            self.bits.clear();
        }
        let bits = self
            .bits
            .entry((source, class))
            .or_insert_with(|| Box::new([0; FANOUT_WORDS]));
        let (word, bit) = position(addr::hash(server, SEED));
        let is_first = bits[word] & bit == 0;
        bits[word] |= bit;
        is_first
    }
}

/// Notes what happens to a connection, if the policy on trial guards its port.
pub(super) fn note(trial: &mut Trial<'_>, contacts: &mut Contacts, second: i64, event: &Event) {
    let (Event::Begin(flow) | Event::End(flow)) = event;
    let Some(class) = class_of(trial.config(), flow) else {
        return;
    };
    let name = source_of(trial, flow);
    let source = trial.source(&name, None);
    let (more, known) = match event {
        Event::Begin(flow) => {
            let is_first = contacts.note(second, source, class, &kernel_addr(flow.dst));
            let more = Totals {
                attempts: 1,
                destinations: is_first.into(),
                ..Totals::default()
            };
            let known = Fields::NONE
                .with(Counter::Attempts)
                .with(Counter::Destinations);
            (more, known)
        }
        Event::End(flow) => outcome(flow),
    };
    if known != Fields::NONE {
        trial.add(source, class, more, known);
    }
}

/// What came of a connection, as far as the log says.
fn outcome(flow: &Flow) -> (Totals, Fields) {
    let mut more = Totals::default();
    let mut known = Fields::NONE;
    if flow.end != End::Unknown {
        known = Fields::CONNECTIONS;
    }
    match flow.end {
        End::Unknown => {}
        End::Established => more.established = 1,
        End::Refused => more.refused = 1,
        End::Unanswered => more.timed_out = 1,
    }
    if let Some(bytes) = flow.bytes {
        more.bytes = bytes;
        known = known.with(Counter::Kibibytes);
    }
    if let (Some(duration), End::Established) = (flow.duration, flow.end) {
        more.open_ms = u64::try_from(duration).unwrap_or(0);
        known = known.with(Counter::OpenSeconds);
    }
    (more, known)
}

/// The address or prefix that is held responsible, as at a gateway.
fn source_of(trial: &Trial<'_>, flow: &Flow) -> SourceName {
    let gateway = &trial.config().gateway;
    let address = flow.src.to_canonical();
    let bits = if address.is_ipv4() {
        gateway.ipv4_prefix
    } else {
        gateway.ipv6_prefix
    };
    let net = IpNet::new(address, bits).unwrap_or_else(|_| IpNet::from(address));
    SourceName::addr(net)
}
