/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/*
 * The guard: judges calls before the kernel acts, whether a cache or a host would serve them. Here are the hooks
 * that see attributes and mounts.
 */
#include "judge.h"
#include "files.h"
#include "names.h"

#define ATTR_MODE 0x1u
#define ATTR_UID 0x2u
#define ATTR_GID 0x4u
#define ATTR_SIZE 0x8u
#define ATTR_TIMES 0x1f0u

SEC("lsm/inode_setattr")
int BPF_PROG(inode_setattr, void *idmap, struct dentry *dentry, struct iattr *attr, int previous)
{
	__u32 valid = attr->ia_valid, operations = 0;

	if (previous)
		return answer(previous);
	if (valid & ATTR_SIZE)
		operations |= HSCI_DO_TRUNCATE;
	if (valid & ATTR_MODE)
		operations |= HSCI_DO_CHMOD;
	if (valid & (ATTR_UID | ATTR_GID))
		operations |= HSCI_DO_CHOWN;
	/* Changing the length changes times as well. */
	if (!(valid & ATTR_SIZE) && (valid & (ATTR_TIMES & ~0x40u)))
		operations |= HSCI_DO_UTIMENS;
	return answer(judge_object(dentry, dentry->d_inode, operations));
}

SEC("lsm/inode_getattr")
int BPF_PROG(inode_getattr, const struct path *path, int previous)
{
	return answer(previous ? previous : judge_object(path->dentry, NULL, HSCI_DO_GETATTR));
}

SEC("lsm/inode_setxattr")
int BPF_PROG(inode_setxattr, void *idmap, struct dentry *dentry, const char *name,
	     const void *value, unsigned long size, int flags)
{
	return answer(judge_object(dentry, dentry->d_inode, HSCI_DO_SETXATTR));
}

SEC("lsm/inode_getxattr")
int BPF_PROG(inode_getxattr, struct dentry *dentry, const char *name, int previous)
{
	return answer(previous ? previous : judge_object(dentry, dentry->d_inode, HSCI_DO_GETXATTR));
}

SEC("lsm/inode_listxattr")
int BPF_PROG(inode_listxattr, struct dentry *dentry, int previous)
{
	return answer(previous ? previous : judge_object(dentry, dentry->d_inode, HSCI_DO_LISTXATTR));
}

SEC("lsm/inode_removexattr")
int BPF_PROG(inode_removexattr, void *idmap, struct dentry *dentry, const char *name, int previous)
{
	return answer(previous ? previous : judge_object(dentry, dentry->d_inode, HSCI_DO_REMOVEXATTR));
}

/* Lists of access do not come by the hooks of other attributes. */
SEC("lsm/inode_set_acl")
int BPF_PROG(inode_set_acl, void *idmap, struct dentry *dentry, const char *name, void *acl,
	     int previous)
{
	return answer(previous ? previous : judge_object(dentry, dentry->d_inode, HSCI_DO_SETXATTR));
}

SEC("lsm/inode_get_acl")
int BPF_PROG(inode_get_acl, void *idmap, struct dentry *dentry, const char *name, int previous)
{
	return answer(previous ? previous : judge_object(dentry, dentry->d_inode, HSCI_DO_GETXATTR));
}

SEC("lsm/inode_remove_acl")
int BPF_PROG(inode_remove_acl, void *idmap, struct dentry *dentry, const char *name, int previous)
{
	return answer(previous ? previous : judge_object(dentry, dentry->d_inode, HSCI_DO_REMOVEXATTR));
}

SEC("lsm/inode_readlink")
int BPF_PROG(inode_readlink, struct dentry *dentry, int previous)
{
	return answer(previous ? previous : judge_object(dentry, dentry->d_inode, HSCI_DO_READLINK));
}

SEC("lsm/sb_statfs")
int BPF_PROG(sb_statfs, struct dentry *dentry, int previous)
{
	return answer(previous ? previous : judge_object(dentry, dentry->d_inode, HSCI_DO_STATFS));
}

/* What is mounted over a part of a store would be taken for it. No rule is about mounting. */
SEC("lsm/sb_mount")
int BPF_PROG(sb_mount, const char *source, const struct path *path, const char *type,
	     unsigned long flags, void *data)
{
	return answer(judge_object(path->dentry, NULL, 0));
}

SEC("lsm/move_mount")
int BPF_PROG(move_mount, const struct path *from, const struct path *to, int previous)
{
	return answer(previous ? previous : judge_object(to->dentry, NULL, 0));
}

/* An address may be given to another directory from now on. */
SEC("lsm/inode_free_security")
int BPF_PROG(inode_free_security, struct inode *inode)
{
	__u64 key = (__u64)inode;

	bpf_map_delete_elem(&DIRECTORIES, &key);
	bpf_map_delete_elem(&FENCES, &key);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
