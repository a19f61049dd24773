//! Files that are damaged or removed under a daemon that runs.

use std::fs;

use crate::{at_rest::damage, scene};

#[test]
fn sixty_times_a_file_breaks_under_the_daemon_and_it_goes_on() {
    let _undisturbed = scene::undisturbed();
    let killed = scene::killed();
    for seed in 0..60 {
        let folder = tempfile::tempdir().unwrap();
        scene::copy(killed.path(), folder.path());
        let path = folder.path().join("state.db");
        let (mut keeper, _) = scene::open(&path);
        let mut random = fastrand::Rng::with_seed(1_000 + seed);
        // Sometimes the log has been written to since.
        if random.bool() {
            keeper.add(&mut scene::record(0));
            scene::settle(&keeper);
        }
        let fault = if random.u8(..4) == 0 {
            for name in ["state.db", "state.db-wal", "state.db-shm"] {
                fs::remove_file(folder.path().join(name)).ok();
            }
            "all removed".to_owned()
        } else {
            damage(folder.path(), &mut random)
        };
        scene::say(&format!("seed {seed}: {fault}"));
        // What is in SQLite's memory need not be on the disk any more: what is read is right, and
        // whatever breaks is noticed when it is, by this daemon or by the next.
        for _ in 0..3 {
            keeper.add(&mut scene::record(0));
            keeper.note_order(scene::order(5));
        }
        scene::settle(&keeper);
        drop(keeper);
        let (keeper, _) = scene::open(&path);
        scene::write_and_read_again(&path, keeper);
    }
}
