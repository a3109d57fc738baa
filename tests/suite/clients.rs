//! Programs that people run, inside a compressed mount.

use std::path::{Path, PathBuf};

use hsci_tests::{Mount, Run, Test, machine, skip, tree};

use crate::database::Cluster;

pub(crate) const TESTS: &[Test] = &[
    Test { name: "clients::git_clones_commits_repacks_and_checks", seconds: 180, body: git },
    Test { name: "clients::sqlite_keeps_its_integrity", seconds: 120, body: sqlite },
    Test { name: "clients::postgresql_survives_load_and_restart", seconds: 180, body: postgresql },
    Test { name: "clients::cargo_builds_a_crate", seconds: 180, body: cargo },
    Test { name: "clients::tar_brings_a_tree_back", seconds: 120, body: tar },
    Test { name: "clients::rsync_brings_a_tree_back", seconds: 120, body: rsync },
];

/// Settles often, so that clients meet files in every form.
const RESTLESS: &str = "settle=100ms,chunk=64K";

fn git(dir: &Path) {
    machine::need("git");
    let source = repository(dir);
    let mut mount = Mount::new(dir, "mount", "compressfs", RESTLESS);
    let clone = mount.path("clone");
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=Test", "-c", "user.email=test@localhost"];
        Run::new("git").args(identity).arg("-C").arg(&clone).args(arguments).ok()
    };
    Run::new("git").args(["clone", "--quiet", "--no-local"]).arg(&source).arg(&clone).ok();
    mount.settle();
    assert_eq!(git(&["status", "--porcelain"]), "", "settling must not make files look changed");
    for round in 0..5 {
        std::fs::write(clone.join("notes"), format!("round {round}\n").repeat(2000))
            .expect("write");
        git(&["add", "notes"]);
        git(&["commit", "--quiet", "-m", &format!("Round {round}")]);
        git(&["checkout", "--quiet", "HEAD~1"]);
        git(&["checkout", "--quiet", "-"]);
        mount.settle();
    }
    git(&["gc", "--quiet", "--prune=now"]);
    mount.settle();
    git(&["fsck", "--full", "--strict"]);
    mount.unmount();
    mount.check();
    mount.mount();
    git(&["fsck", "--full", "--strict"]);
    assert_eq!(git(&["status", "--porcelain"]), "");
}

/// This project's own history, or where it came without one, a small made one.
fn repository(dir: &Path) -> PathBuf {
    if machine::project().join(".git").exists() {
        return machine::project().to_owned();
    }
    let made = dir.join("made");
    let identity = "-c user.name=Test -c user.email=test@localhost";
    Run::shell(format!(
        "cp -r '{}' '{made}'; cd '{made}'; git init -q; git add .; git {identity} commit -qm One",
        machine::project().join("tests").display(),
        made = made.display()
    ))
    .ok();
    made
}

fn sqlite(dir: &Path) {
    machine::need("sqlite3");
    let mut mount = Mount::new(dir, "mount", "compressfs", RESTLESS);
    for mode in ["delete", "wal"] {
        let base = mount.path(mode);
        let script = transactions(mode, 1500);
        std::fs::write(dir.join("script.sql"), script).expect("script");
        let run =
            format!("sqlite3 -bail '{}' < '{}'", base.display(), dir.join("script.sql").display());
        let mut child = Run::shell(run).start();
        while child.try_wait().expect("wait").is_none() {
            mount.settle();
        }
        assert!(child.wait().expect("wait").success(), "sqlite3 in {mode} mode");
        let ask = |question: &str| Run::new("sqlite3").arg(&base).arg(question).ok();
        assert_eq!(ask("pragma integrity_check;"), "ok\n");
        mount.settle();
        mount.remount();
        assert_eq!(ask("pragma integrity_check;"), "ok\n");
        assert_eq!(ask("select count(*), sum(length(text)) from log;"), "2250|1350000\n");
    }
}

/// One row a transaction; every second transaction changes the one before, every fourth is taken
/// back, and half of them are done twice.
fn transactions(mode: &str, count: usize) -> String {
    use std::fmt::Write as _;
    let mut script = format!(
        "pragma journal_mode={mode};\npragma synchronous=full;\n\
         create table log(id integer primary key, text);\n"
    );
    for number in 0..count {
        let text = format!("{number:06}").repeat(100);
        let _ = writeln!(script, "begin; insert into log(text) values('{text}'); commit;");
        if number % 2 == 1 {
            let _ = writeln!(
                script,
                "begin; update log set text='{text}' where id={number};\
                 insert into log(text) values('{text}'); commit;"
            );
        }
        if number % 4 == 3 {
            let _ = writeln!(script, "begin; delete from log; rollback;");
        }
    }
    script
}

fn postgresql(dir: &Path) {
    let mut mount = Mount::new(dir, "mount", "compressfs", "settle=500ms");
    let cluster = Cluster::new(&mount.path("data"));
    let bench = |arguments: &[&str]| cluster.client("pgbench", arguments).arg("postgres").ok();
    mount.settle();
    let server = cluster.start();
    bench(&["-i", "-q", "-s", "2"]);
    println!("{}", last_line(&bench(&["-n", "-c", "2", "-T", "10"])));
    let sum =
        "select sum(abalance) = (select sum(delta) from pgbench_history) from pgbench_accounts";
    assert_eq!(cluster.ask(sum), "t");
    server.stop();
    mount.settle();
    mount.remount();
    let server = cluster.start();
    assert_eq!(cluster.ask(sum), "t");
    bench(&["-n", "-c", "2", "-T", "5"]);
    assert_eq!(cluster.ask(sum), "t");
    cluster.client("vacuumdb", &["--full", "--quiet", "postgres"]).ok();
    server.stop();
    cluster.on_data("pg_checksums", &["--enable"]);
    mount.settle();
    mount.remount();
    cluster.on_data("pg_checksums", &["--check"]);
}

fn last_line(text: &str) -> &str {
    text.trim_end().lines().last().unwrap_or_default()
}

fn cargo(dir: &Path) {
    machine::need("cargo");
    let source = crate_source("regex-syntax-")
        .or_else(|| crate_source("libc-"))
        .unwrap_or_else(|| skip("no crate's source in the registry"));
    let mut mount = Mount::new(dir, "mount", "compressfs", RESTLESS);
    let copy = mount.path("crate");
    Run::new("cp").arg("-r").arg(source).arg(&copy).ok();
    for name in ["Cargo.lock", ".cargo-ok"] {
        let _ = std::fs::remove_file(copy.join(name));
    }
    // The dependencies for testing are not at hand without a network.
    let manifest = std::fs::read_to_string(copy.join("Cargo.toml")).expect("manifest");
    std::fs::write(copy.join("Cargo.toml"), without_dependencies(&manifest)).expect("manifest");
    mount.settle();
    let build = || {
        let target = copy.join("target");
        Run::new("cargo")
            .args(["build", "--offline", "--release"])
            .env("CARGO_TARGET_DIR", target)
            .dir(&copy)
            .done()
    };
    let first = build();
    assert!(first.err.contains("Compiling"), "{}", first.err);
    first.ok();
    mount.settle();
    mount.remount();
    let second = build();
    assert!(!second.err.contains("Compiling"), "nothing has changed: {}", second.err);
    second.ok();
    let library = Run::shell(format!("find '{}' -name 'lib*.rlib'", copy.display())).ok();
    Run::new("ar").arg("t").arg(library.lines().next().expect("a library")).ok();
}

/// The unpacked source of a crate in cargo's registry.
fn crate_source(prefix: &str) -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))?;
    let registries = std::fs::read_dir(home.join("registry/src")).ok()?.flatten();
    let crates = registries.filter_map(|registry| std::fs::read_dir(registry.path()).ok());
    let named = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    crates.flatten().flatten().map(|entry| entry.path()).filter(named).max()
}

/// A manifest without its sections on dependencies and on targets that need them.
fn without_dependencies(manifest: &str) -> String {
    let mut keep = true;
    let mut kept = String::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            keep = line.starts_with("[package]") || line.starts_with("[lib]");
        }
        if keep {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

fn tar(dir: &Path) {
    machine::need_root();
    let source = varied_tree(dir);
    let mut mount = Mount::new(dir, "mount", "compressfs", "settle=100ms");
    let flags = "--acls --xattrs --xattrs-include='user.*' --sparse --same-owner";
    let pack = |from: &Path, archive: &Path| {
        let (from, archive) = (from.display(), archive.display());
        Run::shell(format!("tar {flags} -C '{from}' -cf '{archive}' .")).ok();
    };
    let unpack = |archive: &Path, to: &Path| {
        std::fs::create_dir(to).expect("directory");
        let (to, archive) = (to.display(), archive.display());
        Run::shell(format!("tar {flags} -C '{to}' -xpf '{archive}'")).ok();
    };
    let (there, back) = (dir.join("there.tar"), dir.join("back.tar"));
    pack(&source, &there);
    unpack(&there, &mount.path("tree"));
    mount.settle();
    mount.remount();
    tree::assert_equal(&source, &mount.path("tree"), tree::Leave::default());
    pack(&mount.path("tree"), &back);
    unpack(&back, &dir.join("result"));
    tree::assert_equal(&source, &dir.join("result"), tree::Leave::default());
}

fn rsync(dir: &Path) {
    machine::need_root();
    machine::need("rsync");
    let source = varied_tree(dir);
    let mut mount = Mount::new(dir, "mount", "compressfs", "settle=100ms");
    let copy = |from: &Path, to: &Path| {
        let (from, to) = (from.display(), to.display());
        Run::shell(format!("rsync -aHAX --sparse --itemize-changes '{from}/' '{to}/'")).ok()
    };
    copy(&source, &mount.path("tree"));
    mount.settle();
    mount.remount();
    tree::assert_equal(&source, &mount.path("tree"), tree::Leave::default());
    assert_eq!(copy(&source, &mount.path("tree")), "", "a second copy must find nothing to do");
    let result = dir.join("result");
    copy(&mount.path("tree"), &result);
    tree::assert_equal(&source, &result, tree::Leave::default());
}

/// A tree with all that the two archivers keep: kinds, links, holes, owners, ACLs, attributes, times,
/// names that need care.
fn varied_tree(dir: &Path) -> PathBuf {
    let tree = dir.join("varied");
    let sources = machine::project().join("tests");
    let script = format!(
        "mkdir '{tree}'; cd '{tree}'; cp -r '{sources}' sources
         head -c 3000000 /dev/urandom > noise; seq 400000 > numbers; : > empty
         truncate -s 50M sparse; printf end | dd of=sparse bs=1 seek=20000000 conv=notrunc status=none
         ln numbers again; ln -s numbers link; ln -s missing dangling; mkfifo pipe
         mknod device c 1 3; mkdir -p deep/er/and/deeper; seq 9 > deep/er/and/deeper/digits
         printf x > \"$(printf 'new\\nline and \\303\\244')\"; printf y > \"$(printf 'n%.0s' {{1..255}})\"
         chown 30001:30002 noise link; chmod 4751 numbers; chmod 1777 deep; chmod 000 empty
         setfattr -n user.colour -v green noise; setfattr -n user.colour -v blue deep
         ! command -v setfacl > /dev/null || setfacl -m u:30001:rw,d:u:30001:rwx deep
         find . -exec touch -h -d '2001-02-03 04:05:06.789' {{}} +
         touch -d '1999-12-31 23:59:59.123456789' noise; touch -h -d '2031-01-01' link
         touch -d '1970-01-02' deep",
        tree = tree.display(),
        sources = sources.display()
    );
    Run::shell(script).ok();
    tree
}
