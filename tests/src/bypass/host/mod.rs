//! What `fg-bypass-host` does.

pub(crate) mod attempts;
pub(crate) mod identity;
pub(crate) mod ring;
pub(crate) mod socket;
pub(crate) mod tricks;
pub(crate) mod who;
