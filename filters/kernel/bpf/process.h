/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/* Which process a thread is of. */
#ifndef HSCI_PROCESS_H
#define HSCI_PROCESS_H

#include "types.h"

/*
 * The key of a task's process. A thread that executes a program takes over the first thread's id and time of
 * start, so that the key stays.
 */
static __always_inline __u64 hsci_process_key(const struct task_struct *task)
{
	__u64 start = BPF_CORE_READ(task, group_leader, start_boottime);

	return (start >> HSCI_START_SHIFT) << HSCI_PROCESS_BITS | (__u32)BPF_CORE_READ(task, tgid);
}

#endif
