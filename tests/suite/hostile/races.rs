//! Races that the attacker wins: the host stands still while everything is moved under it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use hsci_tests::{Run, Test, machine};

use super::{Victim, alice, alices, is_mounted, unmount};

pub(crate) const TESTS: &[Test] = &[Test {
    name: "hostile::a_mount_point_that_is_swapped_is_not_followed",
    seconds: 120,
    body: swap,
}];

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
