"""System calls that no shell has. Exit code: 0 if the content was reached, 13 if refused."""
import array, ctypes, mmap, os, socket, struct, sys

libc = ctypes.CDLL(None, use_errno=True)
SECRET = b"secret"


def done(data):
    sys.exit(0 if SECRET in data else 1)


def refused(error):
    print(f"refused: {error}")
    sys.exit(13)


def syscall(number, *arguments):
    result = libc.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def o_path(path):
    at = os.open(path, os.O_PATH)
    done(os.read(os.open(f"/proc/self/fd/{at}", os.O_RDONLY), 100))


def by_handle(path):
    handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 136)
    mount = ctypes.c_int()
    syscall(303, -100, path.encode(), handle, ctypes.byref(mount), 0)
    place = os.open(os.path.dirname(path), os.O_PATH)
    root = os.open("/run/arena", os.O_RDONLY)
    os.close(place)
    done(os.read(syscall(304, root, handle, os.O_RDONLY), 100))


def openat2(path):
    how = struct.pack("QQQ", os.O_RDONLY, 0, 0)
    done(os.read(syscall(437, -100, path.encode(), how, len(how)), 100))


def relative(path):
    os.chdir(os.path.dirname(path))
    done(open(os.path.basename(path), "rb").read())


def chroot(path):
    os.chroot(os.path.dirname(path))
    done(open("/" + os.path.basename(path), "rb").read())


def mapped(path):
    at = os.open(path, os.O_RDONLY)
    done(mmap.mmap(at, 0, prot=mmap.PROT_READ)[:])


def passed(path):
    """A descriptor opened by a program that may, received by one that may not."""
    os.environ["RECEIVER"] = sys.executable
    os.execv("/run/arena/trusted", ["trusted", __file__, "passing", path])


def passing(path):
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        theirs.set_inheritable(True)
        receiver = os.environ["RECEIVER"]
        os.execv(receiver, [receiver, __file__, "receiving", str(theirs.fileno())])
    at = os.open(path, os.O_RDONLY)
    ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [at]))])
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def receiving(number):
    got = socket.socket(fileno=int(number)).recvmsg(1, socket.CMSG_LEN(4))[1]
    if not got:
        sys.exit(13)
    done(os.read(array.array("i", got[0][2])[0], 100))


def sendfile(path):
    at = os.open(path, os.O_RDONLY)
    out = os.memfd_create("out")
    os.sendfile(out, at, 0, 100)
    done(os.pread(out, 100, 0))


def splice(path):
    at = os.open(path, os.O_RDONLY)
    read, write = os.pipe()
    os.splice(at, write, 100)
    done(os.read(read, 100))


def long_path(path):
    """By a path of 4,095 bytes."""
    name = os.path.basename(path)
    start = os.path.dirname(path)
    path = start + "/." * ((4094 - len(start) - len(name)) // 2) + "/" + name
    done(open(path, "rb").read())


def rename(paths):
    os.rename(*paths.split(":"))


def dig(path):
    """Makes 300 directories, each in the one before."""
    os.chdir(path)
    for _ in range(300):
        os.mkdir("d" * 50)
        os.chdir("d" * 50)
    with open("lowest", "wb") as file:
        file.write(SECRET)


def deep(path):
    """The lowest of 300 directories, reached name by name."""
    os.chdir(path)
    for _ in range(300):
        os.chdir("d" * 50)
    done(open("lowest", "rb").read())


def exchange(path):
    """Swaps the file with one that everybody may read, and reads that name."""
    other = "/run/arena/other"
    syscall(316, -100, path.encode(), -100, other.encode(), 2)
    done(open(other, "rb").read())


def race(path):
    """A second thread changes what a symbolic link leads to, again and again."""
    import threading
    link, stop = "/run/arena/swapped", threading.Event()

    def swap():
        turn = 0
        while not stop.is_set():
            turn += 1
            os.symlink(path if turn % 2 else "/run/arena/other", link + ".new")
            os.rename(link + ".new", link)

    thread = threading.Thread(target=swap)
    thread.start()
    found = b""
    for _ in range(300):
        try:
            found += open(link, "rb").read()
        except OSError:
            pass
    stop.set()
    thread.join()
    sys.exit(0 if SECRET in found else 13)


def unlinked(path):
    """Reads through a descriptor of a path that is removed meanwhile."""
    at = os.open(path, os.O_PATH)
    try:
        os.unlink(path)
    except OSError:
        pass
    done(os.read(os.open(f"/proc/self/fd/{at}", os.O_RDONLY), 100))


def execveat(path):
    at = os.open(path, os.O_PATH)
    pid = os.fork()
    if pid == 0:
        try:
            environment = (ctypes.c_char_p * 1)(None)
            arguments = (ctypes.c_char_p * 2)(b"x", None)
            syscall(322, at, b"", arguments, environment, 0x1000)
        except OSError:
            os._exit(13)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def tmpfile(path):
    """A file without a name gets one among protected ones."""
    at = os.open("/run/arena", os.O_TMPFILE | os.O_RDWR)
    if libc.linkat(-100, f"/proc/self/fd/{at}".encode(), -100, f"{path}.new".encode(), 0x400):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def other_thread(path):
    import threading
    found = []

    def read():
        try:
            found.append(open(path, "rb").read())
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    if isinstance(found[0], OSError):
        raise found[0]
    done(found[0])


def renamed_process(path):
    open("/proc/self/comm", "w").write("trusted")
    libc.prctl(15, b"trusted", 0, 0, 0)
    done(open(path, "rb").read())


def write_open(path):
    os.write(os.open(path, os.O_WRONLY), b"x")


def truncate(path):
    os.truncate(path, 0)


if __name__ == "__main__":
    try:
        globals()[sys.argv[1]](sys.argv[2])
    except OSError as error:
        refused(error)
