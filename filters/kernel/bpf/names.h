/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/* Hooks that see names made, removed and changed. */
#ifndef HSCI_NAMES_H
#define HSCI_NAMES_H

#include "judge.h"

#define EXDEV 18

/*
 * Who makes a file opens it, and mostly writes to it: what a rule denies then must not leave a file behind.
 * How it is to be opened is not known here.
 */
SEC("lsm/inode_create")
int BPF_PROG(inode_create, struct inode *dir, struct dentry *dentry, unsigned short mode,
	     int previous)
{
	return answer(previous ? previous : judge_new(dentry, mode, HSCI_DO_CREATE_FILE |
						      HSCI_DO_OPEN | HSCI_DO_WRITE_DATA));
}

SEC("lsm/inode_mkdir")
int BPF_PROG(inode_mkdir, struct inode *dir, struct dentry *dentry, unsigned short mode,
	     int previous)
{
	return answer(previous ? previous : judge_new(dentry, S_IFDIR, HSCI_DO_MKDIR));
}

SEC("lsm/inode_mknod")
int BPF_PROG(inode_mknod, struct inode *dir, struct dentry *dentry, unsigned short mode,
	     unsigned int device, int previous)
{
	return answer(previous ? previous : judge_new(dentry, mode, HSCI_DO_MKNOD));
}

SEC("lsm/inode_symlink")
int BPF_PROG(inode_symlink, struct inode *dir, struct dentry *dentry, const char *target,
	     int previous)
{
	return answer(previous ? previous : judge_new(dentry, 0120000, HSCI_DO_SYMLINK));
}

SEC("lsm/inode_unlink")
int BPF_PROG(inode_unlink, struct inode *dir, struct dentry *dentry, int previous)
{
	return answer(previous ? previous : judge_object(dentry, dentry->d_inode, HSCI_DO_UNLINK));
}

SEC("lsm/inode_rmdir")
int BPF_PROG(inode_rmdir, struct inode *dir, struct dentry *dentry, int previous)
{
	return answer(previous ? previous : judge_object(dentry, dentry->d_inode, HSCI_DO_RMDIR));
}

/*
 * Calls on two names: one program for each, for a verifier follows each path through both. The second
 * name's object does not exist yet, but has the facts of the first.
 */
static __always_inline int judge_second(const struct dentry *old, const struct dentry *new,
					__u32 operation)
{
	struct object object;

	if (!concerns(&object, new, NULL))
		return 0;
	{
		struct call call = {};

		return judge(&call, &object, old->d_inode, operation);
	}
}

SEC("lsm/inode_link")
int BPF_PROG(inode_link_from, struct dentry *old, struct inode *dir, struct dentry *new,
	     int previous)
{
	return answer(previous ? previous : judge_object(old, old->d_inode, HSCI_DO_LINK));
}

SEC("lsm/inode_link")
int BPF_PROG(inode_link_to, struct dentry *old, struct inode *dir, struct dentry *new,
	     int previous)
{
	return answer(previous ? previous : judge_second(old, new, HSCI_DO_LINK));
}

/* A name in another class would make the object ambiguous. */
SEC("lsm/inode_link")
int BPF_PROG(inode_link_class, struct dentry *old, struct inode *dir, struct dentry *new,
	     int previous)
{
	const struct hsci_tables *tables = hsci_begin();
	struct hsci_guard *guard = hsci_guard();
	struct hsci_label from, to;

	if (previous || !guard || !tables)
		return answer(previous);
	if (!hsci_label_of(tables, guard, old, NULL, NULL, &from) ||
	    !hsci_label_of(tables, guard, new, NULL, NULL, &to))
		return hsci_own_fence() ? 0 : answer(undecidable(tables, guard, new));
	if (from.fence == to.fence && from.fence && from.fence == hsci_own_fence())
		return 0;
	if (from.fence == to.fence && hsci_class(tables, from.state) == hsci_class(tables, to.state))
		return 0;
	return answer(refuse(guard, EXDEV));
}

SEC("lsm/inode_rename")
int BPF_PROG(inode_rename_from, struct inode *old_dir, struct dentry *old, struct inode *new_dir,
	     struct dentry *new, int previous)
{
	return answer(previous ? previous : judge_object(old, old->d_inode, HSCI_DO_RENAME));
}

SEC("lsm/inode_rename")
int BPF_PROG(inode_rename_to, struct inode *old_dir, struct dentry *old, struct inode *new_dir,
	     struct dentry *new, int previous)
{
	return answer(previous ? previous : judge_second(old, new, HSCI_DO_RENAME));
}

/*
 * A directory that leads to paths of other rules does not take what is there to where these do not hold.
 * Otherwise labels of all below will be wrong; those that are found
 * meanwhile, once it is done.
 */
SEC("lsm/inode_rename")
int BPF_PROG(inode_rename_class, struct inode *old_dir, struct dentry *old, struct inode *new_dir,
	     struct dentry *new, int previous)
{
	const struct hsci_tables *tables = hsci_begin();
	struct hsci_guard *guard = hsci_guard();
	struct hsci_label from, to;

	if (previous || (BPF_CORE_READ(old, d_inode, i_mode) & S_IFMT) != S_IFDIR || !guard ||
	    !tables)
		return answer(previous);
	if (!hsci_label_of(tables, guard, old, NULL, NULL, &from) ||
	    !hsci_label_of(tables, guard, new, NULL, NULL, &to))
		return hsci_own_fence() ? 0 : answer(undecidable(tables, guard, new));
	if (!hsci_may_move(tables, from.state, to.state) &&
	    !(from.fence && from.fence == hsci_own_fence()) && !guard->permissive)
		return -EXDEV;
	__sync_fetch_and_add(&guard->epoch, 1);
	return 0;
}

SEC("fexit/vfs_rename")
int BPF_PROG(renamed, struct renamedata *data, int result)
{
	struct hsci_guard *guard = hsci_guard();
	__u32 mode = BPF_CORE_READ(data, old_dentry, d_inode, i_mode);

	if (guard && (mode & S_IFMT) == S_IFDIR)
		__sync_fetch_and_add(&guard->epoch, 1);
	return 0;
}

#endif
