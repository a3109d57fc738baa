//! A PostgreSQL server with its data below a mount.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use hsci_tests::runner::skip;
use hsci_tests::{Run, machine};

/// Who runs it.
const USER: &str = "postgres";

/// A cluster of databases.
pub(crate) struct Cluster {
    programs: PathBuf,
    data: PathBuf,
}

impl Cluster {
    /// Makes one in a directory, which it makes as well. Skips the test where there is no server.
    pub(crate) fn new(data: &Path) -> Self {
        machine::need_root();
        let programs = programs();
        if Run::new("id").arg(USER).done().code != 0 {
            skip("there is no user postgres");
        }
        std::fs::create_dir(data).expect("data directory");
        Run::new("chown").arg(USER).arg(data).ok();
        let cluster = Self { programs, data: data.to_owned() };
        cluster.on_data("initdb", &["--no-sync", "-A", "trust"]);
        cluster
    }

    /// One of its programs, as the user who runs the server.
    pub(crate) fn run(&self, program: &str) -> Run {
        Run::new("runuser").args(["-u", USER, "--"]).arg(self.programs.join(program)).dir("/")
    }

    /// A client, which connects over the socket in the data directory.
    pub(crate) fn client(&self, program: &str, arguments: &[&str]) -> Run {
        self.run(program).arg("-h").arg(&self.data).args(arguments)
    }

    /// Runs a program that works on the files of a server that is not running.
    pub(crate) fn on_data(&self, program: &str, arguments: &[&str]) {
        self.run(program).args(arguments).arg("-D").arg(&self.data).ok();
    }

    /// What a question is answered, without the end of the line.
    pub(crate) fn ask(&self, question: &str) -> String {
        let answer = self.client("psql", &["-At", "-c", question, "postgres"]).ok();
        answer.trim_end().to_owned()
    }

    /// Starts the server, and waits until it answers.
    pub(crate) fn start(&self) -> Server {
        let quiet = ["-c", "log_checkpoints=off", "-c", "checkpoint_warning=0"];
        let options = ["-c", "listen_addresses=", "-c", "max_wal_size=64MB", "-k"];
        let run = self.run("postgres").arg("-D").arg(&self.data).args(quiet).args(options);
        let server = run.arg(&self.data).start();
        let answers = || self.client("pg_isready", &[]).done().code == 0;
        let pause = || std::thread::sleep(Duration::from_millis(100));
        let ready = (0..300).any(|_| {
            answers() || {
                pause();
                false
            }
        });
        assert!(ready, "the server does not answer");
        Server(server)
    }
}

/// A running server: the process that holds it.
pub(crate) struct Server(Child);

impl Server {
    /// Asks it to end (a fast shutdown), and waits for that.
    pub(crate) fn stop(mut self) {
        let pid = self.0.id();
        Run::shell(format!("kill -INT $(cat /proc/{pid}/task/{pid}/children)")).ok();
        assert!(self.0.wait().expect("wait").success(), "the server ended badly");
    }

    /// Kills it and all its processes at once, as a crash of the machine would.
    pub(crate) fn kill(mut self) {
        let children = |pid: &str| {
            let file = format!("/proc/{pid}/task/{pid}/children");
            std::fs::read_to_string(file).unwrap_or_default()
        };
        let main = children(&self.0.id().to_string()).trim().to_owned();
        let all = children(&main);
        let _ = Run::new("kill").arg("-KILL").args(all.split_whitespace()).arg(&main).done();
        let _ = self.0.wait();
    }
}

/// The newest installed server's programs.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let programs = versions.map(|version| version.path().join("bin"));
    programs
        .filter(|dir| dir.join("initdb").is_file())
        .max()
        .unwrap_or_else(|| skip("postgresql is not installed"))
}
