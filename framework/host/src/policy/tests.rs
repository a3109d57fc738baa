use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hsci_engine::compile;
use hsci_extension::testkit::MemoryTree;
use hsci_extension::{
    Call, Errno, Error, FileSystem, Ino, OpenFlags, RenameFlags, Result, SetAttr, Stack,
};
use hsci_language::names::FixedNames;
use parking_lot::Mutex;

use super::file::{Handed, Head};
use super::{InForce, Judged, Policy, needs_opens};

fn handed(text: &str, guarded: bool) -> Handed {
    let options = [("algorithm".to_owned(), Vec::new())].into();
    let extensions = [("plug".to_owned(), options)].into();
    let names = FixedNames { extensions, ..FixedNames::default() };
    let text = format!("target t = \"/srv/t\" via plug\n{text}\n");
    let checked = hsci_language::check(&text, &names);
    let policy = checked.policy.unwrap_or_else(|| panic!("{:?}", checked.diagnostics));
    let tables = compile(&policy).expect("small").tables;
    let head = Head { file: "test".into(), number: 1, guarded, permissive: false };
    Handed { head, tables }
}

fn in_force(policy: Handed) -> InForce {
    InForce::new(policy, Path::new("/srv/t"), Err("no kernel here".to_owned()))
}

/// Keeps the options that calls came with, and counts questions for what an inode lies in.
struct Listening(Arc<MemoryTree>, Mutex<Vec<Option<String>>>, AtomicUsize);

impl hsci_extension::Layer for Listening {
    fn lower(&self) -> &Stack {
        &*self.0
    }

    fn write(&self, call: &Call, ino: Ino, offset: u64, data: &[u8]) -> Result<()> {
        self.1.lock().push(call.option("algorithm").map(str::to_owned));
        self.0.write(call, ino, offset, data)
    }

    fn parent(&self, ino: Ino) -> Result<(Ino, OsString)> {
        self.2.fetch_add(1, Ordering::Relaxed);
        self.0.parent(ino)
    }
}

struct Rig {
    heard: Arc<Listening>,
    policy: Arc<Policy>,
    top: Judged,
}

const ALICE: u32 = 1000;
const BOB: u32 = 1001;

fn by(user: u32) -> Call {
    Call::new(user, user, 0)
}

impl Rig {
    /// Directories `a` and `b`, and a file `f` in each.
    fn new(policy: Handed, sees_opens: bool) -> Self {
        let heard = Arc::new(Listening(MemoryTree::new(), Mutex::default(), AtomicUsize::new(0)));
        let root = Call::internal();
        for dir in ["a", "b"] {
            let dir = heard.mkdir(&root, Ino::ROOT, OsStr::new(dir), 0o777).expect("directory");
            heard.mknod(&root, dir.ino, OsStr::new("f"), 0o100_666, 0).expect("file");
        }
        let judge = Arc::new(Policy::new(sees_opens, sees_opens));
        judge.replace(Some(in_force(policy)));
        let top = Judged::new(Arc::clone(&heard) as _, Arc::clone(&judge));
        Self { heard, policy: judge, top }
    }

    fn find(&self, path: &str) -> Ino {
        let step = |at, name| {
            self.heard.lookup(&Call::internal(), at, OsStr::new(name)).expect("a name").ino
        };
        path.split('/').fold(Ino::ROOT, step)
    }
}

fn errno<T: std::fmt::Debug>(outcome: Result<T>) -> Option<Errno> {
    match outcome {
        Ok(_) => None,
        Err(error) => Some(error.errno()),
    }
}

#[test]
fn what_rules_say_of_content_is_not_left_to_the_kernel() {
    let leaves = |rule: &str, guarded| {
        Rig::new(handed(&format!("in t: {rule}"), guarded), false).top.lets_kernel_serve()
    };
    for guarded in [false, true] {
        assert!(leaves("deny unlink", guarded), "guarded: {guarded}");
        // No guard sees how long a file becomes.
        assert!(!leaves("deny grow when size > 1K", guarded), "guarded: {guarded}");
        assert!(!leaves("set algorithm = x", guarded), "guarded: {guarded}");
    }
    assert!(!leaves("deny write-data on \"a/*\"", false));
    assert!(leaves("deny write-data on \"a/*\"", true), "the guard sees writes");
}

#[test]
fn calls_are_denied_by_path_user_and_operation() {
    let text = "in t: deny unlink, write, create on \"a/**\" unless user 1000\n\
                in t: deny(EPERM) chmod on \"b/f\"";
    let rig = Rig::new(handed(text, false), false);
    let (a, b) = (rig.find("a"), rig.find("b"));
    let (f, name) = (rig.find("a/f"), OsStr::new("f"));
    let new = OsStr::new("new");
    assert_eq!(errno(rig.top.write(&by(BOB), f, 0, b"x")), Some(Errno::ACCESS));
    assert_eq!(errno(rig.top.write(&by(ALICE), f, 0, b"x")), None);
    let cut = SetAttr::of_size(0);
    assert_eq!(errno(rig.top.setattr(&by(BOB), f, &cut)), Some(Errno::ACCESS));
    assert_eq!(errno(rig.top.mknod(&by(BOB), a, new, 0o100_600, 0)), Some(Errno::ACCESS));
    assert_eq!(errno(rig.top.mknod(&by(BOB), b, new, 0o100_600, 0)), None);
    assert_eq!(errno(rig.top.unlink(&by(BOB), a, name)), Some(Errno::ACCESS));
    let mode = SetAttr::of_mode(0o600);
    let g = rig.find("b/f");
    assert_eq!(errno(rig.top.setattr(&by(ALICE), g, &mode)), Some(Errno::PERM));
    assert_eq!(errno(rig.top.unlink(&by(BOB), b, name)), None);
    assert_eq!(errno(rig.top.unlink(&by(ALICE), a, name)), None);
    // Write-back is nobody's call.
    let f = rig.find("b/new");
    let mut writeback = by(BOB);
    writeback.anonymous = true;
    assert_eq!(errno(rig.top.write(&writeback, f, 0, b"x")), None);
    let status = rig.policy.status().expect("a policy");
    assert_eq!(status.denied, 5, "{status:?}");
    assert_eq!((rig.policy.hits(0), rig.policy.hits(1)), (vec![4, 1], vec![1]));
    assert_eq!((rig.policy.hits(2), rig.policy.hits(9)), (vec![], vec![]));
}

#[test]
fn extensions_get_what_rules_set() {
    let text = "in t: set algorithm = lz4\nin t: set algorithm = zstd:9 when user 1000\n\
                in t: deny write-data when user 1001";
    for guarded in [false, true] {
        let rig = Rig::new(handed(text, guarded), false);
        let f = rig.find("a/f");
        rig.top.write(&by(ALICE), f, 0, b"x").expect("written");
        rig.top.write(&by(5), f, 0, b"x").expect("written");
        // With a guard in the kernel the host decides nothing.
        assert_eq!(rig.top.write(&by(BOB), f, 0, b"x").is_ok(), guarded);
        let told = if guarded { [2, 1, 0] } else { [1, 1, 1] };
        assert_eq!(rig.policy.hits(0), told, "rules that set count what they decided");
        let mut expected = vec![Some("zstd:9".to_owned()), Some("lz4".to_owned())];
        expected.extend(guarded.then(|| Some("lz4".to_owned())));
        assert_eq!(*rig.heard.1.lock(), expected);
    }
}

#[test]
fn rights_are_judged_where_they_are_acquired() {
    let text = "in t: deny read-data, exec on \"a/f\" when user 1001\n\
                in t: deny(ENOENT) readdir on \"b\"";
    let policy = handed(text, false);
    assert!(needs_opens(&policy, Path::new("/srv/t")) && needs_opens(&policy, Path::new("/srv")));
    assert!(!needs_opens(&policy, Path::new("/srv/u")), "no rule speaks of it");
    assert!(!needs_opens(&handed(text, true), Path::new("/srv/t")), "the guard sees opens");
    let rig = Rig::new(policy.clone(), true);
    let f = rig.find("a/f");
    let executing = OpenFlags::from_bits_retain(0o40);
    assert_eq!(errno(rig.top.open(&by(BOB), f, OpenFlags::RDONLY)), Some(Errno::ACCESS));
    assert_eq!(errno(rig.top.open(&by(BOB), f, OpenFlags::RDWR)), Some(Errno::ACCESS));
    assert_eq!(errno(rig.top.open(&by(BOB), f, executing)), Some(Errno::ACCESS));
    assert_eq!(errno(rig.top.open(&by(BOB), f, OpenFlags::WRONLY)), None);
    assert_eq!(errno(rig.top.open(&by(ALICE), f, OpenFlags::RDONLY)), None);
    assert_eq!(errno(rig.top.read(&by(BOB), f, 0, &mut [0])), None, "judged before");
    assert_eq!(errno(rig.top.opendir(&by(ALICE), rig.find("b"))), Some(Errno::NOENT));
    assert_eq!(errno(rig.top.opendir(&by(ALICE), rig.find("a"))), None);
    let rig = Rig::new(policy, false);
    let f = rig.find("a/f");
    assert_eq!(errno(rig.top.read(&by(BOB), f, 0, &mut [0])), Some(Errno::ACCESS));
}

#[test]
fn names_do_not_lead_around_rules() {
    let text = "in t: deny read-data on \"a/*\"\nin t: deny(EBUSY) rename on \"b/f\"";
    let rig = Rig::new(handed(text, false), false);
    let (a, b, f) = (rig.find("a"), rig.find("b"), rig.find("a/f"));
    let (name, new) = (OsStr::new("f"), OsStr::new("new"));
    let call = by(ALICE);
    assert_eq!(errno(rig.top.link(&call, f, b, new)), Some(Errno::XDEV));
    assert_eq!(errno(rig.top.link(&call, f, a, new)), None);
    let none = RenameFlags::empty();
    assert_eq!(errno(rig.top.rename(&call, (b, name), (b, new), none)), Some(Errno::BUSY));
    assert_eq!(errno(rig.top.rename(&call, (a, name), (b, name), none)), Some(Errno::BUSY));
    let exchange = RenameFlags::EXCHANGE;
    assert_eq!(errno(rig.top.rename(&call, (b, name), (a, name), exchange)), Some(Errno::BUSY));
}

#[test]
fn a_directory_that_leads_to_paths_of_rules_is_not_renamed_away_from_them() {
    let text = "in t: deny read-data on \"top/deep/secret/**\", \"**/x/*.key\"\n\
                in t: deny write-data on \"b/**\"";
    let rig = Rig::new(handed(text, false), false);
    let call = by(ALICE);
    let make = |parent: Ino, name: &str| {
        rig.heard.mkdir(&Call::internal(), parent, OsStr::new(name), 0o777).expect("directory").ino
    };
    let top = make(Ino::ROOT, "top");
    let deep = make(top, "deep");
    make(deep, "secret");
    let rename = |from: (Ino, &str), to: (Ino, &str)| {
        let [(from, old), (to, new)] = [from, to].map(|(ino, name)| (ino, OsStr::new(name)));
        errno(rig.top.rename(&call, (from, old), (to, new), RenameFlags::empty()))
    };
    assert_eq!(rename((top, "deep"), (top, "d2")), Some(Errno::XDEV));
    assert_eq!(rename((Ino::ROOT, "top"), (Ino::ROOT, "t2")), Some(Errno::XDEV));
    assert_eq!(rename((Ino::ROOT, "top"), (rig.find("a"), "top")), Some(Errno::XDEV));
    // Nor does one take the place: what it holds would be judged by rules that are not about it.
    let away = make(Ino::ROOT, "away");
    assert_eq!(rename((Ino::ROOT, "away"), (top, "deep")), Some(Errno::XDEV));
    // Where the same rules hold below, a directory moves.
    make(away, "y");
    assert_eq!(rename((away, "y"), (away, "z")), None);
    assert_eq!(rename((Ino::ROOT, "away"), (Ino::ROOT, "else")), None);
}

/// What the rules of a directory itself do not say is for `rename` to say.
#[test]
fn a_directory_whose_rules_hold_for_all_below_is_renamed() {
    let rig = Rig::new(handed("in t: deny write-data on \"b/**\"", false), false);
    let (from, to) = ((Ino::ROOT, OsStr::new("b")), (Ino::ROOT, OsStr::new("c")));
    assert_eq!(errno(rig.top.rename(&by(ALICE), from, to, RenameFlags::empty())), None);
}

#[test]
fn a_denied_open_makes_nothing() {
    let text = "in t: deny write-data on \"a/*\" when user 1001";
    let rig = Rig::new(handed(text, false), true);
    let (a, new) = (rig.find("a"), OsStr::new("new"));
    let before = |user, flags| rig.top.before_create(&by(user), a, new, flags).map(drop);
    let create = OpenFlags::CREATE;
    assert_eq!(errno(before(BOB, create | OpenFlags::WRONLY)), Some(Errno::ACCESS));
    assert_eq!(errno(before(BOB, create | OpenFlags::RDWR)), Some(Errno::ACCESS));
    assert_eq!(errno(before(BOB, create | OpenFlags::RDONLY)), None);
    assert_eq!(errno(before(ALICE, create | OpenFlags::WRONLY)), None);
}

#[test]
fn unknown_callers_are_refused_where_rules_ask_who_they_are() {
    let text = "in t: deny unlink on \"a/*\" unless exe \"/usr/bin/rm*\"";
    let rig = Rig::new(handed(text, false), false);
    // A call without a thread: nobody can tell through which program.
    let (a, b) = (rig.find("a"), rig.find("b"));
    assert_eq!(errno(rig.top.unlink(&by(0), a, OsStr::new("f"))), Some(Errno::ACCESS));
    assert_eq!(rig.policy.status().expect("a policy").undecidable, 1);
    let of_this_process = Call::new(0, 0, std::process::id());
    assert_eq!(errno(rig.top.unlink(&of_this_process, a, OsStr::new("f"))), Some(Errno::ACCESS));
    assert_eq!(rig.policy.status().expect("a policy").denied, 1);
    assert_eq!(errno(rig.top.mkdir(&by(0), b, OsStr::new("d"), 0o700)), None);
}

#[test]
fn a_policy_that_only_reports_refuses_nothing() {
    let mut policy = handed("in t: deny unlink\nin t: audit mkdir", false);
    policy.head.permissive = true;
    let rig = Rig::new(policy, false);
    rig.top.unlink(&by(BOB), rig.find("a"), OsStr::new("f")).expect("reported only");
    rig.top.mkdir(&by(BOB), rig.find("b"), OsStr::new("d"), 0o700).expect("a directory");
    let reports = rig.policy.reports(0);
    let reported: Vec<_> =
        reports.reports.iter().map(|one| (one.kind.name(), one.path.as_str())).collect();
    assert_eq!(reported, [("would deny", "/a/f"), ("audited", "/b/d")]);
    assert!(rig.policy.reports(2).reports.is_empty());
}

#[test]
fn a_call_far_down_asks_for_no_more_than_one_at_the_top() {
    let rig = Rig::new(handed("in t: deny chmod on \"a/**\" unless user 1000", false), false);
    let internal = Call::internal();
    let mut at = rig.find("a");
    let asked = |file| {
        let before = rig.heard.2.load(Ordering::Relaxed);
        let outcome = rig.top.setattr(&by(ALICE), file, &SetAttr::of_mode(0o600));
        assert_eq!(errno(outcome), None);
        rig.heard.2.load(Ordering::Relaxed) - before
    };
    for depth in 1..=12 {
        let name = OsString::from(format!("d{depth}"));
        at = rig.heard.mkdir(&internal, at, &name, 0o777).expect("a directory").ino;
        let file = rig.heard.mknod(&internal, at, OsStr::new("f"), 0o100_666, 0).expect("a file");
        // The file and its directory, and at first the one above; then the file alone.
        assert_eq!(asked(file.ino), if depth == 1 { 3 } else { 2 }, "at depth {depth}");
        assert_eq!(asked(file.ino), 1, "at depth {depth}");
    }
    let file = rig.heard.lookup(&internal, at, OsStr::new("f")).expect("the file").ino;
    let outcome = rig.top.setattr(&by(BOB), file, &SetAttr::of_mode(0o600));
    assert_eq!(errno(outcome), Some(Errno::ACCESS));
}

#[test]
fn directories_are_known_by_their_names_of_now() {
    let text = "in t: deny unlink on \"a/**\"";
    let (root, f) = (Ino::ROOT, OsStr::new("f"));
    let (a, c) = ((root, OsStr::new("a")), (root, OsStr::new("c")));
    for by_others in [false, true] {
        let rig = Rig::new(handed(text, false), false);
        let dir = rig.find("a");
        assert_eq!(errno(rig.top.unlink(&by(BOB), dir, f)), Some(Errno::ACCESS));
        if by_others {
            rig.heard.rename(&by(BOB), a, c, RenameFlags::empty()).expect("renamed");
            rig.top.lookup(&by(BOB), root, OsStr::new("c")).expect("found");
        } else {
            rig.top.rename(&by(BOB), a, c, RenameFlags::empty()).expect("renamed");
        }
        rig.top.unlink(&by(BOB), dir, f).expect("no rule's any more");
        // Nor is what comes to its place the other's.
        let made = rig.top.mkdir(&by(BOB), root, OsStr::new("a"), 0o777).expect("a directory");
        rig.heard.mknod(&by(BOB), made.ino, f, 0o100_666, 0).expect("a file");
        assert_eq!(errno(rig.top.unlink(&by(BOB), made.ino, f)), Some(Errno::ACCESS));
    }
}

/// A rename is judged at two paths. One policy denies the first, the other the second: only a
/// mixture of both lets it pass.
#[test]
fn no_call_is_judged_by_a_mixture_of_policies() {
    let texts = ["in t: deny(EPERM) rename on \"a/*\"", "in t: deny(EBUSY) rename on \"b/*\""];
    let rig = Rig::new(handed(texts[0], false), false);
    let (from, to) = ((rig.find("a"), OsStr::new("f")), (rig.find("b"), OsStr::new("new")));
    let done = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let mover = || {
            let mut seen = [0_u64; 2];
            while !done.load(Ordering::Relaxed) || seen.contains(&0) {
                match rig.top.rename(&by(ALICE), from, to, RenameFlags::empty()) {
                    Err(Error::Lower(Errno::PERM)) => seen[0] += 1,
                    Err(Error::Lower(Errno::BUSY)) => seen[1] += 1,
                    other => panic!("{other:?}"),
                }
            }
            seen
        };
        let movers = [scope.spawn(mover), scope.spawn(mover)];
        for turn in 0..2000 {
            rig.policy.replace(Some(in_force(handed(texts[turn % 2], false))));
        }
        done.store(true, Ordering::Relaxed);
        movers.map(|mover| mover.join().expect("no mixture"))
    });
    assert!(seen.iter().all(|seen| !seen.contains(&0)), "{seen:?}");
}
