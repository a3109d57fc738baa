/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/* What protects the guard itself, and the hosts. */
#ifndef HSCI_PROTECT_H
#define HSCI_PROTECT_H

#include "orders.h"

#define EACCES 13

#define SIGHUP 1
#define SIGINT 2
#define SIGTERM 15

/*
 * What a hook may answer; the verifier wants to see it. Anything else refuses. As a whole register: of copies of half
 * of one, the verifier does not know that they are the same.
 */
static __always_inline int answer(long result)
{
	if (result == 0)
		return 0;
	if (result < -4095 || result > 0)
		return -EACCES;
	return result;
}

static __always_inline int protect(__u32 own)
{
	struct hsci_guard *guard = hsci_guard();

	if (!guard || !bpf_map_lookup_elem(&OWN, &own) || hsci_is_command(guard))
		return 0;
	__sync_fetch_and_add(&guard->fenced, 1);
	return guard->permissive ? 0 : -EPERM;
}

SEC("lsm/bpf_map")
int BPF_PROG(bpf_map_access, struct bpf_map *map, unsigned int mode, int previous)
{
	return answer(previous ? previous : protect(map->id & ~HSCI_PROGRAM));
}

SEC("lsm/bpf_prog")
int BPF_PROG(bpf_prog_access, struct bpf_prog *prog, int previous)
{
	return answer(previous ? previous : protect(BPF_CORE_READ(prog, aux, id) | HSCI_PROGRAM));
}

SEC("lsm/sb_umount")
int BPF_PROG(sb_umount, struct vfsmount *mount, int flags, int previous)
{
	struct hsci_guard *guard = hsci_guard();

	if (previous || !guard || !guard->pins_device)
		return answer(previous);
	if (BPF_CORE_READ(mount, mnt_sb, s_dev) != guard->pins_device || hsci_is_command(guard))
		return 0;
	__sync_fetch_and_add(&guard->fenced, 1);
	return guard->permissive ? 0 : -EPERM;
}

/* `asks` is true for what a supervisor answers by unmounting in order, which root can do anyway. */
static __always_inline int protect_host(__u32 process, bool asks)
{
	struct hsci_guard *guard = hsci_guard();
	__u32 caller = bpf_get_current_pid_tgid() >> 32;
	__u32 *fence = bpf_map_lookup_elem(&HOSTS, &process);

	if (!guard || caller == process || !fence || (asks && *fence == process) ||
	    hsci_is_command(guard))
		return 0;
	__sync_fetch_and_add(&guard->fenced, 1);
	return guard->permissive ? 0 : -EPERM;
}

SEC("lsm/ptrace_access_check")
int BPF_PROG(ptrace_access_check, struct task_struct *child, unsigned int mode, int previous)
{
	return answer(previous ? previous : protect_host(child->tgid, false));
}

SEC("lsm/task_kill")
int BPF_PROG(task_kill, struct task_struct *task, void *info, int signal, const struct cred *cred,
	     int previous)
{
	bool asks = signal == 0 || signal == SIGHUP || signal == SIGINT || signal == SIGTERM;

	return answer(previous ? previous : protect_host(task->tgid, asks));
}

/* The last thread of a process ends: it is no host before its id can be given to somebody else. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task)
{
	__u32 process = task->tgid;

	if (!BPF_CORE_READ(task, signal, live.counter))
		bpf_map_delete_elem(&HOSTS, &process);
	return 0;
}

/*
 * The kernel may leave out the one above where it interrupted itself, but not this. A task that was never started,
 * for a fork failed, still has the ids of the process that forked: only one that has ended counts.
 */
SEC("lsm/task_free")
int BPF_PROG(task_free, struct task_struct *task)
{
	__u32 process = task->tgid;

	if (task->exit_state && task->pid == task->tgid)
		bpf_map_delete_elem(&HOSTS, &process);
	return 0;
}

#endif
