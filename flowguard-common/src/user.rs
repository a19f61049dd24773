//! Lets userspace read and write the shared types through aya.

use aya::Pod;

use crate::{
    counters::ClassCounters,
    event::Event,
    fanout::Fanout,
    settings::{Settings, TrustedKey},
    source::{Edge, FallbackEntry, FallbackKey, SourceInfo},
    verdict::{Verdict, VerdictKey},
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
    ClassCounters,
    Edge,
    Event,
    FallbackEntry,
    FallbackKey,
    Fanout,
    Settings,
    SourceInfo,
    TrustedKey,
    Verdict,
    VerdictKey,
);
