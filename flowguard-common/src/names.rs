//! Names and capacities of the programs and maps. Map names have at most 15 characters, which is
//! what the kernel keeps (`BPF_OBJ_NAME_LEN`, include/uapi/linux/bpf.h).

/// `cgroup/connect4` program.
pub const PROG_CONNECT4: &str = "connect4";
/// `cgroup/connect6` program.
pub const PROG_CONNECT6: &str = "connect6";
/// `cgroup/sock_create` program.
pub const PROG_SOCK_CREATE: &str = "sock_create";
/// `cgroup/sock_release` program.
pub const PROG_SOCK_RELEASE: &str = "sock_release";
/// `cgroup/getpeername4` program.
pub const PROG_PEERNAME4: &str = "peername4";
/// `cgroup/getpeername6` program.
pub const PROG_PEERNAME6: &str = "peername6";
/// TC ingress program for the host side of a container's veth or a VM's tap.
pub const PROG_EDGE: &str = "edge";
/// TC egress program for the same device.
pub const PROG_EDGE_ANSWERS: &str = "edge_answers";
/// TC egress program for the host's own way to the world.
pub const PROG_UPLINK: &str = "uplink";
/// TC ingress program for the same device.
pub const PROG_UPLINK_ANSWERS: &str = "uplink_answers";
/// XDP program for devices through which tenants' traffic enters.
pub const PROG_GATEWAY: &str = "gateway";
/// Run by the daemon, attached nowhere: settles attempts that nobody answered.
pub const PROG_SWEEP: &str = "sweep";

/// `cgroup/connect4` program that tells the daemon its network namespace, on old kernels.
pub const PROG_NETNS_PROBE: &str = "netns_probe";

/// Two `u32`: [`crate::CONTRACT`], and the oldest contract whose guard can take over these maps.
pub const MAP_CONTRACT: &str = "CONTRACT";
/// Two banks of [`crate::settings::Settings`].
pub const MAP_SETTINGS: &str = "SETTINGS";
/// One `u32`: which bank is in force.
pub const MAP_BANK: &str = "BANK";
/// Trusted destinations, by bank.
pub const MAP_TRUSTED: &str = "TRUSTED";
/// uid ranges to sources.
pub const MAP_UIDS: &str = "UIDS";
/// cgroup ids to sources.
pub const MAP_CGROUPS: &str = "CGROUPS";
/// Network namespace cookies to sources.
pub const MAP_NETNS: &str = "NETNS";
/// Edge devices to sources.
pub const MAP_EDGES: &str = "EDGES";
/// Names and flags of sources.
pub const MAP_SOURCES: &str = "SOURCES";
/// [`crate::counters::ClassCounters`] by source and class.
pub const MAP_COUNTERS: &str = "COUNTERS";
/// [`crate::fanout::Fanout`] by source and class.
pub const MAP_FANOUT: &str = "FANOUT";
/// Counters of what is not registered yet.
pub const MAP_FALLBACK: &str = "FALLBACK";
/// [`crate::verdict::Verdict`] by source and class.
pub const MAP_VERDICTS: &str = "VERDICTS";
/// [`crate::verdict::Buckets`] by source and class.
pub const MAP_BUCKETS: &str = "BUCKETS";
/// Event rate bucket by source.
pub const MAP_EVENT_RATE: &str = "EVENT_RATE";
/// Ring buffer of [`crate::event::Event`]s.
pub const MAP_EVENTS: &str = "EVENTS";
/// Attempts and their outcomes by device.
pub const MAP_FLOWS: &str = "FLOWS";
/// SYNs between an edge and an uplink.
pub const MAP_ON_THE_WAY: &str = "ON_THE_WAY";
/// Prefixes at gateways to sources.
pub const MAP_ADDRS: &str = "ADDRS";
/// Event rate buckets of strays, and of newcomers at gateways.
pub const MAP_STRAY_RATE: &str = "STRAY_RATE";
/// Stamps on sockets.
pub const MAP_STAMPS: &str = "STAMPS";
/// One [`crate::netns::NetnsProbe`].
pub const MAP_NETNS_PROBE: &str = "NETNS_PROBE";
/// [`crate::counters::Stat`]s.
pub const MAP_STATS: &str = "STATS";
/// What programs counted in maps that these replaced, as [`MAP_COUNTERS`].
pub const MAP_CARRIED: &str = "CARRIED";
/// The same of [`MAP_STATS`].
pub const MAP_CARRIED_STATS: &str = "CARRIED_STATS";
/// The same of [`MAP_FALLBACK`].
pub const MAP_CARRIED_IDS: &str = "CARRIED_IDS";

/// Sources the registry holds unless configured otherwise. 16,384 cost about 28 MiB of kernel
/// memory (counters, bitmaps, names).
pub const DEFAULT_SOURCES: u32 = 16_384;
/// Keys that lead to a source (uid prefixes, cgroups, namespaces, addresses), per kind of key.
pub const MAX_KEYS: u32 = 65_536;
/// Edge devices there is room for unless configured otherwise.
pub const DEFAULT_EDGES: u32 = 1_024;
/// Trusted prefixes, over both banks.
pub const MAX_TRUSTED: u32 = 8_192;
/// Unregistered identities counted one by one.
pub const MAX_FALLBACK: u32 = 8_192;
/// Bytes of the event ring; a power of two and a multiple of the page size.
pub const RING_BYTES: u32 = 1 << 20;
