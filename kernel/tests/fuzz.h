/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The fuzzer's parts. A worker is a process of several threads that lives for a few seconds, or
 * until it is killed. There are two kinds: a model's threads use only memory of their own and know
 * what must be in it and in the files; the wild ones do anything to the same memory, where only
 * what holds at all times can be checked.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <pthread.h>
#include <stdatomic.h>

#include "kz_test.h"

#define FUZZ_THREADS 3

/**
 * struct fuzz_counts - of all workers, in shared memory
 * @calls: of KZ_MOVE; @refused: of them with an error that was expected; @failed: for lack of
 *	memory
 * @checked: pages that were compared
 * @ops: of any kind
 */
struct fuzz_counts {
	atomic_ulong calls, refused, failed, moved, huge, copied, queries, checked, ops, forks;
};

extern struct fuzz_counts *fuzz_counts;

/* A worker's life: ends the process, as failed if something was wrong. */
void fuzz_model(uint64_t seed, double seconds) __attribute__((noreturn));
void fuzz_wild(uint64_t seed, double seconds) __attribute__((noreturn));

/* A new file, whatever step of it was told to fail. */
int fuzz_create(void);

double fuzz_now(void);
void print_file(const char *path);

/* A number below @bound. */
static inline size_t below(uint64_t *random, size_t bound)
{
	return kz_random(random) % bound;
}

static inline bool one_in(uint64_t *random, size_t chances)
{
	return !below(random, chances);
}

#endif
