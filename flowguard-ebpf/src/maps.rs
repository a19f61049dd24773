//! The maps. Each has one writer; none evicts. Where `max_entries` says "per source", the daemon
//! sets the real number at load (`set_max_entries`), and the number here is the default.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    btf_maps::{Array, HashMap, LpmTrie, PerCpuArray, RingBuf, SkStorage},
    macros::btf_map,
};
use flowguard_common::{
    class::CLASSES,
    counters::{ClassCounters, STATS as STAT_COUNT},
    event::Event,
    fanout::Fanout,
    flow::{FLOWS_PER_DEVICE, Flow, SYNS_ON_THEIR_WAY},
    names::{DEFAULT_EDGES, DEFAULT_SOURCES, MAX_FALLBACK, MAX_KEYS, MAX_TRUSTED, RING_BYTES},
    netns::NetnsProbe,
    packet::Segment,
    settings::{Settings as Bank, TrustedKey},
    source::{AddrKey, Edge, FallbackEntry, FallbackKey, SourceInfo},
    stamp::Stamp,
    verdict::{Buckets, EventBuckets, Verdict, VerdictKey},
};

use crate::hooks::answers::Found;

const PER_SOURCE: usize = DEFAULT_SOURCES as usize;
const PER_SOURCE_AND_CLASS: usize = (DEFAULT_SOURCES * CLASSES) as usize;
const MMAPABLE: usize = BPF_F_MMAPABLE as usize;
const NO_PREALLOC: usize = BPF_F_NO_PREALLOC as usize;

/// 0 → [`flowguard_common::CONTRACT`], 1 → [`flowguard_common::OLDEST_CONTRACT`]. Written once by
/// the daemon that creates the maps, when they are complete.
#[btf_map]
pub(crate) static CONTRACT: Array<u32, 2> = Array::new();

/// Bank → policy numbers. Written by the daemon, the idle bank only.
#[btf_map]
pub(crate) static SETTINGS: Array<Bank, 2> = Array::new();

/// 0 → number of the bank in force. Written by the daemon: an aligned word, so one store.
#[btf_map]
pub(crate) static BANK: Array<u32, 1> = Array::new();

/// Bank and address prefix → trusted destination. Written by the daemon; full: the configuration
/// is refused.
#[btf_map]
pub(crate) static TRUSTED: LpmTrie<TrustedKey, u32, { MAX_TRUSTED as usize }> = LpmTrie::new();

/// uid prefix (big-endian, so that a range of subordinate uids is a few prefixes) → source.
/// Written by the daemon; full: the uid stays in the fallback.
#[btf_map]
pub(crate) static UIDS: LpmTrie<[u8; 4], u32, { MAX_KEYS as usize }> = LpmTrie::new();

/// Cgroup id → source. Written by the daemon; full: the cgroup's users are counted instead.
#[btf_map]
pub(crate) static CGROUPS: HashMap<u64, u32, { MAX_KEYS as usize }, NO_PREALLOC> = HashMap::new();

/// Network namespace cookie → source. Written by the daemon; full: stays in the fallback.
#[btf_map]
pub(crate) static NETNS: HashMap<u64, u32, { MAX_KEYS as usize }, NO_PREALLOC> = HashMap::new();

/// Prefix at a gateway → source. Written by the daemon; full: stays in the fallback.
#[btf_map]
pub(crate) static ADDRS: HashMap<AddrKey, u32, { MAX_KEYS as usize }, NO_PREALLOC> = HashMap::new();

/// Interface index → whose packets come in there. Written by the daemon; full: the device is not
/// attached, and the daemon warns.
#[btf_map]
pub(crate) static EDGES: HashMap<u32, Edge, { DEFAULT_EDGES as usize }, NO_PREALLOC> =
    HashMap::new();

/// Source → name and flags. Written by the daemon; per source.
#[btf_map]
pub(crate) static SOURCES: Array<SourceInfo, PER_SOURCE> = Array::new();

/// Source and class → counters. Written by the programs; per source; mapped into the daemon.
#[btf_map]
pub(crate) static COUNTERS: Array<ClassCounters, PER_SOURCE_AND_CLASS, MMAPABLE> = Array::new();

/// Source and class → destinations seen this epoch. Written by the programs; per source.
#[btf_map]
pub(crate) static FANOUT: Array<Fanout, PER_SOURCE_AND_CLASS> = Array::new();

/// Unregistered identity and class → counters. Written by the programs; full: the attempt passes
/// and `FallbackFull` counts it. Entries stay: readers add them to the source they lead to.
#[btf_map]
pub(crate) static FALLBACK: HashMap<FallbackKey, FallbackEntry, { MAX_FALLBACK as usize }> =
    HashMap::new();

/// Source and class → verdict. Written by the daemon, whole entries at a time; preallocated for
/// every source, so never full. Per source.
#[btf_map]
pub(crate) static VERDICTS: HashMap<VerdictKey, Verdict, PER_SOURCE_AND_CLASS> = HashMap::new();

/// Source and class → rate buckets. Written by the programs; per source.
#[btf_map]
pub(crate) static BUCKETS: Array<Buckets, PER_SOURCE_AND_CLASS> = Array::new();

/// Source → buckets of its event rate. Written by the programs; per source.
#[btf_map]
pub(crate) static EVENT_RATE: Array<EventBuckets, PER_SOURCE> = Array::new();

/// 0 → bucket of the event rate of strays, 1 → of newcomers at gateways. Written by the programs.
#[btf_map]
pub(crate) static STRAY_RATE: Array<u64, 2> = Array::new();

/// Attempts and replies as evidence. Full: the event is dropped and `RingFull` counts it.
#[btf_map]
pub(crate) static EVENTS: RingBuf<Event, { RING_BYTES as usize }> = RingBuf::new();

/// Device slot and set → attempts seen there lately, and their outcomes. Written by the programs; a
/// device that floods forgets its own attempts only, and `FlowForgotten` counts those whose outcome
/// is lost. The daemon sizes it by the devices it allows.
#[btf_map]
pub(crate) static FLOWS: Array<Flow, { (DEFAULT_EDGES * FLOWS_PER_DEVICE) as usize }> =
    Array::new();

/// Hash of a SYN → the SYN that an edge accounted for and let pass. Written by the programs; a newer one
/// overwrites an older one.
#[btf_map]
pub(crate) static ON_THE_WAY: Array<u64, { SYNS_ON_THEIR_WAY as usize }> = Array::new();

/// Socket → stamp of the connect hook. Written by the programs; goes with the socket.
#[btf_map]
pub(crate) static STAMPS: SkStorage<Stamp> = SkStorage::new();

/// 0 → what the packet in hand holds. Written and read by the programs, within one run.
#[btf_map]
pub(crate) static PARSED: PerCpuArray<Segment, 1> = PerCpuArray::new();

/// 0 → what was found in the payload in hand. Written and read by the programs, within one run.
#[btf_map]
pub(crate) static FOUND: PerCpuArray<Found, 1> = PerCpuArray::new();

/// 0 → question of the daemon and answer of the program it asks. Not pinned: each question has a map
/// of its own.
#[btf_map]
pub(crate) static NETNS_PROBE: Array<NetnsProbe, 1> = Array::new();

/// `Stat` → count. Written by the programs.
#[btf_map]
pub(crate) static STATS: Array<u64, { STAT_COUNT as usize }, MMAPABLE> = Array::new();

/// Source and class → what was counted in the maps that these replaced; readers add it to
/// `COUNTERS`. Written by the daemon while it replaces maps; per source; mapped into the daemon.
#[btf_map]
pub(crate) static CARRIED: Array<ClassCounters, PER_SOURCE_AND_CLASS, MMAPABLE> = Array::new();

/// `Stat` → the same of `STATS`. Written by the daemon while it replaces maps.
#[btf_map]
pub(crate) static CARRIED_STATS: Array<u64, { STAT_COUNT as usize }, MMAPABLE> = Array::new();

/// Unregistered identity and class → the same of `FALLBACK`. Written by the daemon while it replaces
/// maps, and made as large as it has to be.
#[btf_map]
pub(crate) static CARRIED_IDS: HashMap<
    FallbackKey,
    ClassCounters,
    { MAX_FALLBACK as usize },
    NO_PREALLOC,
> = HashMap::new();
