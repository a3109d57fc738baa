/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/* Follows processes as they are started and end, so that what is remembered of them is inherited. */
#include "memory.h"
#include "process.h"

static __always_inline int inherit(const struct task_struct *child)
{
	struct hsci_memory *memory = hsci_memory();
	struct task_struct *parent = bpf_get_current_task_btf();
	int id = BPF_CORE_READ(child, tgid);

	/* Threads are one process. */
	if (!memory || id == parent->tgid)
		return 0;
	hsci_inherit(memory, hsci_process_key(parent), BPF_CORE_READ(parent, cred, fsuid.val),
		     hsci_process_key(child), parent->tgid == 1);
	return 0;
}

/*
 * The child does not run yet at either. The kernel leaves a program out where it interrupted the same one: two
 * are not left out together but once in a very long time, and then the child is nobody.
 */
SEC("tp_btf/task_newtask")
int BPF_PROG(task_newtask, struct task_struct *task, unsigned long flags)
{
	return inherit(task);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(sched_process_fork, struct task_struct *parent, struct task_struct *child)
{
	return inherit(child);
}

/* From the kernel's <linux/binfmts.h>. */
#define LSM_UNSAFE_SHARE 1
#define LSM_UNSAFE_PTRACE 2
#define LSM_UNSAFE_NO_NEW_PRIVS 4

/*
 * A program was executed, by the credentials that it has now. Its environment is root's where its real user is; with
 * AT_SECURE, the loader does not heed it, and nobody but root may trace the process from then on, which holds
 * only if the kernel has given it what its file says: not to who is traced, shares its directories or gave up
 * privileges. In a user namespace, its owner may trace everybody.
 */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(sched_process_exec, struct task_struct *task, int old, struct linux_binprm *bprm)
{
	struct hsci_memory *memory = hsci_memory();
	const struct cred *cred = BPF_CORE_READ(task, cred);
	int unsafe = BPF_CORE_READ(bprm, unsafe);
	bool is_secure = false;
	__u32 place;

	if (!memory)
		return 0;
	place = hsci_enter_process(memory, hsci_process_key(task));
	if (place == HSCI_NONE)
		return 0;
	if (!BPF_CORE_READ(cred, user_ns, level)) {
		if (BPF_CORE_READ_BITFIELD_PROBED(bprm, secureexec))
			is_secure = !(unsafe & (LSM_UNSAFE_SHARE | LSM_UNSAFE_PTRACE | LSM_UNSAFE_NO_NEW_PRIVS));
		else
			is_secure = !BPF_CORE_READ(cred, uid.val) && !(unsafe & LSM_UNSAFE_PTRACE);
	}
	memory->processes[place & (HSCI_PROCESSES - 1)].secure = is_secure;
	return 0;
}

/* The first thread's structure goes last, and bears the process's id. */
SEC("tp_btf/sched_process_free")
int BPF_PROG(sched_process_free, struct task_struct *task)
{
	struct hsci_memory *memory = hsci_memory();

	if (memory && task->pid == task->tgid)
		hsci_remove_process(memory, hsci_process_key(task));
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
