/* SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only */
/* The caller tracer for policies with marks or rates. Others need no memory. */
#define HSCI_REMEMBERS
#include "callers.bpf.c"
