//! One operation. Files and directories are named by numbers, taken modulo how many there are when
//! the operation runs, so that any part of a sequence is a sequence that makes sense.

use hsci_tests::Random;

/// A file, a directory or any of both, by number.
pub(crate) type Pick = u8;
/// One of a few names, so that names collide.
pub(crate) type Name = u8;

/// Content to write: equal seeds give equal bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Data {
    pub(crate) offset: u64,
    pub(crate) len: usize,
    pub(crate) seed: u64,
}

/// What is done to a mount and to a plain directory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    Create {
        dir: Pick,
        name: Name,
        mode: u32,
    },
    MakeDir {
        dir: Pick,
        name: Name,
        mode: u32,
    },
    MakeSymlink {
        dir: Pick,
        name: Name,
        target: Name,
    },
    MakePipe {
        dir: Pick,
        name: Name,
    },
    Link {
        file: Pick,
        dir: Pick,
        name: Name,
    },
    Unlink {
        file: Pick,
    },
    RemoveDir {
        dir: Pick,
    },
    Rename {
        from: Pick,
        dir: Pick,
        name: Name,
        keep: bool,
    },
    Exchange {
        one: Pick,
        other: Pick,
    },
    Write {
        file: Pick,
        data: Data,
    },
    Rewrite {
        file: Pick,
        data: Data,
    },
    Append {
        file: Pick,
        data: Data,
    },
    Read {
        file: Pick,
        data: Data,
    },
    MapWrite {
        file: Pick,
        data: Data,
    },
    MapRead {
        file: Pick,
    },
    Truncate {
        file: Pick,
        len: u64,
    },
    Punch {
        file: Pick,
        offset: u64,
        len: u64,
    },
    Zero {
        file: Pick,
        offset: u64,
        len: u64,
    },
    Allocate {
        file: Pick,
        offset: u64,
        len: u64,
        keep_size: bool,
    },
    Copy {
        from: Pick,
        to: Pick,
        offset: u64,
        data: Data,
    },
    Chmod {
        any: Pick,
        mode: u32,
    },
    Chown {
        any: Pick,
        id: u32,
    },
    SetTime {
        any: Pick,
        seconds: u32,
        nanos: u32,
    },
    SetXattr {
        any: Pick,
        name: Name,
        len: u8,
    },
    RemoveXattr {
        any: Pick,
        name: Name,
    },
    Sync {
        file: Pick,
    },
    /// Keeps a file open in one of a few slots.
    Hold {
        file: Pick,
        slot: u8,
    },
    WriteHeld {
        slot: u8,
        data: Data,
    },
    ReadHeld {
        slot: u8,
        data: Data,
    },
    Settle,
    Remount,
}

impl Operation {
    /// Any operation, the usual ones often.
    pub(crate) fn random(random: &mut Random) -> Self {
        match random.below(1000) {
            0..280 => Self::random_name_operation(random),
            280..740 => Self::random_data_operation(random),
            740..890 => Self::random_attribute_operation(random),
            890..930 => Self::Hold { file: pick(random), slot: pick(random) },
            930..960 => Self::WriteHeld { slot: pick(random), data: data(random) },
            960..985 => Self::ReadHeld { slot: pick(random), data: data(random) },
            985..997 => Self::Settle,
            _ => Self::Remount,
        }
    }

    fn random_name_operation(random: &mut Random) -> Self {
        let (dir, name, file) = (pick(random), pick(random), pick(random));
        match random.below(16) {
            0..5 => Self::Create { dir, name, mode: random.below(0o1000) as u32 },
            5 => Self::MakeDir { dir, name, mode: random.below(0o2000) as u32 },
            6 => Self::MakeSymlink { dir, name, target: pick(random) },
            7 if random.once_in(3) => Self::MakePipe { dir, name },
            7 | 8 => Self::Link { file, dir, name },
            9 | 10 => Self::Unlink { file },
            11 => Self::RemoveDir { dir },
            12 | 13 => Self::Rename { from: file, dir, name, keep: random.once_in(3) },
            _ => Self::Exchange { one: file, other: pick(random) },
        }
    }

    fn random_data_operation(random: &mut Random) -> Self {
        let (file, bytes) = (pick(random), data(random));
        let (offset, len) = (random.skewed(19), 1 + random.skewed(18));
        match random.below(20) {
            0..5 => Self::Write { file, data: bytes },
            5 | 6 => Self::Rewrite { file, data: bytes },
            7..10 => Self::Append { file, data: bytes },
            10..12 => Self::Read { file, data: bytes },
            12 => Self::MapWrite { file, data: bytes },
            13 => Self::MapRead { file },
            14 => Self::Truncate { file, len: random.skewed(20) },
            15 => Self::Punch { file, offset, len },
            16 => Self::Zero { file, offset, len },
            17 => Self::Allocate { file, offset, len, keep_size: random.once_in(2) },
            18 => Self::Copy { from: pick(random), to: file, offset, data: bytes },
            _ => Self::Sync { file },
        }
    }

    fn random_attribute_operation(random: &mut Random) -> Self {
        let any = pick(random);
        match random.below(10) {
            0 | 1 => Self::Chmod { any, mode: random.below(0o10000) as u32 },
            2 => Self::Chown { any, id: random.below(3) as u32 },
            3..7 => {
                let (seconds, nanos) =
                    (random.skewed(29) as u32, random.below(1_000_000_000) as u32);
                Self::SetTime { any, seconds, nanos }
            }
            7 | 8 => Self::SetXattr { any, name: pick(random), len: random.skewed(6) as u8 },
            _ => Self::RemoveXattr { any, name: pick(random) },
        }
    }
}

fn pick(random: &mut Random) -> Pick {
    random.below(256) as Pick
}

fn data(random: &mut Random) -> Data {
    let bits = if random.once_in(8) { 19 } else { 14 };
    let len = random.skewed(bits) as usize;
    Data { offset: random.skewed(19), len, seed: random.below(1 << 16) }
}
