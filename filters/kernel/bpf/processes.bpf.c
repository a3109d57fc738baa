/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/* Follows processes as they are started and end, so that what is remembered of them is inherited. */
#include "memory.h"
#include "process.h"

/* The child does not run yet. */
SEC("tp_btf/task_newtask")
int BPF_PROG(task_newtask, struct task_struct *task, unsigned long flags)
{
	struct hsci_memory *memory = hsci_memory();
	struct task_struct *parent = bpf_get_current_task_btf();

	/* Threads are one process. */
	if (!memory || task->tgid == parent->tgid)
		return 0;
	hsci_inherit(memory, hsci_process_key(parent), BPF_CORE_READ(parent, cred, fsuid.val),
		     hsci_process_key(task), parent->tgid == 1);
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
