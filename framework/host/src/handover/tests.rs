use hsci_protocol::mount::Death;
use rustix::fs::ftruncate;

use super::*;

fn open(file: &OwnedFd) -> Result<(Handover, Remains), String> {
    Handover::open(file.try_clone().expect("a copy"))
}

fn usable(file: &OwnedFd) -> (Handover, Remains) {
    open(file).expect("usable")
}

/// Adds an inode that the kernel is told of once.
fn tell(handover: &Handover, ino: u64) {
    let handle = ino.to_ne_bytes();
    let add = |entries: &mut Entries<'_>| entries.inode(ino, (1, ino), 1, &handle, None);
    handover.log(add, |_| panic!("not long enough to be written anew"));
}

#[test]
fn the_next_worker_knows_what_the_last_one_wrote_down() {
    let file = create().expect("a file");
    let (handover, remains) = usable(&file);
    assert!(remains.inodes.is_empty() && handover.offer().is_none());
    let offer = Offer { major: 7, minor: 45, max_readahead: 1 << 17, flags: 0x8_0000_0003 };
    handover.set_offer(&offer);
    let name = Some((1, OsStr::new("name")));
    let nothing = |_: &mut Entries<'_>| panic!("not long enough to be written anew");
    handover.log(|entries| entries.inode(5, (1, 5), 1, b"handle", name), nothing);
    handover.log(|entries| entries.told(5), nothing);
    handover.log(|entries| entries.note(5, 9, b"one"), nothing);
    handover.log(|entries| entries.note(5, 8, b"other"), nothing);
    handover.log(|entries| entries.note(5, 9, b"two"), nothing);
    handover.log(|entries| entries.written(5, 8), nothing);
    tell(&handover, 6);
    handover.log(|entries| entries.forgotten(6, 1), nothing);
    handover.log(|entries| entries.swap(70, 5), nothing);
    let (handover, remains) = usable(&file);
    assert_eq!(handover.offer(), Some(offer));
    assert_eq!(handover.swapped(70), Some(5));
    let expected = KnownInode {
        device: 1,
        number: 5,
        handle: b"handle".to_vec(),
        name: Some((1, "name".into())),
        lookups: 2,
        notes: Notes::from([(9, b"onetwo".to_vec())]),
    };
    assert_eq!(remains.inodes, HashMap::from([(5, expected)]));
}

#[test]
fn a_number_that_is_used_again_begins_anew() {
    let file = create().expect("a file");
    let (handover, _) = usable(&file);
    let nothing = |_: &mut Entries<'_>| {};
    handover.log(|entries| entries.inode(5, (1, 5), 3, b"first", None), nothing);
    handover.log(|entries| entries.note(5, 9, b"note"), nothing);
    handover.log(|entries| entries.inode(5, (1, 5), 1, b"second", None), nothing);
    let known = &usable(&file).1.inodes[&5];
    assert_eq!((known.lookups, known.notes.len()), (1, 0));
}

#[test]
fn a_long_log_is_written_anew_and_says_the_same() {
    let file = create().expect("a file");
    let (handover, _) = usable(&file);
    let mut renewed = 0;
    let mut longest = 0;
    for round in 0..100_000_u64 {
        let note = round.to_ne_bytes();
        handover.log(
            |entries| {
                entries.inode(5, (1, 5), u64::from(round == 0), b"handle", None);
                entries.written(5, 9);
                entries.note(5, 9, &note);
            },
            |entries| {
                renewed += 1;
                entries.inode(5, (1, 5), 1, b"handle", None);
                entries.note(5, 9, &note);
            },
        );
        let blocks = u64::try_from(fstat(&file).expect("stat").st_blocks).expect("blocks");
        longest = longest.max(blocks * 512);
    }
    assert!(renewed > 5, "written anew {renewed} times");
    assert!(longest < 2 * SLACK, "{longest} bytes of memory");
    let known = &usable(&file).1.inodes[&5];
    assert_eq!((known.lookups, &known.notes[&9]), (1, &99_999_u64.to_ne_bytes().to_vec()));
}

#[test]
fn a_worker_killed_while_it_writes_leaves_what_was_complete() {
    let file = create().expect("a file");
    let (handover, _) = usable(&file);
    tell(&handover, 5);
    tell(&handover, 6);
    let end = u64::try_from(fstat(&file).expect("stat").st_size).expect("a size");
    for cut in LOG_AT..end {
        ftruncate(&file, cut).expect("cut");
        let (handover, remains) = usable(&file);
        assert!(remains.inodes.len() < 2, "cut at {cut}");
        // It goes on where the torn record began.
        tell(&handover, 7);
        let remains = usable(&file).1;
        assert!(remains.inodes.contains_key(&7), "cut at {cut}");
        ftruncate(&file, LOG_AT).expect("empty");
        let (handover, _) = usable(&file);
        tell(&handover, 5);
        tell(&handover, 6);
    }
}

#[test]
fn what_is_foreign_or_cut_off_is_refused() {
    let file = create().expect("a file");
    for magic in [b"HSCIhnd0", b"garbage!", &[0; 8]] {
        write_all(&file, magic, 0).expect("write");
        assert!(open(&file).err().is_some_and(|text| text.contains("of another version")));
    }
    write_all(&file, &MAGIC, 0).expect("write");
    for start in [0_u64, 16, LOG_AT - 1, LOG_AT + 1, u64::MAX] {
        write_all(&file, &start.to_ne_bytes(), START_AT).expect("write");
        assert!(open(&file).err().is_some_and(|text| text.contains("cut off")), "{start}");
    }
    for len in [0, 7, 15, 100] {
        ftruncate(&file, len).expect("cut");
        assert!(open(&file).is_err(), "{len} bytes");
    }
}

#[test]
fn what_kills_three_workers_is_not_tried_again_and_others_are() {
    let file = create().expect("a file");
    let resent = |unique: u64| unique | 1 << 63;
    // Two requests are under way when the first worker dies.
    let (handover, _) = usable(&file);
    let suspects = handover.count(Death::Own);
    assert!(suspects.turn(8).is_none() && !suspects.refuse(3, 50));
    handover.begin(8, 3, 50);
    std::thread::scope(|scope| drop(scope.spawn(|| handover.begin(9, 4, 60)).join()));
    for _ in 0..2 {
        let (handover, _) = usable(&file);
        let suspects = handover.count(Death::Own);
        // Each waits for the other, and only one of them is at work when the next dies.
        let turn = suspects.turn(resent(8));
        assert!(turn.is_some() && suspects.running.try_lock().is_none());
        assert!(suspects.turn(10).is_none(), "a request that is new is no suspect");
        assert!(!suspects.refuse(3, 50));
        handover.begin(8, 3, 50);
    }
    for _ in 0..2 {
        let (handover, _) = usable(&file);
        let suspects = handover.count(Death::Own);
        assert!(suspects.refuse(3, 50), "a fourth worker is spared");
        assert!(!suspects.refuse(4, 60) && !suspects.refuse(3, 60) && !suspects.refuse(4, 50));
    }
}

#[test]
fn a_slow_request_is_not_blamed_for_what_others_kill() {
    let file = create().expect("a file");
    for killed in 0..30 {
        let (handover, _) = usable(&file);
        let suspects = handover.count(Death::Killed);
        assert!(!suspects.refuse(3, 50), "after {killed} kills");
        handover.begin(8, 3, 50);
    }
    let (handover, _) = usable(&file);
    assert!(handover.count(Death::Killed).refuse(3, 50), "some day it is enough");
}
