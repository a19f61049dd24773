//! Who is behind a uid, a cgroup, a network namespace, a device.
//!
//! The kernel counts under numbers. Here is where the numbers get names, and where the daemon
//! learns of tenants that come and go:
//!
//! - [`users`]: uids and names, through the Name Service Switch;
//! - [`cgroup`]: where cgroup2 is mounted, the ids of cgroups, the cgroup of a process;
//!   [`cgroup_watch`]: cgroups as they appear and vanish (inotify);
//! - [`links`]: network interfaces and addresses as they come and go (rtnetlink).

pub mod cgroup;
pub mod cgroup_watch;
mod link_messages;
mod link_table;
pub mod links;
mod mountinfo;
#[cfg(test)]
mod testing;
pub mod users;

