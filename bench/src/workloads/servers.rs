//! Databases, and the traces of a file server.

use std::fs;

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
    let sockets = stage.scratch.join("sockets");
    fs::create_dir_all(&sockets)?;
    // Other users must reach the mounts.
    let open = "chmod 711 \"$1\"; chown postgres \"$2\" 2>/dev/null || true";
    let mut command = std::process::Command::new("sh");
    run(command.args(["-c", open, "sh"]).arg(stage.scratch).arg(&sockets))?;
    let script = format!(
        "PATH=$(echo /usr/lib/postgresql/*/bin):$PATH; rm -rf base; mkdir base; chown {USER} base; \
         as() {{ setpriv --reuid {USER} --regid {USER} --init-groups \"$@\"; }}; export HOME=/tmp; \
         as initdb -D base -A trust >&2; \
         as pg_ctl -D base -s -w -l base/log -o \"-k '{sockets}' -c listen_addresses=\" start >&2; \
         trap 'as pg_ctl -D base -s -w -m fast stop >&2' EXIT; \
         as pgbench -q -i -s 4 -h '{sockets}' postgres >&2; \
         as pgbench -T {seconds} -c 4 -h '{sockets}' postgres",
        sockets = sockets.display()
    );
    let action = Action::Printed("tps =", Box::new(move |place| shell(place, &script)));
    let steps = vec![Step::new("pgbench, 4 clients", Unit::PerSecond, action)];
    let about = format!("scale 4, {seconds} seconds, synchronous");
    Ok(Scenario::new("pgbench", about, steps).needs(&["setpriv", "pgbench"]))
}
