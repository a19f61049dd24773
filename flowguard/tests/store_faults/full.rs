//! Disks that take no more, from the n-th write on.

use std::fs;

use nix::sys::{
    resource::{Resource, getrlimit, setrlimit},
    signal::{SigHandler, Signal, signal},
};

use crate::scene;

/// Files of this process can be so long and no longer: writes beyond fail (EFBIG).
struct Limit(u64);

impl Limit {
    fn set(bytes: u64) -> Self {
        // SAFETY: no handler is installed, the signal is ignored.
        unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }.unwrap();
        let (soft, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
        setrlimit(Resource::RLIMIT_FSIZE, bytes, hard).unwrap();
        Self(soft)
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
        setrlimit(Resource::RLIMIT_FSIZE, self.0, hard).unwrap();
    }
}

#[test]
fn a_hundred_times_the_disk_fails_at_another_write_and_is_mended() {
    let _alone = scene::alone();
    let killed = scene::killed();
    let mut failed = 0;
    for seed in 0..100 {
        let folder = tempfile::tempdir().unwrap();
        scene::copy(killed.path(), folder.path());
        let path = folder.path().join("state.db");
        let (mut keeper, _) = scene::open(&path);
        scene::settle(&keeper);
        let mut random = fastrand::Rng::with_seed(2_000 + seed);
        {
            let log = fs::metadata(folder.path().join("state.db-wal")).unwrap();
            let _limit = Limit::set(log.len() + random.u64(..150_000));
            for number in 0..40 {
                keeper.add(&mut scene::record(number));
                keeper.note_order(scene::order(number));
                keeper.note_minute(None, scene::time_of(150), scene::retention());
            }
            scene::settle(&keeper);
        }
        let health = keeper.health();
        if health.failure.is_some() {
            failed += 1;
            assert!(health.lost > 0, "{health:?}");
        }
        scene::say(&format!("seed {seed}: {health:?}"));
        assert_eq!(health.mishap, None, "a full disk is no damage");
        let kept = scene::check(&path, &keeper).records;
        assert_eq!(kept, 120, "what had been written is lost");
        scene::write_and_read_again(&path, keeper);
    }
    assert!(failed > 30, "only {failed} of the disks failed");
}
