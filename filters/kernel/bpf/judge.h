/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/* What becomes of a call, as hooks describe it. */
#ifndef HSCI_JUDGE_H
#define HSCI_JUDGE_H

#include "memory.h"
#include "process.h"
#include "protect.h"

#define FMODE_READ 0x1u
#define FMODE_WRITE 0x2u
#define FMODE_EXEC 0x20u

#define S_IFMT 0170000u
#define S_IFDIR 0040000u

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
		if (!memory || call->place == HSCI_NONE)
			return undecidable(call);
		call->asked.subject.secure =
			memory->processes[call->place & (HSCI_PROCESSES - 1)].secure;
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

#endif
