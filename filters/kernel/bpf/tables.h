/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/*
 * The evaluator: what filters/engine/src/tables.rs does, on tables as filters/engine/src/words.rs
 * writes them. All tables are one value of a map, of a length known when this is built, so that a
 * masked index proves to the verifier what the loader has checked: that every index is within bounds.
 */
#ifndef HSCI_TABLES_BPF_H
#define HSCI_TABLES_BPF_H

#include "kernel.h"
#include "hsci_abi.h"

/* Room for tables in words, a power of two: each object is built for several. */
#ifndef HSCI_TABLE_WORDS
#error "HSCI_TABLE_WORDS is not defined"
#endif

struct hsci_tables {
	union {
		struct {
			struct hsci_roots roots;
			struct hsci_sections sections;
		};
		__u32 words[HSCI_TABLE_WORDS];
	};
};

struct hsci_table_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct hsci_tables));
};

/* The policy in force. One look-up at the start of a call makes all of it be judged by one policy. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct hsci_table_map);
} POLICY SEC(".maps");

#define HSCI_SLASH '/'

/*
 * Functions of this kind are verified once in each program, by themselves. A verifier follows each
 * path through all others at each call, which adds up.
 */
#define HSCI_GLOBAL __attribute__((noinline))

/* A record of `size` words, a power of two. */
static __always_inline const __u32 *hsci_record(const struct hsci_tables *tables, __u32 word,
						__u32 size)
{
	return &tables->words[word & (HSCI_TABLE_WORDS - 1) & ~(size - 1)];
}

/* The policy in force, for the length of one call; nothing without one. */
static __always_inline const struct hsci_tables *hsci_begin(void)
{
	__u32 zero = 0;
	void *map = bpf_map_lookup_elem(&POLICY, &zero);
	const struct hsci_tables *tables;

	if (!map)
		return NULL;
	tables = bpf_map_lookup_elem(map, &zero);
	return tables && tables->sections.generation ? tables : NULL;
}

/* The state after one byte more. */
static __always_inline __u32 hsci_step_byte(const struct hsci_tables *tables, __u32 state,
					    __u8 byte)
{
	const __u32 *record = hsci_record(tables, tables->sections.states + 4 * state, 4);
	const __u32 *cell = hsci_record(tables, tables->sections.cells + 2 * (record[0] + byte), 2);

	if (byte == HSCI_SLASH)
		return record[2];
	return cell[0] == state ? cell[1] : record[1];
}

struct hsci_step {
	const struct hsci_tables *tables;
	const __u8 *text;
	__u32 state;
	__u32 at;
	__u32 end;
};

/* Bytes for each call of a loop's body, which costs more than a byte does. */
#define HSCI_STRIDE 16u

static long hsci_step_bytes(__u32 index, struct hsci_step *step)
{
	__u32 state = step->state, at = step->at;

	(void)index;
	/* Nothing leads out of the dead state. */
	for (__u32 i = 0; i < HSCI_STRIDE && at < step->end && state; i++, at++)
		state = hsci_step_byte(step->tables, state,
				       step->text[at & (HSCI_TEXT_LEN - 1)]);
	step->state = state;
	step->at = at;
	return state == 0;
}

/* The state after `len` bytes of `text` from `start`, at most HSCI_TEXT_LEN. */
HSCI_GLOBAL __u32 hsci_step(const struct hsci_tables *tables, __u32 state,
			    const struct hsci_text_room *text, __u32 start, __u32 len)
{
	struct hsci_step step = { .tables = tables, .state = state, .at = start };

	if (!tables || !text || len > HSCI_TEXT_LEN)
		return 0;
	step.text = text->bytes;
	step.end = start + len;
	if (state != 0 && len != 0)
		bpf_loop((len + HSCI_STRIDE - 1) / HSCI_STRIDE, hsci_step_bytes, &step, 0);
	return step.state;
}

/* The class of a state. */
static __always_inline __u32 hsci_class(const struct hsci_tables *tables, __u32 state)
{
	return hsci_record(tables, tables->sections.states + 4 * state, 4)[3] & ~HSCI_LEADS_ON;
}

/* True if renaming a directory from one path to another changes nothing for what is below. */
static __always_inline bool hsci_may_move(const struct hsci_tables *tables, __u32 from, __u32 to)
{
	const __u32 *one = hsci_record(tables, tables->sections.states + 4 * from, 4);
	const __u32 *other = hsci_record(tables, tables->sections.states + 4 * to, 4);

	return one[2] == other[2] || !((one[3] | other[3]) & HSCI_LEADS_ON);
}

/* What a key of a hash area leads to, or `otherwise`. */
HSCI_GLOBAL __u32 hsci_find(const struct hsci_tables *tables, __u32 base, __u32 mask, __u32 value,
			    __u32 otherwise)
{
	__u32 first;

	if (!tables)
		return otherwise;
	first = tables->sections.edges + 2 * (base + hsci_hash(value, mask));
	for (__u32 probe = 0; probe < HSCI_PROBES; probe++) {
		const __u32 *edge = hsci_record(tables, first + 2 * probe, 2);

		if (edge[0] == HSCI_NONE)
			return otherwise;
		if (edge[0] == value)
			return edge[1];
	}
	return otherwise;
}

static __always_inline __u32 hsci_user(const struct hsci_tables *tables, __u32 uid)
{
	return hsci_find(tables, tables->roots.users_base, tables->roots.users_mask, uid, 0);
}

static __always_inline void hsci_add_group(const struct hsci_tables *tables,
					   struct hsci_subject *subject, __u32 gid)
{
	__u32 bit = hsci_find(tables, tables->roots.groups_base, tables->roots.groups_mask, gid, 0);

	if (bit == 0 || bit > HSCI_MAX_GROUPS)
		return;
	if (bit <= 32)
		subject->groups_low |= 1u << ((bit - 1) & 31);
	else
		subject->groups_high |= 1u << ((bit - 33) & 31);
}

static __always_inline __u32 hsci_namespace(const struct hsci_tables *tables, __u32 number)
{
	return hsci_find(tables, tables->roots.namespaces_base, tables->roots.namespaces_mask,
			 number, 0);
}

static __always_inline __u32 hsci_login(const struct hsci_tables *tables, __u32 uid)
{
	return uid == HSCI_NONE ? HSCI_NO_LOGIN_INDEX : hsci_user(tables, uid);
}

/* The globs of ancestors that executables of a class match, as bits. */
static __always_inline __u32 hsci_ancestor_bits(const struct hsci_tables *tables, __u32 class)
{
	return *hsci_record(tables, tables->sections.ancestors + class, 1);
}

/* What is asked of the tables. */
struct hsci_asked {
	struct hsci_facts facts;
	struct hsci_subject subject;
	__u32 operation;
	/* Class of the path. */
	__u32 class;
	/* Rates that are exceeded. */
	__u32 over;
	__u32 reserved;
};

struct hsci_walk {
	const struct hsci_tables *tables;
	const struct hsci_asked *asked;
	__u32 at;
	__u32 status;
};

/* Whether a condition on the time holds; the clock is read where nobody says when the call is made. */
static __always_inline bool hsci_is_time(const __u32 *condition, __u64 time)
{
	__u32 minute;

	if (!time)
		time = bpf_ktime_get_tai_ns() / 1000000000;
	if (condition[0] == HSCI_CONDITION_SINCE)
		return time >= (condition[2] | (__u64)condition[3] << 32);
	/* The first day of all was a Thursday. */
	if (condition[0] == HSCI_CONDITION_DAY)
		return (time / 86400 + 3) % 7 == condition[1];
	minute = time / 60 % 1440;
	if (condition[2] < condition[3])
		return minute >= condition[2] && minute < condition[3];
	return minute >= condition[2] || minute < condition[3];
}

static __always_inline bool hsci_bit(struct hsci_walk *walk, __u32 variable)
{
	const struct hsci_facts *facts = &walk->asked->facts;
	const __u32 *condition;

	if (variable < HSCI_VARIABLE_CONDITION) {
		__u32 bit = variable - HSCI_VARIABLE_GROUP;
		__u32 groups = bit < 32 ? walk->asked->subject.groups_low : walk->asked->subject.groups_high;

		return groups >> (bit & 31) & 1;
	}
	if (variable >= HSCI_VARIABLE_RATE)
		return walk->asked->over >> ((variable - HSCI_VARIABLE_RATE) & 31) & 1;
	if (variable >= HSCI_VARIABLE_MARK) {
		__u32 bit = variable - HSCI_VARIABLE_MARK;
		__u32 marks = bit < 32 ? walk->asked->subject.marks_low : walk->asked->subject.marks_high;

		return marks >> (bit & 31) & 1;
	}
	condition = hsci_record(walk->tables, walk->tables->sections.conditions +
				4 * (variable - HSCI_VARIABLE_CONDITION), 4);
	if (condition[0] == HSCI_CONDITION_FLAG)
		return facts->flags >> (condition[1] & 31) & 1;
	if (condition[0] == HSCI_CONDITION_ANCESTOR)
		return walk->asked->subject.ancestors >> (condition[1] & 31) & 1;
	if (condition[0] == HSCI_CONDITION_SECURE)
		return walk->asked->subject.secure;
	if (condition[0] == HSCI_CONDITION_CAPABILITY) {
		__u32 capabilities = condition[1] < 32 ? walk->asked->subject.capabilities_low :
							 walk->asked->subject.capabilities_high;

		return capabilities >> (condition[1] & 31) & 1;
	}
	if (condition[0] >= HSCI_CONDITION_TIME_OF_DAY)
		return hsci_is_time(condition, facts->time);
	if (!facts->are_known)
		walk->status = HSCI_UNKNOWN_FACT;
	if (condition[0] == HSCI_CONDITION_MODE)
		return facts->mode & condition[1];
	if (condition[0] == HSCI_CONDITION_OWNER_IS_CALLER)
		return facts->owner == walk->asked->subject.uid;
	return facts->size >= (condition[2] | (__u64)condition[3] << 32);
}

static __always_inline __u32 hsci_value(struct hsci_walk *walk, __u32 variable)
{
	switch (variable) {
	case HSCI_VARIABLE_USER:
		return walk->asked->subject.user;
	case HSCI_VARIABLE_EXECUTABLE:
		return walk->asked->subject.executable;
	case HSCI_VARIABLE_COMMAND:
		return walk->asked->subject.command;
	case HSCI_VARIABLE_CGROUP:
		return walk->asked->subject.cgroup;
	case HSCI_VARIABLE_PID_NAMESPACE:
		return walk->asked->subject.pid_namespace;
	case HSCI_VARIABLE_LOGIN:
		return walk->asked->subject.login;
	case HSCI_VARIABLE_USER_NAMESPACE:
		return walk->asked->subject.user_namespace;
	case HSCI_VARIABLE_OWNER:
		if (!walk->asked->facts.are_known)
			walk->status = HSCI_UNKNOWN_FACT;
		return hsci_user(walk->tables, walk->asked->facts.owner);
	case HSCI_VARIABLE_TYPE:
		if (!walk->asked->facts.are_known)
			walk->status = HSCI_UNKNOWN_FACT;
		return walk->asked->facts.file_type;
	default:
		return HSCI_NONE;
	}
}

static long hsci_walk_node(__u32 index, struct hsci_walk *walk)
{
	const struct hsci_tables *tables = walk->tables;
	const __u32 *node = hsci_record(tables, tables->sections.nodes + 4 * walk->at, 4);

	(void)index;
	if (node[0] >= HSCI_VARIABLE_GROUP)
		walk->at = hsci_bit(walk, node[0]) ? node[2] : node[1];
	else
		walk->at = hsci_find(tables, node[2], node[3], hsci_value(walk, node[0]), node[1]);
	return (walk->at & HSCI_LEAF) || walk->status;
}

/* Walks a diagram from a node to its leaf: the leaf, and above it the status. */
HSCI_GLOBAL __u64 hsci_walk_to_leaf(const struct hsci_tables *tables,
				    const struct hsci_asked *asked, __u32 node)
{
	struct hsci_walk walk = { .tables = tables, .asked = asked, .at = node };

	if (!tables || !asked)
		return (__u64)HSCI_BROKEN << 32;
	bpf_loop(HSCI_MAX_WALK, hsci_walk_node, &walk, 0);
	if (!(walk.at & HSCI_LEAF) && !walk.status)
		walk.status = HSCI_BROKEN;
	return (walk.at & ~HSCI_LEAF) | (__u64)walk.status << 32;
}

/* The value of a diagram, if it leaves the status as it is. */
static __always_inline __u32 hsci_leaf(const struct hsci_tables *tables,
				       const struct hsci_asked *asked, __u32 root, __u32 *status)
{
	__u64 found;

	if (root & HSCI_LEAF)
		return root & ~HSCI_LEAF;
	found = hsci_walk_to_leaf(tables, asked, root);
	*status |= found >> 32;
	return found;
}

/* The row of a class of paths and an operation. */
static __always_inline const __u32 *hsci_row(const struct hsci_tables *tables,
					     const struct hsci_asked *asked)
{
	const struct hsci_sections *sections = &tables->sections;
	const __u32 *path = hsci_record(tables, sections->path_classes + 2 * asked->class, 2);
	__u32 column = *hsci_record(tables, sections->operations +
				    (asked->operation & (HSCI_OPERATIONS - 1)), 1);
	__u32 index = *hsci_record(tables, sections->row_indices + path[1] + column, 1);

	return hsci_record(tables, sections->rows + 8 * index, 8);
}

/* The rates that count a call, as bits, and above them the status. */
HSCI_GLOBAL __u64 hsci_counted(const struct hsci_tables *tables, const struct hsci_asked *asked)
{
	__u32 leaf, status = 0;

	if (!tables || !asked)
		return 0;
	leaf = hsci_leaf(tables, asked, hsci_row(tables, asked)[4], &status);
	return leaf | (__u64)status << 32;
}

/* Decides a call of a classified caller on a path of a class. */
HSCI_GLOBAL int hsci_judge(const struct hsci_tables *tables, const struct hsci_asked *asked,
			   struct hsci_verdict *verdict)
{
	const __u32 *path, *row, *decision;
	const struct hsci_sections *sections;
	__u32 leaf, status = 0;

	if (!tables || !asked || !verdict)
		return 0;
	sections = &tables->sections;
	path = hsci_record(tables, sections->path_classes + 2 * asked->class, 2);
	row = hsci_row(tables, asked);
	leaf = hsci_leaf(tables, asked, row[0], &status);
	verdict->audit = hsci_leaf(tables, asked, row[1], &status);
	verdict->options = hsci_leaf(tables, asked, row[2], &status);
	verdict->effect = hsci_leaf(tables, asked, row[3], &status);
	verdict->target = path[0];
	verdict->status = status;
	decision = hsci_record(tables, sections->decisions + 2 * leaf, 2);
	verdict->errno = decision[0];
	verdict->rule = decision[1];
	return 0;
}

#endif
