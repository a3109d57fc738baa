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
EOF
}

key=$arena/top/deep/kept/key

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
    refuses exec_of_the_program $arena/shut/program
    refuses exec_by_the_loader /lib64/ld-linux-x86-64.so.2 $arena/shut/program
    refuses mapped_for_execution helper map_to_execute $arena/shut/program
    refuses made_executable_later helper protect_to_execute $arena/shut/program
}

test_ways() {
    prepare_ways
    "$hsci" policy load $arena/ways.policy || exit 1
    ways
    gets the_program_that_may $arena/bin/archiver $key
    gets rename_that_leads_nowhere mv $arena/away/inner $arena/away/outer
    unloads ways
}
