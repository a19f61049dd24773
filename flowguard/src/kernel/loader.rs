//! Loading the programs and taking over what an earlier daemon pinned.

use std::{error::Error, fs::File, path::PathBuf};

use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel,
    maps::{Array, MapData},
    programs::{
        CgroupSock, CgroupSockAddr, Program, ProgramError, ProgramFd, SchedClassifier,
        links::FdLink,
    },
};
use flowguard_common::{
    CONTRACT,
    class::CLASSES,
    names::{
        MAP_BUCKETS, MAP_CGROUPS, MAP_CONTRACT, MAP_COUNTERS, MAP_EDGES, MAP_EVENT_RATE,
        MAP_EVENTS, MAP_FALLBACK, MAP_FANOUT, MAP_NETNS, MAP_SOURCES, MAP_SYNS, MAP_UIDS,
        MAP_VERDICTS, PROG_CONNECT4, PROG_CONNECT6, PROG_EDGE, PROG_SOCK_CREATE,
    },
    stamp::SYNS_PER_EDGE,
};

use super::{
    Counters, EdgeMethod, Edges, EventReader, Fallback, KernelError, Pins, PinsLock, ProgramLog,
    Registry, SettingsBanks, Verdicts, attach, log, pins::MAPS, probe,
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("FLOWGUARD_BPF_OBJECT"));

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

/// The maps of the running guard, and its edges.
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
    /// Devices.
    pub edges: Edges,
}

/// What [`Kernel::load`] gives.
pub struct Loaded {
    /// Maps and edges.
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

        // All are loaded before any is attached: a kernel that refuses one leaves things alone.
        for name in [PROG_CONNECT4, PROG_CONNECT6] {
            let program: &mut CgroupSockAddr = program(&mut object, name)?;
            program.load().map_err(refused(name))?;
        }
        let sock_create: &mut CgroupSock = program(&mut object, PROG_SOCK_CREATE)?;
        sock_create.load().map_err(refused(PROG_SOCK_CREATE))?;
        let edge: &mut SchedClassifier = program(&mut object, PROG_EDGE)?;
        edge.load().map_err(refused(PROG_EDGE))?;

        for (name, program) in object.programs() {
            let instructions = program
                .info()
                .ok()
                .and_then(|info| info.verified_instruction_count());
            tracing::debug!(name, instructions, "verified");
        }
        mark(pins)?;
        attach_to_cgroup::<CgroupSock>(&mut object, PROG_SOCK_CREATE, options)?;
        for name in [PROG_CONNECT4, PROG_CONNECT6] {
            attach_to_cgroup::<CgroupSockAddr>(&mut object, name, options)?;
        }
        let log = ProgramLog::open(&mut object);
        let method = options.edge_method.unwrap_or_else(probe::edge_method);
        Ok(Loaded {
            kernel: Self {
                registry: Registry::open(pins)?,
                counters: Counters::open(pins)?,
                fallback: Fallback::open(pins)?,
                verdicts: Verdicts::open(pins)?,
                settings: SettingsBanks::open(pins)?,
                edges: Edges::new(object, method, pins.clone()),
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
        (MAP_FALLBACK, options.max_unregistered),
        (MAP_EVENTS, options.ring_bytes),
        (MAP_EDGES, options.max_edges),
        (MAP_SYNS, options.max_edges.saturating_mul(SYNS_PER_EDGE)),
    ] {
        loader.map_max_entries(map, entries);
    }
    for map in MAPS {
        loader.map_pin_path(map, options.pins.map(map));
    }
    loader
        .load(OBJECT)
        .map_err(|error| KernelError::Load(Box::new(error)))
}

/// Says that the maps are complete and what they mean.
fn mark(pins: &Pins) -> Result<(), KernelError> {
    let mut contract: Array<MapData, u32> = pins.open(MAP_CONTRACT)?;
    contract
        .set(0, CONTRACT, 0)
        .map_err(KernelError::map(MAP_CONTRACT))
}

fn refused(program: &'static str) -> impl Fn(ProgramError) -> KernelError + Copy {
    move |source| KernelError::Program {
        program,
        source: Box::new(source),
    }
}

/// A program of the object, as the type its section says.
pub(super) fn program<'a, P>(
    object: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut P, KernelError>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    object
        .program_mut(name)
        .ok_or_else(|| ProgramError::IOError(std::io::ErrorKind::NotFound.into()))
        .and_then(TryInto::try_into)
        .map_err(refused(name))
}

/// The two types of program that are attached to cgroups.
trait CgroupProgram {
    fn fd(&self) -> Result<&ProgramFd, ProgramError>;
    fn link(&mut self, cgroup: File) -> Result<FdLink, Box<dyn Error + Send + Sync>>;
}

macro_rules! cgroup_program {
    ($($program:ty),+) => {
        $(
            impl CgroupProgram for $program {
                fn fd(&self) -> Result<&ProgramFd, ProgramError> {
                    self.fd()
                }

                fn link(&mut self, cgroup: File) -> Result<FdLink, Box<dyn Error + Send + Sync>> {
                    let id = self.attach(cgroup, attach::CGROUP_MODE)?;
                    Ok(self.take_link(id)?.try_into()?)
                }
            }
        )+
    };
}

cgroup_program!(CgroupSock, CgroupSockAddr);

fn attach_to_cgroup<'a, P>(
    object: &'a mut Ebpf,
    name: &'static str,
    options: &Options,
) -> Result<(), KernelError>
where
    P: CgroupProgram + 'a,
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let program: &mut P = program(object, name)?;
    let fd = program
        .fd()
        .and_then(|fd| Ok(fd.try_clone()?))
        .map_err(refused(name))?;
    attach::to_cgroup(&fd, name, &options.cgroup, &options.pins, |cgroup| {
        program.link(cgroup)
    })
}
