//! A FUSE server of somebody else's, which calls itself a mount of hsci and names a process as its
//! supervisor.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use hsci_tests::{Run, machine, sys};
use rustix::mount::{MountFlags, UnmountFlags};

pub(super) fn is_not_believed(dir: &Path) {
    machine::need_root();
    sys::own_mounts();
    let point = dir.join("mount");
    std::fs::create_dir(&point).expect("directory");
    let mut victim = Run::new("sleep").arg("300").start();
    let server = serve(&point, victim.id());
    let policy = dir.join("small.policy");
    std::fs::write(&policy, "deny open \"/nowhere/*\"\n").expect("a policy");
    let hsci = |arguments: &[&str]| {
        let begun = Instant::now();
        let done = Run::new(machine::hsci()).args(arguments).done();
        assert!(begun.elapsed() < Duration::from_secs(60), "{arguments:?}: {:?}", begun.elapsed());
        done
    };
    let place = point.to_str().expect("a path");
    let all = hsci(&["status"]).ok();
    assert!(all.contains(place) && all.contains("silent"), "{all}");
    for question in [&["status", place][..], &["upgrade", place]] {
        assert_ne!(hsci(question).code, 0, "{question:?}");
    }
    let policy = policy.to_str().expect("a path");
    let _ = hsci(&["policy", "load", "--allow-partial", policy]);
    let _ = hsci(&["policy", "unload"]);
    let was_harmed = has_ended(&mut victim);
    rustix::mount::unmount(&point, UnmountFlags::DETACH).expect("unmounted");
    let _ = victim.kill();
    let _ = victim.wait();
    assert!(!was_harmed, "a process that the file system has named got a signal");
    server.join().expect("the server");
}

fn has_ended(process: &mut Child) -> bool {
    process.try_wait().expect("a look").is_some()
}

/// Serves a directory that answers the questions of old, and knows nothing else.
fn serve(point: &Path, pid: u32) -> std::thread::JoinHandle<()> {
    let device = File::options().read(true).write(true).open("/dev/fuse").expect("/dev/fuse");
    let data = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
    let data = std::ffi::CString::new(data).expect("text");
    rustix::mount::mount("/srv/none", point, "fuse.hsci", MountFlags::empty(), data.as_c_str())
        .expect("mounted");
    std::thread::spawn(move || {
        let mut request = vec![0; 1 << 17];
        while let Ok(len) = (&device).read(&mut request) {
            let word = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().expect("4"));
            let unique = request[8..16].to_vec();
            let (error, answer) = answer(word(4), word(40) as usize, pid);
            // Requests that want no answer.
            if matches!(word(4), 2 | 36 | 42) || len < 40 {
                continue;
            }
            let mut reply = (16 + answer.len() as u32).to_ne_bytes().to_vec();
            reply.extend(i32::to_ne_bytes(-error));
            reply.extend(unique);
            reply.extend(answer);
            let _ = (&device).write(&reply);
        }
    })
}

/// The error and the content of an answer to an operation of FUSE.
fn answer(operation: u32, room: usize, pid: u32) -> (i32, Vec<u8>) {
    const ENOSYS: i32 = 38;
    match operation {
        // INIT
        26 => {
            let mut init = vec![0; 64];
            init[..4].copy_from_slice(&7_u32.to_ne_bytes());
            init[4..8].copy_from_slice(&31_u32.to_ne_bytes());
            init[20..24].copy_from_slice(&4096_u32.to_ne_bytes());
            (0, init)
        }
        // GETATTR
        3 => {
            let mut attr = vec![0; 104];
            attr[16] = 1;
            attr[16 + 60..16 + 64].copy_from_slice(&0o40755_u32.to_ne_bytes());
            attr[16 + 64] = 2;
            (0, attr)
        }
        // GETXATTR
        22 => {
            let status = format!(
                r#"{{"supervised":true,"supervisor_pid":{pid},"workers":1,"worker_pid":{pid}}}"#
            );
            match room {
                0 => (0, [(status.len() as u32).to_ne_bytes(), [0; 4]].concat()),
                _ => (0, status.into_bytes()),
            }
        }
        _ => (ENOSYS, Vec::new()),
    }
}
