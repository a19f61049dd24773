//! Which network namespace, and whose processes, are at the other end of a host's veth.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{OFlag, openat, readlinkat},
    libc,
    sys::stat::Mode,
};
use tokio::{sync::mpsc, task::spawn_blocking};

use super::{
    cgroup::cgroup2_line,
    links::Link,
    netns::{NetnsError, NsidLookup, cookies},
};

/// Where namespaces live that may have no process: iproute2 and CNI, Docker.
const NAMED: [&str; 3] = ["/run/netns", "/var/run/docker/netns", "/run/docker/netns"];

/// Most cgroups listed for one namespace.
pub const MAX_CGROUPS: usize = 64;

/// Most processes of one namespace that are asked for their cgroup.
const MAX_PROCESSES: usize = 1024;

/// Most edges looked up at once.
const BATCH: usize = 4096;

/// The other end of a veth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The inode number of the namespace it is in: `net:[4026531840]`.
    pub netns_inode: u64,
    /// That namespace's cookie; none where the kernel tells it to nobody (before Linux 5.7).
    pub cookie: Option<u64>,
    /// The cgroups of the processes in that namespace, each once, that of the lowest process id
    /// first, at most [`MAX_CGROUPS`].
    pub cgroups: Vec<String>,
    /// The name of the VM that it is.
    pub vm: Option<String>,
}

/// What looks interfaces up; blocking.
pub type Look = fn(&[Link]) -> Result<HashMap<u32, Peer>, NetnsError>;

/// What [`resolve_peers`] found.
#[derive(Debug)]
pub struct ResolvedPeers {
    /// The interfaces asked about.
    pub edges: Vec<Link>,
    /// By ifindex. An interface whose namespace is not found is missing.
    pub peers: Result<HashMap<u32, Peer>, NetnsError>,
}

/// Looks up edges as they come in, until nobody sends or nobody listens. Those that come in while
/// one look at `/proc` is under way share the next.
pub async fn resolve_peers(
    mut edges: mpsc::Receiver<Link>,
    found: mpsc::Sender<ResolvedPeers>,
    look: Look,
) {
    loop {
        let mut batch = Vec::new();
        if edges.recv_many(&mut batch, BATCH).await == 0 {
            return;
        }
        let asked = batch.clone();
        let peers = spawn_blocking(move || look(&asked))
            .await
            .unwrap_or_else(|error| {
                Err(NetnsError::Proc {
                    source: error.into(),
                })
            });
        let resolved = ResolvedPeers {
            edges: batch,
            peers,
        };
        if found.send(resolved).await.is_err() {
            return;
        }
    }
}

/// Finds the namespaces in which the other ends of these interfaces are, by ifindex; blocking.
///
/// Seen are the namespaces of processes and those that iproute2, CNI and Docker gave a name. Not
/// seen is one that only a thread other than a process's first is in, or that only an open file
/// keeps: interfaces into those are missing from the answer, as are those whose other end is in
/// the calling thread's namespace.
///
/// # Errors
/// `/proc` is not readable, or the kernel does not answer.
pub fn find_peers(edges: &[Link]) -> Result<HashMap<u32, Peer>, NetnsError> {
    let mut wanted: HashMap<i32, Vec<u32>> = HashMap::new();
    for edge in edges {
        if let Some(nsid) = edge.peer_nsid {
            wanted.entry(nsid).or_default().push(edge.ifindex);
        }
    }
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let proc_error = |source| NetnsError::Proc { source };
    let own = fs::metadata("/proc/thread-self/ns/net")
        .map_err(proc_error)?
        .ino();
    let processes = processes().map_err(proc_error)?;
    let lookup = NsidLookup::open().map_err(|source| NetnsError::Netlink { source })?;

    let mut seen = HashSet::from([own]);
    let mut found = Vec::new();
    for namespace in named().chain(of_processes(&processes, own)) {
        if wanted.is_empty() {
            break;
        }
        if !seen.insert(namespace.inode) {
            continue;
        }
        // A file that is no namespace, or one that ends just now.
        let Ok(Some(nsid)) = lookup.nsid(&namespace.file) else {
            continue;
        };
        if let Some(edges) = wanted.remove(&nsid) {
            found.push((namespace, edges));
        }
    }
    let files: Vec<&File> = found.iter().map(|(namespace, _)| &namespace.file).collect();
    let cookies = cookies(&files)?;
    let mut peers = HashMap::new();
    for ((namespace, edges), cookie) in found.iter().zip(cookies) {
        let pids = processes
            .get(&namespace.inode)
            .map_or(&[][..], Vec::as_slice);
        let peer = Peer {
            netns_inode: namespace.inode,
            cookie,
            cgroups: cgroups(pids, namespace.inode),
            vm: None,
        };
        peers.extend(edges.iter().map(|edge| (*edge, peer.clone())));
    }
    Ok(peers)
}

/// The processes of every namespace, by its inode; in rising order.
fn processes() -> io::Result<HashMap<u64, Vec<u32>>> {
    let mut processes: HashMap<u64, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // It may have ended.
        if let Ok(link) = fs::read_link(format!("/proc/{pid}/ns/net"))
            && let Some(inode) = inode_in(&link)
        {
            processes.entry(inode).or_default().push(pid);
        }
    }
    for pids in processes.values_mut() {
        pids.sort_unstable();
    }
    Ok(processes)
}

/// `net:[4026531840]` (namespaces(7)).
fn inode_in(link: &Path) -> Option<u64> {
    let number = link.to_str()?.strip_prefix("net:[")?.strip_suffix(']')?;
    number.parse().ok()
}

struct Namespace {
    inode: u64,
    file: File,
}

impl Namespace {
    fn open(path: &Path) -> io::Result<Self> {
        // Whatever lies in those directories: opening it must not wait.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)?;
        let inode = file.metadata()?.ino();
        Ok(Self { inode, file })
    }
}

fn named() -> impl Iterator<Item = Namespace> {
    NAMED
        .iter()
        .filter_map(|directory| fs::read_dir(directory).ok())
        .flatten()
        .filter_map(|entry| Namespace::open(&entry.ok()?.path()).ok())
}

fn of_processes(processes: &HashMap<u64, Vec<u32>>, own: u64) -> impl Iterator<Item = Namespace> {
    processes
        .iter()
        .filter(move |(inode, _)| **inode != own)
        .filter_map(|(inode, pids)| {
            pids.iter()
                .filter_map(|pid| {
                    let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
                    Namespace::open(&path).ok()
                })
                // A process that ended may have been followed by another of the same id.
                .find(|namespace| namespace.inode == *inode)
        })
}

fn cgroups(pids: &[u32], netns: u64) -> Vec<String> {
    let mut found = Vec::new();
    for pid in pids.iter().take(MAX_PROCESSES) {
        if found.len() == MAX_CGROUPS {
            break;
        }
        if let Ok(Some(cgroup)) = cgroup_of(*pid, netns)
            && !found.contains(&cgroup)
        {
            found.push(cgroup);
        }
    }
    found
}

/// The cgroup of a process, if it is in that namespace. Everything is read through one open
/// directory, which stays that of one process: an id that is used again must not lend a container
/// somebody else's name.
fn cgroup_of(pid: u32, netns: u64) -> io::Result<Option<String>> {
    let process = File::open(format!("/proc/{pid}"))?;
    let link = readlinkat(&process, "ns/net")?;
    if inode_in(Path::new(&link)) != Some(netns) {
        return Ok(None);
    }
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(&process, "cgroup", flags, Mode::empty())?);
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok(cgroup2_line(&text))
}

#[cfg(test)]
mod tests;
