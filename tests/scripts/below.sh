#!/usr/bin/env bash
# Everything of files stays, whatever file system is below: what programs copy into a mount is beside the same on a
# plain directory, byte by byte, with every attribute and time.
#
# below.sh tree|debian HSCI DIR KIND: prints DONE, or SKIP and why. In namespaces of its own (mounts, processes,
# network), which end with everything in them. For `debian`, DIR/debs.tgz is what `debootstrap --make-tarball` has made.
set -euo pipefail

work=$1 hsci=$2 dir=$3 kind=$4
disk=$dir/disk store=$dir/disk/store shown=$dir/shown plain=$dir/plain

skip() { echo "SKIP $*"; exit 0; }

# A file system on a file: MOUNT-OPTIONS MKFS...
on_loop() {
    local size=1500M options=$1
    shift
    [ "$work" = tree ] || size=6G
    command -v "$1" > /dev/null || skip "no $1"
    truncate -s $size "$dir/image"
    "$@" "$dir/image" > /dev/null
    mount -o "loop$options" "$dir/image" "$disk" || skip "no $kind can be mounted"
}

on_glusterfs() {
    local place
    command -v glusterd > /dev/null || skip "no glusterd"
    ip link set lo up
    ip addr add 10.77.0.1/32 dev lo
    mkdir -p /var/lib/glusterd /var/log/glusterfs "$dir/brick"
    for place in /run /var/lib/glusterd /var/log/glusterfs; do mount -t tmpfs -o mode=755 tmpfs $place; done
    mkdir /run/hsci /run/gluster
    glusterd -N -l /var/log/glusterfs/glusterd.log --pid-file=/run/gluster/glusterd.pid &
    for _ in $(seq 150); do gluster --mode=script peer status > /dev/null 2>&1 && break; sleep 0.2; done
    {
        gluster --mode=script volume create vol "10.77.0.1:$dir/brick/vol" force
        gluster --mode=script volume start vol
    } > /dev/null || skip "no volume of GlusterFS"
    # Mount(8) has no word for capabilities.
    glusterfs --acl --capability --volfile-server=10.77.0.1 --volfile-id=/vol "$disk" || skip "no client of GlusterFS"
}

mount_below() {
    export PATH=$PATH:/usr/sbin:/sbin
    mkdir -p "$disk" "$shown" "$plain"
    case $kind in
        ext4) on_loop "" mkfs.ext4 -q ;;
        xfs) on_loop "" mkfs.xfs -q ;;
        btrfs) on_loop "" mkfs.btrfs -q ;;
        tmpfs) mount -t tmpfs tmpfs "$disk" ;;
        overlay)
            mkdir "$dir"/{under,upper,work}
            mount -t overlay -o "lowerdir=$dir/under,upperdir=$dir/upper,workdir=$dir/work" overlay "$disk" \
                || skip "no overlay on this file system" ;;
        glusterfs) on_glusterfs ;;
    esac
    mkdir "$store"
}

# What programs can see of a tree.
list() {
    (
        cd "$1"
        find . -printf '%p %y %m %U:%G %n %T@ %l\n' | sed -E 's/^(.* d [0-7]+ [0-9:]+) [0-9]+/\1 -/' | LC_ALL=C sort > "$2.times"
        find . -type f -printf '%p %s\n' | LC_ALL=C sort > "$2.sizes"
        find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum > "$2.sums"
        getfattr -R -P -h -d -m - -e hex . 2> /dev/null | grep -v '^trusted\.\(gfid\|glusterfs\|overlay\|SGI_ACL\)' \
            | awk '/^# file: / { file = $0; next } NF { print file, $0 }' | LC_ALL=C sort > "$2.xattrs"
    )
}

same() {
    local what
    for what in sizes sums xattrs times; do
        diff "$1.$what" "$2.$what" > "$dir/differs" \
            || { echo "$kind: $what of $2${3-} differ from those of $1:"; head -20 "$dir/differs"; exit 1; }
    done
}

# Files of all kinds, with all that files have beside their content.
make_tree() {
    local tree=$1 name
    mkdir -p "$tree/sub/deep" "$tree/listed"
    seq 40000 > "$tree/ping"
    cp "$tree/ping" "$tree/run-as" && cp "$tree/ping" "$tree/secret" && cp "$tree/ping" "$tree/early"
    seq 300 > "$tree/sub/short"
    truncate -s 30M "$tree/sub/sparse"
    seq 20000 | dd of="$tree/sub/sparse" bs=1M seek=15 conv=notrunc status=none
    head -c 200000 /dev/urandom > "$tree/sub/noise"
    ln "$tree/ping" "$tree/sub/deep/other-name"
    ln -s ../ping "$tree/sub/link"
    mkfifo "$tree/sub/fifo"
    chown 1:65534 "$tree/run-as" "$tree/sub/link" -h
    chmod 4755 "$tree/run-as"
    chmod 0 "$tree/secret"
    setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 "$tree/ping"
    for name in one two three; do setfattr -n "user.$name" -v "value of $name" "$tree/run-as" "$tree/sub"; done
    setfattr -n trusted.mine -v "$(head -c 600 /dev/zero | tr '\0' x)" "$tree/early"
    setfacl -m u:1:rw,g:65534:r "$tree/early"
    setfacl -d -m u:1:rwx "$tree/listed"
    touch -d '2010-10-10 10:10:10.1' "$tree/sub/fifo"
    touch -h -d '2001-02-03 04:05:06.123456789' "$tree/sub/link"
    touch -d '1969-12-31 23:59:59.250 UTC' "$tree/early"
    touch -d '2020-02-02 02:02:02.000000001' "$tree/ping"
    touch -d '2011-11-11 11:11:11.5' "$tree/sub/deep" "$tree/sub" "$tree/listed" "$tree"
}

# What is written to a mapping is in a copy that another program makes meanwhile, and in the file when all is over.
MAPPED='
import mmap, os, subprocess, sys
path, copy = sys.argv[1:]
size, page = 8 << 20, 4096
with open(path, "wb") as new: new.truncate(size)
with open(path, "r+b") as data, mmap.mmap(data.fileno(), size) as seen:
    wanted = bytearray(size)
    for turn in range(6):
        for at in range(turn * page, size, 37 * page):
            seen[at:at + 64] = wanted[at:at + 64] = b"%063d\n" % (turn * at)
        if turn == 3: seen.flush()
        subprocess.run(["cp", "--sparse=auto", path, copy], check=True)
        with open(copy, "rb") as other:
            if other.read() != wanted: sys.exit("the copy of turn %d differs" % turn)
with open(path, "rb") as data:
    if data.read() != wanted: sys.exit("the file differs")
'

# LMDB with a writable mapping: after each transaction, nothing of it synced, a copy has it whole.
LMDB='
import lmdb, os, shutil, subprocess, sys
path, copy = sys.argv[1:]
env = lmdb.open(path, map_size=64 << 20, writemap=True, sync=False, metasync=False, map_async=True)
wanted = {}
for turn in range(30):
    with env.begin(write=True) as put:
        for number in range(300):
            key, value = b"%d" % (number * 7919 % 5000), b"value %d of turn %d" % (number, turn) * 9
            put.put(key, value)
            wanted[key] = value
    shutil.rmtree(copy, ignore_errors=True)
    os.mkdir(copy)
    subprocess.run(["cp", path + "/data.mdb", copy], check=True)
    with lmdb.open(copy, readonly=True, lock=False) as other, other.begin() as get:
        if dict(get.cursor()) != wanted: sys.exit("the copy of turn %d differs" % turn)
'

# Who has a file open that has lost its name goes on with it, also beyond the death of a worker.
UNLINKED='
import os, re, signal, subprocess, sys
hsci, shown = sys.argv[1:]
line = b"%015d\n"
def content(count): return b"".join(line % number for number in range(count))
def opened(name, count):
    with open(name, "wb") as new: new.write(content(count))
    return name
def status(word): return int(re.search(word + r".: *(\d+)", subprocess.check_output([hsci, "status", "--json", shown], text=True))[1])
names = [opened("%s/gone-%s" % (shown, which), 5000) for which in ("sealed", "raw", "replaced", "read")]
subprocess.run([hsci, "settle", shown], check=True)
opened(names[1], 5000)
files = {name: os.open(name, os.O_RDWR | os.O_APPEND) for name in names}
for name in names[:2] + names[3:]: os.unlink(name)
os.rename(opened(shown + "/other", 9), names[2])
def use(number):
    for name, file in files.items():
        if "read" not in name: os.write(file, line % number)
        wanted = content(5000 if "read" in name else number + 1)
        if os.pread(file, 1 << 20, 0) != wanted or os.fstat(file).st_size != len(wanted): sys.exit(name + " differs")
        os.fsync(file)
use(5000)
worker = status("worker_pid")
os.kill(worker, signal.SIGKILL)
use(5001)
if status("worker_pid") == worker: sys.exit("the worker is the one that was killed")
for file in files.values(): os.ftruncate(file, 16)
if any(os.pread(file, 99, 0) != line % 0 for file in files.values()): sys.exit("they are not shorter")
'

serve() { "$hsci" mount "$@" "$store" "$shown"; }
again() { "$hsci" unmount "$shown"; serve "$@"; }

copy_tree() {
    make_tree "$plain/tree"
    list "$plain/tree" "$dir/wanted"
    serve -o settle=1h,commit=1
    mkdir "$shown"/{by-cp,by-tar,by-rsync}
    cp -a "$plain/tree" "$shown/by-cp/"
    tar -C "$plain" --xattrs --xattrs-include='*' --acls -cf - tree \
        | tar -C "$shown/by-tar" --xattrs --xattrs-include='*' --acls -xpf -
    rsync -aHAXS "$plain/tree" "$shown/by-rsync/"
    /usr/bin/python3 -c "$MAPPED" "$shown/mapped" "$dir/copy"
    /usr/bin/python3 -c "$UNLINKED" "$hsci" "$shown"
    look() {
        local by
        for by in cp tar rsync; do
            list "$shown/by-$by/tree" "$dir/found"
            same "$dir/wanted" "$dir/found" " (copied by $by)"
        done
        cmp "$dir/copy" "$shown/mapped"
    }
    look
    "$hsci" settle "$shown"
    look
    again -o settle=1h
    look
    [ "$(stat -c %b "$shown/by-cp/tree/ping")" -lt 300 ] || { echo "$kind: nothing is compressed"; exit 1; }
}

# A system of Debian's, with a program that has file capabilities.
install_debian() {
    local root=$1
    debootstrap --variant=minbase --unpack-tarball="$dir/debs.tgz" --include=iputils-ping,libcap2-bin bookworm "$root" \
        > "$dir/debootstrap.log" 2>&1 || { tail -n 5 "$dir/debootstrap.log" "$root/debootstrap/debootstrap.log"; exit 1; }
    # Once more by apt-get, in there: what it replaces has been compressed.
    mkdir "$root/debs"
    tar -xf "$dir/debs.tgz" -C "$root/debs" --transform 's,.*/,,' --wildcards '*/iputils-ping_*.deb'
    chroot "$root" apt-get remove -qq -y iputils-ping > "$dir/apt.log" 2>&1
    chroot "$root" bash -c "apt-get -qq -y --no-download install /debs/*.deb" >> "$dir/apt.log" 2>&1 \
        || { tail -5 "$dir/apt.log"; exit 1; }
    rm -rf "$root/debs"
}

# What does not depend on when it was made, or by which kernel's inode numbers.
list_debian() {
    list "$1" "$2"
    # Times of what came out of packages are the packages'.
    awk -v begun="$begun" '$6 < begun || $2 == "l"' "$2.times" | grep -vE '^\./(proc|sys|dev|run)/' > "$2.old" || true
    sed -E 's/ [0-9.]+ ([^ ]*)$/ \1/' "$2.times" \
        | grep -vE '^\./(proc|sys|dev|run)/' > "$2.times.new"
    awk '$2 != "l"' "$2.old" > "$2.times"
    cat "$2.times.new" >> "$2.times"
    local what
    for what in sizes sums; do
        grep -vE '\./(var/(log|cache)/|etc/(shadow|machine-id)|debootstrap/|var/lib/(apt|dpkg)/)' "$2.$what" > "$2.kept" || true
        mv "$2.kept" "$2.$what"
    done
}

debian() {
    begun=$(date +%s)
    install_debian "$plain/root"
    list_debian "$plain/root" "$dir/wanted"
    grep -q security.capability "$dir/wanted.xattrs" || skip "no capability on a plain directory"
    serve -o settle=1,commit=1
    install_debian "$shown/root"
    list "$shown/root" "$dir/before"
    list_debian "$shown/root" "$dir/found"
    same "$dir/wanted" "$dir/found"
    "$hsci" settle "$shown"
    again -o settle=1h
    list "$shown/root" "$dir/after"
    same "$dir/before" "$dir/after"
    chroot "$shown/root" getcap /bin/ping /usr/bin/ping
    /usr/bin/python3 -c "$LMDB" "$shown/lmdb" "$dir/lmdb-copy"
    "$hsci" settle "$shown"
    again -o settle=1h
    /usr/bin/python3 -c 'import lmdb, sys
a, b = (lmdb.open(path, readonly=True, lock=False).begin() for path in sys.argv[1:])
sys.exit(dict(a.cursor()) != dict(b.cursor()))' "$shown/lmdb" "$dir/lmdb-copy"
    echo "$kind: $(wc -l < "$dir/before.sizes") files, $(wc -l < "$dir/wanted.xattrs") with attributes;" \
        "$(du -s --apparent-size -BM "$store" | cut -f1) stored $(du -s -BM --exclude=.hsci "$shown" | cut -f1), plain $(du -s -BM "$plain" | cut -f1)"
}

# Mounts of other tests, which these copies would keep busy.
leave_others() {
    local at
    awk '/ - fuse\.hsci / || $5 ~ /\/hsci-[0-9]/ { print $5 }' /proc/self/mountinfo | tac | while read -r at; do
        umount -l "$at" 2> /dev/null || true
    done
}

leave_others
mount_below
case $work in
    tree) copy_tree ;;
    debian) debian ;;
esac
"$hsci" unmount "$shown"
"$hsci" check "$store"
umount "$disk"
echo DONE
