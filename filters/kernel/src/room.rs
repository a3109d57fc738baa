//! How much room there is for tables: programs are built for a few lengths, and the first that fits
//! is loaded. What is never touched costs no cache, only memory.

use aya::Ebpf;
use aya::maps::{Array, ArrayOfMaps, Map, MapData, MapError};
use hsci_abi::tables::ROOMS;
use hsci_engine::Tables;
use rustix::time::{ClockId, clock_gettime};

use crate::Error;
use crate::sys::Room;

/// The map that holds the policy.
pub(crate) const NAME: &str = "POLICY";

/// The same object, built for each room.
pub(crate) type Objects = [&'static [u8]; ROOMS.len()];

/// The objects of a source, in the order of the rooms.
macro_rules! objects {
    ($name:literal) => {
        [
            aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/", $name, "-0.o")),
            aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/", $name, "-1.o")),
            aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/", $name, "-2.o")),
            aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/", $name, "-3.o")),
        ]
    };
}
pub(crate) use objects;

/// Which of the objects has room for tables of so many words.
pub(crate) fn fitting(words: usize) -> Result<usize, Error> {
    ROOMS.iter().position(|room| words <= *room).ok_or(Error::TooLarge)
}

/// Room of an object, in bytes.
pub(crate) fn len(room: usize) -> usize {
    ROOMS[room] * size_of::<u32>()
}

/// Puts tables in force: whole, or not at all. Programs see the old ones or the new ones.
pub(crate) fn put(ebpf: &mut Ebpf, room: usize, words: Vec<u32>) -> Result<(), Error> {
    put_into_map(ebpf.map_mut(NAME).ok_or(Error::Absent(NAME))?, room, words)
}

/// As [`put`], by the map that holds the policy.
pub(crate) fn put_into_map(map: &mut Map, room: usize, words: Vec<u32>) -> Result<(), Error> {
    let put = match room {
        0 => put_into::<{ ROOMS[0] }>(map, words),
        1 => put_into::<{ ROOMS[1] }>(map, words),
        2 => put_into::<{ ROOMS[2] }>(map, words),
        _ => put_into::<{ ROOMS[3] }>(map, words),
    };
    put.map_err(|source| Error::Map { name: NAME, source })
}

fn put_into<const WORDS: usize>(map: &mut Map, mut words: Vec<u32>) -> Result<(), MapError> {
    let mut policy: ArrayOfMaps<&mut MapData, Array<MapData, Room<WORDS>>> = map.try_into()?;
    words.resize(WORDS, 0);
    let mut inner = Array::create(1, 0)?;
    inner.set(0, Room::boxed(words), 0)?;
    policy.set(0, &inner, 0)
}

/// The words of tables, and the generation that they are marked with. Labels of earlier policies,
/// also of other processes, hardly bear it: it counts tens of microseconds since the machine was started.
pub(crate) fn words(tables: &Tables) -> (Vec<u32>, u32) {
    let now = clock_gettime(ClockId::Boottime);
    let now = (now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64) >> 16;
    let generation = (now as u32).max(1);
    (tables.words(generation), generation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_room_that_fits_is_taken() {
        assert_eq!(fitting(1).expect("small"), 0);
        assert_eq!(fitting(1 << 14).expect("just fits"), 0);
        assert_eq!(fitting((1 << 14) + 1).expect("just more"), 1);
        assert_eq!(fitting(1 << 22).expect("largest"), 3);
        assert!(matches!(fitting((1 << 22) + 1), Err(Error::TooLarge)));
        assert_eq!(len(3), 16 << 20);
    }
}
