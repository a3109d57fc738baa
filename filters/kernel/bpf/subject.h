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
	__u32 reserved;
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
static __always_inline void hsci_classify_groups(const struct hsci_tables *tables,
						 const struct cred *cred,
						 struct hsci_subject *subject)
{
	const struct group_info *info = BPF_CORE_READ(cred, group_info);
	struct hsci_groups groups = { .tables = tables, .subject = subject };
	int count = BPF_CORE_READ(info, ngroups);

	/* Without named groups, the area has one slot before those for probing, and it is free. */
	if (tables->roots.groups_mask == 0 &&
	    hsci_record(tables, tables->sections.edges + 2 * tables->roots.groups_base, 2)[0] ==
		    HSCI_NONE)
		return;
	groups.gids = (const void *)info + bpf_core_field_offset(struct group_info, gid);
	hsci_add_group(tables, subject, BPF_CORE_READ(cred, fsgid.val));
	if (count > 0)
		bpf_loop(count, hsci_add_supplementary_group, &groups, 0);
}

/* Classes of executable and cgroup, from the task if nothing has changed. False without room. */
static __always_inline bool hsci_classify_paths(const struct hsci_tables *tables,
						struct task_struct *task,
						struct hsci_subject *subject)
{
	const struct file *file = BPF_CORE_READ(task, mm, exe_file);
	const struct kernfs_node *node = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn);
	__u64 exec_id = BPF_CORE_READ(task, self_exec_id);
	struct hsci_task_classes *known, found = {
		.exec_id = exec_id,
		.executable_file = (__u64)file,
		.cgroup_node = (__u64)node,
		.generation = tables->sections.generation,
	};
	struct hsci_scratch *scratch;

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
	found.executable = file ? hsci_class_of_file(tables, scratch, file)
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
static __always_inline __u32 hsci_class_of_command(const struct hsci_tables *tables)
{
	__u32 state = tables->roots.command;
	__u8 command[HSCI_COMMAND_LEN] = {};

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

/* Classifies the calling task. False if something does not fit: then nobody knows who calls. */
HSCI_GLOBAL int hsci_classify(const struct hsci_tables *tables, struct hsci_subject *subject)
{
	struct task_struct *task = bpf_get_current_task_btf();
	const struct cred *cred = BPF_CORE_READ(task, cred);

	if (!tables || !subject)
		return false;
	*subject = (struct hsci_subject){ .uid = BPF_CORE_READ(cred, fsuid.val) };
	subject->user = hsci_user(tables, subject->uid);
	hsci_classify_groups(tables, cred, subject);
	subject->pid_namespace = hsci_pid_namespace(tables, hsci_pid_namespace_of(task));
	subject->command = hsci_class_of_command(tables);
	return hsci_classify_paths(tables, task, subject);
}

#endif
