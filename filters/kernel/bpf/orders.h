/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/*
 * Orders of the command: ioctl on the directory that they are about, so that the kernel itself says which
 * inode that is. An order that is carried out is answered by an error that nothing else gives.
 */
#ifndef HSCI_ORDERS_H
#define HSCI_ORDERS_H

#include "label.h"

#define EPERM 1
#define ENOSPC 28
#define ESRCH 3
#define EALREADY 114
#define EINPROGRESS 115

/* Only the command passes this fence. */
#define HSCI_FENCE_OF_COMMAND 1u
#define HSCI_FIRST_PID_NAMESPACE 0xeffffffcu

static __always_inline int hsci_fence(struct hsci_guard *guard, __u64 inode, __u32 fence)
{
	if (bpf_map_update_elem(&FENCES, &inode, &fence, BPF_ANY))
		return -ENOSPC;
	/* Labels that were found before know nothing of it. */
	__sync_fetch_and_add(&guard->epoch, 1);
	return guard->permissive ? -EINPROGRESS : -EALREADY;
}

static __always_inline int hsci_claim(struct hsci_guard *guard, struct inode *pins)
{
	struct task_struct *task = bpf_get_current_task_btf();
	const struct inode *command = BPF_CORE_READ(task, mm, exe_file, f_inode);

	/* While one guard takes the place of another, the order is for the new one. */
	if (guard->command_inode)
		return 0;
	if (BPF_CORE_READ(task, cred, euid.val))
		return -EPERM;
	guard->command_device = BPF_CORE_READ(command, i_sb, s_dev);
	guard->command_inode = BPF_CORE_READ(command, i_ino);
	guard->pins_device = BPF_CORE_READ(pins, i_sb, s_dev);
	return hsci_fence(guard, (__u64)pins, HSCI_FENCE_OF_COMMAND);
}

/* Obeys an order. 0 if it is none. */
static __always_inline int hsci_obey(struct file *file, __u32 order, __u64 argument)
{
	struct hsci_guard *guard = hsci_guard();
	__u32 supervisor = bpf_get_current_pid_tgid() >> 32, worker = argument;
	__u64 inode = (__u64)file->f_inode;

	if (!guard || order < HSCI_CLAIM || order > HSCI_UNFENCE)
		return 0;
	if (order == HSCI_CLAIM)
		return hsci_claim(guard, file->f_inode);
	if (!hsci_is_command(guard))
		return -EPERM;
	if (order == HSCI_UNFENCE) {
		bpf_map_delete_elem(&FENCES, &inode);
		bpf_map_delete_elem(&HOSTS, &supervisor);
		__sync_fetch_and_add(&guard->epoch, 1);
		return -EALREADY;
	}
	/* In another namespace, the number of the worker is that of somebody else. */
	if (hsci_pid_namespace_of(bpf_get_current_task_btf()) != HSCI_FIRST_PID_NAMESPACE)
		return -ESRCH;
	if (bpf_map_update_elem(&HOSTS, &supervisor, &supervisor, BPF_ANY) ||
	    bpf_map_update_elem(&HOSTS, &worker, &supervisor, BPF_ANY))
		return -ENOSPC;
	return hsci_fence(guard, inode, supervisor);
}

#endif
