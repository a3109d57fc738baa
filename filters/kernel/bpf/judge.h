/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/* What becomes of a call, as hooks describe it. */
#ifndef HSCI_JUDGE_H
#define HSCI_JUDGE_H

#include "memory.h"
#include "process.h"
#include "protect.h"

#define FMODE_READ 0x1u
#define FMODE_WRITE 0x2u

#define S_IFMT 0170000u
#define S_IFDIR 0040000u

/*
 * One call, as a hook describes it. It has no pointer that the verifier knows to be one, so that what judges it is
 * verified by itself, once, whatever the hook.
 */
struct call {
	struct hsci_asked asked;
	__u64 dentry;
	/* The object's label. */
	__u32 state;
	__u32 fence;
	__u32 operations;
	__u32 is_known;
};

/* A call that is being judged. */
struct judging {
	const struct hsci_tables *tables;
	struct hsci_guard *guard;
	struct call *call;
	/* The caller's place in the memory; HSCI_NONE if no rule asks for any. */
	__u32 place;
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

static __always_inline int refuse(const struct hsci_guard *guard, int error)
{
	return guard->permissive ? 0 : -error;
}

static __noinline int undecidable(const struct hsci_tables *tables, struct hsci_guard *guard,
				  const struct dentry *dentry)
{
	__sync_fetch_and_add(&guard->undecidable, 1);
	hsci_report(guard, dentry, tables->sections.generation, HSCI_NONE, HSCI_NONE, EACCES,
		    HSCI_UNDECIDABLE);
	return refuse(guard, EACCES);
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
static __noinline int remember(struct judging *judging, __u32 effect)
{
	const struct hsci_tables *tables = judging->tables;
	struct hsci_memory *memory = hsci_memory();
	struct mark_hits hits = { .tables = tables };
	const __u32 *record;

	if (!memory || !effect || judging->place == HSCI_NONE)
		return 0;
	hsci_remember(tables, memory, judging->place, effect,
		      (1u << (judging->call->asked.operation & 31)) != HSCI_DO_EXEC);
	record = hsci_record(tables, tables->sections.effects + 8 * effect, 8);
	hits.first = record[4];
	bpf_loop(record[5] & (2 * HSCI_MAX_MARKS - 1), hit_mark_rule, &hits, 0);
	return 0;
}

static __always_inline __u32 count(struct judging *judging)
{
	struct hsci_memory *memory = hsci_memory();

	if (!memory)
		return HSCI_FORGOTTEN;
	return hsci_count(judging->tables, memory, judging->place, &judging->call->asked,
			  bpf_ktime_get_boot_ns());
}

/* What comes of a verdict: true if the call goes on. Apart from what asks for it: stacks of programs are short. */
static __noinline int carry_out(struct judging *judging, const struct hsci_verdict *verdict)
{
	struct hsci_guard *guard = judging->guard;
	const struct call *call = judging->call;
	const struct dentry *dentry = (const void *)call->dentry;
	__u32 generation = judging->tables->sections.generation, operation = call->asked.operation;

	if (verdict->target < HSCI_TARGETS)
		__sync_fetch_and_add(&guard->targets[verdict->target], 1);
	if (verdict->rule != HSCI_NONE)
		hsci_hit(verdict->rule);
	if (verdict->audit) {
		hsci_hit(verdict->audit - 1);
		hsci_report(guard, dentry, generation, operation, verdict->audit - 1, verdict->errno,
			    HSCI_AUDITED);
	}
	if (!verdict->errno) {
		remember(judging, verdict->effect);
		return true;
	}
	__sync_fetch_and_add(&guard->denied, 1);
	if (guard->permissive)
		remember(judging, verdict->effect);
	hsci_report(guard, dentry, generation, operation, verdict->rule, verdict->errno,
		    guard->permissive ? HSCI_WOULD_DENY : HSCI_DENIED);
	judging->result = refuse(guard, verdict->errno);
	return false;
}

/* Judges the operation of one bit. Stops at the first that fails. */
static long judge_operation(__u32 operation, struct judging *judging)
{
	struct call *call = judging->call;
	struct hsci_verdict verdict = {};
	__u32 status = 0;

	if (!(call->operations >> (operation & 31) & 1))
		return 0;
	call->asked.operation = operation;
	if (judging->place != HSCI_NONE)
		status = count(judging);
	hsci_judge(judging->tables, &call->asked, &verdict);
	if (verdict.status || status) {
		judging->result = undecidable(judging->tables, judging->guard,
					      (const void *)call->dentry);
		return 1;
	}
	return !carry_out(judging, &verdict);
}

static __noinline int judge_operations(const struct hsci_tables *tables, struct hsci_guard *guard,
				       struct call *call, __u32 place)
{
	struct judging judging = {
		.tables = tables,
		.guard = guard,
		.call = call,
		.place = place,
	};

	bpf_loop(HSCI_OPERATIONS, judge_operation, &judging, 0);
	return judging.result;
}

/* Judges a call on an object that is a rule's business, or may be. */
HSCI_GLOBAL int judge_call(const struct hsci_tables *tables, struct hsci_guard *guard,
			   struct call *call)
{
	__u32 place = HSCI_NONE;

	if (!tables || !guard || !call)
		return -EACCES;
	if (!call->is_known)
		return undecidable(tables, guard, (const void *)call->dentry);
	if (call->fence) {
		/* Rules are for those who come by the mount. */
		if (hsci_may_pass(guard, call->fence))
			return 0;
		__sync_fetch_and_add(&guard->fenced, 1);
		hsci_report(guard, (const void *)call->dentry, tables->sections.generation, HSCI_NONE,
			    HSCI_NONE, EPERM, HSCI_FENCED);
		return refuse(guard, EPERM);
	}
	call->asked.class = hsci_class(tables, call->state);
	if (!call->asked.class)
		return 0;
	__sync_fetch_and_add(&guard->judged, 1);
	if (!hsci_classify(tables, &call->asked.subject))
		return undecidable(tables, guard, (const void *)call->dentry);
	if (tables->roots.remembers) {
		struct hsci_memory *memory = hsci_memory();

		if (memory)
			place = hsci_calling_process(memory,
						     hsci_process_key(bpf_get_current_task_btf()));
		if (!memory || place == HSCI_NONE)
			return undecidable(tables, guard, (const void *)call->dentry);
		call->asked.subject.secure =
			memory->processes[place & (HSCI_PROCESSES - 1)].secure;
	}
	return judge_operations(tables, guard, call, place);
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
	const struct hsci_label *known = NULL;
	struct hsci_label label;

	object->guard = hsci_guard();
	if (!object->guard)
		return false;
	if (inode)
		known = bpf_inode_storage_get(&LABELS, inode, NULL, 0);
	if (hsci_is_free(object->guard, dentry, known))
		return false;
	object->tables = hsci_begin();
	if (!object->tables)
		return false;
	object->dentry = dentry;
	object->is_known = hsci_label_of(object->tables, object->guard, dentry, inode, known, &label);
	object->state = label.state;
	object->fence = label.fence;
	/* A host may reach what is in its store by handles. */
	return object->is_known ? label.state || label.fence : !hsci_own_fence();
}

/* Judges a call on an object; the facts of `known` are those of the kernel. */
static __always_inline int judge(struct call *call, const struct object *object,
				 const struct inode *known, __u32 operations)
{
	call->dentry = (__u64)object->dentry;
	call->state = object->state;
	call->fence = object->fence;
	call->operations = operations;
	call->is_known = object->is_known;
	if (known)
		take_facts(call, known);
	return judge_call(object->tables, object->guard, call);
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

/* Operations on an open file; those of its rights if there are none. */
static __always_inline int judge_file(struct file *file, __u32 operations)
{
	struct object object;

	if (!concerns(&object, file->f_path.dentry, file->f_inode))
		return 0;
	{
		struct call call = {};

		call.asked.facts.flags = open_flags(file->f_flags, file->f_mode);
		return judge(&call, &object, file->f_inode, operations ? operations : rights(file));
	}
}

#endif
