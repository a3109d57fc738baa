/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/* The guard: judges calls before the kernel acts, whether a cache or a host would serve them. */
#include "memory.h"
#include "process.h"
#include "protect.h"

#define EXDEV 18
#define ENOTTY 25

#define TCGETS 0x5401u
#define TCGETS2 0x802c542au
#define FUSE_MAGIC 0x65735546ul

#define FMODE_READ 0x1u
#define FMODE_WRITE 0x2u
#define FMODE_EXEC 0x20u
#define PROT_WRITE 0x2u
#define PROT_EXEC 0x4u
#define MAP_SHARED 0x1u

#define S_IFMT 0170000u
#define S_IFDIR 0040000u

#define ATTR_MODE 0x1u
#define ATTR_UID 0x2u
#define ATTR_GID 0x4u
#define ATTR_SIZE 0x8u
#define ATTR_TIMES 0x1f0u

/* One call, as a hook describes it. */
struct call {
	const struct hsci_tables *tables;
	struct hsci_guard *guard;
	const struct dentry *dentry;
	struct hsci_asked asked;
	/* The object's label. */
	__u32 state;
	__u32 fence;
	/* The caller's place in the memory; HSCI_NONE if no rule asks for any. */
	__u32 place;
	__u32 operations;
	int result;
};

/* The number in tables of a type of file. */
static __always_inline __u32 type_of(__u32 mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return HSCI_TYPE_DIRECTORY;
	case 0120000:
		return HSCI_TYPE_SYMLINK;
	case 0010000:
		return HSCI_TYPE_FIFO;
	case 0140000:
		return HSCI_TYPE_SOCKET;
	case 0020000:
		return HSCI_TYPE_CHAR_DEVICE;
	case 0060000:
		return HSCI_TYPE_BLOCK_DEVICE;
	default:
		return HSCI_TYPE_FILE;
	}
}

static __always_inline int refuse(struct call *call, int error)
{
	return call->guard->permissive ? 0 : -error;
}

static __noinline int undecidable(struct call *call)
{
	__sync_fetch_and_add(&call->guard->undecidable, 1);
	hsci_report(call->guard, call->dentry, call->tables->sections.generation, HSCI_NONE,
		    HSCI_NONE, EACCES, HSCI_UNDECIDABLE);
	return refuse(call, EACCES);
}

struct mark_hits {
	const struct hsci_tables *tables;
	__u32 first;
	__u32 reserved;
};

static long hit_mark_rule(__u32 index, struct mark_hits *hits)
{
	hsci_hit(hsci_record(hits->tables, hits->tables->sections.mark_rules +
			     2 * (hits->first + index), 2)[1]);
	return 0;
}

/*
 * A call goes on: what it does to the marks of its process. A program that is opened to be executed does not run
 * yet, and may never: it takes no mark before it does.
 */
static __noinline int remember(struct call *call, __u32 effect)
{
	const struct hsci_tables *tables = call->tables;
	struct hsci_memory *memory = hsci_memory();
	struct mark_hits hits = { .tables = tables };
	const __u32 *record;

	if (!memory || !effect || call->place == HSCI_NONE)
		return 0;
	hsci_remember(tables, memory, call->place, effect,
		      (1u << (call->asked.operation & 31)) != HSCI_DO_EXEC);
	record = hsci_record(tables, tables->sections.effects + 8 * effect, 8);
	hits.first = record[4];
	bpf_loop(record[5] & (2 * HSCI_MAX_MARKS - 1), hit_mark_rule, &hits, 0);
	return 0;
}

static __always_inline __u32 count(struct call *call)
{
	struct hsci_memory *memory = hsci_memory();

	if (!memory)
		return HSCI_FORGOTTEN;
	return hsci_count(call->tables, memory, call->place, &call->asked, bpf_ktime_get_boot_ns());
}

/* Judges the operation of one bit. Stops at the first that fails. */
static long judge_operation(__u32 operation, struct call *call)
{
	__u32 generation = call->tables->sections.generation;
	struct hsci_verdict verdict = {};
	__u32 status = 0;

	if (!(call->operations >> (operation & 31) & 1))
		return 0;
	call->asked.operation = operation;
	if (call->place != HSCI_NONE)
		status = count(call);
	hsci_judge(call->tables, &call->asked, &verdict);
	if (verdict.status || status) {
		call->result = undecidable(call);
		return 1;
	}
	if (verdict.target < HSCI_TARGETS)
		__sync_fetch_and_add(&call->guard->targets[verdict.target], 1);
	if (verdict.rule != HSCI_NONE)
		hsci_hit(verdict.rule);
	if (verdict.audit) {
		hsci_hit(verdict.audit - 1);
		hsci_report(call->guard, call->dentry, generation, operation, verdict.audit - 1,
			    verdict.errno, HSCI_AUDITED);
	}
	if (!verdict.errno) {
		remember(call, verdict.effect);
		return 0;
	}
	__sync_fetch_and_add(&call->guard->denied, 1);
	if (call->guard->permissive)
		remember(call, verdict.effect);
	hsci_report(call->guard, call->dentry, generation, operation, verdict.rule, verdict.errno,
		    call->guard->permissive ? HSCI_WOULD_DENY : HSCI_DENIED);
	call->result = refuse(call, verdict.errno);
	return 1;
}

/* Judges a call whose label is known. */
static __noinline int judge_labelled(struct call *call)
{
	if (call->fence) {
		/* Rules are for those who come by the mount. */
		if (hsci_may_pass(call->guard, call->fence))
			return 0;
		__sync_fetch_and_add(&call->guard->fenced, 1);
		hsci_report(call->guard, call->dentry, call->tables->sections.generation, HSCI_NONE,
			    HSCI_NONE, EPERM, HSCI_FENCED);
		return refuse(call, EPERM);
	}
	call->asked.class = hsci_class(call->tables, call->state);
	if (!call->asked.class)
		return 0;
	__sync_fetch_and_add(&call->guard->judged, 1);
	if (!hsci_classify(call->tables, &call->asked.subject))
		return undecidable(call);
	call->place = HSCI_NONE;
	if (call->tables->roots.remembers) {
		struct hsci_memory *memory = hsci_memory();

		if (memory)
			call->place = hsci_calling_process(
				memory, hsci_process_key(bpf_get_current_task_btf()));
		if (call->place == HSCI_NONE)
			return undecidable(call);
	}
	bpf_loop(HSCI_OPERATIONS, judge_operation, call, 0);
	return call->result;
}

/* False without a policy: then there is nothing to judge. */
static __always_inline bool begin(struct call *call)
{
	call->guard = hsci_guard();
	call->tables = hsci_begin();
	return call->guard && call->tables;
}

static __always_inline void take_facts(struct call *call, const struct inode *inode)
{
	__u32 mode = BPF_CORE_READ(inode, i_mode);

	call->asked.facts.are_known = 1;
	call->asked.facts.file_type = type_of(mode);
	call->asked.facts.mode = mode & 07777;
	call->asked.facts.owner = BPF_CORE_READ(inode, i_uid.val);
	call->asked.facts.size = BPF_CORE_READ(inode, i_size);
}

/* What is looked up of an object before there is a call to judge. */
struct object {
	const struct hsci_tables *tables;
	struct hsci_guard *guard;
	const struct dentry *dentry;
	__u32 state;
	__u32 fence;
	bool is_known;
};

/*
 * Looks up what `dentry` names; `inode` is its inode where the verifier trusts it. False if that is no rule's
 * business, as most objects are.
 */
static __always_inline bool concerns(struct object *object, const struct dentry *dentry,
				     struct inode *inode)
{
	struct hsci_label label = {};

	object->guard = hsci_guard();
	object->tables = hsci_begin();
	if (!object->guard || !object->tables)
		return false;
	object->dentry = dentry;
	object->is_known = hsci_label_of(object->tables, object->guard, dentry, inode, &label);
	object->state = label.state;
	object->fence = label.fence;
	/* A host may reach what is in its store by handles. */
	return object->is_known ? label.state || label.fence : !hsci_own_fence();
}

/* Judges a call on an object; the facts of `known` are those of the kernel. */
static __always_inline int judge(struct call *call, const struct object *object,
				 const struct inode *known, __u32 operations)
{
	call->tables = object->tables;
	call->guard = object->guard;
	call->dentry = object->dentry;
	call->state = object->state;
	call->fence = object->fence;
	call->operations = operations;
	if (!object->is_known)
		return undecidable(call);
	if (known)
		take_facts(call, known);
	return judge_labelled(call);
}

/* An object that is there. */
static __always_inline int judge_object(const struct dentry *dentry, struct inode *inode,
					__u32 operations)
{
	struct object object;

	if (!concerns(&object, dentry, inode))
		return 0;
	{
		struct call call = {};

		return judge(&call, &object, dentry->d_inode, operations);
	}
}

/* An object that is about to be made. */
static __always_inline int judge_new(const struct dentry *dentry, __u32 mode, __u32 operation)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct object object;

	if (!concerns(&object, dentry, NULL))
		return 0;
	{
		struct call call = {};

		call.asked.facts.are_known = 1;
		call.asked.facts.file_type = type_of(mode);
		call.asked.facts.owner = BPF_CORE_READ(task, cred, fsuid.val);
		return judge(&call, &object, NULL, operation);
	}
}

/* The flag of tables if all bits of the kernel's are set. */
#define FLAG(flags, name) (((flags) & HSCI_O_##name) == HSCI_O_##name ? HSCI_FLAG_##name : 0)

static __always_inline __u32 open_flags(__u32 flags, __u32 mode)
{
	return (mode & FMODE_READ ? HSCI_FLAG_READ : 0) | (mode & FMODE_WRITE ? HSCI_FLAG_WRITE : 0) |
	       FLAG(flags, APPEND) | FLAG(flags, TRUNCATE) | FLAG(flags, CREATE) |
	       FLAG(flags, EXCLUSIVE) | FLAG(flags, DIRECT) | FLAG(flags, SYNC) |
	       FLAG(flags, NOFOLLOW) | FLAG(flags, PATH) | FLAG(flags, TMPFILE);
}

static __always_inline int judge_file(struct file *file, __u32 operations)
{
	struct object object;

	if (!concerns(&object, file->f_path.dentry, file->f_inode))
		return 0;
	{
		struct call call = {};

		call.asked.facts.flags = open_flags(file->f_flags, file->f_mode);
		return judge(&call, &object, file->f_inode, operations);
	}
}

/* What a descriptor that is opened so may do. */
static __always_inline __u32 rights(struct file *file)
{
	bool is_directory = (file->f_inode->i_mode & S_IFMT) == S_IFDIR;
	__u32 operations = HSCI_DO_OPEN;

	if (file->f_flags & FMODE_EXEC)
		return HSCI_DO_OPEN | HSCI_DO_EXEC;
	if (file->f_mode & FMODE_READ)
		operations |= is_directory ? HSCI_DO_READDIR : HSCI_DO_READ_DATA;
	if (file->f_mode & FMODE_WRITE)
		operations |= HSCI_DO_WRITE_DATA;
	return operations;
}

SEC("lsm/file_open")
int BPF_PROG(file_open, struct file *file, int previous)
{
	return answer(previous ? previous : judge_file(file, rights(file)));
}

/* A program is about to run, and nothing can stop it any more: whoever runs it loses the marks that it takes. */
SEC("lsm/bprm_committed_creds")
int BPF_PROG(bprm_committed_creds, const struct linux_binprm *bprm)
{
	struct hsci_memory *memory = hsci_memory();
	struct hsci_verdict verdict = {};
	struct file *file = bprm->file;
	struct call call = {};
	struct object object;
	__u64 marks;

	if (!file || !memory || !begin(&call) || !call.tables->roots.remembers)
		return 0;
	if (!concerns(&object, file->f_path.dentry, NULL) || !object.is_known || object.fence)
		return 0;
	call.tables = object.tables;
	call.asked.class = hsci_class(call.tables, object.state);
	if (!call.asked.class || !hsci_classify(call.tables, &call.asked.subject))
		return 0;
	call.place = hsci_calling_process(memory, hsci_process_key(bpf_get_current_task_btf()));
	if (call.place == HSCI_NONE)
		return 0;
	marks = memory->processes[call.place & (HSCI_PROCESSES - 1)].marks;
	call.asked.subject.marks_low = marks;
	call.asked.subject.marks_high = marks >> 32;
	take_facts(&call, file->f_inode);
	call.asked.operation = __builtin_ctz(HSCI_DO_EXEC);
	hsci_judge(call.tables, &call.asked, &verdict);
	if (!verdict.status && !verdict.errno)
		hsci_remember(call.tables, memory, call.place, verdict.effect, true);
	return 0;
}

/* A descriptor that somebody else opened. */
SEC("lsm/file_receive")
int BPF_PROG(file_receive, struct file *file, int previous)
{
	return answer(previous ? previous : judge_file(file, rights(file)));
}

SEC("lsm/mmap_file")
int BPF_PROG(mmap_file, struct file *file, unsigned long asked, unsigned long protection,
	     unsigned long flags, int previous)
{
	__u32 operations = HSCI_DO_READ_DATA;

	if (previous || !file)
		return answer(previous);
	if ((flags & MAP_SHARED) && (protection & PROT_WRITE))
		operations |= HSCI_DO_WRITE_DATA;
	/* What `ld.so PROGRAM` does in place of execve. */
	if (protection & PROT_EXEC)
		operations |= HSCI_DO_EXEC;
	return answer(judge_file(file, operations));
}

/* A mapping that is made executable later. */
SEC("lsm/file_mprotect")
int BPF_PROG(file_mprotect, struct vm_area_struct *area, unsigned long asked,
	     unsigned long protection, int previous)
{
	struct object object;
	struct file *file;

	if (previous || !(protection & PROT_EXEC))
		return answer(previous);
	file = area->vm_file;
	if (!file || !concerns(&object, file->f_path.dentry, NULL))
		return 0;
	{
		struct call call = {};

		return answer(judge(&call, &object, file->f_inode, HSCI_DO_EXEC));
	}
}

SEC("lsm/file_lock")
int BPF_PROG(file_lock, struct file *file, unsigned int command, int previous)
{
	return answer(previous ? previous : judge_file(file, HSCI_DO_LOCK));
}

/*
 * Many programs ask of each file that they open whether it is a terminal, and the kernel would dispatch that. No
 * regular file of a mount is one.
 */
static __always_inline bool is_no_terminal(const struct file *file, unsigned int command)
{
	const struct inode *inode = file->f_inode;
	/* One byte longer than the name, so that a longer one is seen to be another. */
	char type[sizeof("hsci") + 1] = {};

	if ((command != TCGETS && command != TCGETS2) || type_of(inode->i_mode) != HSCI_TYPE_FILE)
		return false;
	if (BPF_CORE_READ(inode, i_sb, s_magic) != FUSE_MAGIC)
		return false;
	if (bpf_probe_read_kernel_str(type, sizeof(type), BPF_CORE_READ(inode, i_sb, s_subtype)) !=
	    sizeof("hsci"))
		return false;
	return type[0] == 'h' && type[1] == 's' && type[2] == 'c' && type[3] == 'i';
}

static __always_inline int judge_ioctl(struct file *file, unsigned int command)
{
	int result = judge_file(file, HSCI_DO_IOCTL);

	return answer(!result && is_no_terminal(file, command) ? -ENOTTY : result);
}

SEC("lsm/file_ioctl")
int BPF_PROG(file_ioctl, struct file *file, unsigned int command, unsigned long argument,
	     int previous)
{
	int obeyed = previous ? 0 : hsci_obey(file, command, argument);

	if (obeyed)
		return answer(obeyed);
	return previous ? answer(previous) : judge_ioctl(file, command);
}

SEC("lsm/file_ioctl_compat")
int BPF_PROG(file_ioctl_compat, struct file *file, unsigned int command, unsigned long argument,
	     int previous)
{
	return previous ? answer(previous) : judge_ioctl(file, command);
}

/*
 * Who makes a file opens it, and mostly writes to it: what a rule denies then must not leave a file behind.
 * How it is to be opened is not known here.
 */
SEC("lsm/inode_create")
int BPF_PROG(inode_create, struct inode *dir, struct dentry *dentry, unsigned short mode,
	     int previous)
{
	return answer(previous ? previous : judge_new(dentry, mode, HSCI_DO_CREATE_FILE |
						      HSCI_DO_OPEN | HSCI_DO_WRITE_DATA));
}

SEC("lsm/inode_mkdir")
int BPF_PROG(inode_mkdir, struct inode *dir, struct dentry *dentry, unsigned short mode,
	     int previous)
{
	return answer(previous ? previous : judge_new(dentry, S_IFDIR, HSCI_DO_MKDIR));
}

SEC("lsm/inode_mknod")
int BPF_PROG(inode_mknod, struct inode *dir, struct dentry *dentry, unsigned short mode,
	     unsigned int device, int previous)
{
	return answer(previous ? previous : judge_new(dentry, mode, HSCI_DO_MKNOD));
}

SEC("lsm/inode_symlink")
int BPF_PROG(inode_symlink, struct inode *dir, struct dentry *dentry, const char *target,
	     int previous)
{
	return answer(previous ? previous : judge_new(dentry, 0120000, HSCI_DO_SYMLINK));
}

SEC("lsm/inode_unlink")
int BPF_PROG(inode_unlink, struct inode *dir, struct dentry *dentry, int previous)
{
	return answer(previous ? previous : judge_object(dentry, dentry->d_inode, HSCI_DO_UNLINK));
}

SEC("lsm/inode_rmdir")
int BPF_PROG(inode_rmdir, struct inode *dir, struct dentry *dentry, int previous)
{
	return answer(previous ? previous : judge_object(dentry, dentry->d_inode, HSCI_DO_RMDIR));
}

/*
 * Calls on two names: one program for each, for a verifier follows each path through both. The second
 * name's object does not exist yet, but has the facts of the first.
 */
static __always_inline int judge_second(const struct dentry *old, const struct dentry *new,
					__u32 operation)
{
	struct object object;

	if (!concerns(&object, new, NULL))
		return 0;
	{
		struct call call = {};

		return judge(&call, &object, old->d_inode, operation);
	}
}

SEC("lsm/inode_link")
int BPF_PROG(inode_link_from, struct dentry *old, struct inode *dir, struct dentry *new,
	     int previous)
{
	return answer(previous ? previous : judge_object(old, old->d_inode, HSCI_DO_LINK));
}

SEC("lsm/inode_link")
int BPF_PROG(inode_link_to, struct dentry *old, struct inode *dir, struct dentry *new,
	     int previous)
{
	return answer(previous ? previous : judge_second(old, new, HSCI_DO_LINK));
}

/* A name in another class would make the object ambiguous. */
SEC("lsm/inode_link")
int BPF_PROG(inode_link_class, struct dentry *old, struct inode *dir, struct dentry *new,
	     int previous)
{
	struct hsci_label from = {}, to = {};
	struct call call = {};

	if (previous || !begin(&call))
		return answer(previous);
	call.dentry = new;
	if (!hsci_label_of(call.tables, call.guard, old, NULL, &from) ||
	    !hsci_label_of(call.tables, call.guard, new, NULL, &to))
		return hsci_own_fence() ? 0 : answer(undecidable(&call));
	if (from.fence == to.fence && from.fence && from.fence == hsci_own_fence())
		return 0;
	if (from.fence == to.fence && hsci_class(call.tables, from.state) ==
					    hsci_class(call.tables, to.state))
		return 0;
	return answer(refuse(&call, EXDEV));
}

SEC("lsm/inode_rename")
int BPF_PROG(inode_rename_from, struct inode *old_dir, struct dentry *old, struct inode *new_dir,
	     struct dentry *new, int previous)
{
	return answer(previous ? previous : judge_object(old, old->d_inode, HSCI_DO_RENAME));
}

SEC("lsm/inode_rename")
int BPF_PROG(inode_rename_to, struct inode *old_dir, struct dentry *old, struct inode *new_dir,
	     struct dentry *new, int previous)
{
	return answer(previous ? previous : judge_second(old, new, HSCI_DO_RENAME));
}

/*
 * A directory that leads to paths of other rules does not take what is there to where these do not hold.
 * Otherwise labels of all below will be wrong; those that are found
 * meanwhile, once it is done.
 */
SEC("lsm/inode_rename")
int BPF_PROG(inode_rename_class, struct inode *old_dir, struct dentry *old, struct inode *new_dir,
	     struct dentry *new, int previous)
{
	struct hsci_label from = {}, to = {};
	struct call call = {};

	if (previous || (BPF_CORE_READ(old, d_inode, i_mode) & S_IFMT) != S_IFDIR || !begin(&call))
		return answer(previous);
	call.dentry = new;
	if (!hsci_label_of(call.tables, call.guard, old, NULL, &from) ||
	    !hsci_label_of(call.tables, call.guard, new, NULL, &to))
		return hsci_own_fence() ? 0 : answer(undecidable(&call));
	if (!hsci_may_move(call.tables, from.state, to.state) &&
	    !(from.fence && from.fence == hsci_own_fence()) && !call.guard->permissive)
		return -EXDEV;
	__sync_fetch_and_add(&call.guard->epoch, 1);
	return 0;
}

SEC("fexit/vfs_rename")
int BPF_PROG(renamed, struct renamedata *data, int result)
{
	struct hsci_guard *guard = hsci_guard();
	__u32 mode = BPF_CORE_READ(data, old_dentry, d_inode, i_mode);

	if (guard && (mode & S_IFMT) == S_IFDIR)
		__sync_fetch_and_add(&guard->epoch, 1);
	return 0;
}

SEC("lsm/inode_setattr")
int BPF_PROG(inode_setattr, void *idmap, struct dentry *dentry, struct iattr *attr, int previous)
{
	__u32 valid = attr->ia_valid, operations = 0;

	if (previous)
		return answer(previous);
	if (valid & ATTR_SIZE)
		operations |= HSCI_DO_TRUNCATE;
	if (valid & ATTR_MODE)
		operations |= HSCI_DO_CHMOD;
	if (valid & (ATTR_UID | ATTR_GID))
		operations |= HSCI_DO_CHOWN;
	/* Changing the length changes times as well. */
	if (!(valid & ATTR_SIZE) && (valid & (ATTR_TIMES & ~0x40u)))
		operations |= HSCI_DO_UTIMENS;
	return answer(judge_object(dentry, dentry->d_inode, operations));
}

SEC("lsm/inode_getattr")
int BPF_PROG(inode_getattr, const struct path *path, int previous)
{
	return answer(previous ? previous : judge_object(path->dentry, NULL, HSCI_DO_GETATTR));
}

SEC("lsm/inode_setxattr")
int BPF_PROG(inode_setxattr, void *idmap, struct dentry *dentry, const char *name,
	     const void *value, unsigned long size, int flags)
{
	return answer(judge_object(dentry, dentry->d_inode, HSCI_DO_SETXATTR));
}

SEC("lsm/inode_getxattr")
int BPF_PROG(inode_getxattr, struct dentry *dentry, const char *name, int previous)
{
	return answer(previous ? previous : judge_object(dentry, dentry->d_inode, HSCI_DO_GETXATTR));
}

SEC("lsm/inode_listxattr")
int BPF_PROG(inode_listxattr, struct dentry *dentry, int previous)
{
	return answer(previous ? previous : judge_object(dentry, dentry->d_inode, HSCI_DO_LISTXATTR));
}

SEC("lsm/inode_removexattr")
int BPF_PROG(inode_removexattr, void *idmap, struct dentry *dentry, const char *name, int previous)
{
	return answer(previous ? previous : judge_object(dentry, dentry->d_inode, HSCI_DO_REMOVEXATTR));
}

/* Lists of access do not come by the hooks of other attributes. */
SEC("lsm/inode_set_acl")
int BPF_PROG(inode_set_acl, void *idmap, struct dentry *dentry, const char *name, void *acl,
	     int previous)
{
	return answer(previous ? previous : judge_object(dentry, dentry->d_inode, HSCI_DO_SETXATTR));
}

SEC("lsm/inode_get_acl")
int BPF_PROG(inode_get_acl, void *idmap, struct dentry *dentry, const char *name, int previous)
{
	return answer(previous ? previous : judge_object(dentry, dentry->d_inode, HSCI_DO_GETXATTR));
}

SEC("lsm/inode_remove_acl")
int BPF_PROG(inode_remove_acl, void *idmap, struct dentry *dentry, const char *name, int previous)
{
	return answer(previous ? previous : judge_object(dentry, dentry->d_inode, HSCI_DO_REMOVEXATTR));
}

SEC("lsm/inode_readlink")
int BPF_PROG(inode_readlink, struct dentry *dentry, int previous)
{
	return answer(previous ? previous : judge_object(dentry, dentry->d_inode, HSCI_DO_READLINK));
}

SEC("lsm/sb_statfs")
int BPF_PROG(sb_statfs, struct dentry *dentry, int previous)
{
	return answer(previous ? previous : judge_object(dentry, dentry->d_inode, HSCI_DO_STATFS));
}

/* What is mounted over a part of a store would be taken for it. No rule is about mounting. */
SEC("lsm/sb_mount")
int BPF_PROG(sb_mount, const char *source, const struct path *path, const char *type,
	     unsigned long flags, void *data)
{
	return answer(judge_object(path->dentry, NULL, 0));
}

SEC("lsm/move_mount")
int BPF_PROG(move_mount, const struct path *from, const struct path *to, int previous)
{
	return answer(previous ? previous : judge_object(to->dentry, NULL, 0));
}

/* An address may be given to another directory from now on. */
SEC("lsm/inode_free_security")
int BPF_PROG(inode_free_security, struct inode *inode)
{
	__u64 key = (__u64)inode;

	bpf_map_delete_elem(&DIRECTORIES, &key);
	bpf_map_delete_elem(&FENCES, &key);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
