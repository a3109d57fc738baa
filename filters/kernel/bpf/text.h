/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/* Paths as texts. The kernel keeps names from a leaf upwards, so they are written from the end. */
#ifndef HSCI_TEXT_H
#define HSCI_TEXT_H

#include "tables.h"
#include "types.h"

#define NAME_MAX 255u
/* Nobody writes a path from more places at once than this. */
#define SCRATCHES 64u
#define SCRATCH_TRIES 8u

struct hsci_scratch {
	__u32 is_taken;
	__u32 reserved;
	/* A path ends at HSCI_TEXT_LEN. */
	struct hsci_text_room text;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SCRATCHES);
	__type(key, __u32);
	__type(value, struct hsci_scratch);
} SCRATCH SEC(".maps");

/* Room for one path. A task may lose its CPU while it writes one, so that a scratch is taken, not had. */
static __always_inline struct hsci_scratch *hsci_take_scratch(void)
{
	__u32 index = bpf_get_smp_processor_id();

	for (__u32 i = 0; i < SCRATCH_TRIES; i++, index += 7) {
		__u32 key = index % SCRATCHES;
		struct hsci_scratch *scratch = bpf_map_lookup_elem(&SCRATCH, &key);

		if (scratch && !__sync_val_compare_and_swap(&scratch->is_taken, 0, 1))
			return scratch;
	}
	return NULL;
}

static __always_inline void hsci_give_scratch(struct hsci_scratch *scratch)
{
	__sync_val_compare_and_swap(&scratch->is_taken, 1, 0);
}

struct hsci_climb {
	struct hsci_scratch *scratch;
	const void *dentry;
	/* Where the text begins. */
	__u32 at;
	bool is_done;
};

/* Writes a slash and a name before what is written already. False if there is no room. */
static __always_inline bool hsci_prepend(struct hsci_climb *climb, const void *name, __u32 len)
{
	__u32 at = climb->at;

	if (len == 0 || len > NAME_MAX || at < len + 1 || at > HSCI_TEXT_LEN)
		return false;
	at -= len + 1;
	climb->scratch->text.bytes[at & (HSCI_TEXT_LEN - 1)] = HSCI_SLASH;
	if (bpf_probe_read_kernel(&climb->scratch->text.bytes[(at + 1) & (HSCI_TEXT_LEN - 1)],
				  len & NAME_MAX, name))
		return false;
	climb->at = at;
	return true;
}

static __always_inline bool hsci_prepend_dentry(struct hsci_climb *climb,
						const struct dentry *dentry)
{
	return hsci_prepend(climb, BPF_CORE_READ(dentry, d_name.name),
			    BPF_CORE_READ(dentry, d_name.len));
}

/* Where file systems lie, by policy. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct hsci_root_key);
	__type(value, struct hsci_root_place);
} ROOTS SEC(".maps");

static __always_inline const struct hsci_root_place *hsci_root(__u32 device, __u32 generation)
{
	struct hsci_root_key key = { .device = device, .generation = generation };

	return bpf_map_lookup_elem(&ROOTS, &key);
}

/* One name upwards, to the root of the file system. */
static long hsci_climb_path(__u32 index, struct hsci_climb *climb)
{
	const struct dentry *dentry = climb->dentry;

	(void)index;
	if (dentry == BPF_CORE_READ(dentry, d_parent)) {
		climb->is_done = true;
		return 1;
	}
	if (!hsci_prepend_dentry(climb, dentry))
		return 1;
	climb->dentry = BPF_CORE_READ(dentry, d_parent);
	return 0;
}

static long hsci_climb_cgroup(__u32 index, struct hsci_climb *climb)
{
	const struct kernfs_node *node = climb->dentry, *parent;
	const struct kernfs_node___old *old = climb->dentry;
	const char *name;
	long len;

	(void)index;
	if (bpf_core_field_exists(node->__parent))
		parent = BPF_CORE_READ(node, __parent);
	else
		parent = BPF_CORE_READ(old, parent);
	if (!parent) {
		climb->is_done = true;
		return 1;
	}
	name = BPF_CORE_READ(node, name);
	/* The place behind the end of texts is free: it serves to measure the name. */
	len = bpf_probe_read_kernel_str(&climb->scratch->text.bytes[HSCI_TEXT_LEN], NAME_MAX + 1, name);
	if (len < 2 || !hsci_prepend(climb, name, len - 1))
		return 1;
	climb->dentry = parent;
	return 0;
}

/* Names in a path of HSCI_TEXT_LEN bytes, and mounts on the way. */
#define HSCI_MAX_CLIMB (HSCI_TEXT_LEN / 2 + 256)

struct hsci_prefix {
	const struct hsci_root_place *place;
	const struct hsci_scratch *scratch;
	__u32 at;
	bool differs;
};

static long hsci_compare_prefix(__u32 index, struct hsci_prefix *prefix)
{
	__u8 byte = prefix->scratch->text.bytes[(prefix->at + index) & (HSCI_TEXT_LEN - 1)];

	prefix->differs = byte != prefix->place->prefix[index & (HSCI_PREFIX_LEN - 1)];
	return prefix->differs;
}

/*
 * The class of an executable's path in the machine's own mount namespace: callers mount what they like in
 * theirs. A file that has no place there has the class of no path at all, and so has one that the process did not
 * execute: prctl(PR_SET_MM) puts in its place what it has opened. HSCI_NONE if the path does not fit.
 */
HSCI_GLOBAL __u32 hsci_class_of_file(const struct hsci_tables *tables, struct hsci_scratch *scratch,
				     __u64 executable)
{
	const struct file *file = (const void *)executable;
	__u32 device = BPF_CORE_READ(file, f_inode, i_sb, s_dev), at, len, skipped;
	const struct hsci_root_place *place;

	if (!tables || !scratch)
		return HSCI_NONE;
	place = hsci_root(device, tables->sections.generation);
	if (!place || !(BPF_CORE_READ(file, f_flags) & FMODE_EXEC))
		return hsci_class(tables, 0);
	/* In blocks of their own, so that they lie in one place: stacks of programs are short. */
	{
		struct hsci_climb climb = { .scratch = scratch, .at = HSCI_TEXT_LEN };

		climb.dentry = BPF_CORE_READ(file, f_path.dentry);
		bpf_loop(HSCI_MAX_CLIMB, hsci_climb_path, &climb, 0);
		if (!climb.is_done)
			return HSCI_NONE;
		at = climb.at;
	}
	len = HSCI_TEXT_LEN - at;
	skipped = place->prefix_len;
	if (skipped > HSCI_PREFIX_LEN || skipped > len)
		return hsci_class(tables, 0);
	if (skipped) {
		struct hsci_prefix prefix = { .place = place, .scratch = scratch, .at = at };

		bpf_loop(skipped, hsci_compare_prefix, &prefix, 0);
		if (prefix.differs)
			return hsci_class(tables, 0);
	}
	return hsci_class(tables, hsci_step(tables, place->executable, &scratch->text,
					    at + skipped, len - skipped));
}

static __always_inline __u32 hsci_class_of_cgroup(const struct hsci_tables *tables, __u32 start,
						  struct hsci_scratch *scratch,
						  const struct kernfs_node *node)
{
	struct hsci_climb climb = { .scratch = scratch, .at = HSCI_TEXT_LEN, .dentry = node };

	bpf_loop(HSCI_MAX_CLIMB, hsci_climb_cgroup, &climb, 0);
	if (!climb.is_done)
		return HSCI_NONE;
	return hsci_class(tables, hsci_step(tables, start, &scratch->text, climb.at,
					    HSCI_TEXT_LEN - climb.at));
}

#endif
