/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/* What the guard counts, reports and is told. */
#ifndef HSCI_GUARD_H
#define HSCI_GUARD_H

#include "subject.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hsci_guard);
} GUARD SEC(".maps");

/* How often each rule decided or reported; as long as the loader says. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} HITS SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 262144);
} EVENTS SEC(".maps");

/*
 * Hosts, by process: the fence that each may pass, which is its supervisor's number. A supervisor is a host
 * as well.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u32);
} HOSTS SEC(".maps");

/* Our own maps and programs, by id; programs have bit 31 set. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u32);
} OWN SEC(".maps");

static __always_inline struct hsci_guard *hsci_guard(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&GUARD, &zero);
}

static __always_inline void hsci_hit(__u32 rule)
{
	__u64 *hits = bpf_map_lookup_elem(&HITS, &rule);

	if (hits)
		__sync_fetch_and_add(hits, 1);
}

/* True for the command, run by root: it alone may change the guard. */
static __always_inline bool hsci_is_command(const struct hsci_guard *guard)
{
	struct task_struct *task = bpf_get_current_task_btf();
	const struct inode *inode;

	if (BPF_CORE_READ(task, cred, euid.val))
		return false;
	inode = BPF_CORE_READ(task, mm, exe_file, f_inode);
	return inode && BPF_CORE_READ(inode, i_ino) == guard->command_inode &&
	       BPF_CORE_READ(inode, i_sb, s_dev) == guard->command_device;
}

/* The fence that the calling process may pass, or 0. */
static __always_inline __u32 hsci_own_fence(void)
{
	__u32 process = bpf_get_current_pid_tgid() >> 32;
	__u32 *own = bpf_map_lookup_elem(&HOSTS, &process);

	return own ? *own : 0;
}

/*
 * True for whoever may use a fenced directory: its hosts, while their supervisor lives. The command has
 * its own, and what such hosts have left.
 */
static __always_inline bool hsci_may_pass(const struct hsci_guard *guard, __u32 fence)
{
	if (hsci_own_fence() == fence)
		return true;
	return !bpf_map_lookup_elem(&HOSTS, &fence) && hsci_is_command(guard);
}

static __always_inline void hsci_report(struct hsci_guard *guard, const struct dentry *dentry,
					__u32 generation, __u32 operation, __u32 rule, __u32 errno,
					__u32 kind)
{
	struct hsci_event *event = bpf_ringbuf_reserve(&EVENTS, sizeof(*event), 0);

	if (!event) {
		__sync_fetch_and_add(&guard->lost, 1);
		return;
	}
	event->time = bpf_ktime_get_boot_ns();
	event->inode = BPF_CORE_READ(dentry, d_inode, i_ino);
	event->device = BPF_CORE_READ(dentry, d_sb, s_dev);
	event->process = bpf_get_current_pid_tgid() >> 32;
	event->user = bpf_get_current_uid_gid();
	event->operation = operation;
	event->rule = rule;
	event->errno = errno;
	event->kind = kind;
	event->generation = generation;
	bpf_get_current_comm(event->command, sizeof(event->command));
	bpf_probe_read_kernel_str(event->name, sizeof(event->name),
				  BPF_CORE_READ(dentry, d_name.name));
	bpf_ringbuf_submit(event, 0);
}

#endif
