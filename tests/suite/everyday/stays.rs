//! Everything of a file stays while it is stored another way, and what cannot be changed is left alone.

mod attributes;
mod below;
mod ctime;
mod fixed;
mod mounts;
mod times;

use std::os::unix::fs::MetadataExt;

use hsci_tests::{Mount, Run, Test};

pub(crate) const TESTS: &[Test] = &[
    Test {
        name: "everyday::stays::capabilities_and_all_attributes_stay_until_somebody_writes",
        seconds: 120,
        body: attributes::attributes,
    },
    Test {
        name: "everyday::stays::only_reads_of_callers_are_times_of_access",
        seconds: 120,
        body: times::times,
    },
    Test {
        name: "everyday::stays::compressing_changes_no_ctime",
        seconds: 120,
        body: ctime::stays,
    },
    Test {
        name: "everyday::stays::changes_of_a_compressed_file_move_its_ctime",
        seconds: 120,
        body: ctime::moves,
    },
    Test {
        name: "everyday::stays::changes_of_a_file_that_is_being_compressed_move_its_ctime",
        seconds: 180,
        body: ctime::moves_meanwhile,
    },
    Test {
        name: "everyday::stays::what_may_only_be_appended_to_is_appended_to_and_left_as_it_is",
        seconds: 120,
        body: fixed::fixed,
    },
    Test {
        name: "everyday::stays::containers_and_memory_compress_like_any_other_directory",
        seconds: 120,
        body: below::without_handles,
    },
    Test {
        name: "everyday::stays::what_others_have_open_is_named_and_left_alone",
        seconds: 120,
        body: below::open_elsewhere,
    },
    Test {
        name: "everyday::stays::a_mount_that_cannot_store_everything_stays",
        seconds: 120,
        body: mounts::unmount_refused,
    },
    Test {
        name: "everyday::stays::what_is_written_to_a_mapping_is_no_hole",
        seconds: 120,
        body: attributes::mapped,
    },
    Test {
        name: "everyday::stays::files_that_even_their_owner_may_not_read_are_compressed_by_users_mounts",
        seconds: 120,
        body: attributes::mode_000,
    },
    Test {
        name: "everyday::stays::paths_of_any_bytes_are_mounted_and_asked",
        seconds: 120,
        body: attributes::any_bytes,
    },
    Test {
        name: "everyday::stays::several_file_systems_stacked_below_are_compressed",
        seconds: 120,
        body: below::stacked_below,
    },
    Test {
        name: "everyday::stays::times_of_access_follow_the_options_below",
        seconds: 180,
        body: times::access_options,
    },
    Test {
        name: "everyday::stays::a_full_store_can_be_made_smaller",
        seconds: 120,
        body: mounts::full_store,
    },
    Test {
        name: "everyday::stays::files_grow_as_far_as_below_and_no_further",
        seconds: 60,
        body: attributes::longest,
    },
    Test {
        name: "everyday::stays::a_mount_is_made_read_only_and_back_under_those_who_use_it",
        seconds: 60,
        body: mounts::remount,
    },
];

const LINE: &[u8] = b"a line that is long enough to be worth compressing, again and again\n";

fn text(lines: usize) -> Vec<u8> {
    LINE.repeat(lines)
}

fn is_smaller(mount: &Mount, name: &str) -> bool {
    let meta = std::fs::metadata(mount.path(name)).expect("stat");
    meta.blocks() * 512 < meta.len()
}

/// Something mounted, until it is dropped.
pub(super) struct Unmounted(pub(super) std::path::PathBuf);

impl Drop for Unmounted {
    fn drop(&mut self) {
        let _ = Run::new("umount").arg("-l").arg(&self.0).done();
    }
}
