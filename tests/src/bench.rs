//! Packet programs by themselves, to which frames are given one by one (`BPF_PROG_TEST_RUN`): nothing
//! is attached and nothing pinned, so they go with the test.

use std::env;

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf, Pod,
    maps::{Array, HashMap, Map, MapData, RingBuf},
    programs::{Program, TestRun as _, TestRunOptions},
};
use flowguard_common::{
    class::Class,
    counters::{ClassCounters, Stat},
    event::Event,
    names::{MAP_ADDRS, MAP_BANK, MAP_COUNTERS, MAP_EDGES, MAP_EVENTS, MAP_SETTINGS, MAP_STATS},
    settings::Settings,
    source::{AddrKey, Edge},
};

use crate::feature::FETCHING_ATOMICS;

/// What `cargo xtask build` made, below the target folder that this test is in.
const OBJECT: &str = "bpf/flowguard-ebpf.o";
/// The same for kernels without [`FETCHING_ATOMICS`].
const OBJECT_LEGACY: &str = "bpf/flowguard-ebpf-legacy.o";
/// The device that frames of a test run come in on: the loopback device, unless told otherwise
/// (`bpf_prog_test_run_skb` and `bpf_prog_test_run_xdp`, net/bpf/test_run.c).
const IFINDEX: u32 = 1;

/// Whether the kernel takes a frame for a test run: one with more than an Ethernet header, and where
/// that announces an IP header, with all of it (ibidem, Linux 6.18).
pub fn is_taken(frame: &[u8]) -> bool {
    let needs = match frame.get(12..14) {
        Some([0x08, 0x00]) => 20,
        Some([0x86, 0xdd]) => 40,
        _ => 1,
    };
    frame.len() >= 14 + needs
}

/// The object, with some of its programs loaded.
pub struct Bench {
    object: Ebpf,
    events: RingBuf<MapData>,
}

impl Bench {
    /// Loads packet programs, TC or XDP.
    ///
    /// # Errors
    /// When they are not built, or the kernel refuses one.
    pub fn load(programs: &[&str]) -> Result<Self> {
        let this = env::current_exe()?;
        let name = if FETCHING_ATOMICS.is_there()? {
            OBJECT
        } else {
            OBJECT_LEGACY
        };
        let object = this
            .ancestors()
            .map(|folder| folder.join(name))
            .find(|object| object.is_file())
            .with_context(|| format!("no {name} above {}", this.display()))?;
        let mut object = Ebpf::load_file(object)?;
        for &name in programs {
            match object.program_mut(name).with_context(|| name.to_owned())? {
                Program::SchedClassifier(program) => program.load()?,
                Program::Xdp(program) => program.load()?,
                _ => bail!("{name} is no program for packets"),
            }
        }
        let events = object.take_map(MAP_EVENTS);
        let events = events.with_context(|| format!("no map {MAP_EVENTS}"))?;
        Ok(Self {
            object,
            events: events.try_into()?,
        })
    }

    /// Gives a program a frame; what it returns.
    ///
    /// # Errors
    /// When it is not loaded, or the kernel refuses to run it, as it does unless [`is_taken`].
    pub fn run(&self, program: &str, frame: &[u8]) -> Result<i32> {
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        let name = program;
        let program = self.object.program(name).with_context(|| name.to_owned())?;
        let result = match program {
            Program::SchedClassifier(program) => program.test_run(options)?,
            Program::Xdp(program) => program.test_run(options)?,
            _ => bail!("{name} is no program for packets"),
        };
        Ok(result.return_value.cast_signed())
    }

    /// Changes the policy numbers; all of them are 0 at first.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn configure(&mut self, change: impl FnOnce(&mut Settings)) -> Result<Settings> {
        let bank = self.array::<u32>(MAP_BANK)?.get(&0, 0)?;
        let mut banks = self.array::<Settings>(MAP_SETTINGS)?;
        let mut settings = banks.get(&bank, 0)?;
        change(&mut settings);
        banks.set(bank, settings, 0)?;
        Ok(settings)
    }

    /// Says whose device the frames come in on.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn register(&mut self, edge: Edge) -> Result<()> {
        let mut edges: HashMap<_, u32, Edge> = HashMap::try_from(self.map(MAP_EDGES)?)?;
        Ok(edges.insert(IFINDEX, edge, 0)?)
    }

    /// Says whose an address prefix is.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn register_prefix(&mut self, prefix: AddrKey, source: u32) -> Result<()> {
        let mut prefixes: HashMap<_, AddrKey, u32> = HashMap::try_from(self.map(MAP_ADDRS)?)?;
        Ok(prefixes.insert(prefix, source, 0)?)
    }

    /// One of the numbers that they count about themselves.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn stat(&mut self, stat: Stat) -> Result<u64> {
        Ok(self.array(MAP_STATS)?.get(&(stat as u32), 0)?)
    }

    /// What they counted of a source.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn counters(&mut self, source: u32, class: Class) -> Result<ClassCounters> {
        Ok(self.array(MAP_COUNTERS)?.get(&class.index(source), 0)?)
    }

    /// The events since last asked.
    ///
    /// # Errors
    /// When the ring holds something else.
    pub fn events(&mut self) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        while let Some(item) = self.events.next() {
            if item.len() != size_of::<Event>() {
                bail!("an event of {} bytes", item.len());
            }
            // SAFETY: as many bytes as the type has, and every bit pattern is a value of it.
            events.push(unsafe { item.as_ptr().cast::<Event>().read_unaligned() });
        }
        Ok(events)
    }

    fn array<T: Pod>(&mut self, name: &str) -> Result<Array<&mut MapData, T>> {
        Ok(self.map(name)?.try_into()?)
    }

    fn map(&mut self, name: &str) -> Result<&mut Map> {
        self.object
            .map_mut(name)
            .with_context(|| format!("no map {name}"))
    }
}
