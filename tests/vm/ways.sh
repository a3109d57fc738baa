# shellcheck shell=bash
# Attempts to get around rules by what surrounds an object. Sourced by attempts.sh.

# Ways around rules that are not about the object itself: names above it, other programs under the name of one
# that may, what a denied call leaves behind, the loader.
prepare_ways() {
    mkdir -p $arena/top/deep/kept $arena/shut $arena/bin $arena/away/inner
    chmod 755 $arena
    chmod 777 $arena/top $arena/top/deep $arena/top/deep/kept $arena/shut $arena/away
    echo secret-key > $arena/top/deep/kept/key
    cp "$(readlink -f "$(command -v cat)")" $arena/bin/archiver
    cp /bin/true $arena/shut/program
    cat > $arena/ways.policy <<EOF
deny read-data "$arena/top/deep/kept/**" unless exe "$arena/bin/archiver"
deny exec "$arena/shut/program"
deny write-data "$arena/shut/*"
deny read-data "$arena/btrfs2/kept/**"
deny read-data "$arena/lower/key" unless user root
EOF
    image $arena/btrfs2 mkfs.btrfs 120M
    mkdir -p $arena/btrfs2/kept $arena/lower $arena/upper $arena/work $arena/over
    echo secret-key | tee $arena/btrfs2/kept/key > $arena/lower/key
    mount -t overlay none -o lowerdir=$arena/lower,upperdir=$arena/upper,workdir=$arena/work $arena/over
}

key=$arena/top/deep/kept/key

# Its files are others, on other paths.
snapshot() {
    ! cat $arena/btrfs2/kept/key && btrfs subvolume snapshot $arena/btrfs2 $arena/btrfs2/later &&
        grep -q secret $arena/btrfs2/later/kept/key
}

# Other programs as the one that may, what it opens, and the file from nowhere.
disguises() {
    prevents executable_set_by_prctl "$programs/forged" $arena/bin/archiver $key
    prevents executable_set_in_a_user_namespace in_user_namespace "$programs/forged" $arena/bin/archiver $key
    python_refused copy_of_the_program_in_memory run_copy "$arena/bin/archiver:$key"
    python_refused mount_without_a_place detached_mount $key
    python_refused descriptor_of_a_watcher watched $key
}

ways() {
    local whom
    for whom in "" as_user; do
        as=$whom refuses "rename_of_the_parent $whom" helper rename "$arena/top/deep:$arena/top/d2"
        prevents "content_after_it $whom" $whom cat $arena/top/d2/kept/key $key
        refuses "open_that_creates $whom" $whom bash -c "echo x > $arena/shut/new"
        prevents "what_it_leaves $whom" bash -c "[ ! -e $arena/shut/new ] || echo secret"
    done
    refuses rename_of_the_grandparent helper rename "$arena/top:$arena/top2"
    refuses rename_into_another_directory helper rename "$arena/top:$arena/away/top"
    refuses rename_of_the_parent_by_exchange helper exchange_names "$arena/top/deep:$arena/away"
    refuses rename_of_the_parent_by_io_uring helper uring_rename "$arena/top/deep:$arena/top/d2"
    refuses rename_onto_a_name_that_leads_on bash -c "mkdir $arena/top/free && mv -T $arena/top/free $arena/top/deep"
    prevents program_of_another_name cat $key
    prevents copy_of_the_program bash -c "cp $arena/bin/archiver $arena/copy-of-it; $arena/copy-of-it $key"
    prevents program_bound_over_the_one_that_may unshare -m bash -c \
        "mount --bind /bin/cat $arena/bin/archiver && $arena/bin/archiver $key"
    prevents directory_bound_over_its_own unshare -m bash -c \
        "mkdir -p $arena/fake; cp /bin/cat $arena/fake/archiver; mount --bind $arena/fake $arena/bin && $arena/bin/archiver $key"
    prevents tmpfs_over_its_directory unshare -m bash -c \
        "cp /bin/cat $arena/away/archiver; mount -t tmpfs none $arena/bin && cp $arena/away/archiver $arena/bin && $arena/bin/archiver $key"
    prevents overlay_over_its_directory unshare -m bash -c \
        "mkdir -p /run/u2 /run/w2; cp /bin/cat /run/u2/archiver; mount -t overlay o -o lowerdir=$arena/bin,upperdir=/run/u2,workdir=/run/w2 $arena/bin && $arena/bin/archiver $key"
    prevents bound_in_a_user_namespace in_user_namespace bash -c \
        "mount --bind /bin/cat $arena/bin/archiver && $arena/bin/archiver $key"
    disguises
    refuses exec_of_the_program $arena/shut/program
    refuses exec_by_the_loader /lib64/ld-linux-x86-64.so.2 $arena/shut/program
    refuses mapped_for_execution helper map_to_execute $arena/shut/program
    refuses made_executable_later helper protect_to_execute $arena/shut/program
    refuses below_an_overlay as_user cat $arena/lower/key
}

test_ways() {
    prepare_ways
    "$hsci" policy load $arena/ways.policy || exit 1
    ways
    gets the_program_that_may $arena/bin/archiver $key
    gets rename_that_leads_nowhere mv $arena/away/inner $arena/away/outer
    # What a program may read it can run as its own.
    gets copy_of_a_program_that_may_not_run bash -c "cp $arena/shut/program $arena/away/copy && $arena/away/copy"
    gets snapshot_of_a_subvolume snapshot
    gets overlay_of_root as_user cat $arena/over/key
    unloads ways
    control=1
    disguises
}
