//! What an extension needs beyond what every worker may do.

/// What an extension needs beyond serving its directory. A worker may do nothing else: it reaches no
/// file outside of the lower directory, has no network, runs no programs, and makes no system call
/// that serving does not take. What is asked for here is shown where a directory is mounted, and by
/// `hsci status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Files of the machine, by their paths.
    pub files: bool,
    /// Sockets to other programs and machines.
    pub network: bool,
    /// Other programs, which come with the files of the machine and almost all system calls.
    pub programs: bool,
    /// Capabilities of root, by names such as `NET_ADMIN`.
    pub capabilities: &'static [&'static str],
}

impl Needs {
    /// One word for each need, for people and other programs.
    pub fn words(&self) -> impl Iterator<Item = &'static str> {
        let needs = [(self.files, "files"), (self.network, "network"), (self.programs, "programs")];
        let needs = needs.into_iter().filter_map(|(is_needed, word)| is_needed.then_some(word));
        needs.chain(self.capabilities.iter().copied())
    }
}
