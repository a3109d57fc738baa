/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/* Who calls. What costs is kept with the task, and found anew when what it came from has changed. */
#ifndef HSCI_SUBJECT_H
#define HSCI_SUBJECT_H

#include "text.h"

/* Classes that come from paths, and what they were found from. */
struct hsci_task_classes {
	__u64 exec_id;
	__u64 executable_file;
	__u64 cgroup_node;
	__u32 generation;
	__u32 executable;
	__u32 cgroup;
	/* Globs that executables of ancestors match, and what they were found from. */
	__u32 ancestors;
	__u64 ancestry;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct hsci_task_classes);
} TASKS SEC(".maps");

struct hsci_groups {
	const struct hsci_tables *tables;
	struct hsci_subject *subject;
	const void *gids;
};

static long hsci_add_supplementary_group(__u32 index, struct hsci_groups *groups)
{
	__u32 gid = HSCI_NONE;

	if (bpf_probe_read_kernel(&gid, sizeof(gid), groups->gids + sizeof(gid) * (__u64)index))
		return 1;
	hsci_add_group(groups->tables, groups->subject, gid);
	return 0;
}

/* The bits of a caller's groups. */
HSCI_GLOBAL int hsci_classify_groups(const struct hsci_tables *tables,
				     struct hsci_subject *subject)
{
	struct task_struct *task = bpf_get_current_task_btf();
	const struct cred *cred = BPF_CORE_READ(task, cred);
	const struct group_info *info = BPF_CORE_READ(cred, group_info);
	struct hsci_groups groups = { .tables = tables, .subject = subject };
	int count = BPF_CORE_READ(info, ngroups);

	if (!tables || !subject)
		return 0;
	/* Without named groups, the area has one slot before those for probing, and it is free. */
	if (tables->roots.groups_mask == 0 &&
	    hsci_record(tables, tables->sections.edges + 2 * tables->roots.groups_base, 2)[0] ==
		    HSCI_NONE)
		return 0;
	groups.gids = (const void *)info + bpf_core_field_offset(struct group_info, gid);
	hsci_add_group(tables, subject, BPF_CORE_READ(cred, fsgid.val));
	if (count > 0)
		bpf_loop(count, hsci_add_supplementary_group, &groups, 0);
	return 0;
}

struct hsci_ancestors {
	const struct hsci_tables *tables;
	struct hsci_scratch *scratch;
	const struct task_struct *task;
	/* Of the executables so far, in order. */
	__u64 ancestry;
	__u32 bits;
	bool is_done;
	bool is_known;
};

/* One ancestor upwards; false at the end. */
static __always_inline bool hsci_next_ancestor(struct hsci_ancestors *ancestors)
{
	const struct task_struct *task = ancestors->task;
	const struct task_struct *parent = BPF_CORE_READ(task, real_parent);

	ancestors->is_done = !parent || parent == task;
	ancestors->task = parent;
	return !ancestors->is_done;
}

static __always_inline void hsci_mix(__u64 *into, __u64 value)
{
	*into = (*into ^ value) * 0x9e3779b97f4a7c15ull;
	*into ^= *into >> 29;
}

/* What tells from all others who the ancestors are, and what they have executed. */
static long hsci_look_at_ancestor(__u32 index, struct hsci_ancestors *ancestors)
{
	const struct task_struct *task;

	(void)index;
	if (!hsci_next_ancestor(ancestors))
		return 1;
	task = ancestors->task;
	hsci_mix(&ancestors->ancestry, (__u64)BPF_CORE_READ(task, mm, exe_file));
	hsci_mix(&ancestors->ancestry, BPF_CORE_READ(task, self_exec_id));
	hsci_mix(&ancestors->ancestry, BPF_CORE_READ(task, start_boottime));
	return 0;
}

static long hsci_add_ancestor(__u32 index, struct hsci_ancestors *ancestors)
{
	const struct task_struct *task;
	const struct file *file;
	__u32 class;

	(void)index;
	if (!hsci_next_ancestor(ancestors))
		return 1;
	task = ancestors->task;
	/* Threads of the kernel have none. */
	file = BPF_CORE_READ(task, mm, exe_file);
	if (!file)
		return 0;
	class = hsci_class_of_file(ancestors->tables, ancestors->scratch, (__u64)file);
	if (class == HSCI_NONE) {
		ancestors->is_known = false;
		return 1;
	}
	ancestors->bits |= hsci_ancestor_bits(ancestors->tables, class);
	return 0;
}

/*
 * Globs of ancestors, from the task if they are the same and have executed nothing since. False if there are too
 * many, or a path does not fit.
 */
HSCI_GLOBAL int hsci_classify_ancestors(const struct hsci_tables *tables,
					struct hsci_subject *subject)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct hsci_ancestors ancestors = { .tables = tables, .task = task, .is_known = true };
	struct hsci_task_classes *known;
	__u64 ancestry;

	if (!tables || !subject)
		return false;
	bpf_loop(HSCI_MAX_ANCESTRY + 1, hsci_look_at_ancestor, &ancestors, 0);
	if (!ancestors.is_done)
		return false;
	/* Nobody has found any yet with 0. */
	ancestry = ancestors.ancestry | 1;
	known = bpf_task_storage_get(&TASKS, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (known && known->generation == tables->sections.generation &&
	    known->ancestry == ancestry) {
		subject->ancestors = known->ancestors;
		return true;
	}
	ancestors.scratch = hsci_take_scratch();
	if (!ancestors.scratch)
		return false;
	ancestors.task = task;
	bpf_loop(HSCI_MAX_ANCESTRY + 1, hsci_add_ancestor, &ancestors, 0);
	hsci_give_scratch(ancestors.scratch);
	if (!ancestors.is_known || !ancestors.is_done)
		return false;
	subject->ancestors = ancestors.bits;
	if (known && known->generation == tables->sections.generation) {
		known->ancestry = 0;
		known->ancestors = ancestors.bits;
		known->ancestry = ancestry;
	}
	return true;
}

/* Classes of executable and cgroup, from the task if nothing has changed. False without room. */
HSCI_GLOBAL int hsci_classify_paths(const struct hsci_tables *tables, struct hsci_subject *subject)
{
	struct task_struct *task = bpf_get_current_task_btf();
	const struct file *file = BPF_CORE_READ(task, mm, exe_file);
	const struct kernfs_node *node = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn);
	__u64 exec_id = BPF_CORE_READ(task, self_exec_id);
	struct hsci_task_classes *known, found = {
		.exec_id = exec_id,
		.executable_file = (__u64)file,
		.cgroup_node = (__u64)node,
	};
	struct hsci_scratch *scratch;

	if (!tables || !subject)
		return false;
	found.generation = tables->sections.generation;
	known = bpf_task_storage_get(&TASKS, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (known && known->generation == found.generation && known->exec_id == exec_id &&
	    known->executable_file == found.executable_file &&
	    known->cgroup_node == found.cgroup_node) {
		subject->executable = known->executable;
		subject->cgroup = known->cgroup;
		return true;
	}
	scratch = hsci_take_scratch();
	if (!scratch)
		return false;
	/* A kernel thread has no executable: its path is empty. */
	found.executable = file ? hsci_class_of_file(tables, scratch, (__u64)file)
				: hsci_class(tables, tables->roots.executable);
	found.cgroup = hsci_class_of_cgroup(tables, tables->roots.cgroup, scratch, node);
	hsci_give_scratch(scratch);
	if (found.executable == HSCI_NONE || found.cgroup == HSCI_NONE)
		return false;
	subject->executable = found.executable;
	subject->cgroup = found.cgroup;
	if (known)
		*known = found;
	return true;
}

/* The class of a command name. */
HSCI_GLOBAL __u32 hsci_class_of_command(const struct hsci_tables *tables)
{
	__u8 command[HSCI_COMMAND_LEN] = {};
	__u32 state;

	if (!tables)
		return 0;
	state = tables->roots.command;
	if (state == 0)
		return hsci_class(tables, 0);
	bpf_get_current_comm(command, sizeof(command));
	for (__u32 i = 0; i < HSCI_COMMAND_LEN && command[i] && state; i++)
		state = hsci_step_byte(tables, state, command[i]);
	return hsci_class(tables, state);
}

/* The inode number of a task's pid namespace. */
static __always_inline __u32 hsci_pid_namespace_of(const struct task_struct *task)
{
	const void *pid = BPF_CORE_READ(task, thread_pid);
	__u32 level = BPF_CORE_READ((const struct pid *)pid, level);
	const struct upid *upid = pid + bpf_core_field_offset(struct pid, numbers) +
				  (__u64)level * bpf_core_type_size(struct upid);

	return BPF_CORE_READ(upid, ns, ns.inum);
}

/* Namespace, capabilities and login of a caller. */
HSCI_GLOBAL int hsci_classify_rights(const struct hsci_tables *tables,
				     struct hsci_subject *subject)
{
	struct task_struct *task = bpf_get_current_task_btf();
	const struct cred *cred = BPF_CORE_READ(task, cred);
	__u32 namespace = BPF_CORE_READ(cred, user_ns, ns.inum), login = HSCI_NONE;
	__u64 capabilities = 0;

	if (!tables || !subject)
		return 0;
	subject->user_namespace = hsci_namespace(tables, namespace);
	/* In a namespace of one's own, everybody has all of them. */
	if (namespace == HSCI_FIRST_USER_NAMESPACE)
		bpf_probe_read_kernel(&capabilities, sizeof(capabilities),
				      (const void *)cred +
					      bpf_core_field_offset(struct cred, cap_effective));
	subject->capabilities_low = capabilities;
	subject->capabilities_high = capabilities >> 32;
	if (bpf_core_field_exists(task->loginuid))
		login = BPF_CORE_READ(task, loginuid.val);
	subject->login = hsci_login(tables, login);
	return 0;
}

/* Classifies the calling task. False if something does not fit: then nobody knows who calls. */
HSCI_GLOBAL int hsci_classify(const struct hsci_tables *tables, struct hsci_subject *subject)
{
	struct task_struct *task = bpf_get_current_task_btf();
	const struct cred *cred = BPF_CORE_READ(task, cred);

	if (!tables || !subject)
		return false;
	*subject = (struct hsci_subject){ .uid = BPF_CORE_READ(cred, fsuid.val) };
	subject->user = hsci_user(tables, subject->uid);
	hsci_classify_groups(tables, subject);
	subject->pid_namespace = hsci_namespace(tables, hsci_pid_namespace_of(task));
	hsci_classify_rights(tables, subject);
	subject->command = hsci_class_of_command(tables);
	if (!hsci_classify_paths(tables, subject))
		return false;
	return !tables->roots.ancestors || hsci_classify_ancestors(tables, subject);
}

#endif
