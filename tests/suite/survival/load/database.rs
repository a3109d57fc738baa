//! A database of which every transaction counts.

use std::path::{Path, PathBuf};

use hsci_tests::Run;

use super::Client;

pub(super) struct Sqlite {
    path: PathBuf,
    /// What each connection begins with.
    pragmas: &'static str,
    rows: u64,
}

impl Sqlite {
    pub(super) fn new(dir: &Path, pragmas: &'static str) -> Self {
        Self { path: dir.join("db"), pragmas, rows: 0 }
    }

    /// The last line of the answer, for pragmas are answered as well.
    fn ask(&self, line: &str) -> String {
        let run = Run::new("sqlite3").arg("-bail").arg(&self.path);
        let answer = run.arg(format!("{} {line}", self.pragmas)).ok();
        answer.lines().last().unwrap_or_default().to_owned()
    }
}

impl Client for Sqlite {
    fn step(&mut self) -> u32 {
        if self.rows == 0 {
            self.ask("create table t(n integer primary key, text)");
        }
        let insert = |n| format!("insert into t values({n}, hex(randomblob(50)));");
        let inserts: String = (self.rows..self.rows + 5).map(insert).collect();
        self.ask(&inserts);
        self.rows += 5;
        assert_eq!(self.ask("select count(*) from t"), self.rows.to_string(), "rows");
        1
    }

    fn finish(&mut self) {
        assert_eq!(self.ask("pragma integrity_check"), "ok", "the database");
    }
}
