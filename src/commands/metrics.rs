//! `hsci metrics`.

mod page;
mod policy;

use hsci_host::control as channel;
use hsci_host::mounts;
use hsci_protocol::settle::Settles;
use hsci_protocol::status::{LATENCY_BOUNDS_US, Latency, Status, SupervisorStatus, WorkerStatus};

use self::page::{Kind, Page};
use crate::{Result, ui};

/// Prints what a monitor wants to know of this machine.
pub(crate) fn run() -> Result<()> {
    let mounts = mounts::all()?;
    let statuses = channel::statuses(&mounts);
    let mut page = Page::default();
    add_mounts(&mut page, &statuses);
    add_supervisors(&mut page, &statuses);
    add_workers(&mut page, &statuses);
    add_latencies(&mut page, &statuses);
    policy::add(&mut page, &mounts, &statuses)?;
    ui::print(&page.text())
}

fn dir(status: &Status) -> String {
    status.dir.to_string_lossy().into_owned()
}

fn add_mounts(page: &mut Page, all: &[Status]) {
    let mut mounts = page.family("hsci_mounts", Kind::Gauge, "Mounts that this user can see.");
    mounts.add(&[], all.len());
    let mut up = page.family("hsci_mount_up", Kind::Gauge, "Whether the mount answers.");
    for status in all {
        let answers = status.silent.is_none() && status.supervisor.is_some();
        up.add(&[("dir", &dir(status))], u8::from(answers));
    }
    let help = "The stack of a mount, and where it stores.";
    let mut info = page.family("hsci_mount_info", Kind::Gauge, help);
    for status in all {
        let extensions = status.supervisor.iter().flat_map(|one| one.extensions.iter());
        let extensions = extensions.map(String::as_str).collect::<Vec<_>>().join(",");
        let version = status.worker.as_ref().map(|worker| worker.version.as_str());
        let (dir, lower) = (dir(status), status.lower.to_string_lossy());
        let labels: [(&str, &str); 4] = [
            ("dir", &dir),
            ("lower", &lower),
            ("extensions", &extensions),
            ("version", version.unwrap_or_default()),
        ];
        info.add(&labels, 1);
    }
}

fn add_supervisors(page: &mut Page, all: &[Status]) {
    type Of = fn(&SupervisorStatus) -> u64;
    let families: [(&str, Kind, &str, Of); 3] = [
        ("hsci_mount_start_time_seconds", Kind::Gauge, "When it was mounted.", |one| one.since),
        ("hsci_worker_restarts_total", Kind::Counter, "Workers that were replaced.", |one| {
            one.workers.saturating_sub(1)
        }),
        ("hsci_mount_fenced", Kind::Gauge, "Whether only the host can reach the store.", |one| {
            one.fenced.into()
        }),
    ];
    for (name, kind, help, of) in families {
        let mut family = page.family(name, kind, help);
        for status in all {
            let supervisor = status.supervisor.as_ref().filter(|one| one.supervised);
            if let Some(supervisor) = supervisor {
                family.add(&[("dir", &dir(status))], of(supervisor));
            }
        }
    }
}

/// The statuses of mounts whose worker says something.
fn workers(all: &[Status]) -> impl Iterator<Item = (String, &WorkerStatus)> {
    all.iter().filter_map(|status| Some((dir(status), status.worker.as_ref()?)))
}

fn add_workers(page: &mut Page, all: &[Status]) {
    type Of = fn(&WorkerStatus) -> u64;
    let families: [(&str, &str, Of); 3] = [
        ("hsci_inodes", "Inodes that the kernel knows.", |one| one.inodes),
        ("hsci_descriptors", "Descriptors of files in use.", |one| one.descriptors),
        ("hsci_quarantined", "Operations that are not tried any more.", |one| {
            one.quarantined.len() as u64
        }),
    ];
    for (name, help, of) in families {
        let mut family = page.family(name, Kind::Gauge, help);
        for (dir, worker) in workers(all) {
            family.add(&[("dir", &dir)], of(worker));
        }
    }
    add_settles(page, all);
    let help = "Requests that the kernel dispatched to the worker.";
    let mut family = page.family("hsci_requests_total", Kind::Counter, help);
    for (dir, worker) in workers(all) {
        for (operation, count) in &worker.requests {
            family.add(&[("dir", &dir), ("operation", operation)], count);
        }
    }
}

fn add_settles(page: &mut Page, all: &[Status]) {
    let settles = || workers(all).filter_map(|(dir, worker)| Some((dir, worker.settles?)));
    let help = "Files that settling has changed, or could not.";
    let mut family = page.family("hsci_settles_total", Kind::Counter, help);
    for (dir, Settles { changed, failed, .. }) in settles() {
        family.add(&[("dir", &dir), ("result", "changed")], changed);
        family.add(&[("dir", &dir), ("result", "failed")], failed);
    }
    let help = "Files that wait to be settled.";
    let mut family = page.family("hsci_settles_pending", Kind::Gauge, help);
    for (dir, Settles { pending, .. }) in settles() {
        family.add(&[("dir", &dir)], pending);
    }
}

fn add_latencies(page: &mut Page, all: &[Status]) {
    let help = "How long the worker took for a request.";
    let mut family = page.family("hsci_request_duration_seconds", Kind::Histogram, help);
    for (dir, worker) in workers(all) {
        for (operation, Latency { nanoseconds, within }) in &worker.latencies {
            let labels: [(&str, &str); 2] = [("dir", &dir), ("operation", operation)];
            let mut sum = 0_u64;
            let bounds = LATENCY_BOUNDS_US.map(|bound| (bound as f64 / 1e6).to_string());
            let bounds = bounds.into_iter().chain(["+Inf".to_owned()]);
            for (bound, count) in bounds.zip(within) {
                sum += count;
                let labels: [(&str, &str); 3] = [labels[0], labels[1], ("le", &bound)];
                family.add_part("_bucket", &labels, sum);
            }
            family.add_part("_sum", &labels, *nanoseconds as f64 / 1e9);
            family.add_part("_count", &labels, sum);
        }
    }
}
