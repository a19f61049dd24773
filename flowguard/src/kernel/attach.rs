//! Attaching programs: cgroup links once, edge devices as they come and go.

use std::{collections::HashMap, fs, fs::File, io, os::fd::AsFd as _, path::Path};

use aya::{
    Ebpf,
    maps::{HashMap as BpfHashMap, MapData},
    programs::{
        CgroupAttachMode, LinkOrder, ProgramFd, SchedClassifier, TcAttachType,
        links::FdLink,
        tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle},
    },
};
use flowguard_common::{
    names::{MAP_EDGES, PROG_EDGE},
    source::Edge,
};

use super::{KernelError, Pins, loader, sys};
use crate::identity::cgroup::cgroup_id;

/// Priority of our filter where TCX is missing: how we find it again. Few use numbers this low,
/// and an earlier filter that ends the chain would hide packets from us.
const CLSACT_PRIORITY: u16 = 2525;
/// Handle of our filter, likewise.
const CLSACT_HANDLE: TcHandle = TcHandle::new(0, 1);

/// How edge programs are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeMethod {
    /// TCX links, Linux 6.6.
    Tcx,
    /// A filter on a clsact qdisc, which any kernel has.
    Clsact,
}

fn attach_error(
    program: &'static str,
    target: &str,
    source: impl std::error::Error + Send + Sync + 'static,
) -> KernelError {
    KernelError::Attach {
        program,
        target: target.to_owned(),
        source: Box::new(source),
    }
}

/// Attaches a program to a cgroup, or puts it in the place of the one that is pinned. The change of
/// programs is atomic: every call runs the old or the new one. `attach` makes a link of its own.
pub(super) fn to_cgroup(
    program: &ProgramFd,
    name: &'static str,
    cgroup: &Path,
    pins: &Pins,
    attach: impl FnOnce(File) -> Result<FdLink, Box<dyn std::error::Error + Send + Sync>>,
) -> Result<(), KernelError> {
    let pin = pins.link(name);
    let target = cgroup.display().to_string();
    let failed = |error| attach_error(name, &target, error);
    if pin.exists() {
        let link = sys::obj_get(&pin).map_err(failed)?;
        let attached_to = sys::link_cgroup(link.as_fd()).map_err(failed)?;
        if attached_to == cgroup_id(cgroup).map_err(failed)? {
            return sys::link_update(link.as_fd(), program.as_fd()).map_err(failed);
        }
        // Another cgroup is to be guarded from now on, or that one was removed.
        unpin(&pin)?;
    }
    let link =
        attach(File::open(cgroup).map_err(failed)?).map_err(|source| KernelError::Attach {
            program: name,
            target: target.clone(),
            source,
        })?;
    link.pin(&pin)
        .map_err(|error| attach_error(name, &target, error))?;
    Ok(())
}

/// Links coexist with others by nature; the kernel refuses BPF_F_ALLOW_MULTI on them, which aya's
/// other modes would pass.
pub(super) const CGROUP_MODE: CgroupAttachMode = CgroupAttachMode::Single;

fn unpin(path: &Path) -> Result<(), KernelError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(KernelError::File {
            action: "remove",
            path: path.to_path_buf(),
            source,
        }),
    }
}

/// The edge program and the devices it is attached to.
#[derive(Debug)]
pub struct Edges {
    object: Ebpf,
    method: EdgeMethod,
    pins: Pins,
    attached: HashMap<u32, String>,
}

impl Edges {
    pub(super) fn new(object: Ebpf, method: EdgeMethod, pins: Pins) -> Self {
        Self {
            object,
            method,
            pins,
            attached: HashMap::new(),
        }
    }

    fn program(&mut self) -> Result<&mut SchedClassifier, KernelError> {
        loader::program(&mut self.object, PROG_EDGE)
    }

    /// How programs are attached on this host.
    pub fn method(&self) -> EdgeMethod {
        self.method
    }

    /// Names of the devices that are attached, by interface index.
    pub fn attached(&self) -> &HashMap<u32, String> {
        &self.attached
    }

    /// Attaches the edge program to a device, or puts it in the place of an older one.
    ///
    /// # Errors
    ///
    /// The device is gone, or the kernel refuses.
    pub fn attach(&mut self, ifindex: u32, name: &str) -> Result<(), KernelError> {
        if let Some(known) = self.attached.get_mut(&ifindex) {
            name.clone_into(known);
            return Ok(());
        }
        match self.method {
            EdgeMethod::Tcx => {
                self.attach_tcx(ifindex, name)?;
                // One that an earlier daemon attached in the other way. There mostly is none.
                drop(tc::qdisc_detach_program(
                    name,
                    TcAttachType::Ingress,
                    PROG_EDGE,
                ));
            }
            EdgeMethod::Clsact => {
                self.attach_clsact(name)?;
                unpin(&self.pins.edge(ifindex))?;
            }
        }
        self.attached.insert(ifindex, name.to_owned());
        Ok(())
    }

    fn attach_tcx(&mut self, ifindex: u32, name: &str) -> Result<(), KernelError> {
        let failed = |error| attach_error(PROG_EDGE, name, error);
        let pin = self.pins.edge(ifindex);
        if pin.exists() {
            let program = self
                .program()?
                .fd()
                .map_err(|error| attach_error(PROG_EDGE, name, error))?;
            let updated =
                sys::obj_get(&pin).and_then(|link| sys::link_update(link.as_fd(), program.as_fd()));
            if updated.is_ok() {
                return Ok(());
            }
            // The link died with a device that had this index before.
            unpin(&pin)?;
        }
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        let program = self.program()?;
        let link: FdLink = program
            .attach_with_options(name, TcAttachType::Ingress, options)
            .and_then(|id| program.take_link(id))
            .map_err(failed)?
            .try_into()
            .map_err(|error| attach_error(PROG_EDGE, name, error))?;
        link.pin(&pin)
            .map_err(|error| attach_error(PROG_EDGE, name, error))?;
        Ok(())
    }

    fn attach_clsact(&mut self, name: &str) -> Result<(), KernelError> {
        match tc::qdisc_add_clsact(name) {
            Ok(()) | Err(TcError::AlreadyAttached) => {}
            // Some kernels say EEXIST in another way; if the qdisc is really missing, the filter
            // below is refused.
            Err(error) => tracing::debug!(%error, device = name, "adding clsact"),
        }
        let program = self.program()?;
        let failed = |error| attach_error(PROG_EDGE, name, error);
        let fresh = TcAttachOptions::Netlink(NlOptions {
            priority: CLSACT_PRIORITY,
            handle: CLSACT_HANDLE,
            classid: None,
        });
        let id = match program.attach_with_options(name, TcAttachType::Ingress, fresh) {
            Ok(id) => id,
            // There is one of ours already: replace it.
            Err(_) => {
                let link =
                    clsact_link(name).map_err(|error| attach_error(PROG_EDGE, name, error))?;
                program.attach_to_link(link).map_err(failed)?
            }
        };
        let link = program.take_link(id).map_err(failed)?;
        // Dropping it would detach; the filter is to outlive us.
        std::mem::forget(link);
        Ok(())
    }

    /// Forgets a device that is gone; its link died with it.
    ///
    /// # Errors
    ///
    /// The pin cannot be removed.
    pub fn gone(&mut self, ifindex: u32) -> Result<(), KernelError> {
        self.attached.remove(&ifindex);
        unpin(&self.pins.edge(ifindex))
    }

    /// Detaches from a device that is to be left alone from now on.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn detach(&mut self, ifindex: u32) -> Result<(), KernelError> {
        if let (Some(name), EdgeMethod::Clsact) = (self.attached.get(&ifindex), self.method) {
            tc::qdisc_detach_program(name, TcAttachType::Ingress, PROG_EDGE)
                .map_err(|error| attach_error(PROG_EDGE, name, error))?;
        }
        self.gone(ifindex)
    }
}

fn clsact_link(name: &str) -> io::Result<SchedClassifierLink> {
    SchedClassifierLink::attached(
        name,
        TcAttachType::Ingress,
        CLSACT_PRIORITY,
        CLSACT_HANDLE,
        None,
    )
}

/// What `flowguard detach` removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detached {
    /// Links and filters.
    pub links: usize,
    /// Maps.
    pub maps: usize,
}

/// Removes every program, link and map of the guard pinned there, whatever its version.
///
/// # Errors
///
/// Nothing is pinned there, or something cannot be removed.
pub fn detach(pins: &Path) -> Result<Detached, KernelError> {
    let pins = Pins::new(pins);
    if !pins.dir().exists() {
        return Err(KernelError::NotAttached {
            path: pins.dir().to_path_buf(),
        });
    }
    let _lock = pins.lock()?;
    let tcx = pins.edges()?;
    let mut filters = 0;
    // A guard of another version may keep its edges in another form; then only links are found.
    if let Ok(edges) = pins.open::<BpfHashMap<MapData, u32, Edge>>(MAP_EDGES) {
        for ifindex in edges
            .keys()
            .filter_map(Result::ok)
            .filter(|ifindex| !tcx.contains(ifindex))
        {
            let mut buffer = [0; nix::libc::IF_NAMESIZE];
            if let Some(name) = device_name(ifindex, &mut buffer) {
                let detached = tc::qdisc_detach_program(name, TcAttachType::Ingress, PROG_EDGE);
                filters += usize::from(detached.is_ok());
            }
        }
    }
    let links = pins.links()?.len();
    let removed = pins.remove()?;
    Ok(Detached {
        links: links + filters,
        maps: removed - links,
    })
}

fn device_name(ifindex: u32, buffer: &mut [u8; nix::libc::IF_NAMESIZE]) -> Option<&str> {
    // SAFETY: the buffer has the IF_NAMESIZE bytes that if_indextoname(3) writes at most.
    let found = unsafe { nix::libc::if_indextoname(ifindex, buffer.as_mut_ptr().cast()) };
    if found.is_null() {
        return None;
    }
    std::ffi::CStr::from_bytes_until_nul(buffer)
        .ok()?
        .to_str()
        .ok()
}
