//! Random policies, as text: few names, so that rules meet.

use crate::Random;

pub(crate) const NAMES: &[&str] = &["a", "b", "ab", "abc", "b.key", "x1", "\u{e9}"];
pub(crate) const UIDS: &[u32] = &[0, 1000, 1001, 4_000_000_000];
pub(crate) const GIDS: &[u32] = &[0, 5, 6, 7, 100_000];
pub(crate) const EXECUTABLES: &[&str] = &["/bin/a", "/bin/b", "/opt/a/b", "/opt/ab/abc"];
pub(crate) const COMMANDS: &[&str] = &["a", "ab", "kworker/0:1", "b.key"];
pub(crate) const CGROUPS: &[&str] = &["/", "/a", "/a/b", "/b/x1/ab"];
pub(crate) const NAMESPACES: &[u32] = &[0xEFFF_FFFC, 4_026_532_000, 4_026_532_001];
pub(crate) const SIZES: &[u64] = &[0, 1, 4096, 1 << 20, 5 << 32];

pub(crate) const TIMES: &[(&str, u64)] = &[
    ("2024-02-29", 1_709_164_800),
    ("2026-12-31T18:30", 1_798_741_800),
    ("1999-01-01", 915_148_800),
];

const OPERATIONS: &[&str] = &[
    "open",
    "read",
    "write",
    "metadata",
    "create",
    "remove",
    "*",
    "rename",
    "unlink",
    "read-data",
];
const ROOTS: &[&str] = &["/t/*/m", "/t/{a,b}/n", "/u"];

pub(crate) fn statements(random: &mut Random) -> Vec<String> {
    let targets = random.below(ROOTS.len() + 1);
    let mut lines: Vec<String> = (0..targets)
        .map(|index| format!("target t{index} = \"{}\" via plug", ROOTS[index]))
        .collect();
    let most = *random.pick(&[4, 12, 24]);
    let rules = 1 + random.below(most);
    // A third of the policies remembers, and much.
    let remembers = random.one_in(3);
    for _ in 0..rules {
        let line = rule(random, targets, remembers);
        lines.push(line);
    }
    lines
}

fn rule(random: &mut Random, targets: usize, remembers: bool) -> String {
    let target = (targets > 0 && !random.one_in(3)).then(|| random.below(targets));
    let verdict = verdict(random, target.is_some(), remembers);
    let globs: Vec<String> = (0..1 + random.below(2))
        .map(|_| {
            let glob = glob(random);
            if target.is_some() {
                format!("\"{glob}\"")
            } else {
                format!("\"{}{glob}\"", prefix(random))
            }
        })
        .collect();
    let place = target.map(|index| format!("in t{index}: ")).unwrap_or_default();
    let on = if target.is_some() && random.one_in(5) {
        String::new()
    } else {
        format!(" on {}", globs.join(", "))
    };
    let mut condition = String::new();
    if !random.one_in(3) {
        condition = format!(" when {}", predicate(random, 3));
    }
    if remembers && random.one_in(4) {
        condition += &format!(" when marked m{}", random.below(4));
    }
    if random.one_in(4) {
        condition += &format!(" unless {}", predicate(random, 2));
    }
    if remembers && random.one_in(4) {
        condition += &format!(" when {}", rate(random));
    }
    // What sets and clears marks may be any rule, without a trigger of its own.
    let after = match remembers && random.one_in(8) {
        true => format!("after {} \"/{}\": ", random.pick(OPERATIONS), glob(random)),
        false => String::new(),
    };
    format!("{after}{place}{verdict}{on}{condition}")
}

fn rate(random: &mut Random) -> String {
    let (limit, period) = (1 + random.below(4), *random.pick(&["100ms", "1s", "7s"]));
    let per_user = if random.one_in(3) { " per user" } else { "" };
    format!("rate > {limit} per {period}{per_user}")
}

fn prefix(random: &mut Random) -> &'static str {
    const PREFIXES: &[&str] = &["/", "/", "/t/a/", "/t/*/m/", "/u/", "/**/", "/t/"];
    PREFIXES[random.below(PREFIXES.len())]
}

fn verdict(random: &mut Random, in_target: bool, remembers: bool) -> String {
    let mut operations = vec![*random.pick(OPERATIONS)];
    if random.one_in(3) {
        operations.push(*random.pick(OPERATIONS));
    }
    let operations = operations.join(", ");
    if remembers && random.one_in(4) {
        let verdict = if random.one_in(3) { "unmark" } else { "mark" };
        return format!("{verdict} m{} {operations}", random.below(4));
    }
    match random.below(if in_target { 7 } else { 5 }) {
        0 => format!("deny {operations}"),
        1 => format!("deny({}) {operations}", random.pick(&["ENOENT", "EROFS", "EPERM"])),
        2 | 3 => format!("pass {operations}"),
        4 => format!("audit {operations}"),
        5 => format!("set algorithm = {}", random.pick(&["lz4", "zstd:9", "none"])),
        _ => format!("set chunk = {}K, algorithm = lz4", random.below(3)),
    }
}

/// A glob without a leading slash.
pub(crate) fn glob(random: &mut Random) -> String {
    let count = 1 + random.below(3);
    let components: Vec<String> = (0..count).map(|_| component(random)).collect();
    components.join("/")
}

fn component(random: &mut Random) -> String {
    let name = *random.pick(NAMES);
    match random.below(15) {
        0 => "**".to_owned(),
        1 | 2 => "*".to_owned(),
        3 => format!("{name}*"),
        4 => format!("*{name}"),
        5 => "a*b*".to_owned(),
        6 => "?".to_owned(),
        7 => "[!a]*".to_owned(),
        8 => "[a-c]?".to_owned(),
        9 => "{a,b,x*}".to_owned(),
        _ => name.to_owned(),
    }
}

fn predicate(random: &mut Random, depth: usize) -> String {
    if depth > 0 && random.one_in(2) {
        let (one, other) = (predicate(random, depth - 1), predicate(random, depth - 1));
        return match random.below(3) {
            0 => format!("({one} and {other})"),
            1 => format!("({one} or {other})"),
            _ => format!("not {one}"),
        };
    }
    atom(random)
}

fn atom(random: &mut Random) -> String {
    match random.below(20) {
        0 => format!("user {}", random.pick(UIDS)),
        1 => format!("user {{{}, {}}}", random.pick(UIDS), random.pick(UIDS)),
        2 => format!("group {}", random.pick(GIDS)),
        3 => {
            let how = if random.one_in(3) { "secure " } else { "" };
            let program = random.pick(&["bin/*", "opt/**", "**/ab*", "**/*", "bin/[ab]"]);
            format!("{how}exe \"/{program}\"")
        }
        4 => format!("comm \"{}\"", glob(random)),
        5 => format!("cgroup \"/{}\"", glob(random)),
        6 => format!("pidns {}", random.pick(NAMESPACES)),
        7 => format!("flag {}", random.pick(&["read", "write", "append"])),
        8 => format!("type {}", random.pick(&["file", "directory", "{fifo, socket}"])),
        9 => format!("owner {}", random.pick(UIDS)),
        10 => "owner caller".to_owned(),
        11 => format!("mode {}", random.pick(&["setuid", "executable", "other-writable"])),
        12 => {
            format!(
                "time {}",
                random.pick(&["08:00-18:00", "22:30-06:00", "00:00-24:00", "18:30-00:00"])
            )
        }
        13 => format!("day {}", random.pick(&["mon", "thu", "{sat, sun}"])),
        14 => format!("{} {}", random.pick(&["since", "until"]), random.pick(TIMES).0),
        15 => format!("login {}", random.pick(&["none", "0", "1000", "{1001, none}"])),
        16 => format!("userns {}", random.pick(NAMESPACES)),
        17 => format!(
            "capability {}",
            random.pick(&["chown", "sys_admin", "bpf", "{kill, checkpoint_restore}"])
        ),
        18 => format!("ancestor \"/{}\"", random.pick(&["bin/*", "**/ab*", "opt/a/*", "bin/[ab]"])),
        _ => format!("size {} {}", random.pick(&["<", "<=", ">", ">="]), random.pick(SIZES)),
    }
}
