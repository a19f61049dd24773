//! The parser on any bytes: it does not panic, keeps to the frame, and agrees with `etherparse`.

#![no_main]

use flowguard_common::{
    source::{LINK_ETHERNET, LINK_IP},
    testing::opinion,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| {
    for link in [LINK_ETHERNET, LINK_IP] {
        if let Err(contradiction) = opinion::compare(frame, link) {
            panic!("{contradiction}");
        }
    }
});
