//! Files that were damaged while nobody had them open.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
    path::Path,
};

use crate::scene::{self, Found};

/// Damages one of the files; what was done.
pub(crate) fn damage(folder: &Path, random: &mut fastrand::Rng) -> String {
    let name = if random.bool() {
        "state.db"
    } else {
        "state.db-wal"
    };
    let path = folder.join(name);
    let length = fs::metadata(&path).map_or(0, |metadata| metadata.len());
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let at = random.u64(..length.max(1));
    match random.u8(..6) {
        0 => {
            file.set_len(at).unwrap();
            format!("{name} cut off at {at}")
        }
        1 => {
            fs::remove_file(&path).unwrap();
            format!("{name} removed")
        }
        2 => {
            let garbage: Vec<u8> = (0..random.usize(1..5_000)).map(|_| random.u8(..)).collect();
            file.write_all_at(&garbage, at).unwrap();
            format!("{name}: {} bytes of garbage at {at}", garbage.len())
        }
        3 => {
            let zeros = vec![0; random.usize(1..9_000)];
            file.write_all_at(&zeros, at).unwrap();
            format!("{name}: {} zeros at {at}", zeros.len())
        }
        _ => {
            for _ in 0..random.u8(1..4) {
                let at = random.u64(..length.max(1));
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).unwrap();
                file.write_all_at(&[byte[0] ^ (1 << random.u8(..8))], at)
                    .unwrap();
            }
            format!("{name}: flipped bits, one near {at}")
        }
    }
}

#[test]
fn two_hundred_damaged_files_are_opened_or_set_aside() {
    let _undisturbed = scene::undisturbed();
    let killed = scene::killed();
    let (mut whole, mut aside, mut partly, mut carried) = (0, 0, 0, 0);
    for seed in 0..200 {
        let folder = tempfile::tempdir().unwrap();
        scene::copy(killed.path(), folder.path());
        let fault = damage(folder.path(), &mut fastrand::Rng::with_seed(seed));
        let shown = format!("seed {seed}: {fault}");
        let path = folder.path().join("state.db");
        let (keeper, set_aside) = scene::open(&path);
        scene::await_salvage(&keeper);
        let found = scene::check(&path, &keeper);
        let set_aside = set_aside.is_some() || keeper.health().mishap.is_some();
        match (set_aside, found.counts() == Found::ALL) {
            (true, _) => {
                aside += 1;
                carried += found.records + found.orders;
                let kept = folder.path().join("state.db.damaged-1");
                assert!(kept.exists(), "{shown}: the damaged file was not kept");
            }
            (false, true) => whole += 1,
            (false, false) => partly += 1,
        }
        scene::say(&format!("{shown}: {found:?}, set aside: {set_aside}"));
        scene::write_and_read_again(&path, keeper);
    }
    // Each of the three happens, or the faults are no faults.
    assert!(
        whole > 0 && aside > 0 && partly > 0,
        "{whole} {aside} {partly}"
    );
    // Of the 240 records and orders in each that was set aside, some can be read.
    assert!(carried > 60 * aside, "{carried} of {aside} times 240");
}

#[test]
fn without_a_fault_all_is_there() {
    let _undisturbed = scene::undisturbed();
    let killed = scene::killed();
    let path = killed.path().join("state.db");
    let (keeper, aside) = scene::open(&path);
    assert_eq!(aside, None);
    assert_eq!(scene::check(&path, &keeper).counts(), Found::ALL);
    scene::write_and_read_again(&path, keeper);
}
