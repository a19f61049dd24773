//! What the end-to-end tests stand on: private networks, cgroups, processes with exact rights,
//! and a daemon of their own, all removed when they go out of scope.
//!
//! ```text
//!   world namespace                 host namespace               container namespaces
//!   198.18.0.0/15, 2001:db8:1::/64  the daemon, host users       each behind a veth `fge*`
//!   the mail sink      world0 ──── world0            fge0 ────── eth0
//! ```
//!
//! The daemon under test takes the *host namespace* for the host: it is started in it, attaches
//! to the test's own cgroup subtree only, and pins into a directory of its own. So tests run side
//! by side and never touch the machine's network. Everything carries the test process's pid in
//! its name; what a killed test run leaves behind is swept by the next one ([`sweep`]).

pub mod bench;
pub mod bypass_raw;
pub mod cgroup;
pub mod client;
pub mod config;
pub mod container;
pub mod docker;
pub mod expect;
pub mod failing_disk;
pub mod fanout;
pub mod feature;
pub mod foreign_xdp;
pub mod guard;
pub mod lab;
pub mod lan;
pub mod listening;
pub mod lxc;
pub mod mta;
pub mod netns;
pub mod pinned;
pub mod place;
pub mod process;
pub mod refuser;
pub mod report;
pub mod session;
pub mod sink;
pub mod smtp;
pub mod sweep;
pub mod users;
pub mod wait;
