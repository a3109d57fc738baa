/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/* The smallest program at a hook: whether a kernel takes any is asked before there is a policy to enforce. */
#include "types.h"

SEC("lsm/task_free")
int BPF_PROG(task_free, struct task_struct *task)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
