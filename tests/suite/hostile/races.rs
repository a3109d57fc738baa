//! Races that the attacker wins: the host stands still while everything is moved under it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use hsci_tests::{Mount, Run, Test, machine};

use super::{Victim, alice, alices, is_mounted, unmount};

pub(crate) const TESTS: &[Test] = &[
    Test {
        name: "hostile::a_mount_point_that_is_swapped_is_not_followed",
        seconds: 120,
        body: swap,
    },
    Test { name: "hostile::a_crate_is_made_where_it_was_sent", seconds: 120, body: crates },
    Test { name: "hostile::the_kit_works_where_it_was_sent", seconds: 120, body: kit },
    Test { name: "hostile::an_export_goes_where_it_was_sent", seconds: 120, body: export },
];

/// A host that stands still.
struct Stopped {
    child: Child,
    mark: PathBuf,
}

impl Stopped {
    /// Runs `hsci` up to a point.
    fn at(point: &str, mark: &Path, arguments: &[&str], paths: &[&Path]) -> Self {
        let run = Run::new("timeout").arg("60").arg(machine::hsci()).args(arguments).args(paths);
        let child = run.env("HSCI_PAUSE", format!("{point}:{}", mark.display())).silent().start();
        let begun = Instant::now();
        while !mark.exists() {
            if begun.elapsed() > Duration::from_secs(30) {
                hsci_tests::skip("this build has no points to stop at");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { child, mark: mark.to_owned() }
    }

    /// Lets it go on; returns whether it succeeded.
    fn go_on(mut self) -> bool {
        fs::remove_file(&self.mark).expect("the mark");
        self.child.wait().expect("it ends").success()
    }
}

/// Alice's moves: what she puts in the place of her directory.
const SWAPS: [(&str, &str); 5] = [
    ("a link to root's directory", "mv mail away; ln -s '{}' mail"),
    ("another directory of hers", "mv mail away; mkdir mail"),
    ("nothing", "rmdir mail 2>/dev/null || mv mail away"),
    ("a link to itself", "mv mail away; ln -s away mail"),
    ("a file", "mv mail away; touch mail"),
];

/// The directory in which root makes a copy is moved away before the copy is made.
fn export(dir: &Path) {
    machine::need_root();
    let victim = Victim::new(dir);
    let outside = victim.path.parent().expect("directory").to_owned();
    let sound = Mount::new(dir, "sound", "compressfs", "");
    fs::write(sound.path("file"), "content").expect("write");
    let store = sound.lower().to_owned();
    drop(sound);
    for (number, (what, moves)) in SWAPS.into_iter().enumerate() {
        let home = alices(&dir.join(format!("export{number}")));
        let mail = alices(&home.join("mail"));
        let mark = dir.join("mark");
        let copy = mail.join("copy");
        let stopped = Stopped::at("before-export", &mark, &["export"], &[&store, &copy]);
        let moves = moves.replace("rmdir mail 2>/dev/null || ", "");
        alice(&format!(
            "cd '{}'; {}",
            home.display(),
            moves.replace("{}", &outside.display().to_string())
        ));
        let exported = stopped.go_on();
        victim.check(what);
        assert_eq!(fs::read_dir(&outside).expect("list").count(), 1, "{what}: it goes elsewhere");
        let there = home.join("away/copy/file");
        assert_eq!(fs::read(there).ok(), exported.then(|| b"content".to_vec()), "{what}");
    }
}

/// The directory that root has made for the conformance kit is moved away before the kit is run in it.
fn kit(dir: &Path) {
    machine::need_root();
    let outside = dir.join("outside");
    for (number, (what, moves)) in SWAPS.into_iter().enumerate() {
        let home = alices(&dir.join(format!("kit{number}")));
        let _ = fs::remove_dir_all(&outside);
        fs::create_dir(&outside).expect("directory");
        let changed = || fs::metadata(&outside).expect("stat").modified().expect("a time");
        let before = changed();
        let mark = dir.join("mark");
        let stopped = Stopped::at("scratch-made", &mark, &["conformance"], &[&home]);
        let moves = moves.replace("mv mail away", "mv hsci-conformance-* away");
        let moves = moves.replace("rmdir mail 2>/dev/null || ", "").replace(" mail", " \"$name\"");
        let moves = moves.replace("{}", &outside.display().to_string());
        alice(&format!("cd '{}'; name=$(echo hsci-conformance-*); {moves}", home.display()));
        assert!(!stopped.go_on(), "{what}: it has run");
        assert_eq!(changed(), before, "{what}: it works elsewhere");
        for entry in fs::read_dir(&home).expect("list").flatten() {
            let left = fs::read_dir(entry.path()).map_or(0, Iterator::count);
            assert_eq!(left, 0, "{what}: something is left in {}", entry.path().display());
        }
    }
}

/// The directory that root has made for a crate is moved away before the crate is written.
fn crates(dir: &Path) {
    machine::need_root();
    let victim = Victim::new(dir);
    let outside = victim.path.parent().expect("directory").to_owned();
    let home = alices(&dir.join("home"));
    let (made, mark) = (home.join("made"), dir.join("mark"));
    let stopped = Stopped::at("crate-made", &mark, &["new", "evil", "--dir"], &[&made]);
    alice(&format!("cd '{}'; mv made away; ln -s '{}' made", home.display(), outside.display()));
    assert!(!stopped.go_on(), "what was moved away is not what was asked for");
    victim.check("a link to root's directory");
    assert_eq!(fs::read_dir(&outside).expect("list").count(), 1, "it goes elsewhere");
}

fn swap(dir: &Path) {
    machine::need_root();
    let victim = Victim::new(dir);
    let outside = victim.path.parent().expect("directory").to_owned();
    let mut attempts = 0;
    for over_itself in [true, false] {
        for point in ["private-made", "before-mount"] {
            for (what, moves) in SWAPS {
                let attempt = format!("{what} at {point}, over itself: {over_itself}");
                let home = alices(&dir.join(format!("home{attempts}")));
                let mail = alices(&home.join("mail"));
                let lower = if over_itself {
                    mail.clone()
                } else {
                    alices(&dir.join(format!("lower{attempts}")))
                };
                let mark = dir.join("mark");
                let stopped = Stopped::at(point, &mark, &["mount"], &[&lower, &mail]);
                alice(&format!(
                    "cd '{}'; {}",
                    home.display(),
                    moves.replace("{}", &outside.display().to_string())
                ));
                let mounted = stopped.go_on();
                assert!(!is_mounted(&outside), "{attempt}: root's directory is mounted over");
                victim.check(&attempt);
                assert!(!outside.join(".hsci").exists(), "{attempt}: a store was made");
                assert!(!mounted, "{attempt}: what was moved away is not what was asked for");
                for place in [&mail, &home.join("away")] {
                    assert!(!is_mounted(place), "{attempt}: something stays mounted");
                    unmount(place);
                }
                attempts += 1;
            }
        }
    }
    println!("{attempts} attempts");
}
