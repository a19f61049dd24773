//! SQLite notices damage to its own structure, not to what it stores: a flipped bit in a number is
//! another number. Every row of ours carries a checksum, and one that does not fit is left out.

use crc32fast::Hasher;

/// Of a text.
pub(super) fn text(text: &str) -> i64 {
    i64::from(crc32fast::hash(text.as_bytes()))
}

/// Of numbers, in their order.
pub(super) fn numbers(numbers: &[i64]) -> i64 {
    let mut hasher = Hasher::new();
    for number in numbers {
        hasher.update(&number.to_le_bytes());
    }
    i64::from(hasher.finalize())
}
