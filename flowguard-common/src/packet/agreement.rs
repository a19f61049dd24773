//! The parser against `etherparse`, on made-up and on recorded frames.

use proptest::{prelude::*, test_runner::TestCaseResult};

use super::*;
use crate::{
    source::{LINK_ETHERNET, LINK_IP},
    testing::{frames, opinion},
};

fn agree(frame: &[u8], link: u32) -> TestCaseResult {
    opinion::compare(frame, link).map_err(TestCaseError::fail)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn made_up_frames(frame in frames::ethernet()) {
        agree(&frame, LINK_ETHERNET)?;
    }

    #[test]
    fn made_up_packets(packet in frames::ip()) {
        agree(&packet, LINK_IP)?;
    }

    #[test]
    fn recorded_frames_that_were_damaged(
        which: prop::sample::Index,
        damage in prop::collection::vec((0..100_usize, any::<u8>()), 1..4),
        cut: prop::sample::Index,
    ) {
        let frames = frames::recorded().unwrap();
        let mut frame = which.get(&frames).clone();
        for (at, byte) in damage {
            if let Some(place) = frame.get_mut(at) {
                *place = byte;
            }
        }
        agree(&frame, LINK_ETHERNET)?;
        frame.truncate(cut.index(frame.len()));
        agree(&frame, LINK_ETHERNET)?;
    }
}

#[test]
fn recorded_frames() {
    let mut found: [u32; 6] = [0; 6];
    for frame in frames::recorded().unwrap() {
        agree(&frame, LINK_ETHERNET).unwrap();
        found[parse(&frame.as_slice(), LINK_ETHERNET).kind as usize] += 1;
    }
    // Tcp, Other, HiddenFlags, HiddenPort, Encapsulated, Unparsed.
    assert_eq!(found, [229, 18, 2, 2, 42, 0]);
}
