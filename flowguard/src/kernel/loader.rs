//! Loading the programs and taking over what an earlier daemon pinned.

use std::path::PathBuf;

use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel,
    maps::{Array, MapData},
};
use flowguard_common::{
    CONTRACT,
    class::CLASSES,
    flow::FLOWS_PER_DEVICE,
    names::{
        MAP_ADDRS, MAP_BUCKETS, MAP_CGROUPS, MAP_CONTRACT, MAP_COUNTERS, MAP_EDGES, MAP_EVENT_RATE,
        MAP_EVENTS, MAP_FALLBACK, MAP_FANOUT, MAP_FLOWS, MAP_NETNS, MAP_SOURCES, MAP_UIDS,
        MAP_VERDICTS,
    },
};

use super::{
    Counters, EdgeMethod, EventReader, Fallback, Hooks, KernelError, Pins, PinsLock, ProgramLog,
    Registry, SettingsBanks, Verdicts, log, pins::MAPS, probe, programs,
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("FLOWGUARD_BPF_OBJECT"));
/// For kernels whose atomics cannot fetch, which refuse the other at sight.
static LEGACY_OBJECT: &[u8] = aya::include_bytes_aligned!(env!("FLOWGUARD_BPF_OBJECT_LEGACY"));

/// How the programs are to be loaded.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to pin.
    pub pins: Pins,
    /// The cgroup whose tasks are guarded.
    pub cgroup: PathBuf,
    /// Sources to have room for, if no guard is pinned yet.
    pub max_sources: u32,
    /// Edge devices to have room for, likewise.
    pub max_edges: u32,
    /// Identities of each sort to have room for, likewise.
    pub max_identities: u32,
    /// Identities to count one by one before they are registered, likewise.
    pub max_unregistered: u32,
    /// Size of the event ring, likewise.
    pub ring_bytes: u32,
    /// How to attach edges; none: the best this kernel has.
    pub edge_method: Option<EdgeMethod>,
}

/// The maps of the running guard, and its programs.
pub struct Kernel {
    /// Who is who.
    pub registry: Registry,
    /// What was counted.
    pub counters: Counters,
    /// What was counted of unregistered identities.
    pub fallback: Fallback,
    /// Verdicts.
    pub verdicts: Verdicts,
    /// Policy numbers.
    pub settings: SettingsBanks,
    /// Programs, and what they are attached to.
    pub hooks: Hooks,
}

/// What [`Kernel::load`] gives.
pub struct Loaded {
    /// Maps and programs.
    pub kernel: Kernel,
    /// The event ring.
    pub events: EventReader,
    /// What the programs say for debugging; none: they were not asked to.
    pub log: Option<ProgramLog>,
    /// Nobody else may run this guard while it is held.
    pub lock: PinsLock,
    /// A running guard was taken over.
    pub adopted: bool,
}

impl Kernel {
    /// Loads the programs and attaches the connect hooks, taking over the maps, and with them all
    /// counts and verdicts, that are pinned already. Programs that are attached are replaced one
    /// by one, each atomically.
    ///
    /// # Errors
    ///
    /// A guard of another contract is pinned, or the kernel refuses something. What was attached
    /// before stays attached.
    pub fn load(options: &Options) -> Result<Loaded, KernelError> {
        let pins = &options.pins;
        pins.prepare()?;
        let lock = pins.lock()?;
        let adopted = match pins.contract()? {
            None => false,
            Some(CONTRACT) => true,
            Some(found) => return Err(pins.mismatch(found)),
        };
        if !adopted {
            pins.remove_unfinished()?;
        }
        let mut object = load_object(options)?;

        let loaded = programs::load(&mut object)?;
        mark(pins)?;
        let log = ProgramLog::open(&mut object);
        let method = options.edge_method.unwrap_or_else(probe::edge_method);
        let mut hooks = Hooks::new(object, loaded, method, pins.clone());
        hooks.attach_to_cgroup(&options.cgroup)?;
        Ok(Loaded {
            kernel: Self {
                registry: Registry::open(pins)?,
                counters: Counters::open(pins)?,
                fallback: Fallback::open(pins)?,
                verdicts: Verdicts::open(pins)?,
                settings: SettingsBanks::open(pins)?,
                hooks,
            },
            events: EventReader::open(pins)?,
            log,
            lock,
            adopted,
        })
    }
}

fn load_object(options: &Options) -> Result<Ebpf, KernelError> {
    let per_class = options.max_sources.saturating_mul(CLASSES);
    let has_set_retval = u8::from(probe::has_set_retval());
    let log_level = log::level();
    let mut loader = EbpfLoader::new();
    loader
        .verifier_log_level(VerifierLogLevel::STATS)
        .override_global("HAS_SET_RETVAL", &has_set_retval, true)
        .override_global(aya_log::LEVEL, &log_level, true);
    for (map, entries) in [
        (MAP_SOURCES, options.max_sources),
        (MAP_EVENT_RATE, options.max_sources),
        (MAP_COUNTERS, per_class),
        (MAP_FANOUT, per_class),
        (MAP_BUCKETS, per_class),
        (MAP_VERDICTS, per_class),
        (MAP_UIDS, options.max_identities),
        (MAP_CGROUPS, options.max_identities),
        (MAP_NETNS, options.max_identities),
        (MAP_ADDRS, options.max_identities),
        (MAP_FALLBACK, options.max_unregistered),
        (MAP_EVENTS, options.ring_bytes),
        (MAP_EDGES, options.max_edges),
        (
            MAP_FLOWS,
            options.max_edges.saturating_mul(FLOWS_PER_DEVICE),
        ),
    ] {
        loader.map_max_entries(map, entries);
    }
    for map in MAPS {
        loader.map_pin_path(map, options.pins.map(map));
    }
    loader
        .load(if probe::has_fetching_atomics() {
            OBJECT
        } else {
            LEGACY_OBJECT
        })
        .map_err(|error| KernelError::Load(Box::new(error)))
}

/// Says that the maps are complete and what they mean.
fn mark(pins: &Pins) -> Result<(), KernelError> {
    let mut contract: Array<MapData, u32> = pins.open(MAP_CONTRACT)?;
    contract
        .set(0, CONTRACT, 0)
        .map_err(KernelError::map(MAP_CONTRACT))
}
