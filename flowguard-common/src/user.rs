//! Lets userspace read and write the shared types through aya.

use aya::Pod;

use crate::{
    counters::ClassCounters,
    event::{Event, ReplyEvent},
    fanout::Fanout,
    flow::Flow,
    netns::NetnsProbe,
    settings::{Settings, TrustedKey},
    source::{AddrKey, Edge, FallbackEntry, FallbackKey, SourceInfo},
    verdict::{Buckets, EventBuckets, Verdict, VerdictKey},
};

macro_rules! pod {
    ($($type:ty),+ $(,)?) => {
        $(
            // SAFETY: `repr(C)`, only integers and arrays of them, no implicit padding (each type
            // asserts its size), and every bit pattern is a value.
            unsafe impl Pod for $type {}
        )+
    };
}

pod!(
    AddrKey,
    Buckets,
    ClassCounters,
    Edge,
    Event,
    EventBuckets,
    FallbackEntry,
    FallbackKey,
    Fanout,
    Flow,
    NetnsProbe,
    ReplyEvent,
    Settings,
    SourceInfo,
    TrustedKey,
    Verdict,
    VerdictKey,
);
