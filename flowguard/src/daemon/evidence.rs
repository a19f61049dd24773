//! The last attempts, kept to explain verdicts with.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
};

use flowguard_common::{
    class::Class,
    event::{Event, Hook},
    verdict::Decision,
};

use crate::{
    control::api::{self, Process},
    kernel::{clock::Moment, comm},
    model::ClassName,
};

/// Events kept per source.
const PER_SOURCE: usize = 32;
/// Events kept altogether.
const RECENT: usize = 1000;

/// The last events, of each source and of all.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    by_source: HashMap<u32, VecDeque<api::Event>>,
    recent: VecDeque<api::Event>,
}

impl Evidence {
    /// Keeps an event.
    pub(super) fn add(&mut self, source: u32, event: api::Event) {
        let of_source = self.by_source.entry(source).or_default();
        push(of_source, event.clone(), PER_SOURCE);
        push(&mut self.recent, event, RECENT);
    }

    /// The last events of all sources, oldest first.
    pub(super) fn recent(&self) -> Vec<api::Event> {
        self.recent.iter().cloned().collect()
    }

    /// The last events of a source, newest first; of one class only, if asked.
    pub(super) fn of(&self, source: u32, class: Option<ClassName>) -> Vec<api::Event> {
        self.by_source
            .get(&source)
            .into_iter()
            .flatten()
            .rev()
            .filter(|event| class.is_none_or(|class| event.class == class))
            .cloned()
            .collect()
    }
}

fn push(events: &mut VecDeque<api::Event>, event: api::Event, most: usize) {
    if events.len() >= most {
        events.pop_front();
    }
    events.push_back(event);
}

/// An event as people read it; none if the kernel sent what we do not know.
pub(super) fn readable(event: &Event, source: String, now: &Moment) -> Option<api::Event> {
    let hook = Hook::from_u8(event.hook)?;
    let process = (event.pid != 0).then(|| Process {
        pid: event.pid,
        uid: event.uid,
        comm: comm(&event.comm),
    });
    let dst = Ipv6Addr::from(event.dst);
    Some(api::Event {
        time: now.wall_at(event.time_ns),
        source,
        class: Class::from_u8(event.class)?.into(),
        decision: match Decision::from_u8(event.decision)? {
            Decision::Pass => "pass",
            Decision::Deny => "deny",
            Decision::WouldDeny => "would-deny",
        }
        .to_owned(),
        hook: match hook {
            Hook::Connect4 => "connect4",
            Hook::Connect6 => "connect6",
            Hook::Edge => "edge",
        }
        .to_owned(),
        dst: dst.to_ipv4_mapped().map_or(IpAddr::V6(dst), IpAddr::V4),
        dport: event.dport,
        process,
    })
}
