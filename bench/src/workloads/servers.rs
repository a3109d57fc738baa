//! Databases, and the traces of a file server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::{Action, Scenario, Stage, Step, Unit, shell};
use crate::contenders::run;

pub(super) fn all(stage: &Stage<'_>) -> Result<Vec<Scenario>> {
    Ok(vec![sqlite(stage), dbench(stage), pgbench(stage)?])
}

/// Each insertion is a transaction of its own, durable when it returns.
fn sqlite(stage: &Stage<'_>) -> Scenario {
    let times = stage.scale.seconds * 100;
    let script = format!(
        "rm -f base*; {{ echo 'pragma synchronous=full; create table t(a integer primary key, b);'; \
         i=0; while [ $i -lt {times} ]; do \
         echo \"insert into t(b) values('row $i of a table that grows');\"; i=$((i + 1)); done; }} \
         | sqlite3 base"
    );
    let insert = Box::new(move |place: &_| shell(place, &script));
    let action = Action::Rate(times as f64, insert);
    let steps = vec![Step::new("sqlite, insertions", Unit::PerSecond, action)];
    Scenario::new("sqlite", "synchronous, one row each", steps).needs(&["sqlite3"])
}

fn dbench(stage: &Stage<'_>) -> Scenario {
    // In less time it has nothing to say.
    let seconds = stage.scale.seconds.max(5);
    let script =
        format!("dbench -D . -t {seconds} -c /usr/share/dbench/client.txt 4; rm -rf clients");
    let action = Action::Printed("Throughput", Box::new(move |place| shell(place, &script)));
    let steps = vec![Step::new("dbench, 4 clients", Unit::MibPerSecond, action)];
    Scenario::new("dbench", format!("{seconds} seconds"), steps).needs(&["dbench"])
}

/// The user whom PostgreSQL runs as, for it refuses root.
const USER: &str = "postgres";

fn pgbench(stage: &Stage<'_>) -> Result<Scenario> {
    let seconds = stage.scale.seconds;
    let script = cluster(stage.scratch, "", &format!("as pgbench -T {seconds} -c 4"))?;
    let action = Action::Printed("tps =", Box::new(move |place| shell(place, &script)));
    let steps = vec![Step::new("pgbench, 4 clients", Unit::PerSecond, action)];
    let about = format!("scale 4, {seconds} seconds, synchronous");
    Ok(Scenario::new("pgbench", about, steps).needs(&["setpriv", "pgbench"]))
}

/// A shell's commands that make a new database in `base`, of which the server writes a log into it, and work with it.
fn cluster(scratch: &Path, settings: &str, work: &str) -> Result<String> {
    let sockets = scratch.join("sockets");
    fs::create_dir_all(&sockets)?;
    // Other users must reach the mounts.
    let open = "chmod 711 \"$1\"; chown postgres \"$2\" 2>/dev/null || true";
    let mut command = Command::new("sh");
    run(command.args(["-c", open, "sh"]).arg(scratch).arg(&sockets))?;
    Ok(format!(
        "PATH=$(echo /usr/lib/postgresql/*/bin):$PATH; rm -rf base; mkdir base; chown {USER} base; \
         as() {{ setpriv --reuid {USER} --regid {USER} --init-groups \"$@\"; }}; export HOME=/tmp; \
         as initdb -D base -A trust >&2; \
         as pg_ctl -D base -s -w -l base/log -o \"-k '{sockets}' -c listen_addresses= {settings}\" start >&2; \
         trap 'as pg_ctl -D base -s -w -m fast stop >&2' EXIT; \
         as pgbench -q -i -s 4 -h '{sockets}' postgres >&2; \
         {work} -h '{sockets}' postgres",
        sockets = sockets.display()
    ))
}

/// Makes logs by programs that write some: of PostgreSQL with all statements, and of rsync with all names of the tree.
pub(crate) fn make_logs(scratch: &Path, tree: &Path) -> Result<PathBuf> {
    let logs = scratch.join("logs");
    fs::create_dir_all(&logs)?;
    let mut rsync = Command::new("rsync");
    rsync.arg("-an").arg(format!("--log-file={}", logs.join("rsync.log").display()));
    run(rsync.arg(tree).arg(scratch.join("nowhere")))?;
    let settings = "-c fsync=off -c log_statement=all -c log_duration=on";
    let script = cluster(scratch, settings, "as pgbench -T 4 -c 2")?;
    let script = format!("{script} >&2; cp base/log '{}'", logs.join("postgresql.log").display());
    run(Command::new("sh").args(["-ec", &script]).current_dir(scratch))?;
    fs::remove_dir_all(scratch.join("base"))?;
    Ok(logs)
}
