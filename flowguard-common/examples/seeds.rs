//! Writes the recorded frames into a folder, one a file, for the fuzzer to start from.

use std::{env, error::Error, fs, path::PathBuf};

use flowguard_common::testing::frames;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env::args_os().nth(1).ok_or("which folder?")?);
    fs::create_dir_all(&folder)?;
    for (number, frame) in frames::recorded()?.into_iter().enumerate() {
        fs::write(folder.join(format!("recorded-{number}")), frame)?;
    }
    Ok(())
}
