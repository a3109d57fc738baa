# shellcheck shell=bash
# Lower directories that ignore the case of names, by file systems that the machine's own kernel has. Sourced by attempts.sh.

# Its lookup must fail as that of what is not served: DIRECTORY NAME
not_served() {
    local said
    said=$(stat "$1/$2" 2>&1 >&-) && return 1
    [[ $said == *"not supported"* ]]
}

refused_for_case() {
    local said code=0
    said=$("$hsci" mount --extension nullfs "$1" "$mnt" 2>&1) || code=$?
    echo "$said"
    [ $code = 3 ] && [[ $said == *"ignores the case"* ]]
}

test_case() {
    local disk=$arena/folding lower
    restore=true
    modprobe loop
    mkdir -p "$mnt" "$disk"
    truncate -s 64M "$disk.image"
    mkfs.ext4 -q -O casefold "$disk.image"
    mount -o loop "$disk.image" "$disk"
    mkdir -p "$disk/plain/sub" "$disk/folds"
    echo secret > "$disk/plain/sub/file"
    chattr +F "$disk/folds"
    gets empty_one_is_refused refused_for_case "$disk/folds"
    verdict nothing_is_left_in_it "$(find "$disk/folds" -mindepth 1 | wc -l)" "something"
    mkdir "$disk/folds/.hsci"
    gets one_with_files_is_refused refused_for_case "$disk/folds"
    lower=$disk/plain
    gets mount_where_others_may_fold "$hsci" mount --extension nullfs "$lower" "$mnt"
    mkdir "$lower/folds" && chattr +F "$lower/folds" && mkdir "$lower/folds/Below"
    gets plain_ones_are_served grep -q secret "$mnt/sub/file"
    gets plain_ones_are_made mkdir "$mnt/made"
    gets one_below_is_not_served not_served "$mnt" folds
    gets nor_what_is_in_it not_served "$mnt" folds/below
    gets it_is_listed bash -c "ls '$mnt' | grep -qx folds"
    gets next_worker "$hsci" upgrade "$mnt"
    gets one_below_is_not_served_by_the_next not_served "$mnt" folds
    gets unmount_of_case "$hsci" unmount "$mnt"
    umount "$disk"
}
