//! What in-kernel filters could use.

use std::path::Path;

use super::{Finding, read};

pub(super) fn look() -> Vec<Finding> {
    vec![types(), tracing(), guard(), lockdown()]
}

fn types() -> Finding {
    const NAME: &str = "kernel types (BTF)";
    const FILE: &str = "/sys/kernel/btf/vmlinux";
    if Path::new(FILE).exists() {
        return Finding::ok(NAME, FILE);
    }
    Finding::missing(
        NAME,
        format!("no {FILE}"),
        "no filter can run in the kernel; mounting does not need any",
        "a kernel built with CONFIG_DEBUG_INFO_BTF has it",
    )
}

fn tracing() -> Finding {
    const NAME: &str = "tracepoints of FUSE";
    let advice = "as root, `mount -t tracefs none /sys/kernel/tracing`, and look again";
    let places = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
    let mounted = places.into_iter().find(|place| Path::new(place).join("events").exists());
    let Some(place) = mounted else {
        return Finding::unknown(NAME, "no tracefs that the caller can see", advice);
    };
    if Path::new(place).join("events/fuse/fuse_request_send").exists() {
        return Finding::ok(NAME, format!("fuse_request_send in {place}"));
    }
    Finding::missing(
        NAME,
        format!("no fuse_request_send in {place}"),
        "hosts look in /proc for who calls, where a policy asks for that",
        "a newer kernel has it",
    )
}

const SECURITY: &str = "as root, `mount -t securityfs none /sys/kernel/security`, and look again";

const JUDGED_BY_MOUNTS: &str = "policies are in force in mounts only, for the calls that reach them, and \
    stores are not sealed; mounted over itself, a store is out of reach by name all the same";

fn guard() -> Finding {
    const NAME: &str = "guard (BPF LSM)";
    let is_refused = || match hsci_kernel::guard::probe() {
        Ok(_) | Err(hsci_kernel::Error::NotRoot) => None,
        Err(error) => Some(error.to_string()),
    };
    match read("/sys/kernel/security/lsm") {
        Ok(modules) if modules.split(',').any(|module| module == "bpf") => match is_refused() {
            None => Finding::ok(NAME, modules),
            Some(error) => Finding::missing(
                NAME,
                error,
                JUDGED_BY_MOUNTS,
                "boot without `lockdown=`, if that is what forbids it",
            ),
        },
        Ok(modules) => Finding::missing(
            NAME,
            format!("the security modules are: {modules}"),
            JUDGED_BY_MOUNTS,
            "boot with `bpf` added to the kernel parameter `lsm=`",
        ),
        Err(_) => Finding::unknown(NAME, "no securityfs that the caller can see", SECURITY),
    }
}

fn lockdown() -> Finding {
    const NAME: &str = "lockdown";
    match read("/sys/kernel/security/lockdown") {
        Ok(modes) if modes.contains("[none]") => Finding::ok(NAME, "the kernel is not locked down"),
        Ok(modes) => Finding::missing(
            NAME,
            format!("the kernel is locked down: {modes}"),
            "it refuses guards (BPF LSM programs); tracepoints still work",
            "nothing is needed for mounting; otherwise boot without `lockdown=`",
        ),
        Err(_) if Path::new("/sys/kernel/security/lsm").exists() => {
            Finding::ok(NAME, "the kernel has no lockdown")
        }
        Err(_) => Finding::unknown(NAME, "no securityfs that the caller can see", SECURITY),
    }
}
