//! What a broken disk does to the database: a few hundred faults, each from its seed.
//!
//! Whatever is broken, the process lives, what can be read is what was written, what cannot be is
//! said, and what is written afterwards is there.

#[cfg(test)]
mod at_rest;
#[cfg(test)]
mod full;
#[cfg(test)]
mod injector;
#[cfg(test)]
mod io_errors;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod while_open;
