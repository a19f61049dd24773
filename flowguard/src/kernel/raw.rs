//! Maps as bytes, whatever their layout: those that another version of the guard made, or one of
//! another size.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
};

use aya::{
    Pod,
    maps::{MapData, MapError, MapFd, MapType},
};
use nix::{errno::Errno, libc};

use super::sys::bpf;

const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_MAP_GET_NEXT_KEY: libc::c_long = 4;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_MAP_UPDATE_BATCH: libc::c_long = 26;

/// Elements that one system call reads or writes.
const BATCH: u32 = 4096;

#[repr(C)]
struct Element {
    map_fd: u32,
    pad: u32,
    key: u64,
    value_or_next: u64,
    flags: u64,
}

#[repr(C)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// What decides whether two maps are laid out alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// `enum bpf_map_type`.
    pub(super) kind: u32,
    /// Bytes of a key.
    pub(super) key_size: u32,
    /// Bytes of a value.
    pub(super) value_size: u32,
    /// Elements there is room for.
    pub(super) max_entries: u32,
    /// `BPF_F_*`.
    pub(super) flags: u32,
}

/// A map as bytes.
#[derive(Debug)]
pub(super) struct RawMap {
    data: MapData,
    /// The kernel's number of it: two pins of one map have the same.
    pub(super) id: u32,
    pub(super) shape: Shape,
}

/// A key and a value.
pub(super) type Entry = (Vec<u8>, Vec<u8>);

impl RawMap {
    /// Opens a pinned map.
    pub(super) fn open(path: &Path) -> Result<Self, MapError> {
        MapData::from_pin(path).and_then(Self::of)
    }

    fn of(data: MapData) -> Result<Self, MapError> {
        let info = data.info()?;
        let shape = Shape {
            kind: info.map_type()? as u32,
            key_size: info.key_size(),
            value_size: info.value_size(),
            max_entries: info.max_entries(),
            flags: info.map_flags(),
        };
        Ok(Self {
            id: info.id(),
            data,
            shape,
        })
    }

    /// The descriptor.
    pub(super) fn fd(&self) -> &MapFd {
        self.data.fd()
    }

    /// Whether its keys are the numbers from 0.
    pub(super) fn is_array(&self) -> bool {
        self.shape.kind == MapType::Array as u32
    }

    fn number(&self) -> io::Result<u32> {
        u32::try_from(self.fd().as_fd().as_raw_fd()).map_err(io::Error::other)
    }

    fn element(
        &self,
        key: Option<&[u8]>,
        value_or_next: *mut u8,
        flags: u64,
    ) -> io::Result<Element> {
        if key.is_some_and(|key| key.len() != self.shape.key_size as usize) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(Element {
            map_fd: self.number()?,
            pad: 0,
            key: key.map_or(0, |key| key.as_ptr() as u64),
            value_or_next: value_or_next as u64,
            flags,
        })
    }

    /// The value of a key, if there is one.
    pub(super) fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut value = vec![0; self.shape.value_size as usize];
        let mut attr = self.element(Some(key), value.as_mut_ptr(), 0)?;
        found(bpf(BPF_MAP_LOOKUP_ELEM, &mut attr), value)
    }

    /// Sets the value of a key. A shorter value is filled with zeros, a longer one cut: values only
    /// ever grow at their end.
    pub(super) fn set(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let mut value = fitted(value, self.shape.value_size as usize);
        let mut attr = self.element(Some(key), value.as_mut_ptr(), 0)?;
        bpf(BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
    }

    fn next_key(&self, key: Option<&[u8]>) -> io::Result<Option<Vec<u8>>> {
        let mut next = vec![0; self.shape.key_size as usize];
        let mut attr = self.element(key, next.as_mut_ptr(), 0)?;
        found(bpf(BPF_MAP_GET_NEXT_KEY, &mut attr), next)
    }

    /// All entries of a hash or a trie from which nothing is removed meanwhile.
    pub(super) fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut key = self.next_key(None)?;
        while let Some(at) = key {
            key = self.next_key(Some(&at))?;
            if let Some(value) = self.get(&at)? {
                entries.push((at, value));
            }
        }
        Ok(entries)
    }

    /// All elements of an array, one after the other.
    pub(super) fn read_array(&self) -> io::Result<Vec<u8>> {
        let size = self.shape.value_size as usize;
        let mut all = vec![0; self.shape.max_entries as usize * size];
        let mut keys = vec![0_u32; BATCH as usize];
        let mut last = 0_u32;
        for (number, chunk) in all.chunks_mut(BATCH as usize * size).enumerate() {
            let before = last;
            let mut attr = Batch {
                in_batch: if number == 0 {
                    0
                } else {
                    &raw const before as u64
                },
                out_batch: &raw mut last as u64,
                keys: keys.as_mut_ptr() as u64,
                values: chunk.as_mut_ptr() as u64,
                count: (chunk.len() / size) as u32,
                map_fd: self.number()?,
                elem_flags: 0,
                flags: 0,
            };
            match bpf(BPF_MAP_LOOKUP_BATCH, &mut attr) {
                Ok(_) => {}
                // The end of the array.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Sets elements of an array, each filled or cut as by [`Self::set`].
    pub(super) fn write_array(&self, elements: &[(u32, &[u8])]) -> io::Result<()> {
        let size = self.shape.value_size as usize;
        for batch in elements.chunks(BATCH as usize) {
            let mut keys: Vec<u32> = batch.iter().map(|(index, _)| *index).collect();
            let mut values = Vec::with_capacity(batch.len() * size);
            for (_, value) in batch {
                values.extend(fitted(value, size));
            }
            let mut attr = Batch {
                in_batch: 0,
                out_batch: 0,
                keys: keys.as_mut_ptr() as u64,
                values: values.as_mut_ptr() as u64,
                count: keys.len() as u32,
                map_fd: self.number()?,
                elem_flags: 0,
                flags: 0,
            };
            bpf(BPF_MAP_UPDATE_BATCH, &mut attr)?;
        }
        Ok(())
    }

    /// Pins the map a second time.
    pub(super) fn pin(&self, path: &Path) -> Result<(), aya::pin::PinError> {
        self.data.pin(path)
    }
}

/// What a call that may find nothing found.
fn found<T>(result: io::Result<libc::c_long>, value: T) -> io::Result<Option<T>> {
    match result {
        Ok(_) => Ok(Some(value)),
        Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => Ok(None),
        Err(error) => Err(error),
    }
}

/// As many bytes as are wanted: cut, or filled with zeros.
fn fitted(value: &[u8], size: usize) -> Vec<u8> {
    let mut fitted = value[..value.len().min(size)].to_vec();
    fitted.resize(size, 0);
    fitted
}

/// The words of a value that consists of them.
pub(super) fn words(value: &[u8]) -> Vec<u64> {
    let words = value.chunks_exact(size_of::<u64>());
    words.map(value_of).collect()
}

/// A value of a shared type, from the bytes of one that may be shorter (an older version's: the
/// rest is zero) or longer (a newer one's: the rest is left out).
pub(super) fn value_of<T: Pod>(bytes: &[u8]) -> T {
    let bytes = fitted(bytes, size_of::<T>());
    // SAFETY: as many bytes as the type has, unaligned reads are allowed, and every bit pattern is
    // a value of a `Pod` type.
    unsafe { bytes.as_ptr().cast::<T>().read_unaligned() }
}

/// The bytes of a value of a shared type.
pub(super) fn bytes_of<T: Pod>(value: &T) -> &[u8] {
    // SAFETY: shared types have no padding (`flowguard_common::user`), so every byte is set.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

#[cfg(test)]
mod tests {
    use flowguard_common::source::FallbackKey;

    use super::*;

    /// A map that goes with the test.
    fn map(kind: MapType, entries: u32, flags: u32) -> RawMap {
        let map = aya_obj::Map::new_from_params(kind as u32, 4, 12, entries, flags);
        RawMap::of(MapData::create(map, "test", None).unwrap()).unwrap()
    }

    #[test]
    fn arrays_are_read_and_written_as_a_whole() {
        let entries = 3 * BATCH + 5;
        let array = map(MapType::Array, entries, 0);
        assert!(array.is_array());
        let value = |index: u32| [index, !index].map(u32::to_ne_bytes).concat();
        let values: Vec<_> = (0..entries).map(value).collect();
        let odd: Vec<_> = (0..)
            .zip(values.iter().map(Vec::as_slice))
            .filter(|(index, _)| index % 2 == 1)
            .collect();
        array.write_array(&odd).unwrap();
        let all = array.read_array().unwrap();
        assert_eq!(all.len(), entries as usize * 12);
        for (index, element) in (0..).zip(all.chunks_exact(12)) {
            let mut expected = if index % 2 == 1 {
                value(index)
            } else {
                vec![0; 8]
            };
            // Values that are too short are filled up.
            expected.extend([0; 4]);
            assert_eq!(element, expected, "{index}");
        }
    }

    #[test]
    fn all_entries_of_a_hash_are_found() {
        let hash = map(MapType::Hash, 1_000, 0);
        assert_eq!(hash.entries().unwrap(), []);
        for key in 0_u32..1_000 {
            hash.set(&key.to_ne_bytes(), &[key as u8; 20]).unwrap();
        }
        let mut entries = hash.entries().unwrap();
        entries.sort_by_key(|(key, _)| value_of::<u32>(key));
        assert_eq!(entries.len(), 1_000);
        for (index, (key, value)) in (0_u32..).zip(entries) {
            assert_eq!(
                (value_of::<u32>(&key), value),
                (index, vec![index as u8; 12])
            );
        }
        assert_eq!(hash.get(&1_000_u32.to_ne_bytes()).unwrap(), None);
        assert!(hash.get(&[0; 3]).is_err(), "a key of another size");
    }

    #[test]
    fn values_are_cut_or_filled_with_zeros() {
        assert_eq!(fitted(&[1, 2, 3], 2), [1, 2]);
        assert_eq!(fitted(&[1, 2, 3], 5), [1, 2, 3, 0, 0]);
        assert_eq!(fitted(&[], 1), [0]);
    }

    #[test]
    fn bytes_and_values_are_the_same() {
        let key = FallbackKey {
            id: 0x0102,
            kind: 1,
            class: 2,
        };
        assert_eq!(value_of::<FallbackKey>(bytes_of(&key)), key);
        assert_eq!(words(bytes_of(&key)), [0x0102, 0x0000_0002_0000_0001]);
        let prefix = value_of::<FallbackKey>(&bytes_of(&key)[..8]);
        assert_eq!((prefix.id, prefix.kind), (0x0102, 0));
    }
}
