//! What tests of the parser share, here and end to end: frames, and a second opinion on them.

pub mod frames;
pub mod opinion;
