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
static __always_inline void hand_over_process(struct hsci_handed *handed)
{
	struct hsci_memory *memory = hsci_memory();
	__u64 process = hsci_process_key(bpf_get_current_task_btf());
	__u32 place = memory ? hsci_calling_process(memory, process) : HSCI_NONE;

	handed->process = place == HSCI_NONE ? 0 : process;
	handed->place = place;
}
#else
static __always_inline void hand_over_process(struct hsci_handed *handed)
{
	handed->process = 0;
}
#endif

/* Read by the host without a system call. A place is overwritten by a later request. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, HSCI_PLACES);
	__type(key, __u32);
	__type(value, struct hsci_handed);
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
	__u32 zero = 0, opcode, place;
	__u64 key;

	tracer = bpf_map_lookup_elem(&TRACER, &zero);
	if (!tracer || !tracer->device || BPF_CORE_READ(req, fm, fc, dev) != tracer->device)
		return 0;
	opcode = BPF_CORE_READ(req, in.h.opcode);
	__sync_fetch_and_add(&tracer->requests[opcode & (HSCI_OPCODES - 1)], 1);
	/* Linux before 6.16 or so gives the number only later; somebody waits for the answer then. */
	key = BPF_CORE_READ(req, in.h.unique) & ~HSCI_RESENT;
	if (!key)
		key = HSCI_BY_THREAD | BPF_CORE_READ(req, in.h.pid);
	place = hsci_hash(key, HSCI_PLACES - 1);
	handed = bpf_map_lookup_elem(&HANDED_OVER, &place);
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
	hand_over_process(handed);
	handed->generation = tables->sections.generation;
	handed->opcode = opcode;
	handed->subject = subject;
	__sync_lock_test_and_set(&handed->key, key);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
