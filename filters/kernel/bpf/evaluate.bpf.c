/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/* The evaluator by itself, for BPF_PROG_TEST_RUN: questions and answers lie in maps. */
#include "memory.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hsci_question);
} QUESTION SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hsci_answer);
} ANSWER SEC(".maps");

struct work {
	const struct hsci_tables *tables;
	struct hsci_question *question;
	struct hsci_answer *answer;
	struct hsci_memory *memory;
	struct hsci_asked asked;
	/* The caller's, where it is remembered. */
	__u32 place;
	__u32 status;
};

static long add_group(__u32 index, struct work *work)
{
	hsci_add_group(work->tables, &work->answer->subject,
		       work->question->gids[index & (HSCI_QUESTION_GROUPS - 1)]);
	return 0;
}

static long add_ancestor(__u32 index, struct work *work)
{
	__u32 place = index & (HSCI_QUESTION_ANCESTORS - 1);
	__u32 end = work->question->ancestor_ends[place];
	__u32 start = place ? work->question->ancestor_ends[(place - 1) & (HSCI_QUESTION_ANCESTORS - 1)] : 0;
	__u32 state;

	if (end <= start)
		return 0;
	state = hsci_step(work->tables, work->tables->roots.executable, &work->question->ancestors,
			  start, end - start);
	work->answer->subject.ancestors |=
		hsci_ancestor_bits(work->tables, hsci_class(work->tables, state));
	return 0;
}

static __always_inline void classify(struct work *work)
{
	const struct hsci_tables *tables = work->tables;
	const struct hsci_roots *roots = &tables->roots;
	struct hsci_question *question = work->question;
	struct hsci_subject *subject = &work->answer->subject;

	*subject = (struct hsci_subject){ .uid = question->uid };
	subject->user = hsci_user(tables, question->uid);
	subject->pid_namespace = hsci_namespace(tables, question->pid_namespace);
	subject->user_namespace = hsci_namespace(tables, question->user_namespace);
	subject->login = hsci_login(tables, question->login);
	subject->secure = question->secure;
	subject->capabilities_low = question->capabilities;
	subject->capabilities_high = question->capabilities >> 32;
	subject->executable = hsci_class(tables, hsci_step(tables, roots->executable,
					 &question->executable, 0, question->executable_len));
	subject->command = hsci_class(tables, hsci_step(tables, roots->command,
				      &question->command, 0, question->command_len));
	subject->cgroup = hsci_class(tables, hsci_step(tables, roots->cgroup,
				     &question->cgroup, 0, question->cgroup_len));
	bpf_loop(question->groups, add_group, work, 0);
	if (roots->ancestors)
		bpf_loop(HSCI_QUESTION_ANCESTORS, add_ancestor, work, 0);
}

static long step_once(__u32 index, struct work *work)
{
	(void)index;
	work->answer->state = hsci_step(work->tables, work->tables->roots.path,
					&work->question->path, 0, work->question->path_len);
	return 0;
}

static long judge_once(__u32 index, struct work *work)
{
	struct hsci_verdict *verdict = &work->answer->verdict;

	(void)index;
	if (work->place != HSCI_NONE)
		work->status = hsci_count(work->tables, work->memory, work->place, &work->asked,
					  work->question->now);
	hsci_judge(work->tables, &work->asked, verdict);
	if (work->place != HSCI_NONE && !work->status && !verdict->status && !verdict->errno)
		hsci_remember(work->tables, work->memory, work->place, verdict->effect, true);
	return 0;
}

/* Decides the call by itself, or after all calls before. */
static __always_inline void judge(struct work *work)
{
	struct hsci_question *question = work->question;
	bool remembers = question->event == HSCI_EVENT_CALL && work->tables->roots.remembers;
	struct hsci_memory *memory = hsci_memory();
	struct hsci_verdict *verdict = &work->answer->verdict;
	__u64 start;

	if (!memory)
		return;
	work->memory = memory;
	work->place = HSCI_NONE;
	if (remembers) {
		work->place = hsci_calling_process(memory, question->process);
		work->status = work->place == HSCI_NONE ? HSCI_FORGOTTEN : 0;
	} else {
		work->asked.subject.marks_low = question->marks;
		work->asked.subject.marks_high = question->marks >> 32;
		work->asked.over = question->over;
	}
	start = bpf_ktime_get_ns();
	bpf_loop(question->repeat, judge_once, work, 0);
	work->answer->judge_ns = bpf_ktime_get_ns() - start;
	if (work->status)
		verdict->status = work->status;
	verdict->counted = hsci_counted(work->tables, &work->asked);
	work->answer->over = work->asked.over;
	work->answer->marks = memory->processes[work->place & (HSCI_PROCESSES - 1)].marks;
}

/* True if the question is about processes, and no call. */
static __always_inline bool tell_of_process(const struct hsci_question *question)
{
	struct hsci_memory *memory = hsci_memory();

	if (!memory || question->event < HSCI_EVENT_FORK)
		return false;
	if (question->event == HSCI_EVENT_EXIT)
		hsci_remove_process(memory, question->process);
	else
		hsci_inherit(memory, question->process, question->uid, question->child,
			     question->is_init);
	return true;
}

SEC("raw_tp/evaluate")
int evaluate(void *context)
{
	__u32 zero = 0;
	struct work work = {
		.tables = hsci_begin(),
		.question = bpf_map_lookup_elem(&QUESTION, &zero),
		.answer = bpf_map_lookup_elem(&ANSWER, &zero),
	};
	__u64 start;

	(void)context;
	if (!work.question || !work.answer || !work.tables)
		return 1;
	if (tell_of_process(work.question))
		return 0;
	classify(&work);
	start = bpf_ktime_get_ns();
	bpf_loop(work.question->repeat, step_once, &work, 0);
	work.answer->step_ns = bpf_ktime_get_ns() - start;
	work.answer->class = hsci_class(work.tables, work.answer->state);
	work.answer->is_bound = !hsci_may_move(work.tables, work.answer->state,
					       0);
	work.asked.facts = work.question->facts;
	work.asked.subject = work.answer->subject;
	work.asked.operation = work.question->operation;
	work.asked.class = work.answer->class;
	judge(&work);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
