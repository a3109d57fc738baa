use std::time::Duration;

use hsci_protocol::mount::Death;
use rustix::fs::ftruncate;

use super::*;
use crate::clock;

fn open(file: &OwnedFd) -> Result<(TakeoverState, Inherited), String> {
    TakeoverState::open(file.try_clone().expect("a copy"))
}

fn usable(file: &OwnedFd) -> (TakeoverState, Inherited) {
    open(file).expect("usable")
}

/// Adds an inode that the kernel is told of once.
fn tell(state: &TakeoverState, ino: u64) {
    let handle = ino.to_ne_bytes();
    let add = |entries: &mut Entries<'_>| entries.inode(ino, (1, ino), 1, &handle, None);
    state.log(add, |_| panic!("not long enough to be rewritten"));
}

#[test]
fn the_next_worker_knows_what_the_last_one_wrote_down() {
    let file = create().expect("a file");
    let (state, inherited) = usable(&file);
    assert!(inherited.inodes.is_empty() && state.offer().is_none());
    let offer = Offer { major: 7, minor: 45, max_readahead: 1 << 17, flags: 0x8_0000_0003 };
    state.set_offer(&offer);
    let name = Some((1, OsStr::new("name")));
    let nothing = |_: &mut Entries<'_>| panic!("not long enough to be rewritten");
    state.log(|entries| entries.inode(5, (1, 5), 1, b"handle", name), nothing);
    state.log(|entries| entries.told(5), nothing);
    state.log(|entries| entries.note(5, 9, b"one"), nothing);
    state.log(|entries| entries.note(5, 8, b"other"), nothing);
    state.log(|entries| entries.note(5, 9, b"two"), nothing);
    state.log(|entries| entries.written(5, 8), nothing);
    tell(&state, 6);
    state.log(|entries| entries.forgotten(6, 1), nothing);
    state.log(|entries| entries.swap(70, 5), nothing);
    let (state, inherited) = usable(&file);
    assert_eq!(state.offer(), Some(offer));
    assert_eq!(state.swapped(70), Some(5));
    let expected = KnownInode {
        device: 1,
        number: 5,
        handle: b"handle".to_vec(),
        name: Some((1, "name".into())),
        lookups: 2,
        notes: Notes::from([(9, b"onetwo".to_vec())]),
    };
    assert_eq!(inherited.inodes, HashMap::from([(5, expected)]));
}

#[test]
fn a_number_that_is_used_again_begins_again() {
    let file = create().expect("a file");
    let (state, _) = usable(&file);
    let nothing = |_: &mut Entries<'_>| {};
    state.log(|entries| entries.inode(5, (1, 5), 3, b"first", None), nothing);
    state.log(|entries| entries.note(5, 9, b"note"), nothing);
    state.log(|entries| entries.inode(5, (1, 5), 1, b"second", None), nothing);
    let known = &usable(&file).1.inodes[&5];
    assert_eq!((known.lookups, known.notes.len()), (1, 0));
}

#[test]
fn a_long_log_is_written_anew_and_says_the_same() {
    let file = create().expect("a file");
    let (state, _) = usable(&file);
    let mut renewed = 0;
    let mut longest = 0;
    for round in 0..100_000_u64 {
        let note = round.to_ne_bytes();
        state.log(
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
    assert!(renewed > 5, "rewritten {renewed} times");
    assert!(longest < 2 * SLACK, "{longest} bytes of memory");
    let known = &usable(&file).1.inodes[&5];
    assert_eq!((known.lookups, &known.notes[&9]), (1, &99_999_u64.to_ne_bytes().to_vec()));
}

#[test]
fn a_log_in_which_all_is_of_use_is_not_rewritten_and_one_of_what_is_gone_is() {
    let file = create().expect("a file");
    let (state, _) = usable(&file);
    let many = 4 * SLACK / 100;
    let name = OsStr::new("a name of which each inode has one, as long as they are");
    let add =
        |entries: &mut Entries<'_>, ino| entries.inode(ino, (1, ino), 1, b"h", Some((1, name)));
    for ino in 1..=many {
        state.log(|entries| add(entries, ino), |_| panic!("all of it is of use"));
    }
    let mut renewed = 0;
    for ino in 1..=many {
        let forget = |entries: &mut Entries<'_>| {
            entries.forgotten(ino, 1);
            entries.gone(b"h", Some((1, name)));
        };
        state.log(forget, |entries| {
            renewed += 1;
            (ino + 1..=many).for_each(|ino| add(entries, ino));
        });
    }
    assert!((1..10).contains(&renewed), "rewritten {renewed} times");
    assert!(usable(&file).1.inodes.is_empty());
}

#[test]
fn a_worker_killed_while_it_writes_leaves_what_was_complete() {
    let file = create().expect("a file");
    let (state, _) = usable(&file);
    tell(&state, 5);
    tell(&state, 6);
    let end = state.log.lock().end;
    for cut in LOG_AT..end {
        ftruncate(&file, cut).expect("cut");
        let (state, inherited) = usable(&file);
        assert!(inherited.inodes.len() < 2, "cut at {cut}");
        // It goes on where the torn record began.
        tell(&state, 7);
        let inherited = usable(&file).1;
        assert!(inherited.inodes.contains_key(&7), "cut at {cut}");
        ftruncate(&file, LOG_AT).expect("empty");
        let (state, _) = usable(&file);
        tell(&state, 5);
        tell(&state, 6);
    }
}

#[test]
fn what_is_foreign_or_cut_off_is_refused() {
    let file = create().expect("a file");
    let put = |number: u64, at: usize| {
        write_all(&file, &number.to_ne_bytes(), at as u64).expect("write");
    };
    for (at, number, right) in [(MAGIC_AT, 0, MAGIC), (VERSION_AT, VERSION + 1, VERSION)] {
        put(number, at);
        assert!(open(&file).err().is_some_and(|text| text.contains("of another version")));
        put(right, at);
    }
    for start in [0_u64, 16, LOG_AT - 1, LOG_AT + 1, u64::MAX] {
        put(start, START_AT);
        assert!(open(&file).err().is_some_and(|text| text.contains("cut off")), "{start}");
    }
    for len in [0, 7, 15, LOG_AT - 1] {
        ftruncate(&file, len).expect("cut");
        assert!(open(&file).is_err(), "{len} bytes");
    }
}

fn about(operation: u64, ino: u64) -> Subject {
    Subject::new(operation, ino, None)
}

#[test]
fn one_bad_name_does_not_condemn_its_directory_and_an_upgrade_pardons_it() {
    let file = create().expect("a file");
    let named =
        |name: &'static str| (Subject::new(0, 1, Some(OsStr::new(name))), Some(OsStr::new(name)));
    let refuses = |suspects: &Suspects, name| {
        let (subject, name) = named(name);
        suspects.refuse(subject, name)
    };
    for _ in 0..3 {
        let (state, _) = usable(&file);
        state.count(Death::Own);
        state.begin(8, named("bad").0, clock::now());
    }
    let (state, _) = usable(&file);
    let suspects = state.count(Death::Own);
    assert!(refuses(&suspects, "bad") && !refuses(&suspects, "good"));
    let listed = suspects.quarantined();
    assert_eq!(listed, [(named("bad").0, Some(OsString::from("bad")))]);
    let (state, _) = usable(&file);
    assert!(!refuses(&state.count(Death::Upgrade), "bad"), "another program may do better");
}

#[test]
fn a_request_is_overdue_until_it_is_answered() {
    let file = create().expect("a file");
    let (state, _) = usable(&file);
    let at_work = state.begin(8, about(3, 50), clock::now());
    assert_eq!(state.overdue(Duration::from_secs(60)), None);
    std::thread::sleep(Duration::from_millis(20));
    let late = state.overdue(Duration::from_millis(5)).expect("it takes too long");
    assert_eq!((late.operation, late.ino), (3, 50));
    drop(at_work);
    assert_eq!(state.overdue(Duration::from_millis(5)), None);
}

#[test]
fn what_kills_three_workers_is_not_tried_again_and_others_are() {
    let file = create().expect("a file");
    let resent = |unique: u64| unique | 1 << 63;
    // Two requests are under way when the first worker dies.
    let (state, _) = usable(&file);
    let suspects = state.count(Death::Own);
    assert!(suspects.turn(8).is_none() && !suspects.refuse(about(3, 50), None));
    state.begin(8, about(3, 50), clock::now());
    std::thread::scope(|scope| {
        drop(scope.spawn(|| state.begin(9, about(4, 60), clock::now())).join());
    });
    for _ in 0..2 {
        let (state, _) = usable(&file);
        let suspects = state.count(Death::Own);
        // Each waits for the other, and only one of them is at work when the next dies.
        let turn = suspects.turn(resent(8));
        assert!(turn.is_some() && suspects.running.try_lock().is_none());
        assert!(suspects.turn(10).is_none(), "a request that is new is no suspect");
        assert!(!suspects.refuse(about(3, 50), None));
        state.begin(8, about(3, 50), clock::now());
    }
    for _ in 0..2 {
        let (state, _) = usable(&file);
        let suspects = state.count(Death::Own);
        assert!(suspects.refuse(about(3, 50), None), "a fourth worker is spared");
        assert!(
            !suspects.refuse(about(4, 60), None)
                && !suspects.refuse(about(3, 60), None)
                && !suspects.refuse(about(4, 50), None)
        );
    }
}

#[test]
fn a_slow_request_is_not_blamed_for_what_others_kill() {
    let file = create().expect("a file");
    for killed in 0..30 {
        let (state, _) = usable(&file);
        let suspects = state.count(Death::Killed);
        assert!(!suspects.refuse(about(3, 50), None), "after {killed} kills");
        let waits = suspects.turn(8 | 1 << 63).is_some();
        assert_eq!(waits, killed >= 10, "for others, after {killed} kills");
        state.begin(8, about(3, 50), clock::now());
    }
    let (state, _) = usable(&file);
    assert!(state.count(Death::Killed).refuse(about(3, 50), None), "some day it is enough");
}
