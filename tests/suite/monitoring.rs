//! What monitors are told, on real mounts.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use hsci_tests::command::{ALICE, BOB};
use hsci_tests::{Mount, Run, Test, machine};

use crate::policies::{InForce, open_mount, target};

pub(crate) const TESTS: &[Test] = &[
    Test { name: "monitoring::counters_are_what_happened", seconds: 300, body: counters },
    Test { name: "monitoring::settles_are_counted", seconds: 300, body: settles },
];

/// The numbers of the page by what stands before them. A real Prometheus reads the page, where one is.
fn page(dir: &Path) -> HashMap<String, f64> {
    let text = Run::new(machine::hsci()).arg("metrics").ok();
    match machine::find("promtool") {
        Some(promtool) => {
            let file = dir.join("metrics");
            fs::write(&file, &text).expect("written");
            let line = format!("exec {} check metrics < {}", promtool.display(), file.display());
            assert_eq!(Run::shell(line).ok(), "", "promtool finds nothing wrong");
        }
        None => println!("promtool is not installed: the page is read by this test alone"),
    }
    let numbers = text.lines().filter(|line| !line.starts_with('#'));
    let number = |line: &str| {
        let (name, number) = line.rsplit_once(' ').expect("a name and a number");
        (name.to_owned(), number.parse().unwrap_or_else(|_| panic!("no number: {line}")))
    };
    numbers.map(number).collect()
}

fn counters(dir: &Path) {
    let in_force = InForce::take(dir);
    assert_eq!(page(dir)["hsci_policy_loaded"], 0.0);
    let mount = open_mount(dir, "nullfs");
    in_force.load(&format!(
        "{}in t: deny mkdir unless user {ALICE} as no-dirs\nin t: audit create-file\n",
        target(dir, "nullfs")
    ));
    let name = mount.dir().display().to_string();
    let of_mount = |family: &str| format!("{family}{{dir=\"{name}\"}}");
    let of_host = |family: &str| format!("{family}{{by=\"host\",dir=\"{name}\"}}");
    let of_kind = |family: &str| format!("{family}{{dir=\"{name}\",operation=\"mkdir\"}}");
    for directory in ["one", "two", "three"] {
        Run::as_user(BOB, "mkdir").arg(mount.path(directory)).done().fails(1, &["denied"]);
    }
    Run::as_user(ALICE, "touch").arg(mount.path("file")).ok();
    let told = page(dir);
    assert_eq!((told["hsci_mounts"], told[&of_mount("hsci_mount_up")]), (1.0, 1.0), "{told:?}");
    assert_eq!(told["hsci_policy_loaded"], 1.0);
    assert_eq!(told[&of_host("hsci_denied_total")], 3.0, "{told:?}");
    assert_eq!(told[&of_host("hsci_audited_total")], 1.0, "{told:?}");
    let rule = told.iter().find(|(name, _)| name.contains("rule=\"no-dirs\""));
    assert_eq!(rule.map(|(_, hits)| *hits), Some(3.0), "{told:?}");
    // Each request took some time, and the histogram has each of them.
    let count = told[&of_kind("hsci_requests_total")];
    assert_eq!(count, 3.0, "{told:?}");
    assert_eq!(told[&of_kind("hsci_request_duration_seconds_count")], count);
    let all = of_kind("hsci_request_duration_seconds_bucket").replace('}', ",le=\"+Inf\"}");
    assert_eq!(told[&all], count);
    let seconds = told[&of_kind("hsci_request_duration_seconds_sum")];
    assert!(seconds > 0.0 && seconds < 60.0, "{seconds} s");
    assert_eq!(told[&of_mount("hsci_worker_restarts_total")], 0.0);
    let worker = mount.status()["worker_pid"].as_i64().expect("a process");
    Run::new("kill").args(["-KILL", &worker.to_string()]).ok();
    Run::new("ls").arg(mount.dir()).ok();
    assert_eq!(page(dir)[&of_mount("hsci_worker_restarts_total")], 1.0);
}

fn settles(dir: &Path) {
    // Nothing is settled but by order.
    let mount = Mount::new(dir, "mount", "compressfs", "settle=1h");
    let name = mount.dir().display().to_string();
    let family = |family: &str, labels: &str| format!("{family}{{dir=\"{name}\"{labels}}}");
    let counts = || {
        let told = page(dir);
        [
            told[&family("hsci_settles_total", ",result=\"changed\"")],
            told[&family("hsci_settles_total", ",result=\"failed\"")],
            told[&family("hsci_settles_pending", "")],
        ]
    };
    for file in ["one", "two"] {
        fs::write(mount.path(file), "a line\n".repeat(10_000)).expect("written");
    }
    assert_eq!(counts(), [0.0, 0.0, 2.0]);
    Run::new(machine::hsci()).arg("settle").arg(mount.dir()).ok();
    let [changed, failed, _] = counts();
    assert_eq!((changed, failed), (2.0, 0.0));
    assert_eq!(mount.status()["settles"]["changed"], 2);
}
