//! Loading the programs and taking over what an earlier daemon pinned.

use std::path::PathBuf;

use super::{
    Counters, EdgeMethod, EventReader, Fallback, Hooks, KernelError, Pins, PinsLock, ProgramLog,
    Registry, SettingsBanks, Verdicts,
    generation::Generations,
    probe, programs,
    replace::Change,
    steps::{Step, reached},
};

/// How the programs are to be loaded.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to pin.
    pub pins: Pins,
    /// The cgroup whose tasks are guarded.
    pub cgroup: PathBuf,
    /// Sources to have room for; those that are registered keep theirs.
    pub max_sources: u32,
    /// Devices to have room for, likewise.
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
    /// Loads the programs and attaches them, taking over a guard that is pinned, with all counts and
    /// verdicts. Programs that are attached are replaced one by one, each atomically. If the maps
    /// have to be others, because of another version or another size, the new ones take over what
    /// is in the old ones.
    ///
    /// # Errors
    ///
    /// A guard is pinned that cannot be taken over, or the kernel refuses something. What was
    /// attached before goes on, and what is half done is finished by the next start.
    pub fn load(options: &Options) -> Result<Loaded, KernelError> {
        let pins = &options.pins;
        pins.prepare()?;
        let lock = pins.lock()?;
        reached(Step::Locked)?;
        pins.check_contract()?;
        let Generations { live, leftover } = pins.generations()?;
        for unused in leftover {
            unused.remove()?;
            reached(Step::LeftoverRemoved)?;
        }
        let adopted = !live.is_empty();
        let (change, mut object) = Change::prepare(options, live)?;
        let maps = change.new.clone();

        let loaded = programs::load(&mut object)?;
        reached(Step::ProgramsLoaded)?;
        maps.mark()?;
        reached(Step::Marked)?;
        if !adopted {
            pins.put_in_force(&maps)?;
            reached(Step::InForce)?;
        }
        let log = ProgramLog::open(&mut object);
        let method = options.edge_method.unwrap_or_else(probe::edge_method);
        let mut hooks = Hooks::new(object, loaded, method, pins.clone());
        hooks.attach_to_cgroup(&options.cgroup)?;
        if change.replaces() {
            hooks.replace_at_devices(&maps)?;
        }
        hooks.detach_strangers()?;
        let left = change.finish(pins)?;
        reached(Step::KernelReady)?;
        let count = std::slice::from_ref(&maps);
        Ok(Loaded {
            kernel: Self {
                registry: Registry::open(&maps)?,
                counters: Counters::open(count)?,
                fallback: Fallback::open(count)?,
                verdicts: Verdicts::open(&maps)?,
                settings: SettingsBanks::open(&maps)?,
                hooks,
            },
            events: EventReader::open(&maps, left)?,
            log,
            lock,
            adopted,
        })
    }
}
