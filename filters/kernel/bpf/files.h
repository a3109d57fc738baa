/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/* Hooks that see how an object is opened, mapped, executed, locked and controlled. */
#ifndef HSCI_FILES_H
#define HSCI_FILES_H

#include "judge.h"

#define ENOTTY 25

#define TCGETS 0x5401u
#define TCGETS2 0x802c542au
#define FUSE_MAGIC 0x65735546ul

#define PROT_WRITE 0x2u
#define PROT_EXEC 0x4u
#define MAP_SHARED 0x1u

SEC("lsm/file_open")
int BPF_PROG(file_open, struct file *file, int previous)
{
	return answer(previous ? previous : judge_file(file, 0));
}

/* A program is about to run, and nothing can stop it any more: whoever runs it loses the marks that it takes. */
SEC("lsm/bprm_committed_creds")
int BPF_PROG(bprm_committed_creds, const struct linux_binprm *bprm)
{
	struct hsci_memory *memory = hsci_memory();
	struct hsci_verdict verdict = {};
	struct file *file = bprm->file;
	struct call call = {};
	struct object object;
	__u32 place;
	__u64 marks;

	if (!file || !memory || !concerns(&object, file->f_path.dentry, NULL))
		return 0;
	if (!object.tables->roots.remembers || !object.is_known || object.fence)
		return 0;
	call.asked.class = hsci_class(object.tables, object.state);
	if (!call.asked.class || !hsci_classify(object.tables, &call.asked.subject))
		return 0;
	place = hsci_calling_process(memory, hsci_process_key(bpf_get_current_task_btf()));
	if (place == HSCI_NONE)
		return 0;
	marks = memory->processes[place & (HSCI_PROCESSES - 1)].marks;
	call.asked.subject.marks_low = marks;
	call.asked.subject.marks_high = marks >> 32;
	take_facts(&call, file->f_inode);
	call.asked.operation = __builtin_ctz(HSCI_DO_EXEC);
	hsci_judge(object.tables, &call.asked, &verdict);
	if (!verdict.status && !verdict.errno)
		hsci_remember(object.tables, memory, place, verdict.effect, true);
	return 0;
}

/* A descriptor that somebody else opened. */
SEC("lsm/file_receive")
int BPF_PROG(file_receive, struct file *file, int previous)
{
	return answer(previous ? previous : judge_file(file, 0));
}

SEC("lsm/mmap_file")
int BPF_PROG(mmap_file, struct file *file, unsigned long asked, unsigned long protection,
	     unsigned long flags, int previous)
{
	__u32 operations = HSCI_DO_READ_DATA;

	if (previous || !file)
		return answer(previous);
	if ((flags & MAP_SHARED) && (protection & PROT_WRITE))
		operations |= HSCI_DO_WRITE_DATA;
	/* What `ld.so PROGRAM` does in place of execve. */
	if (protection & PROT_EXEC)
		operations |= HSCI_DO_EXEC;
	return answer(judge_file(file, operations));
}

/* A mapping that is made executable later. */
SEC("lsm/file_mprotect")
int BPF_PROG(file_mprotect, struct vm_area_struct *area, unsigned long asked,
	     unsigned long protection, int previous)
{
	struct object object;
	struct file *file;

	if (previous || !(protection & PROT_EXEC))
		return answer(previous);
	file = area->vm_file;
	if (!file || !concerns(&object, file->f_path.dentry, NULL))
		return 0;
	{
		struct call call = {};

		return answer(judge(&call, &object, file->f_inode, HSCI_DO_EXEC));
	}
}

SEC("lsm/file_lock")
int BPF_PROG(file_lock, struct file *file, unsigned int command, int previous)
{
	return answer(previous ? previous : judge_file(file, HSCI_DO_LOCK));
}

/*
 * Many programs ask of each file that they open whether it is a terminal, and the kernel would dispatch that. No
 * regular file of a mount is one.
 */
static __always_inline bool is_no_terminal(const struct file *file, unsigned int command)
{
	const struct inode *inode = file->f_inode;
	/* One byte longer than the name, so that a longer one is seen to be another. */
	char type[sizeof("hsci") + 1] = {};

	if ((command != TCGETS && command != TCGETS2) || type_of(inode->i_mode) != HSCI_TYPE_FILE)
		return false;
	if (BPF_CORE_READ(inode, i_sb, s_magic) != FUSE_MAGIC)
		return false;
	if (bpf_probe_read_kernel_str(type, sizeof(type), BPF_CORE_READ(inode, i_sb, s_subtype)) !=
	    sizeof("hsci"))
		return false;
	return type[0] == 'h' && type[1] == 's' && type[2] == 'c' && type[3] == 'i';
}

static __always_inline int judge_ioctl(struct file *file, unsigned int command)
{
	int result = judge_file(file, HSCI_DO_IOCTL);

	return answer(!result && is_no_terminal(file, command) ? -ENOTTY : result);
}

SEC("lsm/file_ioctl")
int BPF_PROG(file_ioctl, struct file *file, unsigned int command, unsigned long argument,
	     int previous)
{
	int obeyed = previous ? 0 : hsci_obey(file, command, argument);

	if (obeyed)
		return answer(obeyed);
	return previous ? answer(previous) : judge_ioctl(file, command);
}

SEC("lsm/file_ioctl_compat")
int BPF_PROG(file_ioctl_compat, struct file *file, unsigned int command, unsigned long argument,
	     int previous)
{
	return previous ? answer(previous) : judge_ioctl(file, command);
}

#endif
