//! What flowguard's kernel programs and its daemon agree on.
//!
//! Everything that crosses the boundary lives here: the layout of map keys and values, map and
//! program names, capacities, and the arithmetic both sides must do alike. The crate is `no_std`
//! and free of I/O, so all of it is tested on the host; the BPF programs only add the context
//! they run in.
//!
//! A change of any `repr(C)` type or of the meaning of a field needs a new [`CONTRACT`] version.

#![cfg_attr(not(any(test, feature = "testing")), no_std)]

pub mod addr;
pub mod class;
pub mod counters;
pub mod event;
pub mod fanout;
pub mod flow;
pub mod gateway;
pub mod judge;
pub mod names;
pub mod netns;
pub mod packet;
pub mod settings;
pub mod smtp;
pub mod source;
pub mod stamp;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod verdict;

#[cfg(feature = "user")]
mod user;

/// Identifies the layout and meaning of everything in the pinned maps.
///
/// It stands in the `CONTRACT` map: a binary that finds another value there must not read the
/// other maps.
pub const CONTRACT: u32 = if cfg!(feature = "grown") { 4 } else { 3 };

/// The oldest contract whose maps this version can take over: from there on, values have only grown
/// at their end. It also tells older versions which of them can take these maps over.
pub const OLDEST_CONTRACT: u32 = 2;
