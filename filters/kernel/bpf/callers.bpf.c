/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/*
 * The caller tracer: runs as the kernel is about to hand a call to the host, in the context of whoever calls,
 * and leaves there who that is. The host knows path and object; together they make a verdict.
 */
#include "subject.h"
#ifdef HSCI_REMEMBERS
#include "memory.h"
#include "process.h"

/* Which process calls, for those who look up what is remembered of it. */
HSCI_GLOBAL int hsci_hand_over_process(struct hsci_handed *handed)
{
	struct hsci_memory *memory = hsci_memory();
	__u64 process = hsci_process_key(bpf_get_current_task_btf());
	__u32 place = memory ? hsci_calling_process(memory, process) : HSCI_NONE;

	if (!handed)
		return 0;
	handed->process = place == HSCI_NONE ? 0 : process;
	handed->place = place;
	return 0;
}
#else
HSCI_GLOBAL int hsci_hand_over_process(struct hsci_handed *handed)
{
	if (handed)
		handed->process = 0;
	return 0;
}
#endif

/* Read by a host without a system call. A place is overwritten by a later request. */
struct hsci_handed_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, HSCI_PLACES);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct hsci_handed));
};

/* For each connection, by its device number: the callers of a mount are its own host's business. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, HSCI_CONNECTIONS);
	__type(key, __u32);
	__array(values, struct hsci_handed_map);
} HANDED_OVER SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hsci_tracer);
} TRACER SEC(".maps");

SEC("tp_btf/fuse_request_send")
int BPF_PROG(request_send, const struct fuse_req *req)
{
	const struct hsci_tables *tables;
	struct hsci_tracer *tracer;
	struct hsci_handed *handed;
	struct hsci_subject subject;
	__u32 zero = 0, device, place;
	void *places;
	__u64 key;

	device = BPF_CORE_READ(req, fm, fc, dev);
	places = bpf_map_lookup_elem(&HANDED_OVER, &device);
	tracer = bpf_map_lookup_elem(&TRACER, &zero);
	if (!places || !tracer)
		return 0;
	/* Linux before 6.16 or so gives the number only later; somebody waits for the answer then. */
	key = BPF_CORE_READ(req, in.h.unique) & ~HSCI_RESENT;
	if (!key)
		key = HSCI_BY_THREAD | BPF_CORE_READ(req, in.h.pid);
	place = hsci_hash(key, HSCI_PLACES - 1);
	handed = bpf_map_lookup_elem(places, &place);
	if (!handed)
		return 0;
	/*
	 * Exchanges are full barriers: whoever reads the same key twice has read what belongs to it. What
	 * is known of a thread's request before this one must not be taken for this one.
	 */
	__sync_lock_test_and_set(&handed->key, 0);
	tables = hsci_begin();
	if (!tables)
		return 0;
	if (!hsci_classify(tables, &subject)) {
		__sync_fetch_and_add(&tracer->unknown, 1);
		return 0;
	}
	hsci_hand_over_process(handed);
	handed->generation = tables->sections.generation;
	handed->opcode = BPF_CORE_READ(req, in.h.opcode);
	handed->subject = subject;
	__sync_lock_test_and_set(&handed->key, key);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
