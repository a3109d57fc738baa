/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/*
 * What is remembered between calls: what filters/abi/src/memory.rs does, on the same memory. It outlives
 * programs and policies, and hosts share it.
 */
#ifndef HSCI_MEMORY_H
#define HSCI_MEMORY_H

#include "tables.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hsci_memory);
} MEMORY SEC(".maps");

#define HSCI_TRIES 64u

static __always_inline struct hsci_memory *hsci_memory(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&MEMORY, &zero);
}

static __always_inline __u32 hsci_place(__u64 key, __u32 probe, __u32 count)
{
	return (hsci_hash(key ^ key >> 32, count - 1) + probe) & (count - 1);
}

/* The place of a process, or HSCI_NONE. */
HSCI_GLOBAL __u32 hsci_find_process(struct hsci_memory *memory, __u64 key)
{
	if (!memory)
		return HSCI_NONE;
	for (__u32 probe = 0; probe < HSCI_MEMORY_PROBES; probe++) {
		__u32 place = hsci_place(key, probe, HSCI_PROCESSES);

		if (memory->processes[place].key == key)
			return place;
	}
	return HSCI_NONE;
}

/* The place of a process, which is entered if it is not there; HSCI_NONE without room. */
HSCI_GLOBAL __u32 hsci_enter_process(struct hsci_memory *memory, __u64 key)
{
	__u32 known = hsci_find_process(memory, key);

	if (!memory || known != HSCI_NONE)
		return known;
	for (__u32 probe = 0; probe < HSCI_MEMORY_PROBES; probe++) {
		__u32 place = hsci_place(key, probe, HSCI_PROCESSES);
		__u64 seen = __sync_val_compare_and_swap(&memory->processes[place].key, 0, key);

		if (!seen || seen == key)
			return place;
	}
	__sync_fetch_and_add(&memory->lost, 1);
	return HSCI_NONE;
}

/* The place of a process that makes a call; HSCI_NONE if one that is not there may have had marks. */
static __always_inline __u32 hsci_calling_process(struct hsci_memory *memory, __u64 key)
{
	__u32 known = hsci_find_process(memory, key);

	if (known != HSCI_NONE || memory->lost || key >> HSCI_PROCESS_BITS > memory->since)
		return known;
	return hsci_enter_process(memory, key);
}

static __always_inline void hsci_remove_process(struct hsci_memory *memory, __u64 key)
{
	__u32 place = hsci_find_process(memory, key) & (HSCI_PROCESSES - 1);

	if (memory->processes[place].key != key)
		return;
	memory->processes[place].marks = 0;
	memory->processes[place].lineage = 0;
	memory->processes[place].secure = 0;
	/* A full barrier: whoever takes the place finds it empty. */
	__sync_val_compare_and_swap(&memory->processes[place].key, key, 0);
}

static __always_inline __u64 hsci_begin_lineage(struct hsci_memory *memory, __u32 user)
{
	__u64 number = __sync_fetch_and_add(&memory->lineages, 1) + 1;

	return (__u64)user << 32 | (__u32)number;
}

/* The lineage of a process, which is a user's now. */
HSCI_GLOBAL __u64 hsci_lineage(struct hsci_memory *memory, __u32 place, __u32 user)
{
	struct hsci_process *process;
	__u64 known, next, seen;

	if (!memory)
		return 0;
	process = &memory->processes[place & (HSCI_PROCESSES - 1)];
	known = process->lineage;
	if (known && known >> 32 == user)
		return known;
	next = hsci_begin_lineage(memory, user);
	seen = __sync_val_compare_and_swap(&process->lineage, known, next);
	return seen == known ? next : seen;
}

/* A process of a user starts another one. */
HSCI_GLOBAL int hsci_inherit(struct hsci_memory *memory, __u64 parent, __u32 user, __u64 child,
			     __u32 is_init)
{
	__u32 from = hsci_enter_process(memory, parent), to = hsci_enter_process(memory, child);
	struct hsci_process *started;

	if (!memory || from == HSCI_NONE || to == HSCI_NONE)
		return 0;
	from &= HSCI_PROCESSES - 1;
	started = &memory->processes[to & (HSCI_PROCESSES - 1)];
	started->marks = memory->processes[from].marks;
	started->secure = memory->processes[from].secure;
	started->lineage = is_init ? hsci_begin_lineage(memory, user)
				   : hsci_lineage(memory, from, user);
	return 0;
}

/* The place of the bucket of a key: a full one is taken if there is none. HSCI_NONE without room. */
HSCI_GLOBAL __u32 hsci_bucket(struct hsci_memory *memory, __u64 key, __u64 now)
{
	if (!memory)
		return HSCI_NONE;
	for (__u32 probe = 0; probe < HSCI_MEMORY_PROBES; probe++) {
		__u32 place = hsci_place(key, probe, HSCI_BUCKETS);

		if (memory->buckets[place].key == key)
			return place;
	}
	for (__u32 probe = 0; probe < HSCI_MEMORY_PROBES; probe++) {
		__u32 place = hsci_place(key, probe, HSCI_BUCKETS);
		__u64 seen = memory->buckets[place].key, was;

		if (seen == key)
			return place;
		if (seen && memory->buckets[place].full > now)
			continue;
		was = __sync_val_compare_and_swap(&memory->buckets[place].key, seen, key);
		if (was == seen || was == key)
			return place;
	}
	return HSCI_NONE;
}

/*
 * Takes a token of a rate. False if there is none. Frames of the stack are few here: this is inlined, and what
 * follows are functions of their own.
 */
static __always_inline bool hsci_take(struct hsci_memory *memory, const struct hsci_rate *rate, __u64 key,
			  __u64 now)
{
	__u32 place = hsci_bucket(memory, key, now);
	struct hsci_bucket *bucket;
	__u64 interval, window;

	if (!memory || !rate || place == HSCI_NONE)
		return false;
	bucket = &memory->buckets[place & (HSCI_BUCKETS - 1)];
	interval = rate->interval_low | (__u64)rate->interval_high << 32;
	window = rate->window_low | (__u64)rate->window_high << 32;
	for (__u32 i = 0; i < HSCI_TRIES; i++) {
		__u64 seen = bucket->full, next = (seen > now ? seen : now) + interval;

		if (next - now > window)
			return false;
		if (__sync_val_compare_and_swap(&bucket->full, seen, next) == seen)
			return true;
	}
	return false;
}

struct hsci_count {
	struct hsci_memory *memory;
	const struct hsci_tables *tables;
	__u64 now;
	__u32 counted;
	__u32 over;
	__u32 user;
	__u32 place;
};

/* The number of the only bit. A branch for each step would be one more path for the verifier to follow. */
static __always_inline __u32 hsci_number_of(__u32 bit)
{
	return __builtin_popcount(bit - 1);
}

/* The next of the rates that count a call; most have none or one. */
static long hsci_count_rate(__u32 index, struct hsci_count *count)
{
	const struct hsci_tables *tables = count->tables;
	__u32 bit = count->counted & -count->counted, number = hsci_number_of(bit);
	struct hsci_rate rate;
	const __u32 *record;
	__u64 key;

	(void)index;
	count->counted ^= bit;
	record = hsci_record(tables, tables->sections.rates + 8 * number, 8);
	rate = (struct hsci_rate){ record[0], record[1], record[2], record[3], record[4] };
	if (rate.per_user)
		key = HSCI_OF_USER | (__u64)count->user << HSCI_RATE_BITS;
	else
		key = (__u64)(__u32)hsci_lineage(count->memory, count->place, count->user)
		      << HSCI_RATE_BITS;
	if (!hsci_take(count->memory, &rate, key | number, count->now))
		count->over |= bit;
	return !count->counted;
}

/* Takes a token of each of the rates that count a call: those that are exceeded. */
HSCI_GLOBAL __u32 hsci_take_all(const struct hsci_tables *tables, struct hsci_memory *memory,
				__u64 process, __u32 counted, __u64 now)
{
	struct hsci_count count = {
		.memory = memory,
		.tables = tables,
		.now = now,
		.counted = counted,
		.user = process >> 32,
		.place = process & (HSCI_PROCESSES - 1),
	};

	if (!tables || !memory)
		return counted;
	bpf_loop(HSCI_MAX_RATES, hsci_count_rate, &count, 0);
	return count.over;
}

/*
 * Reads the marks of a process that makes a call, and takes a token of each rate that counts it. The status is
 * not 0 if it cannot be known.
 */
static __always_inline __u32 hsci_count(const struct hsci_tables *tables,
					struct hsci_memory *memory, __u32 place,
					struct hsci_asked *asked, __u64 now)
{
	__u64 marks = memory->processes[place & (HSCI_PROCESSES - 1)].marks, counted;

	asked->subject.marks_low = marks;
	asked->subject.marks_high = marks >> 32;
	asked->over = 0;
	counted = hsci_counted(tables, asked);
	if ((__u32)counted)
		asked->over = hsci_take_all(tables, memory,
					    (__u64)asked->subject.uid << 32 | place, counted, now);
	return counted >> 32;
}

/* What a call that goes on does to the marks of its process. */
static __always_inline void hsci_remember(const struct hsci_tables *tables,
					  struct hsci_memory *memory, __u32 place, __u32 effect,
					  bool clears)
{
	const __u32 *record = hsci_record(tables, tables->sections.effects + 8 * effect, 8);
	struct hsci_process *process = &memory->processes[place & (HSCI_PROCESSES - 1)];
	__u64 set = record[0] | (__u64)record[1] << 32, clear = record[2] | (__u64)record[3] << 32;

	if (set & ~process->marks)
		__sync_fetch_and_or(&process->marks, set);
	if (clears && (clear & process->marks))
		__sync_fetch_and_and(&process->marks, ~clear);
}

#endif
