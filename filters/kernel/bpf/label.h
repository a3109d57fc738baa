/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/*
 * Labels: the automaton's state after an inode's path, found once and kept.
 *
 * A path begins at the root of its file system, whose state the loader gives, so that bind mounts,
 * chroot and mount namespaces change nothing. A label bears a stamp (policy and epoch) and the place
 * it was found at; the epoch rises when a directory gets another name.
 */
#ifndef HSCI_LABEL_H
#define HSCI_LABEL_H

#include "guard.h"
#include "text.h"

struct hsci_label {
	__u64 stamp;
	/* Parent, and hash and length of the name, by which it was found. */
	__u64 parent;
	__u64 name;
	__u32 state;
	/* The store that it belongs to, or 0. */
	__u32 fence;
	/* Whose label it is. Memory hides from the verifier that this is more than a number. */
	__u64 dentry;
};

/* The label of a directory, whose key stands at both ends. */
struct hsci_directory {
	__u64 inode;
	__u64 stamp;
	__u32 state;
	__u32 fence;
	__u64 same_inode;
};

/* The kernel's mark of a dentry that was not found from the root. */
#define DCACHE_DISCONNECTED (1u << 5)

/* None is ever changed, for others may be reading it: another one takes its place. */
struct {
	__uint(type, BPF_MAP_TYPE_INODE_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct hsci_label);
} LABELS SEC(".maps");

/* Labels of directories, by address: a cache that may lose what it holds, while it is read, too. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, __u64);
	__type(value, struct hsci_directory);
} DIRECTORIES SEC(".maps");

/*
 * Directories that only a host, or the command, may use; with all below. By address: numbers of inodes
 * are not unique in every file system. Whoever asks for a fence has the directory open, so that its inode
 * stays.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u32);
} FENCES SEC(".maps");

struct hsci_label_climb {
	struct hsci_climb climb;
	struct hsci_label label;
	__u64 stamp;
};

static __always_inline void hsci_look_for_fence(struct hsci_label_climb *find, __u64 inode)
{
	__u32 *fence;

	if (find->label.fence || !inode)
		return;
	fence = bpf_map_lookup_elem(&FENCES, &inode);
	if (fence)
		find->label.fence = *fence;
}

/* True at the root of a file system, or of what is in no tree at all, as pipes are. */
static __always_inline bool hsci_is_top(const struct dentry *dentry, bool has_root)
{
	if (dentry == BPF_CORE_READ(dentry, d_sb, s_root))
		return true;
	/* A handle may lead to an inode whose way to the root is not known. */
	return !has_root && !(BPF_CORE_READ(dentry, d_flags) & DCACHE_DISCONNECTED);
}

/*
 * Continues from the label of a directory, if it is known. The cache may give its place to another directory at any
 * time: what was read counts if the place still is this one's afterwards, at both ends. The exchange is a full barrier.
 */
static __always_inline bool hsci_continue_from(struct hsci_label_climb *find, __u64 inode)
{
	struct hsci_directory *known = bpf_map_lookup_elem(&DIRECTORIES, &inode);
	__u32 state, fence;

	if (!known)
		return false;
	state = known->state;
	fence = known->fence;
	if (__sync_fetch_and_add(&known->stamp, 0) != find->stamp || known->inode != inode ||
	    known->same_inode != inode)
		return false;
	find->label.state = state;
	if (!find->label.fence)
		find->label.fence = fence;
	return true;
}

static long hsci_climb_label(__u32 index, struct hsci_label_climb *find)
{
	const struct dentry *dentry = find->climb.dentry;
	const struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
	__u64 key = (__u64)BPF_CORE_READ(dentry, d_inode);
	const struct hsci_root_place *root;

	if (index > 0 && hsci_continue_from(find, key)) {
		find->climb.is_done = true;
		return 1;
	}
	hsci_look_for_fence(find, key);
	if (parent == dentry) {
		root = hsci_root(BPF_CORE_READ(dentry, d_sb, s_dev), find->stamp >> 32);
		if (root && root->path == HSCI_NONE)
			root = NULL;
		find->label.state = root ? root->path : 0;
		find->climb.is_done = hsci_is_top(dentry, root);
		return 1;
	}
	if (!hsci_prepend_dentry(&find->climb, dentry))
		return 1;
	find->climb.dentry = parent;
	return 0;
}

/* Remembers the parent's label: its next child is one name away. */
static __always_inline void hsci_keep_directory(const struct dentry *dentry, __u64 stamp,
						__u32 state, __u32 fence)
{
	__u64 key = (__u64)BPF_CORE_READ(dentry, d_parent, d_inode);
	struct hsci_directory directory = {
		.inode = key,
		.stamp = stamp,
		.state = state,
		.fence = fence,
		.same_inode = key,
	};

	if (key)
		bpf_map_update_elem(&DIRECTORIES, &key, &directory, BPF_ANY);
}

/* Finds a label by climbing. False if the path does not fit, or leads nowhere. */
HSCI_GLOBAL int hsci_find_label(const struct hsci_tables *tables, struct hsci_guard *guard,
				struct hsci_label *label)
{
	struct hsci_label_climb find = { .climb.at = HSCI_TEXT_LEN };
	__u32 own, state, own_fence, len;
	const struct dentry *leaf;
	bool is_root;

	if (!tables || !guard || !label)
		return false;
	leaf = (const void *)label->dentry;
	find.climb.dentry = leaf;
	own = BPF_CORE_READ(leaf, d_name.len) + 1;
	is_root = BPF_CORE_READ(leaf, d_parent) == leaf;
	find.stamp = label->stamp;
	find.climb.scratch = hsci_take_scratch();
	if (!find.climb.scratch)
		return false;
	/* Whether the leaf itself is fenced says nothing about its parent. */
	hsci_look_for_fence(&find, (__u64)BPF_CORE_READ(leaf, d_inode));
	own_fence = find.label.fence;
	bpf_loop(HSCI_MAX_CLIMB, hsci_climb_label, &find, 0);
	state = find.label.state;
	len = HSCI_TEXT_LEN - find.climb.at;
	if (find.climb.is_done && !is_root && len >= own) {
		state = hsci_step(tables, state, &find.climb.scratch->text, find.climb.at, len - own);
		if (!own_fence)
			hsci_keep_directory(leaf, find.stamp, state, find.label.fence);
		state = hsci_step(tables, state, &find.climb.scratch->text, HSCI_TEXT_LEN - own, own);
	}
	hsci_give_scratch(find.climb.scratch);
	label->state = state;
	label->fence = find.label.fence;
	return find.climb.is_done;
}

/* True if a label is of this stamp, and was found where the object is now. */
static __always_inline bool hsci_holds(const struct hsci_label *known, __u64 stamp,
				       const struct dentry *dentry)
{
	return known && known->stamp == stamp && known->parent == (__u64)dentry->d_parent &&
	       known->name == dentry->d_name.hash_len;
}

/*
 * True if a label that holds says that the object is no rule's business, as most are: the shortest way out. The word of
 * policy and epoch is read at once; a policy that comes meanwhile is in force when that word says so.
 */
static __always_inline bool hsci_is_free(const struct hsci_guard *guard, const struct dentry *dentry,
					 const struct hsci_label *known)
{
	_Static_assert(__builtin_offsetof(struct hsci_guard, generation) ==
			       __builtin_offsetof(struct hsci_guard, epoch) + sizeof(__u32),
		       "one word");

	return hsci_holds(known, *(const __u64 *)&guard->epoch, dentry) && !known->state &&
	       !known->fence;
}

/*
 * The label of an object, by a pointer of the hook's: `known` if that holds. `inode` is nothing where the verifier does
 * not trust it.
 */
static __always_inline bool hsci_label_of(const struct hsci_tables *tables,
					  struct hsci_guard *guard, const struct dentry *dentry,
					  struct inode *inode, const struct hsci_label *known,
					  struct hsci_label *label)
{
	__u64 stamp = (__u64)tables->sections.generation << 32 | guard->epoch;

	if (hsci_holds(known, stamp, dentry)) {
		label->state = known->state;
		label->fence = known->fence;
		return true;
	}
	*label = (struct hsci_label){
		.stamp = stamp,
		.parent = (__u64)dentry->d_parent,
		.name = dentry->d_name.hash_len,
		.dentry = (__u64)dentry,
	};
	if (!hsci_find_label(tables, guard, label))
		return false;
	if (known)
		bpf_inode_storage_delete(&LABELS, inode);
	if (inode)
		bpf_inode_storage_get(&LABELS, inode, label, BPF_LOCAL_STORAGE_GET_F_CREATE);
	return true;
}

#endif
