//! What tests share, here and end to end: frames and a second opinion on them, and a reference of
//! what becomes of an attempt.

pub mod frames;
pub mod opinion;
pub mod reference;
