//! Who is behind a uid, a cgroup, a network namespace, a device.
pub mod cgroup;
pub mod cgroup_watch;
mod mountinfo;
#[cfg(test)]
mod testing;
pub mod users;
