//! The last attempts, kept to explain verdicts with.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
};

use flowguard_common::{
    addr::Addr,
    class::Class,
    event::{Hook, REPLY_TEXT, ReplyEvent},
    verdict::Decision,
};

use super::processes::Seen;
use crate::{
    control::api::{self, Process},
    kernel::{clock::Moment, comm},
    model::ClassName,
};

/// Events kept per source.
const PER_SOURCE: usize = 32;
/// Replies kept per source.
const REPLIES_PER_SOURCE: usize = 16;
/// Events kept altogether.
const RECENT: usize = 1000;

/// The last events, of each source and of all.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    by_source: HashMap<u32, VecDeque<api::Event>>,
    replies: HashMap<u32, VecDeque<api::Reply>>,
    recent: VecDeque<api::Event>,
}

impl Evidence {
    /// Keeps an event.
    pub(super) fn add(&mut self, source: u32, event: api::Event) {
        let of_source = self.by_source.entry(source).or_default();
        push(of_source, event.clone(), PER_SOURCE);
        push(&mut self.recent, event, RECENT);
    }

    /// Keeps a reply.
    pub(super) fn add_reply(&mut self, source: u32, reply: api::Reply) {
        push(
            self.replies.entry(source).or_default(),
            reply,
            REPLIES_PER_SOURCE,
        );
    }

    /// Keeps what belongs to no source.
    pub(super) fn add_stray(&mut self, event: api::Event) {
        push(&mut self.recent, event, RECENT);
    }

    /// The last replies to a source, newest first; in one class only, if asked.
    pub(super) fn replies_of(&self, source: u32, class: Option<ClassName>) -> Vec<api::Reply> {
        of_class(self.replies.get(&source), |reply| {
            class.is_none_or(|class| reply.class == class)
        })
    }

    /// The last events of all sources, oldest first.
    pub(super) fn recent(&self) -> Vec<api::Event> {
        self.recent.iter().cloned().collect()
    }

    /// The last events of a source, newest first; of one class only, if asked.
    pub(super) fn of(&self, source: u32, class: Option<ClassName>) -> Vec<api::Event> {
        of_class(self.by_source.get(&source), |event| {
            class.is_none_or(|class| event.class == class)
        })
    }
}

/// Those that fit, newest first.
fn of_class<T: Clone>(kept: Option<&VecDeque<T>>, fits: impl Fn(&T) -> bool) -> Vec<T> {
    kept.into_iter()
        .flatten()
        .rev()
        .filter(|item| fits(item))
        .cloned()
        .collect()
}

fn push<T>(events: &mut VecDeque<T>, event: T, most: usize) {
    if events.len() >= most {
        events.pop_front();
    }
    events.push_back(event);
}

/// A reply as people read it, and whose attempt it answers; none if the kernel sent what we do not
/// know. Who it was for is nobody's business: addresses lose what stands before the `@`. Which address
/// was sent from is not told: that takes more than the kernel sees.
pub(super) fn readable_reply(reply: &ReplyEvent, now: &Moment) -> Option<(u32, api::Reply)> {
    let text = reply.text.get(..usize::from(reply.len).min(REPLY_TEXT))?;
    let line = text.split(|byte| *byte == b'\r' || *byte == b'\n').next()?;
    let client = ip(reply.client);
    let reply_read = api::Reply {
        time: now.wall_at(reply.time_ns),
        class: Class::from_u8(reply.class)?.into(),
        server: ip(reply.server),
        port: reply.port,
        client: (!client.is_unspecified()).then_some(client),
        sent_from: None,
        text: masked(&String::from_utf8_lossy(line)),
    };
    Some((reply.source, reply_read))
}

/// The text with the local parts of addresses replaced by an ellipsis.
fn masked(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    for part in text.split_inclusive('@') {
        match part.strip_suffix('@') {
            Some(before) => {
                let local = before
                    .rfind(|c: char| c.is_whitespace() || "<>()[]{},;:\"'=".contains(c))
                    .map_or(0, |at| {
                        at + before[at..].chars().next().map_or(0, char::len_utf8)
                    });
                let (kept, local) = before.split_at(local);
                masked.push_str(kept);
                masked.push_str(if local.is_empty() { "@" } else { "…@" });
            }
            None => masked.push_str(part),
        }
    }
    masked
}

fn ip(addr: Addr) -> IpAddr {
    let addr = Ipv6Addr::from(addr);
    addr.to_ipv4_mapped().map_or(IpAddr::V6(addr), IpAddr::V4)
}

/// An event as people read it; none if the kernel sent what we do not know.
pub(super) fn readable(seen: &Seen, source: String, now: &Moment) -> Option<api::Event> {
    let Seen { event, process } = seen;
    let hook = Hook::from_u8(event.hook)?;
    let process = (event.pid != 0).then(|| Process {
        pid: event.pid,
        uid: event.uid,
        comm: comm(&event.comm),
        details: process.clone().unwrap_or_default(),
    });
    Some(api::Event {
        time: now.wall_at(event.time_ns),
        source,
        class: Class::from_u8(event.class)?.into(),
        decision: match Decision::from_u8(event.decision)? {
            Decision::Pass => "pass",
            Decision::Deny => "deny",
            Decision::WouldDeny => "would-deny",
            Decision::Redirect => "redirect",
        }
        .to_owned(),
        hook: match hook {
            Hook::Connect4 => "connect4",
            Hook::Connect6 => "connect6",
            Hook::Edge => "edge",
            Hook::Uplink => "uplink",
            Hook::Gateway => "gateway",
        }
        .to_owned(),
        dst: ip(event.dst),
        dport: event.dport,
        process,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn recipients_are_masked_and_domains_kept() {
        for (text, expected) in [
            (
                "550 5.1.1 <bob@example.com>: unknown",
                "550 5.1.1 <…@example.com>: unknown",
            ),
            (
                "450 bob.o'neil@a.example, eve@b.example",
                "450 bob.o'…@a.example, …@b.example",
            ),
            ("554 listed @ spamhaus", "554 listed @ spamhaus"),
            ("to=öäü@example.org", "to=…@example.org"),
            ("a@b@c", "…@…@c"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(masked(text), expected);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            masked(&text);
        }
    }
}
