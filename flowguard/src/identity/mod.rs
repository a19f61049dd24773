//! Who is behind a uid, a cgroup, a network namespace, a device.
//!
//! The kernel counts under numbers. Here is where the numbers get names, and where the daemon
//! learns of tenants that come and go:
//!
//! - [`users`]: uids and names, through the Name Service Switch;
//! - [`cgroup`]: where cgroup2 is mounted, the ids of cgroups, the cgroup of a process;
//!   [`cgroup_watch`]: cgroups as they appear and vanish (inotify);
//! - [`links`]: network interfaces and addresses as they come and go (rtnetlink);
//! - [`names`]: what container engines call their containers;
//! - [`mapping`]: which customer a source is, by a panel's table;
//! - [`netns`]: the cookies of network namespaces; [`peers`]: which namespace, and whose
//!   processes, are behind a veth (`/proc`, `RTM_GETNSID`); [`taps`]: which process holds a tap;
//! - [`process`]: what is behind a connection (`/proc`);
//! - [`routes`]: which interfaces lead to the world; [`sending`]: which address mail servers see;
//! - [`edge_owner`]: the name of the tenant behind an interface.
//!
//! No BPF program or map is touched here, but for the one that tells cookies of namespaces before
//! Linux 5.14 (`kernel::NetnsProbe`). What decodes (`mountinfo`, `link_messages`), keeps state
//! (`link_table`) or decides (`owner`, `sending`) is pure, and apart from what reads files and sockets.
//!
//! All of it works from Linux 5.10. It needs root: `CAP_SYS_ADMIN` to enter namespaces, `CAP_SYS_PTRACE` to see those
//! of other users' processes.

pub mod cgroup;
pub mod cgroup_watch;
mod link_messages;
mod link_table;
pub mod links;
pub mod mapping;
mod mountinfo;
pub mod names;
pub mod netns;
mod owner;
pub mod peers;
pub mod process;
pub mod routes;
pub mod sending;
pub mod taps;
#[cfg(test)]
pub(crate) mod testing;
pub mod users;

pub use owner::{ancestors, edge_owner};
