/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What user side and kernel side share. Made from the crate in filters/abi. */
#ifndef HSCI_ABI_H
#define HSCI_ABI_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#define HSCI_NONE 0xffffffffu
#define HSCI_LEAF 0x80000000u
#define HSCI_LEADS_ON 0x80000000u
#define HSCI_OPERATIONS 0x20u
#define HSCI_PROBES 0x8u
#define HSCI_HASH_FACTOR 0x9e3779b1u
#define HSCI_MAX_GROUPS 0x40u
#define HSCI_FIRST_USER_NAMESPACE 0xeffffffdu
#define HSCI_NO_LOGIN_INDEX 0xfffffffeu
#define HSCI_MAX_ANCESTORS 0x20u
#define HSCI_MAX_ANCESTRY 0x80u
#define HSCI_MAX_CONDITIONS 0x20u
#define HSCI_MAX_MARKS 0x40u
#define HSCI_MAX_RATES 0x1fu
#define HSCI_MAX_WALK 0xc8u
#define HSCI_VARIABLE_USER 0x0u
#define HSCI_VARIABLE_OWNER 0x1u
#define HSCI_VARIABLE_EXECUTABLE 0x2u
#define HSCI_VARIABLE_COMMAND 0x3u
#define HSCI_VARIABLE_CGROUP 0x4u
#define HSCI_VARIABLE_PID_NAMESPACE 0x5u
#define HSCI_VARIABLE_TYPE 0x6u
#define HSCI_VARIABLE_LOGIN 0x7u
#define HSCI_VARIABLE_USER_NAMESPACE 0x8u
#define HSCI_VARIABLE_GROUP 0x9u
#define HSCI_VARIABLE_CONDITION 0x49u
#define HSCI_VARIABLE_MARK 0x69u
#define HSCI_VARIABLE_RATE 0xa9u
#define HSCI_VARIABLE_END 0xc8u
#define HSCI_LINE_WORDS 0x20u
#define HSCI_CONDITION_FLAG 0x1u
#define HSCI_CONDITION_OWNER_IS_CALLER 0x2u
#define HSCI_CONDITION_SIZE_AT_LEAST 0x3u
#define HSCI_CONDITION_MODE 0x4u
#define HSCI_CONDITION_TIME_OF_DAY 0x5u
#define HSCI_CONDITION_DAY 0x6u
#define HSCI_CONDITION_SINCE 0x7u
#define HSCI_CONDITION_CAPABILITY 0x8u
#define HSCI_CONDITION_ANCESTOR 0x9u
#define HSCI_CONDITION_SECURE 0xau

#define HSCI_TEXT_LEN 0x1000u
#define HSCI_QUESTION_GROUPS 0x40u
#define HSCI_QUESTION_ANCESTORS 0x4u
#define HSCI_EVENT_GIVEN 0x0u
#define HSCI_EVENT_CALL 0x1u
#define HSCI_EVENT_FORK 0x2u
#define HSCI_EVENT_EXIT 0x3u
#define HSCI_DECIDED 0x0u
#define HSCI_BROKEN 0x1u
#define HSCI_UNKNOWN_FACT 0x2u
#define HSCI_FORGOTTEN 0x3u

#define HSCI_TARGETS 0x100u
#define HSCI_COMMAND_LEN 0x10u
#define HSCI_NAME_LEN 0x100u
#define HSCI_PREFIX_LEN 0x40u
#define HSCI_AUDITED 0x1u
#define HSCI_DENIED 0x2u
#define HSCI_FENCED 0x3u
#define HSCI_UNDECIDABLE 0x4u
#define HSCI_WOULD_DENY 0x5u
#define HSCI_CLAIM 0x68736301u
#define HSCI_FENCE 0x68736302u
#define HSCI_UNFENCE 0x68736303u
#define HSCI_PROGRAM 0x80000000u

#define HSCI_PLACES 0x1000u
#define HSCI_CONNECTIONS 0x1000u
#define HSCI_BY_THREAD 0x4000000000000000ull
#define HSCI_RESENT 0x8000000000000000ull

#define HSCI_PROCESSES 0x10000u
#define HSCI_BUCKETS 0x4000u
#define HSCI_MEMORY_PROBES 0x10u
#define HSCI_PROCESS_BITS 0x16u
#define HSCI_START_SHIFT 0x10u
#define HSCI_OF_USER 0x8000000000000000ull
#define HSCI_RATE_BITS 0x8u

/* Operations, as bits. */
#define HSCI_DO_OPEN (1u << 0)
#define HSCI_DO_EXEC (1u << 1)
#define HSCI_DO_READ_DATA (1u << 2)
#define HSCI_DO_READDIR (1u << 3)
#define HSCI_DO_READLINK (1u << 4)
#define HSCI_DO_WRITE_DATA (1u << 5)
#define HSCI_DO_TRUNCATE (1u << 6)
#define HSCI_DO_FALLOCATE (1u << 7)
#define HSCI_DO_GETATTR (1u << 8)
#define HSCI_DO_CHMOD (1u << 9)
#define HSCI_DO_CHOWN (1u << 10)
#define HSCI_DO_UTIMENS (1u << 11)
#define HSCI_DO_GETXATTR (1u << 12)
#define HSCI_DO_LISTXATTR (1u << 13)
#define HSCI_DO_SETXATTR (1u << 14)
#define HSCI_DO_REMOVEXATTR (1u << 15)
#define HSCI_DO_CREATE_FILE (1u << 16)
#define HSCI_DO_MKDIR (1u << 17)
#define HSCI_DO_MKNOD (1u << 18)
#define HSCI_DO_SYMLINK (1u << 19)
#define HSCI_DO_LINK (1u << 20)
#define HSCI_DO_UNLINK (1u << 21)
#define HSCI_DO_RMDIR (1u << 22)
#define HSCI_DO_RENAME (1u << 23)
#define HSCI_DO_LOCK (1u << 24)
#define HSCI_DO_FSYNC (1u << 25)
#define HSCI_DO_IOCTL (1u << 26)
#define HSCI_DO_STATFS (1u << 27)
#define HSCI_DO_GROW (1u << 28)

/* Types of files. */
#define HSCI_TYPE_FILE 0u
#define HSCI_TYPE_DIRECTORY 1u
#define HSCI_TYPE_SYMLINK 2u
#define HSCI_TYPE_FIFO 3u
#define HSCI_TYPE_SOCKET 4u
#define HSCI_TYPE_CHAR_DEVICE 5u
#define HSCI_TYPE_BLOCK_DEVICE 6u

/* Open flags in tables, as bits. */
#define HSCI_FLAG_READ (1u << 0)
#define HSCI_FLAG_WRITE (1u << 1)
#define HSCI_FLAG_APPEND (1u << 2)
#define HSCI_FLAG_TRUNCATE (1u << 3)
#define HSCI_FLAG_CREATE (1u << 4)
#define HSCI_FLAG_EXCLUSIVE (1u << 5)
#define HSCI_FLAG_DIRECT (1u << 6)
#define HSCI_FLAG_SYNC (1u << 7)
#define HSCI_FLAG_NOFOLLOW (1u << 8)
#define HSCI_FLAG_PATH (1u << 9)
#define HSCI_FLAG_TMPFILE (1u << 10)

/* Open flags in the kernel: all bits are set. */
#if defined(HSCI_ARCH_x86_64)
#define HSCI_O_APPEND 0x400u
#define HSCI_O_TRUNCATE 0x200u
#define HSCI_O_CREATE 0x40u
#define HSCI_O_EXCLUSIVE 0x80u
#define HSCI_O_DIRECT 0x4000u
#define HSCI_O_SYNC 0x1000u
#define HSCI_O_NOFOLLOW 0x20000u
#define HSCI_O_PATH 0x200000u
#define HSCI_O_TMPFILE 0x410000u
#elif defined(HSCI_ARCH_aarch64)
#define HSCI_O_APPEND 0x400u
#define HSCI_O_TRUNCATE 0x200u
#define HSCI_O_CREATE 0x40u
#define HSCI_O_EXCLUSIVE 0x80u
#define HSCI_O_DIRECT 0x10000u
#define HSCI_O_SYNC 0x1000u
#define HSCI_O_NOFOLLOW 0x8000u
#define HSCI_O_PATH 0x200000u
#define HSCI_O_TMPFILE 0x404000u
#elif defined(HSCI_ARCH_riscv64)
#define HSCI_O_APPEND 0x400u
#define HSCI_O_TRUNCATE 0x200u
#define HSCI_O_CREATE 0x40u
#define HSCI_O_EXCLUSIVE 0x80u
#define HSCI_O_DIRECT 0x4000u
#define HSCI_O_SYNC 0x1000u
#define HSCI_O_NOFOLLOW 0x20000u
#define HSCI_O_PATH 0x200000u
#define HSCI_O_TMPFILE 0x410000u
#else
#error "no HSCI_ARCH_ is defined"
#endif

struct hsci_state {
	__u32 base;
	__u32 fallback;
	__u32 slash;
	__u32 class;
};

struct hsci_cell {
	__u32 owner;
	__u32 next;
};

struct hsci_path_class {
	__u32 target;
	__u32 rows;
};

struct hsci_row {
	__u32 decision;
	__u32 audit;
	__u32 options;
	__u32 effects;
	__u32 counted;
};

struct hsci_effect {
	__u32 set_low;
	__u32 set_high;
	__u32 clear_low;
	__u32 clear_high;
	__u32 first;
	__u32 count;
};

struct hsci_mark_rule {
	__u32 mark;
	__u32 rule;
};

struct hsci_rate {
	__u32 interval_low;
	__u32 interval_high;
	__u32 window_low;
	__u32 window_high;
	__u32 per_user;
};

struct hsci_node {
	__u32 variable;
	__u32 fallback;
	__u32 base;
	__u32 mask;
};

struct hsci_edge {
	__u32 value;
	__u32 next;
};

struct hsci_decision {
	__u32 errno;
	__u32 rule;
};

struct hsci_option_set {
	__u32 first;
	__u32 count;
};

struct hsci_option {
	__u32 key;
	__u32 value;
	__u32 rule;
};

struct hsci_text {
	__u32 first;
	__u32 len;
};

struct hsci_condition {
	__u32 kind;
	__u32 argument;
	__u32 low;
	__u32 high;
};

struct hsci_roots {
	__u32 path;
	__u32 executable;
	__u32 command;
	__u32 cgroup;
	__u32 operation_classes;
	__u32 users_base;
	__u32 users_mask;
	__u32 groups_base;
	__u32 groups_mask;
	__u32 namespaces_base;
	__u32 namespaces_mask;
	__u32 rules;
	__u32 remembers;
	__u32 ancestors;
};

struct hsci_sections {
	__u32 states;
	__u32 cells;
	__u32 path_classes;
	__u32 row_indices;
	__u32 rows;
	__u32 nodes;
	__u32 edges;
	__u32 decisions;
	__u32 conditions;
	__u32 operations;
	__u32 effects;
	__u32 mark_rules;
	__u32 rates;
	__u32 ancestors;
	__u32 generation;
};

struct hsci_subject {
	__u32 uid;
	__u32 user;
	__u32 executable;
	__u32 command;
	__u32 cgroup;
	__u32 pid_namespace;
	__u32 groups_low;
	__u32 groups_high;
	__u32 marks_low;
	__u32 marks_high;
	__u32 capabilities_low;
	__u32 capabilities_high;
	__u32 login;
	__u32 user_namespace;
	__u32 ancestors;
	__u32 secure;
};

struct hsci_facts {
	__u64 size;
	__u64 time;
	__u32 flags;
	__u32 file_type;
	__u32 owner;
	__u32 are_known;
	__u32 mode;
	__u32 reserved;
};

struct hsci_verdict {
	__u32 status;
	__u32 errno;
	__u32 rule;
	__u32 audit;
	__u32 options;
	__u32 target;
	__u32 effect;
	__u32 counted;
};

struct hsci_text_room {
	__u8 bytes[4352];
};

struct hsci_question {
	struct hsci_facts facts;
	__u32 operation;
	__u32 uid;
	__u32 pid_namespace;
	__u32 groups;
	__u32 path_len;
	__u32 executable_len;
	__u32 command_len;
	__u32 cgroup_len;
	__u32 repeat;
	__u32 event;
	__u64 process;
	__u64 child;
	__u64 now;
	__u64 marks;
	__u32 over;
	__u32 is_init;
	__u32 secure;
	__u32 reserved;
	__u64 capabilities;
	__u32 login;
	__u32 user_namespace;
	__u32 ancestor_ends[4];
	__u32 gids[64];
	struct hsci_text_room path;
	struct hsci_text_room executable;
	struct hsci_text_room command;
	struct hsci_text_room cgroup;
	struct hsci_text_room ancestors;
};

struct hsci_answer {
	struct hsci_subject subject;
	struct hsci_verdict verdict;
	__u32 state;
	__u32 class;
	__u32 is_bound;
	__u32 over;
	__u64 marks;
	__u64 step_ns;
	__u64 judge_ns;
};

struct hsci_guard {
	__u32 abi;
	__u32 permissive;
	__u32 epoch;
	__u32 generation;
	__u32 room;
	__u32 pins_device;
	__u32 command_device;
	__u32 reserved;
	__u64 command_inode;
	__u64 judged;
	__u64 denied;
	__u64 fenced;
	__u64 undecidable;
	__u64 lost;
	__u64 targets[256];
};

struct hsci_event {
	__u64 time;
	__u64 inode;
	__u32 device;
	__u32 process;
	__u32 user;
	__u32 operation;
	__u32 rule;
	__u32 errno;
	__u32 kind;
	__u32 generation;
	__u8 command[16];
	__u8 name[256];
};

struct hsci_root_key {
	__u32 device;
	__u32 generation;
};

struct hsci_root_place {
	__u32 path;
	__u32 executable;
	__u32 prefix_len;
	__u32 reserved;
	__u8 prefix[64];
};

struct hsci_handed {
	__u64 key;
	__u32 generation;
	__u32 opcode;
	struct hsci_subject subject;
	__u64 process;
	__u32 place;
	__u32 reserved;
};

struct hsci_tracer {
	__u64 policy;
	__u64 namespace;
	__u64 unknown;
	__u32 generation;
	__u32 room;
	__u32 remembers;
	__u32 reserved;
};

struct hsci_process {
	__u64 key;
	__u64 marks;
	__u64 lineage;
	__u64 secure;
};

struct hsci_bucket {
	__u64 key;
	__u64 full;
};

struct hsci_memory {
	__u64 lineages;
	__u64 lost;
	__u64 since;
	struct hsci_process processes[65536];
	struct hsci_bucket buckets[16384];
};

/* The place of a key in a hash area. */
static inline __u32 hsci_hash(__u32 value, __u32 mask)
{
	__u32 product = value * HSCI_HASH_FACTOR;

	return (product ^ (product >> 15)) & mask;
}

#endif
