/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The records of compiled policies. Made from filters/engine/src/layout.rs. */
#ifndef HSCI_TABLES_H
#define HSCI_TABLES_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#define HSCI_NONE 0xffffffffu
#define HSCI_LEAF 0x80000000u
#define HSCI_OPERATIONS 0x20u
#define HSCI_PROBES 0x8u
#define HSCI_HASH_FACTOR 0x9e3779b1u
#define HSCI_MAX_GROUPS 0x40u
#define HSCI_MAX_CONDITIONS 0x20u
#define HSCI_MAX_WALK 0x67u
#define HSCI_VARIABLE_USER 0x0u
#define HSCI_VARIABLE_OWNER 0x1u
#define HSCI_VARIABLE_EXECUTABLE 0x2u
#define HSCI_VARIABLE_COMMAND 0x3u
#define HSCI_VARIABLE_CGROUP 0x4u
#define HSCI_VARIABLE_PID_NAMESPACE 0x5u
#define HSCI_VARIABLE_TYPE 0x6u
#define HSCI_VARIABLE_GROUP 0x7u
#define HSCI_VARIABLE_CONDITION 0x47u
#define HSCI_VARIABLE_END 0x67u
#define HSCI_LINE_WORDS 0x20u
#define HSCI_CONDITION_FLAG 0x1u
#define HSCI_CONDITION_OWNER_IS_CALLER 0x2u
#define HSCI_CONDITION_SIZE_AT_LEAST 0x3u

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
	__u32 pid_namespaces_base;
	__u32 pid_namespaces_mask;
	__u32 rules;
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
	__u32 memory;
	__u32 reserved;
};

/* The place of a key in a hash area. */
static inline __u32 hsci_hash(__u32 value, __u32 mask)
{
	__u32 product = value * HSCI_HASH_FACTOR;

	return (product ^ (product >> 15)) & mask;
}

#endif
